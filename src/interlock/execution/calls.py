"""The calls of one run: which candidates may still be called, in which order, and a step for every one that was.

Whatever a strategy does, it does through `Calls`, so these hold for every strategy: a candidate that the decision did
not permit is never called, no call begins without room in the attempts, the deadline and the breaker, and every call
ends as exactly one recorded `Step`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol

from ..errors import Garbled, Overloaded, ProviderError, RateLimited, Skipped, TimedOut, Unreachable
from ..providers.base import Call, Chunks, Provider
from ..telemetry.context import Trace, of_call
from ..types import NUMBERS, Candidate, Decision, Request, Slate, Step, Usage
from .alarm import Alarm
from .cost import cost_of
from .retry_budget import RetryBudget

log = logging.getLogger("interlock.execution")

CANCELLED = "cancelled"
SPENT = "the retry budget of its quota domain is spent"
REPEATED = frozenset({"retry", "hedge"})  # why a call was made, when an equal one was made before
TROUBLE = (Garbled, Overloaded, RateLimited, TimedOut, Unreachable)  # of the domain, not of the request


class Board(Protocol):
    """The circuit breakers. `begin` is False when a candidate must not be called; every True is followed by `end`."""

    def begin(self, candidate: str) -> bool: ...

    def end(self, candidate: str, error: str | None, seconds: float, retry_after: float | None = None) -> None: ...


class Calls:
    """Makes calls on behalf of one run and records them in `steps`.

    `permitted` holds the decision's permitted candidates: the chosen one, then the others by falling utility, and those
    of which none is known in the `default_order`.
    `traced` is the share of requests that are traced where they are, which gives every call a span of its own.
    `deadline` is on `clock`'s scale, like every time here. `energy` sums what the providers reported over all calls,
    in joules, and is `None` as long as none did.
    """

    def __init__(
        self,
        request: Request,
        decision: Decision,
        candidates: Mapping[str, Candidate],
        providers: Mapping[str, Provider],
        board: Board,
        budget: RetryBudget | None = None,
        *,
        clock: Callable[[], float],
        deadline: float,
        max_attempts: int,
        default_order: Sequence[str] = (),
        traced: float | None = None,
    ) -> None:
        self.request, self.decision, self.deadline, self.clock = request, decision, deadline, clock
        self.permitted = tuple(candidates[name] for name in order(decision, default_order))
        self.steps: list[Step] = []
        self.served: Candidate | None = None
        self.energy: float | None = None
        self.hedges: set[str] = set()  # candidates that were called beside another one
        self._providers, self._board, self._budget = providers, board, budget or RetryBudget()
        self._attempts_left, self._traced, self._began = max_attempts, traced, clock()
        self._made = Counter[tuple[str, str]]()
        self._troubled: set[str] = set()  # quota domains in which a call of this run has failed

    def remaining(self) -> float:
        return self.deadline - self.clock()

    def expected_seconds(self, candidate: Candidate) -> float:
        """How long the decision expects `candidate` to take; 0 when it does not know."""
        row = self.decision.row(candidate.name)
        return row.latency if row is not None and math.isfinite(row.latency) else 0.0

    def expected_cost(self, candidate: Candidate) -> float:
        row = self.decision.row(candidate.name)
        return math.inf if row is None or math.isnan(row.cost) else row.cost

    async def answer(self, candidate: Candidate, why: str) -> Chunks:
        """`send`, and whatever comes is what is served."""
        async with aclosing(self.send(candidate, why)) as chunks:
            async for chunk in chunks:
                self.served = candidate
                yield chunk

    async def send(self, candidate: Candidate, why: str) -> Chunks:
        """One call. Raises a `ProviderError`; `Skipped` when the call was not begun for want of room."""
        self._admit(candidate, why)
        began, code, retry_after = self.clock(), CANCELLED, None
        traceparent = self._traceparent(candidate, why)
        usage: Usage | None = None
        confidence: float | None = None
        answered, stream = False, self.request.stream
        alarm = Alarm(self.remaining())
        try:
            chunks = self._providers[candidate.provider].send(
                Call(self.request, candidate, stream, self.deadline, traceparent)
            )
            try:
                alarm.on()
                async for chunk in chunks:
                    alarm.off()
                    answered = True
                    usage = chunk.usage or usage
                    confidence = chunk.confidence if chunk.confidence is not None else confidence
                    if chunk.energy is not None:
                        self.energy = (self.energy or 0.0) + chunk.energy
                    if chunk.finish or not stream:
                        code = ""  # the answer is whole, even if the caller stops listening now
                    yield chunk
                    alarm.on()
            finally:
                await chunks.aclose()
            if not answered:
                raise Garbled("the provider gave no answer")
            code = ""
        except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001 - a stranger's provider may raise anything
            error = self._understood(raised, candidate, alarm)
            code, retry_after = error.code, error.retry_after
            if isinstance(error, TROUBLE):
                self._troubled.add(candidate.domain)
            raise error from error.__cause__
        finally:
            alarm.stop()
            seconds = self.clock() - began
            self._board.end(candidate.name, code or None, seconds, retry_after)
            counted = usage if usage is not None or answered else Usage()
            self.steps.append(
                Step(
                    candidate=candidate.name,
                    why=why,
                    error=code,
                    usage=usage or Usage(),
                    cost=cost_of(counted, candidate.profile),
                    seconds=seconds,
                    confidence=confidence,
                    began=began - self._began,
                )
            )

    def _traceparent(self, candidate: Candidate, why: str) -> str:
        """The trace that a call belongs to: our span of it where requests are `traced`, else the caller's own word."""
        earlier = self._made[candidate.name, why]
        self._made[candidate.name, why] += 1
        if self._traced is None:
            return self.request.traceparent
        trace = Trace.of(self.request.id, self.request.traceparent, self._traced)
        return trace.header(of_call(self.request.id, candidate.name, why, earlier))

    def may_retry(self, candidate: Candidate) -> bool:
        """Whether waiting for another call to `candidate` is of any use. If not, that is a recorded step."""
        if self._budget.affords(candidate.domain):
            return True
        self._skip(candidate, "retry", "retry_budget", SPENT)
        return False

    def _admit(self, candidate: Candidate, why: str) -> None:
        """Raises `Skipped` and records the step unless the call may begin; the breaker's slot is then taken.

        A call into a domain in which one of this run has failed is drawn from the retry budget, whoever it is for.
        """
        if candidate not in self.permitted:
            raise ValueError(f"{candidate.name!r} is not among the candidates that decision {self.decision.id} permits")
        expected = self.expected_seconds(candidate) if self.steps else 0.0
        repeated = why in REPEATED or candidate.domain in self._troubled
        if self._attempts_left <= 0:
            raise self._skip(candidate, why, "attempts", "every attempt is used up")
        if self.remaining() <= expected:
            problem = f"it takes {expected:.3g} s and the deadline leaves {self.remaining():.3g} s"
            raise self._skip(candidate, why, "deadline", problem)
        if repeated and not self._budget.affords(candidate.domain):
            raise self._skip(candidate, why, "retry_budget", SPENT)
        if not self._board.begin(candidate.name):
            raise self._skip(candidate, why, "breaker_open", "its circuit breaker is open")
        self._attempts_left -= 1
        if why == "hedge":
            self.hedges.add(candidate.name)
        (self._budget.spend if repeated else self._budget.earn)(candidate.domain)

    def _skip(self, candidate: Candidate, why: str, cause: str, problem: str) -> Skipped:
        self.steps.append(Step(candidate=candidate.name, why=why, error=cause))
        return Skipped(problem, cause=cause, candidate=candidate.name)

    def _understood(self, raised: BaseException, candidate: Candidate, alarm: Alarm) -> ProviderError:
        """What ended a call, as a `ProviderError` that names the candidate. Raises a cancellation on."""
        if isinstance(raised, asyncio.CancelledError):
            if not alarm.rang():
                raise raised
            error: ProviderError = TimedOut("the deadline passed")
        elif isinstance(raised, ProviderError):
            error = raised
        else:
            # The text of a stranger's exception may quote the prompt, so only its type and place are kept.
            place = "".join(traceback.format_tb(raised.__traceback__)[-1:]).strip()
            log.error("provider of %s raised %s at %s", candidate.name, type(raised).__name__, place)
            error = ProviderError(f"the provider raised {type(raised).__name__}")
        error.candidate = error.candidate or candidate.name
        return error


def order(decision: Decision, default_order: Sequence[str] = ()) -> list[str]:
    """The permitted candidates' names: the chosen one first, then by falling utility, unknown utilities last.

    Among equal and among unknown ones the `default_order` counts; those that it does not list come last, in pool order.
    """
    slate = Slate.of(decision.considered)
    rank = {name: place for place, name in enumerate(default_order)}
    utilities = slate.numbers[:, NUMBERS.index("utility")].tolist()

    def key(i: int) -> tuple[bool, float, int]:
        utility = math.inf if math.isnan(utilities[i]) else -utilities[i]
        return slate.names[i] != decision.chosen, utility, rank.get(slate.names[i], len(rank))

    permitted = [i for i, reasons in enumerate(slate.reasons) if not reasons]
    return [slate.names[i] for i in sorted(permitted, key=key)]
