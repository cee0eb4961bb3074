// The candidates: who gets the traffic, how they do, what they cost, and whether their breaker is closed.
import { useEffect, useState } from "./vendor/hooks.js";
import { call, head, html, money, number, percent, seconds } from "./ui.js";

export function usePolled(path, every = 2000) {
  const [value, set] = useState(null);
  const [error, fail] = useState("");
  useEffect(() => {
    let timer = 0, live = true;
    const look = async () => {
      try { const found = await call(path); if (live) { set(found); fail(""); } } catch (problem) { if (live) fail(problem.message); }
      if (live) timer = setTimeout(look, every);
    };
    look();
    return () => { live = false; clearTimeout(timer); };
  }, [path, every]);
  return [value, error];
}

export function Pool() {
  const [pool, error] = usePolled("/v1/pool");
  if (error) return html`<p class="bad" role="alert">${error}</p>`;
  if (!pool) return html`<p class="quiet">Reading …</p>`;
  const most = Math.max(...pool.candidates.map((row) => row.cost ?? 0), 1e-12);
  return html`<section class="panel" aria-labelledby="pool"><h2 id="pool">Pool</h2>
    <p class="quiet">Over the last ${pool.decisions} decisions. Quality is the mean score of judged answers.</p>
    <div class="scroll"><table>${head("candidate", "share", "quality", "judged", "mean cost", "median latency", "tokens", "price /M", "failures", "breaker")}
    <tbody>${[...pool.candidates].sort((a, b) => b.share - a.share).map((row) => html`<tr key=${row.name}>
      <th scope="row">${row.name}</th>
      <td><meter min="0" max="1" value=${row.share} aria-hidden="true"></meter> ${percent(row.share)}</td>
      <td>${row.quality === null ? "–" : html`<meter min="0" max="1" value=${row.quality} aria-hidden="true"></meter> ${percent(row.quality)}`}</td>
      <td>${row.judged}</td><td><meter min="0" max=${most} value=${row.cost ?? 0} aria-hidden="true"></meter> ${money(row.cost)}</td>
      <td>${seconds(row.latency)}</td><td>${number(row.output_tokens, 0)}</td>
      <td>${row.price.in === null ? "unknown" : row.price.in === row.price.out ? `$${number(row.price.in)}` : `$${number(row.price.in)} / $${number(row.price.out)}`}</td>
      <td>${row.failures}</td><td><span class=${row.breaker === "closed" ? "good" : "bad"} title=${row.last_error}>${row.breaker ?? "–"}</span></td></tr>`)}</tbody></table></div></section>`;
}
