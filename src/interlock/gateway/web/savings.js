// What routing saves against always asking one candidate, with its interval, or plainly why that cannot be told.
import { useState } from "./vendor/hooks.js";
import { html, money, number, percent, signed, usePolled, waiting, when } from "./ui.js";

const range = ({ low, high }, format) => `${format(low)} to ${format(high)}`;
const points = (value) => number(value, 3);

function Saved({ found: { saved, would_have_spent: without, spent, requests, quality, against } }) {
  const kind = saved.low > 0 ? "saved" : saved.high < 0 ? "spent more" : "no clear difference";
  return html`<p class="headline"><b class=${saved.low > 0 ? "good" : saved.high < 0 ? "bad" : ""}>${money(Math.abs(saved.mean))}</b>${" "}
      ${kind === "no clear difference" ? "between them, which is no clear difference" : kind} <small class="quiet">${range(saved, (value) => signed(value, money))}</small></p>
    <p>Always asking <b>${against}</b> would have cost ${money(without.mean)} <small class="quiet">(${range(without, money)})</small>${" "}
      on the ${requests} requests that permit it; what was asked cost ${money(spent)}${without.mean > 0 && html`, <b>${percent(saved.mean / without.mean)}</b> less`}.</p>
    <p>${quality.difference ? html`Quality <b>${signed(-quality.difference.mean, points)}</b>${" "}
        <small class="quiet">(${signed(-quality.difference.high, points)} to ${signed(-quality.difference.low, points)})</small> against it, over ${quality.rows} judged answers:${" "}
        ${quality.difference.low > 0 ? "it would have been better." : quality.difference.high < 0 ? "routing is better." : "no clear difference."}`
      : html`<span class="quiet">What it would have done to quality cannot be told: ${quality.refused}.</span>`}</p>`;
}

function Untold({ found: { cost, predicted, spent, against, requests } }) {
  return html`<p class="headline">It cannot be told yet</p>
    <p><b>${against}</b> was asked too seldom to say what it would have cost and scored on all ${requests} requests: ${cost.refused}.</p>
    ${predicted !== null && spent !== null && html`<p class="quiet">Going by what was expected of it, without any interval: about ${money(predicted)} for it alone,${" "}
      where ${money(spent)} were spent.</p>`}
    <p class="quiet">An exploration that tries every candidate now and then (<code>thompson</code>, <code>softmax</code>, <code>epsilon</code>) makes such questions answerable.</p>`;
}

export function Savings() {
  const [against, choose] = useState("");
  const [found, error] = usePolled(`/v1/savings${against && `?against=${encodeURIComponent(against)}`}`, 5000);
  if (!found) return waiting(error);
  const asked = found.requests > 0 || found.cost;
  return html`<section class="panel" aria-labelledby="savings"><h1 id="savings">Savings</h1>${error && waiting(error)}
    ${!found.against || !asked ? html`<p class="quiet">Nothing was answered yet.</p>` : html`
      <label class="inline">against always asking <select value=${found.against} onChange=${(event) => choose(event.target.value)}>${found.candidates.map((name) =>
        html`<option key=${name} value=${name}>${name}${name === found.strongest ? " (the strongest)" : ""}</option>`)}</select></label>
      ${found.saved ? html`<${Saved} found=${found} />` : html`<${Untold} found=${found} />`}
      <p class="quiet">95% intervals, estimated off-policy (doubly robust) from the decisions since ${when(found.since)}. The strongest is the one of whom the most quality${" "}
        was expected.</p>`}</section>`;
}
