// Keys, tenants and budgets: what is used of each, by the very figures that requests are let in by.
import { useState } from "./vendor/hooks.js";
import { call, head, html, known, money, Table, usePolled, waiting, when } from "./ui.js";

const WINDOWS = ["hour", "day", "month", "total"];
const ROLES = { viewer: "sees and spends its tenant's own", operator: "sees every tenant, steers", admin: "also makes and revokes keys" };

/** [css class, word] of a budget, the most pressing first. */
function state({ used_usd: used, reserved_usd: reserved, hard_usd: hard, soft_usd: soft }) {
  if (known(hard) && used + reserved >= hard) return ["bad", "exhausted"];
  if (known(soft) && used >= soft) return ["warn", "above soft"];
  return ["", "open"];
}

/** Used, then reserved, of the hard limit; a mark at the soft one. What has no hard limit is drawn against its soft one. */
function Gauge({ budget }) {
  const { used_usd: used, reserved_usd: reserved, hard_usd: hard, soft_usd: soft } = budget;
  const full = hard ?? soft, share = (usd) => `${full ? 100 * Math.min(1, usd / full) : 0}%`;
  return html`<div class=${`gauge ${state(budget)[0]}`} role="meter" aria-valuemin="0" aria-valuemax=${full} aria-valuenow=${Math.min(used + reserved, full)}
      aria-label=${`${budget.scope} ${budget.name}, ${budget.window}`} aria-valuetext=${`${money(used)} of ${money(full)}`}>
    <span class="reserved" style=${{ width: share(used + reserved) }}></span><span class="used" style=${{ width: share(used) }}></span>
    ${known(soft) && known(hard) && html`<span class="soft" style=${{ left: share(soft) }}></span>`}</div>`;
}

function Budget({ budget, names }) {
  const { used_usd: used, reserved_usd: reserved, hard_usd: hard, soft_usd: soft, window_ends: ends } = budget;
  const [tone, word] = state(budget);
  return html`<tr><th scope="row">${names.get(budget.name) ?? budget.name} <small class="quiet">${budget.scope}</small></th><td>${budget.window}</td>
    <td class="meter"><${Gauge} budget=${budget} /></td><td>${money(used)}${reserved > 0 && html` <small class="quiet">+ ${money(reserved)} reserved</small>`}</td>
    <td>${known(soft) ? money(soft) : "–"}</td><td>${known(hard) ? money(hard) : "–"}</td><td><span class=${`tag ${tone}`}>${word}</span></td>
    <td>${ends ? html`<span class="quiet">${when(ends)}</span>` : html`<span class="quiet">never</span>`}</td></tr>`;
}

function Budgets({ found, names }) {
  const pressing = (budget) => -(budget.used_usd + budget.reserved_usd) / (budget.hard_usd ?? budget.soft_usd ?? Infinity);
  const rows = [...found.budgets].sort((a, b) => pressing(a) - pressing(b));
  return html`<section class="panel" aria-labelledby="budgets"><h1 id="budgets">Budgets</h1>
    ${found.degraded && html`<p class="notice bad inset" role="alert">What counts for all workers cannot be reached; this worker counts for itself.</p>`}
    ${rows.length === 0 ? html`<p class="quiet">No budget is set. One stands under a key, or under <code>tenants</code> in the configuration.</p>`
      : html`<${Table} label="Table of budgets">${head("of", "window", "used", "spent", "soft", "hard", "state", "starts again")}<tbody>${rows.map((budget) =>
          html`<${Budget} key=${budget.scope + budget.name + budget.window} budget=${budget} names=${names} />`)}</tbody><//>`}</section>`;
}

const limits = ({ requests_per_minute: requests, tokens_per_minute: tokens, parallel_streams: streams }) =>
  [requests && `${requests} requests/min`, tokens && `${tokens} tokens/min`, streams && `${streams} streams`].filter(Boolean).join(", ") || "–";

