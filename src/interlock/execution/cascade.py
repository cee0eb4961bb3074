"""Cheap candidates first, dearer ones while the answer does not convince.

Source: Chen, Zaharia, Zou, "FrugalGPT", 2023 (a scorer decides whether a cheaper model's answer is accepted).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from ..errors import ConfigError, ProviderError
from ..providers.base import Chunks
from ..types import Candidate, Chunk
from .calls import Calls
from .fallback import Action, Walker


@dataclass(frozen=True)
class Cascade:
    """Stages by expected cost, or as configured; a stage's answer is returned when it convinces.

    An answer convinces when `verifier` says so, and without its word when its confidence reaches `threshold`. An answer
    without a confidence does not convince: ask for one (`logprobs: true` in the candidate's options), or give a
    verifier. The last stage needs to convince nobody. Every stage's cost counts; a stage that fails is left for the
    next one.

    When streaming, a stage that may be rejected is held back until it is judged; the last stage streams through. When
    every later stage fails, the best answer that was held back is returned rather than nothing.

    Attributes:
        threshold: least confidence, in [0, 1], that convinces.
        stages: names of candidates in the order to try; empty means the permitted ones by expected cost, unknown costs
            last. Forbidden candidates are left out.
        max_stages: at most so many; the last of them is then the dearest permitted one.
        from_choice: begin at the candidate the decision chose; who is cheaper was passed over knowingly.
        verifier: gets the answer's text and says `True`, `False`, or `None` for "cannot tell".
    """

    threshold: float = 0.7
    stages: Sequence[str] = ()
    max_stages: int = 3
    from_choice: bool = False
    verifier: Callable[[str], bool | None] | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise ConfigError(f"must lie in [0, 1], got {self.threshold!r}", path="execution.threshold")
        if self.max_stages < 1:
            raise ConfigError(f"must be at least 1, got {self.max_stages!r}", path="execution.max_stages")

    def order(self, calls: Calls) -> list[Candidate]:
        if self.stages:
            by_name = {candidate.name: candidate for candidate in calls.permitted}
            ordered = [by_name[name] for name in self.stages if name in by_name]
        else:
            ordered = []
        ordered = ordered or sorted(calls.permitted, key=calls.expected_cost)
        if self.from_choice:
            chosen = next((i for i, candidate in enumerate(ordered) if candidate.name == calls.decision.chosen), 0)
            ordered = ordered[chosen:]
        return ordered if len(ordered) <= self.max_stages else [*ordered[: self.max_stages - 1], ordered[-1]]

    async def carry_out(self, calls: Calls, walker: Walker) -> Chunks:
        *early, last = self.order(calls)
        held: list[Chunk] = []
        held_by, best, why = last, -math.inf, "chosen"
        for candidate in early:
            try:
                chunks = [chunk async for chunk in walker.answer(calls, [candidate], why)]
            except ProviderError as error:
                if walker.rules.action(error) is Action.REFUSE:
                    raise
                why = "fallback"
                continue
            verdict, confidence = self._judge(chunks)
            if verdict:
                for chunk in chunks:
                    yield chunk
                return
            if confidence > best:
                held, held_by, best = chunks, candidate, confidence
            why = "escalation"
        begun = False
        try:
            async with aclosing(walker.answer(calls, [last], why)) as answer:
                async for chunk in answer:
                    begun = True
                    yield chunk
        except ProviderError as error:
            if begun or not held or walker.rules.action(error) is Action.REFUSE:
                raise
            calls.served = held_by
            for chunk in held:
                yield chunk

    def _judge(self, chunks: Sequence[Chunk]) -> tuple[bool, float]:
        """Whether an answer convinces, and how confident it is (-1 when it does not say)."""
        confidence = next((c.confidence for c in reversed(chunks) if c.confidence is not None), -1.0)
        word = None if self.verifier is None else self.verifier("".join(chunk.text for chunk in chunks))
        return (confidence >= self.threshold if word is None else word), confidence
