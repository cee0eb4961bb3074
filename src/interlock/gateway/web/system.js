// What runs: configuration and how its last reload went, learner and snapshots.
import { useState } from "./vendor/hooks.js";
import { usePolled } from "./pool.js";
import { call, clock, html } from "./ui.js";

export function System() {
  const [config, error] = usePolled("/v1/config", 3000);
  const [learner, offline] = usePolled("/v1/learner", 3000);
  const [problem, fail] = useState("");
  const steer = async (path, body) => { try { await call(path, body); fail(""); } catch (reason) { fail(reason.message); } };
  if (error) return html`<p class="bad" role="alert">${error}</p>`;
  if (!config) return html`<p class="quiet">Reading …</p>`;
  return html`<div class="columns"><section class="panel" aria-labelledby="learner"><h2 id="learner">Learner</h2>
    ${learner ? html`<ul class="facts"><li><span>serving snapshot</span> <b>${learner.served || "none yet"}</b></li>
      <li><span>newest</span> <b>${learner.working}</b></li><li><span>events learnt</span> <b>${learner.learnt}</b></li><li><span>rows behind</span> <b>${learner.lag}</b></li>
      ${Object.entries(learner.skipped).map(([why, count]) => html`<li><span>skipped, ${why}</span> <b>${count}</b></li>`)}
      ${Object.entries(learner.doubted).map(([tenant, weight]) => html`<li class="bad"><span>doubted tenant ${tenant}</span> <b>${weight}</b></li>`)}
      ${learner.error && html`<li class="bad"><span>error</span> <b>${learner.error}</b></li>`}</ul>
      <p class="row">${learner.pinned ? html`<span class="tag warn">pinned</span><button type="button" onClick=${() => steer("/v1/learner/resume", {})}>Resume with the newest</button>`
        : html`<button type="button" disabled=${!learner.served} onClick=${() => steer("/v1/learner/rollback", { version: learner.served })}>Pin this snapshot</button>`}</p>` : html`<p class="quiet">${offline || "Reading …"}</p>`}
    ${problem && html`<p class="bad" role="alert">${problem}</p>`}</section>
  <section class="panel" aria-labelledby="config"><h2 id="config">Configuration</h2>
    <p>hash <code>${config.hash.slice(0, 12)}</code>, last loaded ${clock(config.reload.at)}: ${config.reload.ok ? html`<span class="good">in force</span>` : html`<b class="bad" role="alert">refused, the old one serves on: ${config.reload.error}</b>`}</p>
    <details><summary>Settings in force</summary><pre>${JSON.stringify(config.settings, null, 2)}</pre></details></section></div>`;
}