function Tenants({ tenants }) {
  return html`<section class="panel" aria-labelledby="tenants"><h1 id="tenants">Tenants</h1>
    ${tenants.length === 0 ? html`<p class="quiet">No tenant is configured and no key exists.</p>`
      : html`<${Table} label="Table of tenants">${head("tenant", "keys", ...WINDOWS.map((name) => (name === "total" ? "in all" : `this ${name}`)), "limits")}<tbody>${tenants.map((row) =>
          html`<tr key=${row.name}><th scope="row">${row.name}</th><td>${row.keys}</td>${WINDOWS.map((name) => html`<td key=${name}>${money(row.used_usd[name] ?? 0)}</td>`)}
            <td>${limits(row.limits)}</td></tr>`)}</tbody><//>`}</section>`;
}

const asked = (budgets) => budgets.map(({ window, hard_usd: hard, soft_usd: soft }) =>
  `${[known(soft) && `soft ${money(soft)}`, known(hard) && money(hard)].filter(Boolean).join(", ")} a ${window}`.replace("a total", "in all")).join("; ") || "–";

/** Revoking cannot be undone, so it takes two presses. */
function Revoke({ row, done }) {
  const [sure, ask] = useState(false);
  const [error, fail] = useState("");
  const revoke = () => call(`/admin/keys/${encodeURIComponent(row.id)}/revoke`, {}).then(done, (problem) => fail(problem.message));
  if (error) return html`<span class="bad" role="alert">${error}</span>`;
  return sure ? html`<button type="button" class="small danger" onClick=${revoke}>Revoke for good</button>${" "}
      <button type="button" class="small" onClick=${() => ask(false)}>Keep</button>`
    : html`<button type="button" class="small" aria-label=${`Revoke ${row.name || row.id}`} onClick=${() => ask(true)}>Revoke</button>`;
}

function Key({ row, me, done }) {
  const active = row.state === "active";
  return html`<tr class=${active ? "" : "out"}><th scope="row">${row.name || row.id}<br /><small class="quiet">${row.kind === "static" ? "in the configuration" : `${row.prefix}…`}</small></th>
    <td>${row.tenant}</td><td>${row.role}</td><td class="wrap">${row.candidates.join(", ")}</td><td>${asked(row.budgets)}</td><td>${limits(row.limits)}</td>
    <td>${active ? html`<span class="good">active</span>` : row.state}${row.expires && active ? html`<br /><small class="quiet">until ${when(row.expires)}</small>` : ""}</td>
    ${me.role === "admin" && html`<td>${row.kind === "virtual" && row.state !== "revoked" && html`<${Revoke} row=${row} done=${done} />`}</td>`}</tr>`;
}

const Secret = ({ made, close }) => {
  const [said, say] = useState("");
  const copy = () => navigator.clipboard.writeText(made.secret).then(() => say("copied"), () => say("select it and copy it by hand"));
  return html`<div class="secret" role="alert"><p><b>The key of ${made.tenant}.</b> It is shown now and never again.</p><p><code>${made.secret}</code></p>
    <p><button type="button" class="primary" onClick=${copy}>Copy</button> <button type="button" onClick=${close}>I have it</button> <small role="status">${said}</small></p></div>`;
};

const EMPTY = { tenant: "", name: "", role: "viewer", candidates: "*", window: "day", soft: "", hard: "", requests: "", days: "" };

/** What the form says as the API takes it; what is left empty is left out. */
function body({ tenant, name, role, candidates, window, soft, hard, requests, days }) {
  const given = (text) => (String(text).trim() === "" ? null : Number(text));
  const budget = { window, ...(given(hard) !== null && { hard_usd: given(hard) }), ...(given(soft) !== null && { soft_usd: given(soft) }) };
  return { tenant: tenant.trim(), name: name.trim(), role, candidates: candidates.split(/[\s,]+/).filter(Boolean),
    budgets: Object.keys(budget).length > 1 ? [budget] : [], limits: given(requests) === null ? {} : { requests_per_minute: given(requests) },
    ...(given(days) !== null && { expires: Date.now() / 1000 + 86400 * given(days) }) };
}

