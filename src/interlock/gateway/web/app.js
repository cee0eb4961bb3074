// The page: a header, five views behind the address's hash, and one live feed that they share.
import { render } from "./vendor/preact.js";
import { useEffect, useState } from "./vendor/hooks.js";
import { Curve } from "./curve.js";
import { Decisions } from "./decisions.js";
import { useFeed } from "./feed.js";
import { Playground } from "./playground.js";
import { Pool } from "./pool.js";
import { System } from "./system.js";
import { call, html, key, setKey } from "./ui.js";

const VIEWS = ["playground", "decisions", "pool", "learning", "system"];

function place() {
  const [view, id] = location.hash.slice(2).split("/");
  return { view: VIEWS.includes(view) ? view : VIEWS[0], id };
}

function SignIn({ retry, problem }) {
  const [value, set] = useState(key());
  const enter = (event) => { event.preventDefault(); setKey(value); retry(); };
  return html`<main><form class="panel narrow" onSubmit=${enter}>
    <h1>This gateway asks for a key</h1><p class="quiet" role="alert">${problem}</p>
    <label>Key<input type="password" autocomplete="off" value=${value} onInput=${(event) => set(event.target.value)} /></label>
    <p><button class="primary" type="submit">Open</button></p></form></main>`;
}

function Unreachable({ retry, problem }) {
  return html`<main><section class="panel narrow"><h1>No answer from the gateway</h1><p role="alert">${problem}</p>
    <p><button class="primary" type="button" onClick=${retry}>Try again</button></p></section></main>`;
}

function Header({ view }) {
  return html`<header class="top">
    <a href="#/playground" class="brand"><img src="icon.svg" alt="" width="24" height="24" /> interlock</a>
    <nav aria-label="Views">${VIEWS.map((name) =>
      html`<a key=${name} href=${`#/${name}`} aria-current=${name === view ? "page" : undefined}>${name}</a>`)}</nav></header>`;
}

function App() {
  const [{ view, id }, go] = useState(place());
  const [models, setModels] = useState(null);
  const [problem, fail] = useState(null);
  const load = () => call("/v1/models").then(({ data }) => { setModels(data); fail(null); }, fail);
  useEffect(() => {
    load();
    const moved = () => go(place());
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  useEffect(() => { document.title = `${view} · interlock`; }, [view]);
  const { rows, connected, reload } = useFeed(models !== null);
  if (!models && !problem) return html`<main><p class="quiet">Connecting …</p></main>`;
  if (!models) return html`<${problem.status === 401 ? SignIn : Unreachable} retry=${load} problem=${problem.message} />`;
  const pocket = models.some((model) => model.owned_by === "pocket");
  return html`<${Header} view=${view} />
    ${reload?.error && html`<p class="notice bad" role="alert">The changed configuration was refused; the old one serves on.${" "}
      <a href="#/system">What is wrong</a></p>`}
    ${pocket && html`<p class="notice">The embedded <b>pocket pool</b> answers here: very small models for small tasks,${" "}
      often wrong when out of their depth.</p>`}
    <main>
      <div hidden=${view !== "playground"}><${Playground} models=${models.map((model) => model.id)} pocket=${pocket} rows=${rows} /></div>
      ${view === "decisions" && html`<${Decisions} rows=${rows} connected=${connected} open=${id} />`}
      ${view === "pool" && html`<${Pool} />`}${view === "learning" && html`<${Curve} />`}
      ${view === "system" && html`<${System} rows=${rows} />`}</main>`;
}

render(html`<${App} />`, document.getElementById("app"));
