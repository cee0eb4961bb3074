// One decision opened: guards with reasons, candidates with estimates and probabilities, the runner-up, the cost, the signals.
import { useEffect, useState } from "./vendor/hooks.js";
import { Feedback, Scores } from "./feedback.js";
import { bar, call, head, html, money, number, percent, seconds, Table, waiting } from "./ui.js";

/** The address that opens this decision, for somebody else who may see it. */
function Share({ id }) {
  const [said, say] = useState("");
  const link = `${location.href.split("#")[0]}#/decisions/${encodeURIComponent(id)}`;
  const copy = () => navigator.clipboard.writeText(link).then(() => say("copied"), () => say(link)); // without TLS there is no clipboard
  return html`<span class="share"><button type="button" class="small" onClick=${copy}>Copy link</button> <small class="quiet" role="status">${said}</small></span>`;
}

/** What set the runner-up apart from the chosen one, in a sentence. */
function runnerUp({ chosen, runner_up: other }) {
  if (!other) return chosen ? "Nobody else was permitted." : "";
  if (other.utility > 1e-9) return `${other.candidate} looked better by ${number(other.utility, 3)} in utility: this choice was exploration.`;
  const lacks = [];
  if (other.quality < -0.005) lacks.push(`${number(-other.quality)} less expected quality`);
  if (other.cost > 0) lacks.push(`${money(other.cost)} dearer`);
  const gains = other.quality > 0.005 ? `, though ${number(other.quality)} more expected quality` : "";
  return `${other.candidate} came second: ${lacks.join(", ") || "about the same"}${gains} (utility ${number(other.utility, 3)}).`;
}

/** Who was ruled out, by which guards. */
function ruledOut(considered) {
  const out = considered.filter((row) => !row.permitted);
  if (out.length === 0) return `All ${considered.length} passed the guards.`;
  const guards = new Map();
  for (const { reasons } of out) {
    for (const name of new Set(reasons.map((reason) => reason.guard))) guards.set(name, (guards.get(name) ?? 0) + 1);
  }
  return `The guards ruled out ${out.length} of ${considered.length}: ${[...guards].map(([name, count]) => `${name} ${count}`).join(", ")}.`;
}

function Candidate({ row, chosen, latency, columns }) {
  const name = html`<th scope="row">${row.candidate}${chosen && html`<span class="tag">chosen</span>`}</th>`;
  if (!row.permitted) {
    return html`<tr class="out">${name}<td class="wrap" colspan=${columns - 1}><b>${row.grade}</b>${row.reasons.map((reason) =>
      html`<div>${reason.detail}${reason.remedy && html` <span class="quiet">(${reason.remedy})</span>`}</div>`)}</td></tr>`;
  }
  return html`<tr class=${chosen ? "chosen" : ""}>${name}
    <td>${number(row.quality)} <small class="quiet">± ${number(row.quality_std)}</small></td><td>${number(row.utility, 3)}</td>
    <td>${bar(row.probability)} ${percent(row.probability)}</td><td>${money(row.cost)}</td>${latency && html`<td>${seconds(row.latency)}</td>`}</tr>`;
}

function Candidates({ considered, chosen }) {
  const latency = considered.some((row) => row.latency !== null);
  const columns = ["candidate", "quality", "utility", "probability", "cost", latency && "latency"].filter(Boolean);
  const first = (row) => (row.candidate === chosen ? 2 : row.permitted ? 1 : 0);
  const rows = [...considered].sort((a, b) => first(b) - first(a) || (b.utility ?? -Infinity) - (a.utility ?? -Infinity));
  return html`<section><h3>Candidates</h3><p class="quiet">${ruledOut(considered)} Numbers are what was expected before the answer.</p>
    <${Table} label="Table of candidates">${head(...columns)}<tbody>${rows.map((row) => html`<${Candidate} key=${row.candidate} row=${row}
      chosen=${row.candidate === chosen} latency=${latency} columns=${columns.length} />`)}</tbody><//></section>`;
}

const fact = (name, value, more) => html`<li key=${name}><span>${name}</span> <b>${value}</b>${more && html` <small>${more}</small>`}</li>`;

