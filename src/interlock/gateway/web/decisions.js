// Decisions as they arrive. Opening one shows all of it.
import { useState } from "./vendor/hooks.js";
import { Decision } from "./decision.js";
import { clock, head, html, money, number, percent, seconds, Table } from "./ui.js";

export function mark(score) {
  if (score === 1) return html`<span class="good">✓ right</span>`;
  if (score === 0) return html`<span class="bad">✗ wrong</span>`;
  return number(score);
}

function Rows({ rows, open }) {
  const tasks = rows.some((row) => row.task !== null);
  const columns = ["time", "chosen", "probability", tasks && "task", "cost", "latency", "score"].filter(Boolean);
  return html`<${Table} label="List of decisions" kind="tall">${head(...columns)}<tbody>${rows.map((row) => html`<tr key=${row.id} class=${open === row.id ? "chosen" : ""}>
    <td><a href=${`#/decisions/${row.id}`} aria-current=${open === row.id ? "true" : undefined}
      aria-label=${`Open the decision of ${clock(row.at)}`}>${clock(row.at)}</a></td>
    <td>${row.chosen ?? html`<span class="bad">refused</span>`}${row.answered && row.answered !== row.chosen && html` → ${row.answered}`}</td>
    <td>${percent(row.probability)}</td>${tasks && html`<td>${row.task ?? "–"}</td>`}<td>${money(row.cost)}</td>
    <td>${row.error ? html`<span class="bad">${row.error}</span>` : seconds(row.latency)}</td><td>${mark(row.score)}</td></tr>`)}</tbody><//>`;
}

export function Decisions({ rows, open, connected }) {
  const [held, hold] = useState(null);
  const shown = held ?? rows;
  return html`<div class=${`columns${open ? " opened" : ""}`}>
    <section class="panel list" aria-labelledby="live">
      <header class="row start"><h1 id="live">Decisions</h1>
        <span class=${connected ? "tag" : "tag warn"} role="status">${connected ? "live" : "reconnecting"}</span>
        <button type="button" aria-pressed=${held !== null} onClick=${() => hold(held ? null : rows)}>${held ? "Resume" : "Pause"}</button></header>
      ${shown.length === 0 ? html`<p class="quiet">None yet. Send a prompt from the <a href="#/playground">playground</a> or with any OpenAI client.</p>`
        : html`<${Rows} rows=${shown} open=${open} />`}</section>
    <section class="panel opened-one" aria-label="The opened decision">
      ${open ? html`<p class="back"><a href="#/decisions">← All decisions</a></p>
          <${Decision} id=${open} refresh=${rows.find((row) => row.id === open)?.changes} judged />`
        : html`<p class="quiet">Open a decision to see what was considered, and why this candidate was chosen.</p>`}</section></div>`;
}
