// What runs: the configuration and how its last reload went, the learner and its snapshots.
import { useState } from "./vendor/hooks.js";
import { call, clock, head, html, number, Table, usePolled, waiting } from "./ui.js";

/** Snapshots that made the recent decisions, newest first. */
function snapshots(rows) {
  const found = new Map();
  for (const { snapshot, at } of rows) {
    const known = found.get(snapshot) ?? { last: at, decisions: 0 };
    found.set(snapshot, { ...known, first: at, decisions: known.decisions + 1 });
  }
  return [...found];
}

function Snapshots({ rows, served, pin }) {
  return html`<h2>Snapshots of recent decisions</h2><${Table} label="Snapshots" kind="short">${head("version", "from", "until", "decisions", "")}<tbody>
    ${snapshots(rows).map(([version, { first, last, decisions }]) => html`<tr key=${version} class=${version === served ? "chosen" : ""}>
      <th scope="row"><code>${version}</code></th><td>${clock(first)}</td><td>${clock(last)}</td><td>${decisions}</td>
      <td><button type="button" class="small" aria-label=${`Roll back to ${version}`}
        onClick=${() => pin(version)}>Roll back</button></td></tr>`)}</tbody><//>`;
}

function Learner({ rows }) {
  const [learner, error, again] = usePolled("/v1/learner", 3000);
  const [problem, fail] = useState("");
  const steer = (path, body) => call(path, body).then(() => { fail(""); again(); }, (reason) => fail(reason.message));
  const pin = (version) => steer("/v1/learner/rollback", { version });
  if (!learner) return waiting(error);
  return html`<ul class="facts"><li><span>serving</span> <b>${learner.served || "nothing learnt yet"}</b></li>
      <li><span>newest</span> <b>${learner.working}</b></li><li><span>events learnt</span> <b>${learner.learnt}</b></li>
      <li><span>rows behind</span> <b>${learner.lag}</b></li>
      ${learner.degraded && html`<li class="bad"><span>degraded</span> <b>${learner.degraded}</b></li>`}
      ${Object.entries(learner.skipped).map(([why, count]) => html`<li><span>skipped, ${why}</span> <b>${count}</b></li>`)}
      ${Object.entries(learner.doubted).map(([tenant, weight]) =>
        html`<li class="bad"><span>doubted tenant ${tenant}, weight</span> <b>${number(weight)}</b></li>`)}
      ${Object.entries(learner.disregarded).map(([tenant, [first, last]]) =>
        html`<li class="bad"><span>disregarded tenant ${tenant}, rows</span> <b>${first} to ${last}</b></li>`)}</ul>
    ${learner.error && html`<p class="bad" role="alert">${learner.error}</p>`}${problem && html`<p class="bad" role="alert">${problem}</p>`}
    <p>${learner.pinned ? html`<span class="tag warn">pinned</span>${" "}
        <button type="button" onClick=${() => steer("/v1/learner/resume", {})}>Resume with the newest</button>`
      : html`<button type="button" disabled=${!learner.served} onClick=${() => pin(learner.served)}>Pin what serves</button>`}</p>
    ${rows.length > 0 && html`<${Snapshots} rows=${rows} served=${learner.served} pin=${pin} />`}`;
}

/** What the file says otherwise than what serves, and the button that makes it serve. `tried` is told after each press. */
function File({ file, refused, tried }) {
  const [found, error, again] = usePolled("/v1/config/diff", 3000);
  const [said, say] = useState("");
  if (!file) return html`<p class="quiet">No file to load again: this gateway serves what its environment offers.</p>`;
  const load = () => call("/admin/reload", {}).then(({ reload: { ok, error } }) => say(ok ? "reloaded, and in force" : `not reloaded: ${error}`), (problem) => say(`not reloaded: ${problem.message}`))
    .then(() => { again(); tried(); });
  return html`<section aria-labelledby="file"><h2 id="file">The file</h2><p><code>${file}</code></p>
    ${!found ? waiting(error) : found.error ? html`<p class="bad">It cannot be served.</p>${found.error !== refused && html`<pre class="error">${found.error}</pre>`}`
      : found.changes.length ? html`<p>It says otherwise than what serves:</p><${Table} label="Changes">${head("setting", "serves", "file")}<tbody>${found.changes.map((row) =>
          html`<tr key=${row.path}><th scope="row"><code>${row.path}</code></th><td class="wrap"><del>${shown(row.before)}</del></td>
            <td class="wrap"><ins>${shown(row.after)}</ins></td></tr>`)}</tbody><//>`
      : html`<p class="quiet">It says what serves.</p>`}
    <p><button type="button" class=${found?.changes.length ? "primary" : ""} onClick=${load}>Reload</button> <small class="quiet" role="status">${said}</small></p></section>`;
}

const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));

function Configuration() {
  const [config, error, again] = usePolled("/v1/config", 3000);
  if (!config) return waiting(error);
  const { settings, hash, reload, file } = config;
  const { estimator, objective, exploration } = settings.policy;
  return html`${reload.ok ? html`<p><span class="good">In force</span> since ${clock(reload.at)}.</p>`
      : html`<div role="alert"><b class="bad">Refused at ${clock(reload.at)}; the old one serves on:</b><pre class="error">${reload.error}</pre></div>`}
    <ul class="facts"><li><span>candidates</span> <b>${settings.candidates.length}</b></li>
      ${Object.entries({ estimator, objective, exploration }).map(([part, { kind }]) => html`<li><span>${part}</span> <b>${kind}</b></li>`)}
      <li><span>hash</span> <b>${hash.slice(0, 12)}</b></li></ul>
    <${File} file=${file} refused=${reload.error} tried=${again} />
    <details><summary>All settings</summary><pre tabindex="0" aria-label="All settings">${JSON.stringify(settings, null, 2)}</pre></details>`;
}

export const System = ({ rows }) => html`<div class="columns">
  <section class="panel" aria-labelledby="config"><h1 id="config">Configuration</h1><${Configuration} /></section>
  <section class="panel" aria-labelledby="learner"><h1 id="learner">Learner</h1><${Learner} rows=${rows} /></section></div>`;
