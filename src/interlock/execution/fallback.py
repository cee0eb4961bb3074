"""From the class of an error to what is done about it: one table, and the loop that obeys it.

Fallback walks the permitted candidates only. It is an explicit step in the record, never a way around a guard.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import Enum

from ..errors import (
    ConfigError,
    Garbled,
    NoSuchModel,
    OutOfFunds,
    Overloaded,
    ProviderError,
    RateLimited,
    Rejected,
    Skipped,
    TimedOut,
    TooLong,
    Unauthenticated,
    Unmasked,
    Unreachable,
    Unsupported,
    nearest,
)
from ..providers.base import Chunks
from ..types import Candidate
from .calls import Calls
from .hedge import hedged


class Action(Enum):
    RETRY = "retry"  # the same candidate again after a pause, then the next
    NEXT = "next"  # the next permitted candidate
    REFUSE = "refuse"  # the error goes to the caller


TABLE: Mapping[type[ProviderError], Action] = {
    Unreachable: Action.RETRY,
    RateLimited: Action.RETRY,
    Overloaded: Action.NEXT,
    TimedOut: Action.NEXT,
    Garbled: Action.NEXT,
    TooLong: Action.NEXT,
    Unsupported: Action.NEXT,
    NoSuchModel: Action.NEXT,
    Unauthenticated: Action.NEXT,
    OutOfFunds: Action.NEXT,
    Skipped: Action.NEXT,
    Rejected: Action.REFUSE,
    Unmasked: Action.REFUSE,
    ProviderError: Action.NEXT,
}


@dataclass(frozen=True)
class Fallback:
    """How far a run goes when calls fail.

    Attributes:
        max_attempts: the most calls of one run, over all candidates.
        retries: the most repeated calls to one candidate.
        backoff: mean pause before the first retry, in seconds; it doubles with each one. The pause is drawn uniformly
            between 0 and twice that (full jitter), so that callers who failed together do not return together.
        patience: the longest `Retry-After`, in seconds, that is waited out; a longer one means the next candidate.
        deadline: seconds a run may take when the request states no deadline of its own.
        hedge_after: seconds of silence after which the next candidate is asked as well; `None` for never.
        actions: overrides of the table, from error code to `retry`, `next` or `refuse`.

    Raises `ConfigError` for an unknown error code or action and for numbers out of range.
    """

    max_attempts: int = 4
    retries: int = 1
    backoff: float = 0.2
    patience: float = 2.0
    deadline: float = 600.0
    hedge_after: float | None = None
    actions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.hedge_after is not None and not self.hedge_after > 0:
            raise ConfigError(f"must be above 0, got {self.hedge_after!r}", path="execution.hedge_after_s")
        for name, least in (("max_attempts", 1), ("retries", 0), ("backoff", 0), ("patience", 0), ("deadline", 0)):
            if not getattr(self, name) >= least:
                raise ConfigError(f"must be at least {least}, got {getattr(self, name)!r}", path=f"execution.{name}")
        codes, verbs = [error.code for error in TABLE], [action.value for action in Action]
        for code, verb in self.actions.items():
            path = f"execution.actions.{code}"
            if code not in codes:
                raise ConfigError(f"no provider error has this code; {nearest(code, codes)}", path=path)
            if verb not in verbs:
                raise ConfigError(f"unknown action {verb!r}; {nearest(verb, verbs)}", path=path)

    def action(self, error: ProviderError) -> Action:
        """The action for the nearest class in the error's ancestry."""
        for kind in type(error).__mro__:
            if issubclass(kind, ProviderError) and kind in TABLE:
                override = self.actions.get(kind.code)
                return TABLE[kind] if override is None else Action(override)
        raise AssertionError("ProviderError itself is in the table")


@dataclass(frozen=True)
class Walker:
    """Walks candidates until one answers. `sleep` and `draw` (uniform in [0, 1)) are replaced in tests."""

    rules: Fallback = Fallback()
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    draw: Callable[[], float] = random.random

    async def answer(self, calls: Calls, candidates: Sequence[Candidate], why: str) -> Chunks:
        """The chunks of the first candidate that answers.

        Once a chunk was handed out nothing else is tried: an answer already begun is not replaced. Raises the last
        error when the candidates are exhausted, and at once an error that the table refuses.
        """
        last: ProviderError | None = None
        for place, candidate in enumerate(candidates):
            if candidate.name in calls.hedges:
                continue  # it was asked beside the one before, and failed too
            other = next(iter(candidates[place + 1 :]), None)
            for attempt in range(self.rules.retries + 1):
                begun = False
                try:
                    async with aclosing(self._ask(calls, candidate, None if attempt else other, why)) as chunks:
                        async for chunk in chunks:
                            begun = True
                            yield chunk
                    return
                except ProviderError as error:
                    action = self.rules.action(error)
                    if begun or action is Action.REFUSE:
                        raise
                    # What a provider said about the request is worth more to the caller than why the next was skipped.
                    last = last if last is not None and isinstance(error, Skipped) else error
                    pause = self._pause(error, attempt)
                    if action is not Action.RETRY or pause is None or pause >= calls.remaining():
                        break
                if attempt < self.rules.retries:
                    if not calls.may_retry(candidate):
                        break
                    await self.sleep(pause)
                    why = "retry"
            why = "fallback"
        if last is not None:
            raise last

    def _ask(self, calls: Calls, candidate: Candidate, other: Candidate | None, why: str) -> Chunks:
        after = self.rules.hedge_after
        if other is None or after is None:
            return calls.answer(candidate, why)
        return hedged(calls, candidate, other, why, after)

    def _pause(self, error: ProviderError, attempt: int) -> float | None:
        """Seconds to wait before the same candidate is tried again, `None` when it asks for too much patience."""
        jittered = math.ldexp(2 * self.draw() * self.rules.backoff, attempt)
        if error.retry_after is None:
            return jittered
        return error.retry_after + jittered if error.retry_after <= self.rules.patience else None
