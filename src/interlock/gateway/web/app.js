// The page: a header, five views behind the address's hash, and one live connection that all of them share.
import { render } from "./vendor/preact.js";
import { useEffect, useState } from "./vendor/hooks.js";
import { Curve } from "./curve.js";
import { Live, fold, recent } from "./live.js";
import { Playground } from "./playground.js";
import { Pool } from "./pool.js";
import { System } from "./system.js";
import { call, events, html, key, setKey } from "./ui.js";

const VIEWS = ["playground", "decisions", "pool", "learning", "system"];
const place = () => { const [view, id] = location.hash.slice(2).split("/"); return { view: VIEWS.includes(view) ? view : VIEWS[0], id }; };

function useLive(allowed) {
  const [rows, set] = useState([]);
  const [connected, connect] = useState(false);
  useEffect(() => {
    if (!allowed) return undefined;
    const control = new AbortController();
    (async () => {
      while (!control.signal.aborted) {
        try {
          const stream = events("/v1/events", { signal: control.signal, opened: () => connect(true) });
          set(await recent());
          for await (const { event, data } of stream) set((known) => fold(known, { event, data: JSON.parse(data) }));
        } catch { /* the connection ended: tried again below, and the page says so meanwhile */ }
        connect(false);
        await new Promise((done) => setTimeout(done, 1500));
      }
    })();
    return () => control.abort();
  }, [allowed]);
  return [rows, connected];
}

function SignIn({ retry, problem }) {
  const [value, set] = useState(key());
  return html`<main><form class="panel narrow" onSubmit=${(event) => { event.preventDefault(); setKey(value); retry(); }}>
    <h2>This gateway asks for a key</h2><p class="quiet">${problem}</p>
    <label>Key<input type="password" autocomplete="off" value=${value} onInput=${(event) => set(event.target.value)} /></label>
    <button class="primary" type="submit">Open</button></form></main>`;
}

function App() {
  const [{ view, id }, go] = useState(place());
  const [models, setModels] = useState(null);
  const [problem, fail] = useState("");
  const load = () => call("/v1/models").then(({ data }) => { setModels(data); fail(""); }, (error) => fail(error.message));
  useEffect(() => { load(); const moved = () => go(place()); addEventListener("hashchange", moved); return () => removeEventListener("hashchange", moved); }, []);
  const [rows, connected] = useLive(models !== null);
  if (!models) return problem ? html`<${SignIn} retry=${load} problem=${problem} />` : html`<main><p class="quiet">Connecting …</p></main>`;
  const pocket = models.some((model) => model.owned_by === "pocket");
  return html`<header class="top"><a href="#/playground" class="brand"><img src="icon.svg" alt="" width="24" height="24" /> interlock</a>
      <nav aria-label="Views">${VIEWS.map((name) => html`<a key=${name} href=${`#/${name}`} aria-current=${name === view ? "page" : undefined}>${name}</a>`)}</nav></header>
    ${pocket && html`<p class="notice">The embedded <b>pocket pool</b> answers here: very small models for small tasks, honestly wrong when out of their depth.</p>`}
    <main>${view === "playground" && html`<${Playground} models=${models.map((model) => model.id)} pocket=${pocket} />`}
      ${view === "decisions" && html`<${Live} rows=${rows} connected=${connected} open=${id} select=${(which) => { location.hash = `#/decisions/${which}`; }} />`}
      ${view === "pool" && html`<${Pool} />`}${view === "learning" && html`<${Curve} />`}${view === "system" && html`<${System} />`}</main>`;
}

render(html`<${App} />`, document.getElementById("app"));
