"""Who has a conversation in its cache: a provider that read the beginning of a prompt before reads it for less.

The preference is no rule and no bonus but part of the estimate. For the candidate that answered a conversation's last
turn, `Affinity.read` adds a signal: its name, and as confidence the share of the prompt it is expected to find in its
cache. Consumption charges `price_cached` for that share, and the objective weighs the lower cost as any other. So it
never outweighs what the cache can save, guards come first as ever, and the signal stands in the decision.

    share = what of the prompt it has seen x how much of such parts it found before x freshness x idleness

Freshness falls to 0 over the cache's `lifetime`; idleness is 1 without calls under way and 1/2 at `busy` of them, since
a provider spreads what is too much over machines that have not seen the prompt. How much is found is what the provider
itself counted (`Usage.cached`) on earlier turns. Reading changes nothing; outcomes write, once they are there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from .types import AFFINITY, Candidate, Context, Message, Outcome, Request, Signal

LEADING = ("system", "developer")
FORGETTING = 0.98
PRIOR = 2.0, 1.0  # turns, and how many of them were found: a stated price of cached tokens is worth a half


class Seen(NamedTuple):
    """A beginning of a prompt: who read it last, and when."""

    candidate: str
    at: float


class Head(NamedTuple):
    """The first messages of a request: their hash, and which share of the prompt's characters they are."""

    key: int
    share: float


@dataclass
class Affinity:
    """`saves` names the candidates whose cached tokens cost less; the others are not remembered, as nothing is saved.

    Attributes:
        lifetime: seconds after which a provider has forgotten a prompt.
        entries: how many beginnings are remembered; then the oldest are forgotten.
        busy: calls under way at which half as much is expected of a candidate's cache.
        clock: seconds that only ever grow.
    """

    saves: frozenset[str] = frozenset()
    lifetime: float = 300.0
    entries: int = 10_000
    busy: int = 64
    clock: Callable[[], float] = time.monotonic
    _seen: dict[int, Seen] = field(default_factory=dict, init=False, repr=False)
    _found: dict[str, tuple[float, float]] = field(default_factory=dict, init=False, repr=False)

    def read(self, contexts: Sequence[Context], under_way: Callable[[str], int]) -> Sequence[Context]:
        """The contexts, with a signal on those whose conversation is in a cache. `under_way` counts open calls."""
        if not self._seen:
            return contexts
        return [self._read(context, under_way) for context in contexts]

    def _read(self, context: Context, under_way: Callable[[str], int]) -> Context:
        if not _continues(context.request):
            return context
        known = self._known(_heads(context.request))
        if known is None:
            return context
        seen, share = known
        fresh = max(0.0, 1.0 - (self.clock() - seen.at) / self.lifetime)
        idle = self.busy / (self.busy + under_way(seen.candidate))
        signal = Signal(AFFINITY, seen.candidate, share * self.found(seen.candidate) * fresh * idle)
        return msgspec.structs.replace(context, signals={**context.signals, AFFINITY: signal})

    def found(self, candidate: str) -> float:
        """How much of what it has seen a candidate finds in its cache, in [0, 1]: a running mean of what it counted."""
        turns, total = self._found.get(candidate, PRIOR)
        return total / turns

    def after(self, request: Request, done: Callable[[Outcome], object]) -> Callable[[Outcome], object]:
        """`done`, and then learn from the outcome."""
        if not self.saves:
            return done

        def learn_too(outcome: Outcome) -> object:
            result = done(outcome)
            self.learn(request, outcome)
            return result

        return learn_too

    def learn(self, request: Request, outcome: Outcome) -> None:
        """Remember who answered, and whether it found in its cache what it had seen."""
        step = next((s for s in reversed(outcome.steps) if s.candidate == outcome.candidate and not s.error), None)
        if step is None or step.candidate not in self.saves or outcome.cached:
            return
        heads = list(_heads(request))
        if not heads:
            return
        if step.usage.input > 0 and _continues(request):
            known = self._known(heads)
            if known is not None and known[0].candidate == step.candidate:
                turns, total = self._found.get(step.candidate, PRIOR)
                hit = min(1.0, step.usage.cached / (step.usage.input * known[1]))
                self._found[step.candidate] = FORGETTING * turns + 1.0, FORGETTING * total + hit
        seen = Seen(step.candidate, self.clock())
        for head in (heads[-1], *_instructions(request, heads)):
            self._seen.pop(head.key, None)
            self._seen[head.key] = seen
        while len(self._seen) > self.entries:
            del self._seen[next(iter(self._seen))]

    def _known(self, heads: Iterator[Head] | Sequence[Head]) -> tuple[Seen, float] | None:
        """The longest beginning that somebody still remembers, and which share of the prompt it is."""
        oldest, best = self.clock() - self.lifetime, None
        for head in heads:
            seen = self._seen.get(head.key)
            if seen is not None and seen.at > oldest and head.share > 0.0:
                best = seen, head.share
        return best


def saving(candidates: Sequence[Candidate]) -> frozenset[str]:
    """The names of those that charge less for tokens in their cache."""
    return frozenset(
        c.name
        for c in candidates
        if c.profile.price_cached is not None and c.profile.price_in is not None
        if c.profile.price_cached < c.profile.price_in
    )


def _continues(request: Request) -> bool:
    """Whether an earlier request can have begun as this one does. Most have one turn, and cost no more than this."""
    return bool(request.session) or any(message.role == "assistant" for message in request.messages)


def _heads(request: Request) -> Iterator[Head]:
    """The request's beginnings, shortest first. The hash is salted by the process, so nobody can aim at another's."""
    key = hash((request.tenant, request.session))
    sizes = [_size(message) for message in request.messages]
    whole, so_far = sum(sizes) or 1, 0
    for message, size in zip(request.messages, sizes, strict=True):
        calls = msgspec.json.encode(message.tool_calls) if message.tool_calls else None
        key, so_far = hash((key, message.role, _text(message), calls, message.tool_call_id)), so_far + size
        yield Head(key, so_far / whole)


def _instructions(request: Request, heads: Sequence[Head]) -> Sequence[Head]:
    """What other prompts of the same session begin with too: its instructions."""
    leading = 0
    while request.session and leading < len(heads) and request.messages[leading].role in LEADING:
        leading += 1
    return heads[leading - 1 : leading] if leading else ()


def _text(message: Message) -> str | bytes | None:
    content = message.content
    return content if content is None or isinstance(content, str) else msgspec.json.encode(content)


def _size(message: Message) -> int:
    return len(_text(message) or "")
