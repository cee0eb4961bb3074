// Type or pick a prompt, watch the answer stream in, and see at once why this candidate answered.
import { useEffect, useRef, useState } from "./vendor/hooks.js";
import { Decision } from "./decision.js";
import { Feedback } from "./feedback.js";
import { events, html, open, waiting } from "./ui.js";

const NOTHING = { text: "", reasoning: "", id: "", model: "", done: false, error: "" };

/** Ask for a completion; `change` is told what is new about the answer as it comes. */
async function stream(body, signal, change) {
  let text = "", reasoning = "";
  try {
    const response = await open("/v1/chat/completions", { body: { ...body, stream: true }, signal });
    change({ id: response.headers.get("x-interlock-id"), model: response.headers.get("x-interlock-model") });
    for await (const { data } of events(response)) {
      if (data === "[DONE]") break;
      const { error, choices } = JSON.parse(data);
      const delta = choices?.[0]?.delta ?? {};
      text += delta.content ?? "";
      reasoning += delta.reasoning_content ?? "";
      change(error ? { error: error.message } : { text, reasoning });
    }
    change({ done: true });
  } catch (problem) {
    change({ done: true, error: problem.name === "AbortError" ? "Stopped." : problem.message, ...(problem.id && { id: problem.id }) });
  }
}

function Examples({ pick }) {
  const [examples, load] = useState([]);
  const [task, turn] = useState("");
  const [error, fail] = useState("");
  useEffect(() => { open("examples.json").then((response) => response.json()).then(load).catch((problem) => fail(problem.message)); }, []);
  if (!examples.length) return waiting(error);
  const tasks = [...new Set(examples.map((example) => example.task))];
  const current = task || tasks[0];
  return html`<section class="examples" aria-labelledby="examples"><h2 id="examples">Examples of every pocket task</h2>
    <div class="chips" role="group" aria-label="Task">${tasks.map((name) =>
      html`<button key=${name} type="button" aria-pressed=${name === current} onClick=${() => turn(name)}>${name}</button>`)}</div>
    <ul aria-label=${`Examples of ${current}, from easy to hard`}>${examples.filter((example) => example.task === current).map((example) =>
      html`<li key=${example.prompt}><button type="button" onClick=${() => pick(example)}>${example.prompt}</button></li>`)}</ul></section>`;
}

function Answer({ answer, stop, row }) {
  const { text, reasoning, id, model, done, error, expected } = answer;
  return html`<div class="answer" aria-busy=${!done}>
    <p>${model && html`<span class="tag">${model}</span>`}
      ${!done && html` <span class="quiet">answering …</span> <button type="button" onClick=${stop}>Stop</button>`}</p>
    ${reasoning && html`<p class="reasoning"><small class="quiet">scratchpad</small> <code>${reasoning}</code></p>`}
    <p class="text">${text || (done && !error && html`<span class="quiet">(an empty answer)</span>`)}</p>
    <p class="unseen" role="status">${done && !error && `${model} answered: ${text || "nothing"}`}</p>
    ${error && html`<p class="bad" role="alert">${error}</p>`}
    ${done && id && !error && html`<${Feedback} key=${id} id=${id} expected=${expected} />`}
    ${done && id && html`<${Decision} id=${id} refresh=${row?.changes} />`}</div>`;
}

export function Playground({ models, pocket, rows }) {
  const [prompt, setPrompt] = useState("");
  const [expected, expect] = useState(undefined);
  const [model, setModel] = useState("auto");
  const [answer, show] = useState(null);
  const running = useRef(null);
  const box = useRef(null);

  const ask = (content, right) => {
    if (!content.trim()) return;
    running.current?.abort();
    const control = running.current = new AbortController();
    show({ ...NOTHING, expected: right });
    stream({ model, messages: [{ role: "user", content }] }, control.signal, (more) => {
      if (running.current === control) show((now) => ({ ...now, ...more }));
    });
    if (matchMedia("(max-width: 900px)").matches) box.current.scrollIntoView();
  };
  const pick = (example) => { setPrompt(example.prompt); expect(example.answer); ask(example.prompt, example.answer); };
  const type = (event) => { setPrompt(event.target.value); expect(undefined); };
  const hasten = (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask(prompt, expected); };

  return html`<div class="columns narrow-left"><section class="panel" aria-labelledby="ask"><h1 id="ask">Ask</h1>
    <form onSubmit=${(event) => { event.preventDefault(); ask(prompt, expected); }}>
      <label>Prompt<textarea rows="4" value=${prompt} onInput=${type} onKeyDown=${hasten}
        placeholder=${pocket ? "What is the sum of 47 and 85?" : "Ask anything"}></textarea></label>
      <div class="row"><label>Model<select value=${model} onChange=${(event) => setModel(event.target.value)}>
        ${models.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select></label>
        <span class="quiet keys">Ctrl + Enter sends</span><button class="primary" type="submit" disabled=${!prompt.trim()}>Send</button></div></form>
    ${pocket && html`<${Examples} pick=${pick} />`}</section>
  <section class="panel" aria-labelledby="answer" ref=${box}><h1 id="answer">Answer</h1>
    ${answer ? html`<${Answer} answer=${answer} stop=${() => running.current.abort()} row=${rows.find((row) => row.id === answer.id)} />`
      : html`<p class="quiet">The answer and the decision behind it appear here.</p>`}</section></div>`;
}
