// A second policy beside the one that serves: how often it would have chosen another candidate, and what that is worth.
import { useState } from "./vendor/hooks.js";
import { Intervals, Timeline } from "./plot.js";
import { bar, clock, head, html, money, number, percent, seconds, signed, Table, usePolled, waiting, when } from "./ui.js";

const EXAMPLE = `shadow:
  objective: {kind: weighted, quality: 1.0, cost: 200.0}`;
const MEASURES = {
  quality: { what: "quality", format: (value) => number(value, 3), better: 1 },
  cost: { what: "cost of 1,000 requests", format: (value) => money(1000 * value), better: -1 },
  latency: { what: "latency", format: seconds, better: -1 },
};

/** "better", "worse" or neither, when the whole interval lies on one side of zero. */
function tone(difference, better) {
  if (!difference || (difference.low <= 0 && difference.high >= 0)) return "";
  return Math.sign(difference.mean) === better ? "good" : "bad";
}

const Difference = ({ measure, of }) => {
  const { format, better } = MEASURES[measure];
  if (!of.difference) return html`<span class="quiet" title=${of.refused}>too few to tell</span>`;
  const { mean, low, high } = of.difference;
  return html`<b class=${tone(of.difference, better)}>${signed(mean, format)}</b> <small class="quiet">${signed(low, format)} to ${signed(high, format)}</small>`;
};

/** What the shadow is worth, one clause for each measure that the log can tell. */
function worth(measures) {
  const told = Object.entries(measures).filter(([, of]) => of.difference);
  if (!told.length) return "the log cannot tell yet";
  return told.map(([name, { difference }], i) => {
    const { what, format, better } = MEASURES[name];
    const clear = tone(difference, better);
    return html`${i > 0 && "; "}${what} <b class=${clear}>${signed(difference.mean, format)}</b>${!clear && " (no clear difference)"}`;
  });
}

const Sentence = ({ found: { decisions, differs, measures } }) => html`<p class="lead">It would have chosen another candidate for${" "}
    <b>${percent(differs.mean)}</b> <small class="quiet">(${percent(differs.low)} to ${percent(differs.high)})</small> of ${decisions} requests.</p>
  <p>Estimated change: ${worth(measures)}.</p>`;

const shown = ({ kind, ...rest }) => [kind, ...Object.entries(rest).map(([name, value]) => `${name} ${JSON.stringify(value)}`)].join(", ");

function Parts({ serving, shadow }) {
  return html`<${Table} label="Parts of both policies">${head("part", "serves", "shadow")}<tbody>${Object.keys(serving).map((part) => {
    const [one, other] = [shown(serving[part]), shown(shadow[part])];
    return html`<tr key=${part} class=${one === other ? "" : "chosen"}><th scope="row">${part}</th><td class="wrap">${one}</td>
      <td class="wrap">${one === other ? html`<span class="quiet">the same</span>` : html`<b>${other}</b>`}</td></tr>`;
  })}</tbody><//>`;
}

function Measure({ name, of }) {
  const { what, format } = MEASURES[name];
  return html`<section class="measure"><h2>${what} <small class="quiet">over ${of.rows}${name === "quality" ? " judged" : ""} requests</small></h2>
    ${of.served && html`<${Intervals} format=${format} rows=${[{ name: "serves", colour: "accent", ...of.served }, { name: "shadow", colour: "second", ...of.other }]} />`}
    ${of.refused ? html`<p class="quiet">Not told: ${of.refused}.</p>` : html`<p><span class="quiet">difference</span> <${Difference} measure=${name} of=${of} /></p>`}
    ${of.refused && of.overlap?.trouble.map((one) => html`<p class="quiet" key=${one.group + one.candidate}>${one.group}: ${one.candidate} for ${one.requests} requests,${" "}
      ${one.tried === 0 ? "never tried" : `tried with ${percent(one.tried)}`}</p>`)}</section>`;
}

