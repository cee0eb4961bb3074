// What just happened: the recent ledger, kept up to date by the gateway's events. All views share one connection.
import { useEffect, useState } from "./vendor/hooks.js";
import { call, events, open } from "./ui.js";

const MOST = 100;
const AGAIN = 1500; // milliseconds until a lost connection is tried again
const KINDS = { decision: "decision", refusal: "decision", outcome: "outcome", feedback: "feedback" };

/** {rows: newest decisions first, connected, reload: how the last load of the configuration went, or null}. */
export function useFeed(allowed, operator) {
  const [feed, set] = useState({ rows: [], connected: false, reload: null });
  useEffect(() => {
    if (!allowed) return undefined;
    let control = new AbortController();
    const turn = () => { // a browser has six connections for one host: a tab that nobody sees gives its own back
      control.abort();
      control = new AbortController();
      if (!document.hidden) follow(control.signal, operator, (change) => set((known) => ({ ...known, ...change(known) })));
    };
    turn();
    document.addEventListener("visibilitychange", turn);
    return () => { document.removeEventListener("visibilitychange", turn); control.abort(); };
  }, [allowed, operator]);
  return feed;
}

async function follow(signal, operator, change) {
  while (!signal.aborted) {
    try {
      const stream = await open("/v1/events", { signal }); // first: what happens while the ledger is read waits in it
      const [rows, reload] = await Promise.all([recent(), operator ? lastReload() : null]);
      change(() => ({ rows, reload, connected: true }));
      for await (const { event, data } of events(stream)) change((known) => fold(known, event, JSON.parse(data)));
    } catch { /* the page says that it reconnects */ }
    if (signal.aborted) return;
    change(() => ({ connected: false }));
    await new Promise((done) => setTimeout(done, AGAIN));
  }
}

async function recent() {
  const { rows } = await call("/v1/ledger?limit=300");
  return rows.reverse().reduce((known, { kind, record }) => ({ ...known, ...fold(known, KINDS[kind], record) }), { rows: [] }).rows;
}

const lastReload = () => call("/v1/config").then(({ reload }) => reload);

/** What an event changes. A row's `changes` counts what happened to it since the decision. */
function fold({ rows }, event, data) {
  const update = (more) => ({ rows: rows.map((row) => (row.id === data.decision ? { ...row, ...more, changes: row.changes + 1 } : row)) });
  switch (event) {
    case "decision": return { rows: [decided(data), ...rows.filter((row) => row.id !== data.id)].slice(0, MOST) };
    case "outcome": return update({ answered: data.candidate, cost: data.cost, latency: data.latency, error: data.error });
    case "feedback": return update({ score: data.revoked ? undefined : data.score });
    case "config": return { reload: data.reload };
    default: return {};
  }
}

function decided({ id, at, chosen, snapshot, considered, signals }) {
  const probability = considered.find((row) => row.candidate === chosen)?.probability;
  return { id, at, chosen, snapshot, probability, task: signals?.task?.value ?? null, changes: 0 };
}
