// Decisions as they arrive. Opening one shows all of it.
import { useEffect, useState } from "./vendor/hooks.js";
import { Decision } from "./decision.js";
import { call, clock, head, html, money, number, percent, seconds } from "./ui.js";

const MOST = 100;

/** Recent decisions with their outcomes and scores, newest first; kept up to date by `event`s. */
export function fold(rows, { event, data }) {
  const update = (id, more) => rows.map((row) => (row.id === id ? { ...row, ...more } : row));
  if (event === "decision") {
    const row = { id: data.id, at: data.at, chosen: data.chosen, probability: data.probability, task: data.signals?.task?.value };
    return [row, ...rows.filter((other) => other.id !== data.id)].slice(0, MOST);
  }
  if (event === "outcome") return update(data.decision, { answered: data.candidate, cost: data.cost, latency: data.latency, error: data.error });
  if (event === "feedback") return update(data.decision, { score: data.revoked ? undefined : data.score });
  return rows;
}

export async function recent() {
  const { rows } = await call("/v1/ledger?limit=300");
  const kinds = { decision: "decision", refusal: "decision", outcome: "outcome", feedback: "feedback" };
  return rows.reverse().reduce((found, row) => (kinds[row.kind] ? fold(found, { event: kinds[row.kind], data: row.record }) : found), []);
}

export function Live({ rows, open, select, connected }) {
  const [paused, pause] = useState(null);
  useEffect(() => { if (open && matchMedia("(max-width: 900px)").matches) document.querySelector(".decision-pane")?.scrollIntoView(); }, [open]);
  const shown = paused ?? rows;
  return html`<div class="columns wide-left"><section class="panel" aria-labelledby="live">
    <header class="row"><h2 id="live">Decisions</h2><span class=${connected ? "tag" : "tag warn"}>${connected ? "live" : "reconnecting"}</span>
      <button type="button" aria-pressed=${paused !== null} onClick=${() => pause(paused ? null : rows)}>${paused ? "resume" : "pause"}</button></header>
    ${shown.length === 0 ? html`<p class="quiet">None yet. Send a prompt from the playground or with any OpenAI client.</p>` : html`<div class="scroll"><table class="clickable">
      ${head("time", "chosen", "p", "task", "cost", "latency", "score")}
      <tbody>${shown.map((row) => html`<tr key=${row.id} class=${open === row.id ? "chosen" : ""}>
        <td><button class="link" type="button" onClick=${() => select(row.id)} aria-label=${`Open the decision of ${clock(row.at)}`}>${clock(row.at)}</button></td>
        <td>${row.chosen ?? html`<span class="bad">refused</span>`}${row.answered && row.answered !== row.chosen && html` → ${row.answered}`}</td>
        <td>${percent(row.probability)}</td><td>${row.task ?? "–"}</td><td>${money(row.cost)}</td>
        <td>${row.error ? html`<span class="bad">${row.error}</span>` : seconds(row.latency)}</td>
        <td>${row.score === undefined ? "–" : row.score === 1 ? html`<span class="good">✓</span>` : row.score === 0 ? html`<span class="bad">✗</span>` : number(row.score)}</td></tr>`)}</tbody></table></div>`}
  </section>
  <section class="panel decision-pane" aria-label="The opened decision">${open ? html`<${Decision} id=${open} />` : html`<p class="quiet">Open a decision to see what was considered, and why this one.</p>`}</section></div>`;
}
