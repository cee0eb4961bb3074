// The few things every view needs: htm bound to preact, numbers for people, and calls to the gateway.
import { h } from "./vendor/preact.js";
import htm from "./vendor/htm.js";

export const html = htm.bind(h);

/** A table's head row. */
export const head = (...names) => html`<thead><tr>${names.map((name) => html`<th key=${name} scope="col">${name}</th>`)}</tr></thead>`;

const KEY = "interlock-key";
export const key = () => sessionStorage.getItem(KEY) || "";
export const setKey = (value) => sessionStorage.setItem(KEY, value);

function headers(more = {}) {
  return key() ? { ...more, authorization: `Bearer ${key()}` } : more;
}

/** JSON from the gateway. Throws an Error with the gateway's own message, and its status. */
export async function call(path, body) {
  const options = body === undefined ? { headers: headers() }
    : { method: "POST", headers: headers({ "content-type": "application/json" }), body: JSON.stringify(body) };
  const response = await fetch(path, options);
  if (!response.ok) throw await failure(response);
  return response.json();
}

async function failure(response) {
  let said = `the gateway answered ${response.status}`;
  let reasons = null;
  try {
    const { error } = await response.json();
    said = error.message || said;
    reasons = error.reasons || null;
  } catch { /* not JSON: the status has to do */ }
  return Object.assign(new Error(said), { status: response.status, reasons, id: response.headers.get("x-interlock-id") });
}

/** Server-sent events of a request, as {event, data}. Ends when the response or the signal does. */
export async function* events(path, { body, signal, opened } = {}) {
  const response = await fetch(path, {
    method: body ? "POST" : "GET", signal,
    headers: headers(body ? { "content-type": "application/json" } : {}),
    body: body && JSON.stringify(body),
  });
  if (!response.ok) throw await failure(response);
  opened?.(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    const blocks = buffer.split("\n\n");
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

const known = (value) => value !== null && value !== undefined && Number.isFinite(value);
export const number = (value, digits = 2) => (known(value) ? value.toFixed(digits) : "–");
export const percent = (value) => (known(value) ? `${(100 * value).toFixed(value < 0.1 && value > 0 ? 1 : 0)}%` : "–");
export const money = (usd) => (!known(usd) ? "–" : usd === 0 ? "$0" : usd < 0.01 ? `$${usd.toPrecision(2)}` : `$${usd.toFixed(4)}`);
export const seconds = (s) => (!known(s) ? "–" : s < 1 ? `${(s * 1000).toFixed(s < 0.01 ? 1 : 0)} ms` : `${s.toFixed(2)} s`);
export const clock = (at) => new Date(at * 1000).toLocaleTimeString();