function Carried({ outcome, considered }) {
  if (!outcome) return html`<section><h3>What happened</h3><p class="quiet">Not answered yet.</p></section>`;
  const dearest = considered.filter((row) => row.permitted).reduce((most, row) => (row.cost > (most?.cost ?? 0) ? row : most), null);
  return html`<section><h3>What happened</h3><ul class="facts">
      ${fact("answered by", outcome.candidate ?? "nobody")}${fact("cost", money(outcome.cost))}
      ${dearest && dearest.candidate !== outcome.candidate && fact(`${dearest.candidate}, the dearest`, `about ${money(dearest.cost)}`)}
      ${fact("latency", seconds(outcome.latency))}${outcome.ttft !== null && fact("first token", seconds(outcome.ttft))}
      ${fact("tokens", `${outcome.usage.input} in, ${outcome.usage.output} out`)}${outcome.usage.cached > 0 && fact("cached", outcome.usage.cached)}
      ${outcome.energy !== null && fact("energy", `${number(outcome.energy * 1000)} mJ`, "modelled")}
      ${outcome.error && html`<li class="bad"><span>error</span> <b>${outcome.error}</b></li>`}</ul>
    ${outcome.steps.length > 1 && html`<ol>${outcome.steps.map((step) => html`<li>${step.candidate}: ${step.why}
      ${step.error && html`, <b class="bad">${step.error}</b>`}<span class="quiet"> (${seconds(step.seconds)}, ${money(step.cost)})</span></li>`)}</ol>`}</section>`;
}

function Signals({ signals }) {
  const rows = Object.entries(signals).filter(([, signal]) => signal.value !== null && signal.value !== "");
  const value = (given) => (typeof given === "number" ? number(given, given % 1 ? 2 : 0) : String(given));
  return html`<section><h3>Signals</h3><ul class="facts">${rows.map(([name, signal]) =>
    fact(name, value(signal.value), signal.confidence < 0.995 && `${percent(signal.confidence)} sure`))}</ul></section>`;
}

function lastTurn(prompt) {
  const { content } = JSON.parse(prompt).at(-1);
  return typeof content === "string" ? content : JSON.stringify(content);
}

const Kept = ({ prompt, answer }) => html`<section><h3>Kept text</h3>
  ${prompt !== null && html`<p class="said"><span class="quiet">prompt</span> ${lastTurn(prompt)}</p>`}
  ${answer !== null && html`<p class="said"><span class="quiet">answer</span> ${answer}</p>`}</section>`;

/** `refresh` changes when the ledger may know more; `judged` shows the scores and takes one. */
export function Decision({ id, refresh, judged }) {
  const [found, show] = useState(null);
  const [error, fail] = useState("");
  useEffect(() => {
    let live = true;
    call(`/v1/ledger/${encodeURIComponent(id)}`).then(
      (value) => { if (live) { show(value); fail(""); } }, (problem) => { if (live) { show(null); fail(problem.message); } });
    return () => { live = false; };
  }, [id, refresh]);
  if (!found) return waiting(error);
  const { decision, outcome, feedback, prompt, answer, shadow } = found;
  return html`<article class="decision" aria-label=${`Decision ${decision.id}`}>
    <header class="row start"><h2>${decision.chosen ? `Why ${decision.chosen}` : "Refused"}</h2><${Share} id=${decision.id} /></header>
    <p>${decision.chosen ? html`Chosen with probability <b>${percent(decision.probability)}</b>. ${runnerUp(decision)}`
        : "No candidate may serve this request; every reason is listed below."}
      ${decision.degraded && html` <span class="tag warn">${decision.degraded}</span>`}</p>
    ${shadow && html`<p>${shadow.candidate === decision.chosen ? "The shadow policy would have chosen the same."
      : html`The shadow policy would have chosen <b>${shadow.candidate}</b>, with probability ${percent(shadow.probability)}.`}</p>`}
    <p class="quiet"><code>${decision.id}</code> · snapshot <code>${decision.snapshot}</code> · ${decision.policy}${" "}
      · decided in ${seconds(decision.seconds)}</p>
    <${Candidates} ...${decision} />${decision.chosen && html`<${Carried} outcome=${outcome} considered=${decision.considered} />`}
    <${Signals} signals=${decision.signals} />${(prompt !== null || answer !== null) && html`<${Kept} prompt=${prompt} answer=${answer} />`}
    ${judged && decision.chosen && html`<section><h3>Feedback</h3><${Scores} feedback=${feedback} />
      <${Feedback} key=${id} id=${id} feedback=${feedback} /></section>`}
  </article>`;
}