function NewKey({ tenants, done }) {
  const [form, set] = useState(EMPTY);
  const [made, show] = useState(null);
  const [error, fail] = useState("");
  const field = (name, label, more) => html`<label>${label}<input value=${form[name]} autocomplete="off" onInput=${(event) => set({ ...form, [name]: event.target.value })} ...${more} /></label>`;
  const pick = (name, label, options) => html`<label>${label}<select value=${form[name]} onChange=${(event) => set({ ...form, [name]: event.target.value })}>${options.map(([value, text]) =>
    html`<option key=${value} value=${value}>${text}</option>`)}</select></label>`;
  const create = (event) => {
    event.preventDefault();
    call("/admin/keys", body(form)).then((key) => { show(key); set(EMPTY); fail(""); done(); }, (problem) => fail(problem.message));
  };
  if (made) return html`<${Secret} made=${made} close=${() => show(null)} />`;
  const usd = { inputmode: "decimal", type: "number", min: 0, step: "any", placeholder: "none" };
  return html`<details class="new"><summary>New key</summary><form onSubmit=${create}><div class="fields">
      ${field("tenant", "Tenant", { required: true, list: "known-tenants" })}<datalist id="known-tenants">${tenants.map(({ name }) => html`<option key=${name} value=${name} />`)}</datalist>
      ${field("name", "Name", { placeholder: "for people" })}${pick("role", "Role", Object.entries(ROLES).map(([name, what]) => [name, `${name}: ${what}`]))}
      ${field("candidates", "Candidates", { placeholder: "*, or globs" })}${pick("window", "Budget per", WINDOWS.map((name) => [name, name === "total" ? "in all" : name]))}
      ${field("soft", "Soft, USD", usd)}${field("hard", "Hard, USD", usd)}${field("requests", "Requests a minute", { ...usd, step: 1, min: 1 })}
      ${field("days", "Expires after days", { ...usd, placeholder: "never" })}</div>
    ${error && html`<p class="bad" role="alert">${error}</p>`}<p><button type="submit" class="primary" disabled=${!form.tenant.trim()}>Create</button></p></form></details>`;
}

function Keys({ keys, tenants, me, again }) {
  const columns = ["key", "tenant", "role", "candidates", "budget", "limits", "state", me.role === "admin" && "change"].filter(Boolean);
  return html`<section class="panel" aria-labelledby="keys"><h1 id="keys">Keys</h1>
    ${me.role === "admin" ? html`<${NewKey} tenants=${tenants} done=${again} />` : html`<p class="quiet">A key with the role admin makes and revokes keys here; so does <code>interlock keys</code>.</p>`}
    ${keys.length === 0 ? html`<p class="quiet">No key exists: everybody who reaches this address may use it.</p>`
      : html`<${Table} label="Table of keys">${head(...columns)}<tbody>${keys.map((row) => html`<${Key} key=${row.id} row=${row} me=${me} done=${again} />`)}</tbody><//>`}</section>`;
}

export function Accounts({ me }) {
  const [budgets, error] = usePolled("/admin/budgets");
  const [tenants, failed, more] = usePolled("/admin/tenants");
  const [keys, missed, again] = usePolled("/admin/keys");
  if (!budgets || !tenants || !keys) return waiting(error || failed || missed);
  const names = new Map(keys.keys.map((row) => [row.id, row.name || row.id]));
  return html`<${Budgets} found=${budgets} names=${names} /><${Tenants} tenants=${tenants.tenants} />
    <${Keys} keys=${keys.keys} tenants=${tenants.tenants} me=${me} again=${() => { again(); more(); }} />`;
}
