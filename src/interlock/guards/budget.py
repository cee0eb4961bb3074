"""What is left of a budget: a candidate that might cost more than was set aside for the request is ruled out.

The worst case is a bound, not a guess: a token is at least one byte, so the bytes of a prompt bound its tokens, and
neither prompt nor answer is longer than the candidate's window. What has no bound (a price nobody stated, an answer of
any length) is not permitted where a hard budget has to hold, unless the configuration says what to assume.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from ..types import Candidate, Context, Reason, Request
from .base import Objection

FRAME = 16  # tokens around a message: role, separators
IMAGE = 3000  # tokens; no provider charges more for an image at its finest
ASKED = ("max_tokens", "max_completion_tokens", "max_output_tokens")


@dataclass(frozen=True)
class WorstCase:
    """`calls` is how many answers one request may pay for. The others are assumed of candidates that do not state
    them: prices in USD per million tokens, and the tokens of an answer.
    """

    calls: int = 1
    price_in: float | None = None
    price_out: float | None = None
    output_tokens: int | None = None

    def cost(self, request: Request, candidate: Candidate, prompt: int) -> float | None:
        """What `candidate` may cost at most, in USD, given `most_tokens` of the request; `None` when nobody knows."""
        profile = candidate.profile
        price_in = self.price_in if profile.price_in is None else profile.price_in
        price_out = self.price_out if profile.price_out is None else profile.price_out
        if price_in is None or price_out is None:
            return None
        price_in = max(price_in, profile.price_cached or 0.0, profile.price_cache_write or 0.0)
        answer = self._answer(request, candidate) if price_out else 0
        if answer is None:
            return None
        window = profile.context_window
        read = prompt if window is None else min(prompt, window)
        return self.calls * (read * price_in + answer * price_out) / 1e6

    def _answer(self, request: Request, candidate: Candidate) -> int | None:
        """Tokens that come out at most, over all the answers asked for in one call."""
        profile = candidate.profile
        fixed = [value for name in ASKED if isinstance(value := candidate.options.get(name), int)]
        asked = max(fixed) if fixed else request.max_tokens
        bounds = [bound for bound in (asked, profile.max_output, profile.context_window) if bound is not None]
        if not bounds:
            bounds = [] if self.output_tokens is None else [self.output_tokens]
        several = request.body.get("n")
        return min(bounds) * (several if isinstance(several, int) else 1) if bounds else None


def most_tokens(request: Request) -> int:
    """More tokens than any tokenizer makes of the request, in whichever form a provider gets it."""
    native = 0 if request.native is None else _tree(request.native.body)
    return max(_in_chat(request), native)


def _in_chat(request: Request) -> int:
    total = 0
    for message in request.messages:
        content = message.content
        if isinstance(content, str):
            total += FRAME + _bytes(content)
        else:
            total += FRAME + sum(map(_part, content or ()))
        if message.tool_calls:
            total += len(msgspec.json.encode(message.tool_calls))
    for name, value in request.body.items():
        if name != "messages" and isinstance(value, dict | list):
            total += len(msgspec.json.encode(value))
    return total


def _part(part: dict[str, object]) -> int:
    text = part.get("text")
    if isinstance(text, str):
        return _bytes(text)
    return IMAGE if "image" in str(part.get("type")) else len(msgspec.json.encode(part))


def _tree(value: object) -> int:
    """Of any JSON: its texts, and a little for each of its other parts."""
    if isinstance(value, str):
        return _bytes(value)
    if isinstance(value, Mapping):
        if value.get("type") == "image":
            return IMAGE
        return sum(_bytes(key) + _tree(inner) for key, inner in value.items()) + FRAME
    return sum(map(_tree, value)) if isinstance(value, list | tuple) else FRAME


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


@dataclass(frozen=True)
class BudgetGuard:
    """Looks at requests for which money was set aside (`Request.reserved`); the others have no hard budget."""

    worst: WorstCase = WorstCase()
    name: str = "budget"

    def check(self, context: Context, candidates: Sequence[Candidate]) -> Iterable[Objection]:
        request = context.request
        if request.reserved is None:
            return
        prompt = most_tokens(request)
        for i, candidate in enumerate(candidates):
            cost = self.worst.cost(request, candidate, prompt)
            if cost is None:
                yield i, UNBOUNDED
            elif cost > request.reserved + 1e-9:
                text = f"it may cost up to ${cost:.6g}, and ${request.reserved:.6g} could be set aside for this request"
                yield i, Reason(self.name, "may_exceed_budget", text, "send max_tokens, or ask for a larger budget")


UNBOUNDED = Reason(
    "budget",
    "cost_unbounded",
    "what it may cost at most is not known, and a hard budget has to hold",
    "state its price, and max_output or context_window, or what to assume (admission.assume)",
)
