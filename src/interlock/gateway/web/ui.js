// The few things every view needs: htm bound to preact, numbers for people, and calls to the gateway.
import { h } from "./vendor/preact.js";
import { useEffect, useRef, useState } from "./vendor/hooks.js";
import htm from "./vendor/htm.js";

export const html = htm.bind(h);

/** A table's head row. */
export const head = (...names) => html`<thead><tr>${names.map((name) => html`<th key=${name} scope="col">${name}</th>`)}</tr></thead>`;

/** A table that may be wider or taller than its place; while it is, the keyboard reaches it to scroll. */
export function Table({ label, kind = "", children }) {
  const box = useRef(null);
  const [over, set] = useState(false);
  useEffect(() => {
    const place = box.current; // the ref is emptied before the observer ends
    const look = () => set(place.scrollWidth > place.clientWidth || place.scrollHeight > place.clientHeight);
    look();
    const watch = new ResizeObserver(look);
    watch.observe(place);
    watch.observe(place.firstChild);
    return () => watch.disconnect();
  }, []);
  return html`<div ref=${box} class=${`scroll ${kind}`} ...${over && { tabindex: 0, role: "region", "aria-label": label }}><table>${children}</table></div>`;
}

/** A bar beside a number that says the same. */
export const bar = (value, of = 1) =>
  html`<span class="bar" aria-hidden="true"><span style=${{ width: `${100 * Math.min(1, Math.max(0, (value ?? 0) / of))}%` }}></span></span>`;

/** What stands in a view until its first answer is there. */
export const waiting = (error) => (error ? html`<p class="bad" role="alert">${error}</p>` : html`<p class="quiet">Reading …</p>`);

const KEY = "interlock-key";
export const key = () => sessionStorage.getItem(KEY) || "";
export const setKey = (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY));

/** A response of the gateway. Throws an Error with the gateway's own message, and its status. */
export async function open(path, { body, signal } = {}) {
  const headers = key() ? { authorization: `Bearer ${key()}` } : {};
  const response = await fetch(path, body === undefined ? { headers, signal }
    : { method: "POST", headers: { ...headers, "content-type": "application/json" }, body: JSON.stringify(body), signal });
  if (response.status === 401) dispatchEvent(new Event("signed-out")); // no key, a wrong one, or one that was revoked
  if (!response.ok) throw await failure(response);
  return response;
}

async function failure(response) {
  let said = `the gateway answered ${response.status}`;
  try {
    const { error } = await response.json();
    said = (error.reasons ? error.message.split(" (")[0] : error.message) || said; // a refusal's reasons stand in its decision
  } catch { /* not JSON: the status has to do */ }
  return Object.assign(new Error(said), { status: response.status, id: response.headers.get("x-interlock-id") });
}

/** JSON from the gateway. */
export const call = async (path, body) => (await open(path, { body })).json();

/** A response's server-sent events, as {event, data}, until it ends. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (buffer + value).split("\n\n");
    buffer = blocks.pop();
    for (const block of blocks) {
      const found = { event: "message", data: "" };
      for (const line of block.split("\n")) {
        if (line.startsWith("event: ")) found.event = line.slice(7);
        if (line.startsWith("data: ")) found.data += line.slice(6);
      }
      if (found.data) yield found;
    }
  }
}

/** [what `path` says, the last problem, look again now]; the same object as long as the answer is the same. */
export function usePolled(path, every = 2000) {
  const [value, set] = useState(null);
  const [error, fail] = useState("");
  const [asked, ask] = useState(0);
  useEffect(() => {
    let timer = 0, live = true;
    const look = async () => {
      try {
        const found = await call(path);
        if (live) { set((old) => (JSON.stringify(old) === JSON.stringify(found) ? old : found)); fail(""); }
      } catch (problem) {
        if (live) fail(problem.message);
      }
      if (live) timer = setTimeout(look, every);
    };
    look();
    return () => { live = false; clearTimeout(timer); };
  }, [path, every, asked]);
  return [value, error, () => ask((times) => times + 1)];
}

export const known = (value) => value !== null && value !== undefined && Number.isFinite(value);
export const number = (value, digits = 2) => (known(value) ? value.toFixed(digits).replace("-", "−") : "–");
export const percent = (value) => (known(value) ? `${(100 * value).toFixed(value < 0.1 && value > 0 ? 1 : 0)}%` : "–");
export const seconds = (s) => (!known(s) ? "–" : s < 1 ? `${(s * 1000).toFixed(s > 0 && s < 0.01 ? 1 : 0)} ms` : `${s.toFixed(2)} s`);
export const signed = (value, format) => (value > 0 ? "+" : value < 0 ? "−" : "") + format(Math.abs(value));
export const clock = (at) => new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

/** A time of day, with its date unless that is today. */
export const when = (at) => {
  const date = new Date(at * 1000);
  return (date.toDateString() === new Date().toDateString() ? "" : `${date.toLocaleDateString([], { day: "numeric", month: "short" })} `) + clock(at);
};

/** USD with two significant digits, however small: pocket answers cost millionths. */
export function money(usd) {
  if (!known(usd)) return "–";
  const digits = usd > 0 ? Math.min(12, Math.max(2, 1 - Math.floor(Math.log10(usd)))) : 0;
  return `$${usd.toFixed(digits)}`;
}
