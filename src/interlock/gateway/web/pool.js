// The candidates: who gets the traffic, how they do, what they cost, and whether their breaker is closed.
import { bar, head, html, money, number, percent, seconds, Table, usePolled, waiting } from "./ui.js";

const weighted = (rows, value, weight) => {
  const known = rows.filter((row) => row[value] !== null && row[weight] > 0);
  const total = known.reduce((sum, row) => sum + row[weight], 0);
  return total ? known.reduce((sum, row) => sum + row[value] * row[weight], 0) / total : null;
};

/** The pool as one: mean score, mean cost of an answer, and what the dearest candidate's own answers cost on average. */
export function overall(candidates) {
  const dearest = candidates.filter((row) => row.cost !== null).sort((a, b) => b.cost - a.cost)[0];
  const cost = weighted(candidates, "cost", "answers");
  return { quality: weighted(candidates, "quality", "judged"), cost, dearest, saved: dearest?.cost > 0 ? 1 - cost / dearest.cost : null };
}

const price = ({ in: input, out: output }) =>
  (input === null ? "unknown" : input === output ? `$${number(input)}` : `$${number(input)} / $${number(output)}`);

function about({ provider, trust, context_window: window, capabilities }) {
  const can = Object.entries(capabilities).filter(([, answer]) => answer === "yes").map(([name]) => name);
  return [provider, trust, window && `${window} tokens`, ...can].filter(Boolean).join(" · ");
}

function Breaker({ row }) {
  if (row.breaker === null) return html`<span class="quiet">not called yet</span>`;
  if (row.breaker === "closed") return html`<span class="good">closed</span>`;
  return html`<b class="bad">${row.breaker}</b>${row.resting > 0 && ` for ${seconds(row.resting)}`}<br /><small>${row.last_error}</small>`;
}

function Candidate({ row, most }) {
  return html`<tr><th scope="row">${row.name}<br /><small class="quiet">${about(row)}</small></th>
    <td>${bar(row.share)} ${percent(row.share)}</td>
    <td>${row.quality === null ? html`<span class="quiet">not judged</span>`
      : html`${bar(row.quality)} ${percent(row.quality)} <small class="quiet">of ${row.judged}</small>`}</td>
    <td>${bar(row.cost, most)} ${money(row.cost)}</td><td>${seconds(row.latency)}</td><td>${number(row.output_tokens, 0)}</td>
    <td>${price(row.price)}</td><td>${row.failures}</td><td class="wrap"><${Breaker} row=${row} /></td></tr>`;
}

export function Pool() {
  const [pool, error] = usePolled("/v1/pool");
  if (!pool) return waiting(error);
  const { quality, cost, dearest, saved } = overall(pool.candidates);
  const rows = [...pool.candidates].sort((a, b) => b.share - a.share || a.name.localeCompare(b.name));
  return html`<section class="panel" aria-labelledby="pool"><h1 id="pool">Pool</h1>${error && waiting(error)}
    <dl class="tiles"><div><dt>decisions, the latest</dt><dd>${pool.decisions}</dd></div>
      <div><dt>mean score of judged answers</dt><dd>${percent(quality)}</dd></div>
      <div><dt>mean cost of an answer</dt><dd>${money(cost)}</dd></div>
      <div><dt>${dearest ? `cheaper than the answers of ${dearest.name}, the dearest` : "cheaper than the dearest"}</dt><dd>${percent(saved)}</dd></div></dl>
    <${Table} label="Table of candidates">${head("candidate", "share", "quality", "mean cost", "median latency", "tokens", "price per million", "failures", "breaker")}
      <tbody>${rows.map((row) => html`<${Candidate} key=${row.name} row=${row} most=${dearest?.cost || 1} />`)}</tbody><//></section>`;
}
