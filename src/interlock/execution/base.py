"""Carrying out a decision: an executor starts a run, a run yields the answer's chunks and ends with one outcome."""

from __future__ import annotations

import asyncio
import logging
import random
import time
import warnings
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol, Self

from ..errors import ConfigError, InterlockError, nearest
from ..providers.base import Chunks, Provider
from ..types import Candidate, Chunk, Decision, Outcome, Request, Step, Usage
from .calls import CANCELLED, Board, Calls
from .cost import add
from .fallback import Fallback, Walker
from .recall import Recall
from .retry_budget import RetryBudget

log = logging.getLogger("interlock.execution")

_CLOSING: set[asyncio.Task[None]] = set()  # an event loop holds its tasks weakly


class Strategy(Protocol):
    """How a decision is carried out. It may call permitted candidates only, and only through `calls`."""

    def carry_out(self, calls: Calls, walker: Walker) -> Chunks: ...


class Run:
    """An answer in the making: iterate it for the chunks; afterwards `outcome` is set, however it ended.

    A run ends when it is exhausted, when it raises (`ProviderError`, or the cancellation of the task that awaits it) or
    with `aclose`, which also ends the upstream call: a client went away. `on_done` is called exactly once, before the
    end is reported to whoever iterates. `aclose` must not be called while another task awaits the next chunk: cancel
    that task instead. A run that is forgotten is closed by the event loop it was started on once it is collected, with
    a `ResourceWarning`; without a loop that still runs the warning is all, since `on_done` may only be called there.
    """

    def __init__(
        self,
        decision: Decision,
        calls: Calls,
        chunks: Chunks,
        on_done: Callable[[Outcome], object],
        recorded: Awaitable[object] | None = None,
    ) -> None:
        self.decision = decision
        self._outcome: Outcome | None = None
        self._calls, self._chunks, self._on_done, self._recorded = calls, chunks, on_done, recorded
        self._began = calls.clock()
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        self.recalled: bool | None = None  # from the cache; `None` where there is none
        self._ttft: float | None = None
        self._finish = ""

    @property
    def candidate(self) -> Candidate | None:
        """Whose answer this is; `None` before the first chunk."""
        return self._calls.served

    @property
    def ended(self) -> bool:
        return self._outcome is not None

    @property
    def outcome(self) -> Outcome:
        """How it ended. Raises `RuntimeError` before the end."""
        if self._outcome is None:
            raise RuntimeError(f"the run of decision {self.decision.id} has not ended: exhaust or close it first")
        return self._outcome

    @property
    def steps(self) -> tuple[Step, ...]:
        """The calls made so far that have ended."""
        return tuple(self._calls.steps)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        try:
            chunk = await self._next()
        except InterlockError as error:
            self._end(error.code)
            raise
        except asyncio.CancelledError:
            self._end(CANCELLED)
            raise
        except BaseException:
            self._end(InterlockError.code)
            raise
        if chunk is None:
            self._end("")
            raise StopAsyncIteration
        self._note(chunk)
        return chunk

    async def _next(self) -> Chunk | None:
        """The next chunk, `None` at the end; neither the last one nor the end before the decision is recorded."""
        chunk = await anext(self._chunks, None)
        if self._recorded is not None and (chunk is None or chunk.finish or not self._calls.request.stream):
            recorded, self._recorded = self._recorded, None
            try:
                await recorded
            except BaseException:
                await self._chunks.aclose()  # ends the call, so that its step and its cost are part of the outcome
                raise
        return chunk

    async def aclose(self) -> None:
        """Stop, end the upstream call and settle the outcome. Does nothing after the end."""
        try:
            await self._chunks.aclose()
        finally:
            self._end("" if self._whole() else CANCELLED)

    def __del__(self) -> None:
        if self._outcome is None:
            if self._loop is not None:
                with suppress(RuntimeError):  # the loop is closed
                    self._loop.call_soon_threadsafe(_close_forgotten, self)
            warning = f"the run of decision {self.decision.id} was neither exhausted nor closed"
            warnings.warn(warning, ResourceWarning, source=self, stacklevel=1)

    def _note(self, chunk: Chunk) -> None:
        if self._ttft is None and self._calls.request.stream:
            self._ttft = self._calls.clock() - self._began
        if chunk.finish:
            self._finish = chunk.finish

    def _whole(self) -> bool:
        """Whether the last call brought its answer to the end, so that nobody missed anything."""
        steps = self._calls.steps
        return bool(steps) and not steps[-1].error

    def _end(self, error: str) -> None:
        if self._outcome is not None:
            return
        steps, usage = self.steps, Usage()
        for step in steps:
            usage = add(usage, step.usage)
        self._outcome = Outcome(
            decision=self.decision.id,
            at=time.time(),
            candidate=None if self.candidate is None else self.candidate.name,
            steps=steps,
            usage=usage,
            cost=sum(step.cost for step in steps),
            latency=self._calls.clock() - self._began,
            ttft=self._ttft,
            energy=self._calls.energy,
            finish=self._finish,
            error=error,
        )
        self._on_done(self._outcome)


