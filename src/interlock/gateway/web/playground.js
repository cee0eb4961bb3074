// Type or pick a prompt, watch the answer stream in, and see at once why this candidate answered.
import { useEffect, useRef, useState } from "./vendor/hooks.js";
import { Decision, Feedback } from "./decision.js";
import { events, html } from "./ui.js";

export function Playground({ models, pocket }) {
  const [examples, setExamples] = useState([]);
  const [prompt, setPrompt] = useState("");
  const [expected, expect] = useState(undefined);
  const [model, setModel] = useState("auto");
  const [answer, show] = useState(null);
  const running = useRef(null);
  useEffect(() => { if (pocket) fetch("examples.json").then((response) => response.json()).then(setExamples); }, [pocket]);
  useEffect(() => () => running.current?.abort(), []);

  const ask = async (event) => {
    event?.preventDefault();
    if (!prompt.trim()) return;
    running.current?.abort();
    const control = new AbortController();
    running.current = control;
    let now = { text: "", reasoning: "", id: "", model: "", done: false, error: "", expected };
    const change = (more) => { now = { ...now, ...more }; if (running.current === control) show(now); };
    change({});
    try {
      const body = { model, stream: true, messages: [{ role: "user", content: prompt }] };
      const opened = (response) => change({ id: response.headers.get("x-interlock-id"), model: response.headers.get("x-interlock-model") });
      for await (const { data } of events("/v1/chat/completions", { body, signal: control.signal, opened })) {
        if (data === "[DONE]") break;
        const piece = JSON.parse(data);
        if (piece.error) { change({ error: piece.error.message }); continue; }
        const delta = piece.choices?.[0]?.delta ?? {};
        change({ text: now.text + (delta.content ?? ""), reasoning: now.reasoning + (delta.reasoning_content ?? "") });
      }
      change({ done: true });
    } catch (problem) {
      if (problem.name !== "AbortError") change({ done: true, error: problem.message, id: now.id || problem.id });
    }
  };
  const pick = (example) => { setPrompt(example.prompt); expect(example.answer); };
  const tasks = [...new Set(examples.map((example) => example.task))];

  return html`<div class="columns"><section class="panel" aria-labelledby="ask">
    <h2 id="ask">Ask</h2>
    <form onSubmit=${ask}>
      <label>Prompt<textarea rows="4" value=${prompt} placeholder=${pocket ? "What is the sum of 47 and 85?" : "Ask anything"}
        onInput=${(event) => { setPrompt(event.target.value); expect(undefined); }}
        onKeyDown=${(event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask(event); }}></textarea></label>
      <div class="row"><label>Model<select value=${model} onChange=${(event) => setModel(event.target.value)}>
        ${models.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select></label>
        <button class="primary" type="submit" disabled=${!prompt.trim()}>Send</button></div>
    </form>
    ${tasks.length > 0 && html`<details open><summary>Examples of every pocket task</summary>${tasks.map((task) => html`<div class="examples"><h4>${task}</h4>
      ${examples.filter((example) => example.task === task).map((example) => html`<button type="button" onClick=${() => pick(example)}>${example.prompt}</button>`)}</div>`)}</details>`}
  </section>
  <section class="panel" aria-labelledby="answer" aria-live="polite">
    <h2 id="answer">Answer</h2>
    ${!answer && html`<p class="quiet">The answer and the decision behind it appear here.</p>`}
    ${answer && html`<div class="answer">
      ${answer.model && html`<p><span class="tag">${answer.model}</span>${!answer.done && html` <span class="quiet">answering …</span>`}</p>`}
      ${answer.reasoning && html`<p class="reasoning"><small>scratchpad</small> <code>${answer.reasoning}</code></p>`}
      <p class="text">${answer.text || (answer.done && !answer.error ? "(empty)" : "")}</p>
      ${answer.error && html`<p class="bad" role="alert">${answer.error}</p>`}
      ${answer.done && answer.id && !answer.error && html`<${Feedback} key=${answer.id} id=${answer.id} expected=${answer.expected} />`}
      ${answer.done && answer.id && html`<${Decision} id=${answer.id} />`}</div>`}
  </section></div>`;
}