function Groups({ groups }) {
  const [by, turn] = useState("task");
  return html`<section aria-labelledby="groups"><header class="row start"><h2 id="groups">By ${by}</h2><div class="chips" role="group" aria-label="Group by">
      ${Object.keys(groups).map((name) => html`<button key=${name} type="button" aria-pressed=${by === name} onClick=${() => turn(name)}>${name}</button>`)}</div></header>
    <${Table} label="Differences by group">${head(by, "decisions", "differs", "quality, difference", "cost of 1,000, difference")}<tbody>${groups[by].map((row) =>
      html`<tr key=${row.name}><th scope="row">${row.name || "(none)"}</th><td>${row.decisions}</td><td>${bar(row.differs.mean)} ${percent(row.differs.mean)}</td>
        <td><${Difference} measure="quality" of=${row.quality} /></td><td><${Difference} measure="cost" of=${row.cost} /></td></tr>`)}</tbody><//></section>`;
}

function Flows({ flows }) {
  if (!flows.length) return null;
  return html`<section><h2>What it would change</h2><${Table} label="Table of changes">${head("answered by", "shadow asks", "decisions")}<tbody>${flows.map(({ served, shadow, decisions: times }) =>
    html`<tr key=${served + shadow}><td>${served}</td><td>${shadow}</td><td>${bar(times, flows[0].decisions)} ${times}</td></tr>`)}</tbody><//></section>`;
}

function Latest({ latest }) {
  if (!latest.length) return null;
  return html`<section><h2>Latest differences</h2><${Table} label="Table of the latest differences">${head("time", "request", "answered by", "shadow asks")}<tbody>${latest.map((row) =>
    html`<tr key=${row.id}><td><a href=${`#/decisions/${row.id}`} aria-label=${`Open the decision of ${clock(row.at)}`}>${clock(row.at)}</a></td><td>${row.kind}</td>
      <td>${row.served}</td><td>${row.shadow}</td></tr>`)}</tbody><//></section>`;
}

function Absent({ serving }) {
  return html`<p>No shadow policy is configured. One decides on every request beside the policy that serves (${serving.estimator.kind}, ${serving.objective.kind},
      ${" "}${serving.exploration.kind}) and executes nothing, so it can be judged before it serves anybody.</p>
    <p>Name the parts in which it differs, or a preset, in the configuration:</p><pre class="sample">${EXAMPLE}</pre>`;
}

function Progress({ progress: { behind, error } }) {
  if (error) return html`<p class="bad" role="alert">It does not go on: ${error}</p>`;
  return behind > 300 && html`<p class="notice inset">It is still learning from the ledger: ${behind} rows to go.</p>`;
}

function Compared({ found }) {
  const { serving, shadow, progress, measures, curve, groups, flows, decisions, latest, since, until, undecided } = found;
  return html`${progress && html`<${Progress} progress=${progress} />`}
    ${decisions === 0 ? html`<p class="quiet">Nothing to compare yet${undecided ? `: ${undecided} decisions wait for it` : ". Ask something"}.</p>`
      : html`<${Sentence} found=${found} />`}
    <${Parts} serving=${serving} shadow=${shadow} />
    <p class="quiet">${progress ? "It has an estimator of its own, which learns from the same ledger with at most a tenth of a core."
      : "It has the serving policy's estimator, and decides from the very estimates that each decision records."}</p>
    ${decisions > 0 && html`<div class="measures">${Object.entries(measures).map(([name, of]) => html`<${Measure} key=${name} name=${name} of=${of} />`)}</div>
      <p class="quiet">Bars are 95% intervals. The shadow's are estimated off-policy (doubly robust) from ${when(since)} to ${when(until)}: nobody asked its candidates.</p>
      <section><h2>Share that differs</h2><${Timeline} at=${curve.until} count="decision" format=${percent} range=${() => [0, 1]} label="Share of decisions that differ, decision by decision"
        lines=${[{ name: "differs", values: curve.differs, colour: "second", fill: true }]} /></section>
      <${Groups} groups=${groups} /><div class="columns"><${Flows} flows=${flows} /><${Latest} latest=${latest} /></div>`}`;
}

export function Shadow() {
  const [found, error] = usePolled("/v1/shadow", 5000);
  if (!found) return waiting(error);
  return html`<section class="panel" aria-labelledby="shadow"><h1 id="shadow">Shadow policy</h1>${error && waiting(error)}
    ${found.shadow ? html`<${Compared} found=${found} />` : html`<${Absent} serving=${found.serving} />`}</section>`;
}