def _close_forgotten(run: Run) -> None:
    """On the run's own loop; the collector may have been in any thread."""
    task = asyncio.ensure_future(run.aclose())
    _CLOSING.add(task)
    task.add_done_callback(_closed)


def _closed(task: asyncio.Task[None]) -> None:
    _CLOSING.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a forgotten run could not be closed", exc_info=error)


class Executor:
    """Starts runs. `providers` by the name that candidates refer to them with; `board` is asked before each call and
    `budget` before each that repeats one; `default_order` is in which candidates of unknown utility are called;
    `recall` gives answers that were given before.

    Raises `ConfigError` when a candidate names a provider that is not there.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        candidates: Iterable[Candidate],
        strategy: Strategy,
        board: Board,
        fallback: Fallback | None = None,
        budget: RetryBudget | None = None,
        *,
        default_order: Sequence[str] = (),
        traced: float | None = None,
        recall: Recall | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.providers, self.strategy, self.board, self.recall = dict(providers), strategy, board, recall
        self.candidates = {candidate.name: candidate for candidate in candidates}
        self.fallback, self.default_order, self.traced = fallback or Fallback(), tuple(default_order), traced
        self.budget = budget or RetryBudget()
        self._clock, self._walker = clock, Walker(self.fallback, sleep, draw)
        for candidate in self.candidates.values():
            if candidate.provider not in self.providers:
                raise ConfigError(
                    f"candidate {candidate.name!r} names the unknown provider {candidate.provider!r}; "
                    f"{nearest(candidate.provider, list(self.providers))}",
                    path="candidates",
                )

    def start(
        self,
        request: Request,
        decision: Decision,
        on_done: Callable[[Outcome], object] = lambda _: None,
        recorded: Awaitable[object] | None = None,
    ) -> Run:
        """Nothing is called before the first chunk is asked for. The request's deadline counts from here.

        `recorded` is awaited before the answer's last chunk is handed out: no answer is complete before the decision
        behind it is written down.

        Raises `ValueError` for a decision that refuses: there is nothing to carry out.
        """
        if decision.chosen is None:
            raise ValueError(f"decision {decision.id} is a refusal")
        limit = request.limits.deadline
        calls = Calls(
            request,
            decision,
            self.candidates,
            self.providers,
            self.board,
            self.budget,
            clock=self._clock,
            deadline=self._clock() + (self.fallback.deadline if limit is None else limit),
            max_attempts=self.fallback.max_attempts,
            default_order=self.default_order,
            traced=self.traced,
        )
        if self.recall is None:
            return Run(decision, calls, self.strategy.carry_out(calls, self._walker), on_done, recorded)
        chunks, recalled = self.recall.carry_out(calls, lambda: self.strategy.carry_out(calls, self._walker))
        run = Run(decision, calls, chunks, on_done, recorded)
        run.recalled = recalled
        return run
