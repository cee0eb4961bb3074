// Who looks at the page: signing in with a key, what the key may, signing out.
import { useState } from "./vendor/hooks.js";
import { html, key, setKey } from "./ui.js";

export const OPEN_TO_ALL = ["playground", "decisions", "budgets"];
const ROLES = {
  viewer: "Sees, judges and spends what is its tenant's.",
  operator: "Sees every tenant and may steer.",
  admin: "Sees every tenant, may steer, makes and revokes keys.",
};

/** `wanted` is what a link led to. */
export function SignIn({ retry, problem, wanted }) {
  const [value, set] = useState("");
  const [busy, work] = useState(false);
  const wrong = key() !== "";
  const enter = async (event) => {
    event.preventDefault();
    setKey(value.trim());
    work(true);
    await retry();
    work(false);
  };
  return html`<main class="door"><form class="panel narrow" onSubmit=${enter}>
    <p class="brand"><img src="icon.svg" alt="" width="28" height="28" /> interlock</p>
    <h1>Sign in</h1>
    <p class="quiet">${wanted ? html`To open <code>${wanted}</code>, this gateway asks for a key.` : "This gateway asks for a key."}${" "}
      It stays in this tab, and is forgotten with it.</p>
    <label>Key<input type="password" autocomplete="current-password" autofocus required value=${value} aria-describedby=${wrong ? "refused" : undefined}
      aria-invalid=${wrong ? "true" : undefined} onInput=${(event) => set(event.target.value)} /></label>
    ${wrong && html`<p class="bad" id="refused" role="alert">${problem}</p>`}
    <p><button class="primary" type="submit" disabled=${!value.trim() || busy}>Sign in</button></p></form></main>`;
}

export function Unreachable({ retry, problem }) {
  return html`<main class="door"><section class="panel narrow"><h1>No answer from the gateway</h1><p role="alert">${problem}</p>
    <p><button class="primary" type="button" onClick=${retry}>Try again</button></p></section></main>`;
}

/** Who is signed in; nothing where nobody has to be. */
export function Identity({ me, leave }) {
  if (me.role === "anyone") return null;
  return html`<div class="identity" title=${ROLES[me.role]}><span>${me.tenant}</span> <span class="tag">${me.role}</span>${" "}
    <button type="button" class="small" onClick=${leave}>Sign out</button></div>`;
}

/** In the place of a view that the key does not open. */
export function ForOperators({ me, view, leave }) {
  return html`<section class="panel narrow"><h1>${view} is for operators</h1>
    <p>You are signed in as <b>${me.tenant}</b>, whose key opens the playground, and ${me.tenant}'s own decisions and budgets.</p>
    <p><button type="button" onClick=${leave}>Sign in with another key</button></p></section>`;
}
