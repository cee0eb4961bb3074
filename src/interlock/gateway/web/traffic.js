// Requests, errors, latency and cost over time: of the gateway as a whole, and the health of each provider.
import { Timeline } from "./plot.js";
import { html, money, number, percent, seconds, usePolled, waiting, when } from "./ui.js";

const sum = (values) => values.reduce((total, value) => total + value, 0);
const count = (value) => (value % 1 ? "" : number(value, 0)); // an axis may have halves, requests have none

const every = (width) => (width < 60 ? `${width} s` : width < 3600 ? `${width / 60} min` : width < 86400 ? `${width / 3600} h` : `${width / 86400} d`);

const tile = (name, value, tone) => html`<div key=${name}><dt>${name}</dt><dd class=${tone}>${value}</dd></div>`;

function Whole({ traffic: { at, all, since, until, width } }) {
  const requests = sum(all.requests), failed = sum(all.failed), refused = sum(all.refused);
  return html`<p class="quiet">${when(since)} to ${when(until)}; a point is ${every(width)}.</p>
    <dl class="tiles">${tile("requests", requests)}${tile("failed", `${failed} · ${percent(requests ? failed / requests : 0)}`, failed ? "bad" : "")}
      ${tile("refused by guards", refused)}${tile("cost, of known prices", money(sum(all.cost)))}</dl>
    <div class="charts"><section><h2>Requests</h2><${Timeline} at=${at} format=${count} label="Requests, and those that failed, over time"
        lines=${[{ name: "requests", values: all.requests, colour: "accent", fill: true }, { name: "failed", values: all.failed, colour: "bad" }]} /></section>
      <section><h2>Latency of whole answers</h2><${Timeline} at=${at} format=${seconds} label="Median and 95th percentile of the latency over time"
        lines=${[{ name: "median", values: all.latency.p50, colour: "accent" }, { name: "95%", values: all.latency.p95, colour: "second", dash: [5, 3] }]} /></section>
      <section><h2>Cost</h2><${Timeline} at=${at} format=${money} label="Cost over time"
        lines=${[{ name: "cost", values: all.cost, colour: "accent", fill: true }]} />
        ${all.unpriced > 0 && html`<p class="quiet">${all.unpriced} answers have no known price and are not in it.</p>`}</section>
      ${all.ttft.p50.some((value) => value !== null) && html`<section><h2>Time to the first token</h2><${Timeline} at=${at} format=${seconds}
        label="Median and 95th percentile of the time to the first token" lines=${[{ name: "median", values: all.ttft.p50, colour: "accent" },
          { name: "95%", values: all.ttft.p95, colour: "second", dash: [5, 3] }]} /></section>`}</div>`;
}

/** [tag's class, word] for a provider: open breakers first, then errors, then silence. */
function state({ candidates, total }) {
  const open = candidates.filter((row) => row.breaker !== null && row.breaker !== "closed").length;
  if (open === candidates.length) return ["bad", "down"];
  if (open) return ["warn", `${open} of ${candidates.length} breakers open`];
  if (!total.calls) return ["quiet", "not called"];
  return total.errors ? ["warn", `${percent(total.errors / total.calls)} errors`] : ["", "healthy"];
}

function Breakers({ candidates }) {
  const troubled = candidates.filter((row) => (row.breaker !== null && row.breaker !== "closed") || row.last_error);
  if (!troubled.length) return html`<p class="quiet">${candidates.length === 1 ? "Its breaker is" : `All ${candidates.length} breakers are`} closed.</p>`;
  return html`<ul class="plain">${troubled.map((row) => html`<li key=${row.name}><b>${row.name}</b>${" "}
    <span class=${row.breaker === "closed" ? "good" : "bad"}>${row.breaker?.replace("_", " ")}</span>
    ${row.resting > 0 && ` for ${seconds(row.resting)}`}${row.last_error && html` <small class="quiet">last error: ${row.last_error}</small>`}</li>`)}</ul>`;
}

function Provider({ at, provider }) {
  const { name, calls, errors, latency, codes, total, candidates } = provider;
  const [tone, word] = state(provider);
  return html`<article class="card" aria-label=${`Provider ${name}`}><h2>${name} <span class=${`tag ${tone}`}>${word}</span></h2>
    <ul class="facts"><li><span>calls</span> <b>${total.calls}</b></li><li><span>errors</span> <b class=${total.errors ? "bad" : ""}>${total.errors}</b></li>
      <li><span>median</span> <b>${seconds(total.p50)}</b></li><li><span>95%</span> <b>${seconds(total.p95)}</b></li>
      ${Object.entries(codes).map(([code, times]) => html`<li key=${code} class="bad"><span>${code}</span> <b>${times}</b></li>`)}</ul>
    ${total.p50 !== null && html`<${Timeline} at=${at} format=${seconds} label=${`Latency of ${name} over time`} lines=${[{ name: "median", values: latency.p50, colour: "accent" },
        { name: "95%", values: latency.p95, colour: "second", dash: [5, 3] }]} />`}
    ${total.errors > 0 && html`<${Timeline} at=${at} format=${count} label=${`Calls and errors of ${name} over time`}
        lines=${[{ name: "calls", values: calls, colour: "accent", fill: true }, { name: "errors", values: errors, colour: "bad" }]} />`}
    <${Breakers} candidates=${candidates} /></article>`;
}

export function Traffic() {
  const [traffic, error] = usePolled("/v1/traffic", 5000);
  if (!traffic) return waiting(error);
  const nothing = traffic.since === null;
  return html`<section class="panel" aria-labelledby="traffic"><h1 id="traffic">Traffic</h1>${error && waiting(error)}
      ${nothing ? html`<p class="quiet">Nothing was asked yet.</p>` : html`<${Whole} traffic=${traffic} />`}</section>
    <section class="panel" aria-labelledby="providers"><h1 id="providers">Providers</h1>
      <div class="cards">${traffic.providers.map((provider) => html`<${Provider} key=${provider.name} at=${traffic.at} provider=${provider} />`)}</div></section>`;
}
