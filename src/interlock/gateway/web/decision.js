// One decision opened: signals, guards with reasons, candidates with estimates and probabilities, the runner-up, the cost.
import { useEffect, useState } from "./vendor/hooks.js";
import { call, head, html, money, number, percent, seconds } from "./ui.js";

function bar(value, of = 1) {
  return html`<meter min="0" max=${of} value=${value || 0} aria-hidden="true"></meter>`;
}

function Signals({ signals }) {
  const rows = Object.entries(signals).filter(([, signal]) => signal.value !== null && signal.value !== "");
  return html`<section><h3>Signals</h3><ul class="facts">
    ${rows.map(([name, signal]) => html`<li title=${`confidence ${number(signal.confidence)}, read in ${seconds(signal.seconds)}`}>
      <span>${name}</span> <b>${typeof signal.value === "number" ? number(signal.value, signal.value % 1 ? 2 : 0) : String(signal.value)}</b>
      ${signal.confidence < 0.995 && html` <small>${percent(signal.confidence)}</small>`}</li>`)}
  </ul></section>`;
}

function Candidates({ decision }) {
  const rows = [...decision.considered].sort((a, b) =>
    (b.candidate === decision.chosen) - (a.candidate === decision.chosen) || b.permitted - a.permitted || (b.utility ?? -1e9) - (a.utility ?? -1e9));
  return html`<section><h3>Candidates</h3><div class="scroll"><table>
    ${head("candidate", "quality", "cost", "latency", "utility", "probability", "standing")}
    <tbody>${rows.map((row) => html`<tr key=${row.candidate} class=${row.candidate === decision.chosen ? "chosen" : row.permitted ? "" : "out"}>
      <th scope="row">${row.candidate}${row.candidate === decision.chosen && html`<span class="tag">chosen</span>`}</th>
      <td>${number(row.quality)} <small>± ${number(row.quality_std)}</small></td>
      <td>${money(row.cost)}</td><td>${seconds(row.latency)}</td><td>${number(row.utility, 3)}</td>
      <td>${bar(row.probability)} ${percent(row.probability)}</td>
      <td>${row.permitted ? "permitted" : html`<b>${row.grade}</b><br/>${row.reasons.map((reason) =>
        html`<small title=${reason.remedy}>${reason.guard}: ${reason.detail}${reason.remedy && ` (${reason.remedy})`}</small><br/>`)}`}</td>
    </tr>`)}</tbody></table></div></section>`;
}

function runnerUp(decision) {
  const other = decision.runner_up;
  if (!other) return decision.chosen ? "Nobody else was permitted." : "";
  const lacks = [];
  if (other.quality < -0.005) lacks.push(`${number(-other.quality)} less expected quality`);
  if (other.cost > 0) lacks.push(`${money(other.cost)} dearer`);
  if (other.utility > 1e-9) return `${other.candidate} looked ${number(other.utility, 3)} better in utility: this choice was exploration.`;
  return `${other.candidate} came second: ${lacks.join(", ") || "about the same in every respect"} (utility ${number(other.utility, 3)}).`;
}

function Steps({ outcome }) {
  if (!outcome) return html`<p class="quiet">Not answered yet.</p>`;
  return html`<section><h3>What happened</h3>
    <ul class="facts"><li><span>answered by</span> <b>${outcome.candidate ?? "nobody"}</b></li>
      <li><span>cost</span> <b>${money(outcome.cost)}</b></li><li><span>latency</span> <b>${seconds(outcome.latency)}</b></li>
      <li><span>tokens</span> <b>${outcome.usage.input} in, ${outcome.usage.output} out</b></li>
      ${outcome.usage.cached > 0 && html`<li><span>cached</span> <b>${outcome.usage.cached}</b></li>`}
      ${outcome.energy !== null && html`<li title="modelled, not measured"><span>energy</span> <b>${number(outcome.energy * 1000, 2)} mJ</b></li>`}
      ${outcome.error && html`<li class="bad"><span>error</span> <b>${outcome.error}</b></li>`}</ul>
    ${outcome.steps.length > 1 && html`<ol>${outcome.steps.map((step) => html`<li>${step.candidate}: ${step.why}${step.error && html`, <b class="bad">${step.error}</b>`} (${seconds(step.seconds)}, ${money(step.cost)})</li>`)}</ol>`}
  </section>`;
}

export function Feedback({ id, given, expected }) {
  const [said, say] = useState(null);
  const [error, fail] = useState("");
  const give = async (score) => {
    try { await call("/v1/feedback", { id, score, source: "page" }); say(score); fail(""); } catch (problem) { fail(problem.message); }
  };
  const standing = said ?? given;
  return html`<p class="feedback" role="group" aria-label="Feedback">
    ${expected !== undefined && html`<span>right answer: <code>${expected}</code></span>`}
    <button type="button" class=${standing === 1 ? "on" : ""} onClick=${() => give(1)}>✓ right</button>
    <button type="button" class=${standing === 0 ? "on" : ""} onClick=${() => give(0)}>✗ wrong</button>
    ${said !== null && html`<small role="status">recorded in the ledger</small>`}${error && html`<small class="bad" role="alert">${error}</small>`}</p>`;
}

export function Decision({ id, refresh = 0 }) {
  const [found, show] = useState(null);
  const [error, fail] = useState("");
  useEffect(() => {
    let live = true;
    show(null);
    fail("");
    call(`/v1/ledger/${encodeURIComponent(id)}`).then((value) => live && show(value), (problem) => live && fail(problem.message));
    return () => { live = false; };
  }, [id, refresh]);
  if (error) return html`<p class="bad" role="alert">${error}</p>`;
  if (!found) return html`<p class="quiet">Reading the ledger …</p>`;
  const { decision, outcome, feedback } = found;
  const last = feedback.length ? feedback[feedback.length - 1] : null;
  return html`<article class="decision" aria-label=${`Decision ${decision.id}`}>
    <header><h2>${decision.chosen ?? "Refused"}</h2>
      <p>${decision.chosen ? html`chosen with probability <b>${percent(decision.probability)}</b>. ${runnerUp(decision)}` : "No candidate may serve this request; every reason is listed below."}
        ${decision.degraded && html` <span class="tag warn">${decision.degraded}</span>`}</p>
      <p class="quiet"><code>${decision.id}</code> · snapshot ${decision.snapshot} · decided in ${seconds(decision.seconds)}</p></header>
    <${Candidates} decision=${decision} /><${Steps} outcome=${outcome} /><${Signals} signals=${decision.signals} />
    ${decision.chosen && html`<section><h3>Feedback</h3>
      ${feedback.map((one) => html`<p>${one.source}: <b>${one.revoked ? "withdrawn" : number(one.score)}</b></p>`)}
      <${Feedback} id=${decision.id} given=${last && last.source === "page" && !last.revoked ? last.score : null} /></section>`}
  </article>`;
}
