// Saying whether an answer was right: into the ledger, from where the learner takes it.
import { useState } from "./vendor/hooks.js";
import { call, clock, html, number } from "./ui.js";

const SOURCE = "page";

export const Scores = ({ feedback }) => html`<ul class="facts">${feedback.map((one) =>
  html`<li><span>${clock(one.at)} ${one.source}</span> <b>${one.revoked ? "withdrawn" : number(one.score)}</b></li>`)}</ul>`;

/** `feedback` is what the ledger holds, `expected` the right answer where it is known. A second press takes a score back. */
export function Feedback({ id, feedback = [], expected }) {
  const last = feedback.filter((one) => one.source === SOURCE).at(-1);
  const [standing, stand] = useState(last && !last.revoked ? last.score : null);
  const [said, say] = useState("");
  const [error, fail] = useState("");
  const give = async (score) => {
    const revoke = standing === score;
    try {
      await call("/v1/feedback", revoke ? { id, source: SOURCE, revoke } : { id, source: SOURCE, score });
      stand(revoke ? null : score);
      say(revoke ? "withdrawn" : "recorded in the ledger");
      fail("");
    } catch (problem) {
      fail(problem.message);
    }
  };
  const button = (score, text) => html`<button type="button" aria-pressed=${standing === score} onClick=${() => give(score)}>${text}</button>`;
  return html`<div class="feedback" role="group" aria-label="Feedback">
    ${expected !== undefined && html`<span class="quiet">right answer: <code>${expected}</code></span>`}
    ${button(1, "✓ right")}${button(0, "✗ wrong")}<small role="status">${said}</small>${error && html`<small class="bad" role="alert">${error}</small>`}</div>`;
}
