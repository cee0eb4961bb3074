// The page: a header, the views behind the address's hash, one session and one live feed that they share.
import { render } from "./vendor/preact.js";
import { useEffect, useState } from "./vendor/hooks.js";
import { Accounts } from "./budgets.js";
import { Curve } from "./curve.js";
import { Decisions } from "./decisions.js";
import { useFeed } from "./feed.js";
import { Playground } from "./playground.js";
import { Pool } from "./pool.js";
import { Savings } from "./savings.js";
import { ForOperators, Identity, OPEN_TO_ALL, SignIn, Unreachable } from "./session.js";
import { Shadow } from "./shadow.js";
import { System } from "./system.js";
import { Traffic } from "./traffic.js";
import { call, html, setKey } from "./ui.js";

const VIEWS = ["playground", "decisions", "pool", "traffic", "learning", "shadow", "budgets", "system"];

function place() {
  const [view, id] = location.hash.slice(2).split("/");
  return { view: VIEWS.includes(view) ? view : VIEWS[0], id: id && decodeURIComponent(id) };
}

function Header({ view, me, leave }) {
  const views = VIEWS.filter((name) => me.operator || OPEN_TO_ALL.includes(name));
  return html`<header class="top">
    <a href="#/playground" class="brand"><img src="icon.svg" alt="" width="24" height="24" /> interlock</a>
    <nav aria-label="Views">${views.map((name) =>
      html`<a key=${name} href=${`#/${name}`} aria-current=${name === view ? "page" : undefined}>${name}</a>`)}</nav>
    <${Identity} me=${me} leave=${leave} /></header>`;
}

function Notices({ reload, pocket }) {
  if (!reload?.error && !pocket) return null;
  return html`<aside aria-label="Notices">${reload?.error && html`<p class="notice bad" role="alert">The changed configuration was refused; the old one serves on.${" "}
      <a href="#/system">What is wrong</a></p>`}
    ${pocket && html`<p class="notice">The embedded <b>pocket pool</b> answers here: very small models for small tasks,${" "}
      often wrong when out of their depth.</p>`}</aside>`;
}

function View({ view, id, rows, connected, me }) {
  switch (view) {
    case "decisions": return html`<${Decisions} rows=${rows} connected=${connected} open=${id} />`;
    case "pool": return html`<${Pool} />`;
    case "traffic": return html`<${Traffic} />`;
    case "learning": return html`<${Savings} /><${Curve} />`;
    case "shadow": return html`<${Shadow} />`;
    case "budgets": return html`<${Accounts} me=${me} />`;
    case "system": return html`<${System} rows=${rows} />`;
    default: return null;
  }
}

/** {me, models} of who is signed in, or the problem that stands in the way; `load` asks again, `leave` signs out. */
function useSession() {
  const [session, set] = useState({ me: null, models: [], problem: null });
  const load = async () => {
    try {
      const me = await call("/v1/whoami");
      if (me.role === "nobody") set({ me: null, models: [], problem: { status: 401, message: me.problem } });
      else set({ me, models: (await call("/v1/models")).data, problem: null });
    } catch (problem) {
      set({ me: null, models: [], problem });
    }
  };
  const leave = () => { setKey(""); return load(); };
  useEffect(() => {
    load();
    const out = () => set((now) => (now.me ? { me: null, models: [], problem: { status: 401, message: "The key is not known here any more." } } : now));
    addEventListener("signed-out", out);
    return () => removeEventListener("signed-out", out);
  }, []);
  return { ...session, load, leave };
}

function App() {
  const [{ view, id }, go] = useState(place());
  const { me, models, problem, load, leave } = useSession();
  useEffect(() => {
    const moved = () => go(place());
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  useEffect(() => { document.title = `${me || !problem ? view : "sign in"} · interlock`; }, [view, me, problem]);
  const { rows, connected, reload } = useFeed(me !== null, me?.operator);
  if (!me && !problem) return html`<main><p class="quiet">Connecting …</p></main>`;
  if (!me) {
    const wanted = id ? `decision ${id}` : view !== VIEWS[0] && view;
    return html`<${problem.status === 401 ? SignIn : Unreachable} retry=${load} problem=${problem.message} wanted=${wanted} />`;
  }
  const pocket = models.some((model) => model.owned_by === "pocket");
  const open = me.operator || OPEN_TO_ALL.includes(view);
  return html`<${Header} view=${view} me=${me} leave=${leave} /><${Notices} reload=${reload} pocket=${pocket} />
    <main>
      <div hidden=${view !== "playground"}><${Playground} models=${models.map((model) => model.id)} pocket=${pocket} rows=${rows} /></div>
      ${open ? html`<${View} view=${view} id=${id} rows=${rows} connected=${connected} me=${me} />` : html`<${ForOperators} me=${me} view=${view} leave=${leave} />`}</main>`;
}

render(html`<${App} />`, document.getElementById("app"));
