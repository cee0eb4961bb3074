"""Can the candidate do what the request needs at all: modalities, tools, JSON, log-probabilities, and room for the text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..types import Candidate, Capability, Context, Reason
from .base import Objection


@dataclass(frozen=True)
class CapabilityGuard:
    """A candidate whose answer is `no` is ruled out; `forbid_unknown` says whether `unknown` is as good as `no`.

    The window must hold the prompt as counted by our own tokenizer, times `margin` since providers count differently, and
    the tokens the caller asked for. Without a `tokens` signal, or without a stated window, room is not checked.
    """

    forbid_unknown: bool = False
    margin: float = 1.0
    name: str = "capability"

    def check(self, context: Context, candidates: Sequence[Candidate]) -> Iterable[Objection]:
        request = context.request
        tokens = context.number("tokens")
        prompt, asked = int(tokens * self.margin), request.max_tokens or 0
        for i, candidate in enumerate(candidates):
            for need in sorted(request.needs):
                answer = candidate.can(need)
                if answer is Capability.NO or (answer is Capability.UNKNOWN and self.forbid_unknown):
                    yield i, _lacking(need, answer)
            window, most = candidate.profile.context_window, candidate.profile.max_output
            if window is not None and prompt and prompt + asked > window:
                detail = f"its window is {window} tokens; the prompt has about {prompt}, and {asked} are asked for"
                yield i, Reason(self.name, "context_window", detail, "shorten the prompt or lower max_tokens")
            if most is not None and asked > most:
                yield i, Reason(self.name, "max_output", f"it writes at most {most} tokens, {asked} are asked for", "lower max_tokens")


def _lacking(need: str, answer: Capability) -> Reason:
    if answer is Capability.NO:
        return Reason("capability", f"no_{need}", f"it cannot do {need}", f"send the request without {need}")
    return Reason("capability", f"unknown_{need}", f"whether it can do {need} is not known", f"declare the capability {need} in its profile")
