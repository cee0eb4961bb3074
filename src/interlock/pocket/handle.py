"""A request under way: its future, its cancellation, and its stream of deltas for threads and for asyncio."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import ClassVar, Self
from weakref import WeakKeyDictionary, ref

from interlock.pocket.engine import Job
from interlock.pocket.family import PocketCandidate
from interlock.pocket.requests import Delta, PocketResult, Timings
from interlock.pocket.vote import elect


class Handle:
    """One request: a single job, or the several jobs of a vote, whose deltas are withheld until the count.

    ``future`` gets the `PocketResult`; a cancelled request has one too, with what was generated.
    """

    def __init__(
        self, candidate: PocketCandidate, on_delta: Callable[[Delta], None] | None, on_job_end: Callable[[Job], None]
    ) -> None:
        self.future: Future[PocketResult] = Future()
        self.future.set_running_or_notify_cancel()  # only `cancel` below ends it early, and it still gets a result
        self.jobs: list[Job] = []
        self._candidate, self._listener, self._on_job_end = candidate, on_delta, on_job_end
        self._seeds: list[int] = []
        self._open = 0
        self._error: Exception | None = None

    def cancel(self) -> None:
        """End the request before the engine's next step; harmless once it has ended. Any thread may call."""
        for job in self.jobs:
            job.cancelled = True

    def result(self, timeout: float | None = None) -> PocketResult:
        """Wait for the result, at most ``timeout`` seconds. Raises what made the request fail, or TimeoutError."""
        return self.future.result(timeout)

    def attach(self, seed: int, job: Job) -> None:
        self._seeds.append(seed)
        self.jobs.append(job)
        self._open += 1

    def on_delta(self, delta: Delta) -> None:
        if len(self.jobs) == 1:
            self._tell(delta)

    def on_end(self, job: Job) -> None:
        self._on_job_end(job)
        self._open -= 1
        if self._open:
            return
        results = [_result(self._candidate, job, seed) for job, seed in zip(self.jobs, self._seeds, strict=True)]
        result = results[0]
        if len(results) > 1:
            result = elect(results)
            self._tell(Delta(result.reasoning, result.text, result.tokens))
        if self._error:
            self.future.set_exception(self._error)
        else:
            self.future.set_result(result)

    def on_fail(self, job: Job, error: Exception) -> None:
        self._error = self._error or error
        job.finish = "cancelled"
        job.ended = job.ended or job.submitted
        self.on_end(job)

    def _tell(self, delta: Delta) -> None:
        if self._listener is None:
            return
        try:
            self._listener(delta)
        except Exception as error:  # noqa: BLE001 - the listener's fault ends its own request, not the engine
            self._error, self._listener = error, None
            self.cancel()


class Stream:
    """Deltas of one request as an asynchronous iterator; afterwards ``result`` is set.

    A reader slower than the engine gets fewer and longer deltas, never a backlog.
    Use it as ``async with pool.stream(request) as stream: async for delta in stream: ...``: leaving the block
    before the end cancels the request. Without the block, call `cancel`.
    """

    def __init__(self, submit: Callable[[Callable[[Delta], None]], Handle]) -> None:
        self._mailbox = Mailbox.of(asyncio.get_running_loop())
        self._ready = asyncio.Event()
        self._deltas: deque[Delta] = deque()
        self._ended = False
        self._handle = submit(lambda delta: self._mailbox.post(self._receive, delta))
        self._handle.future.add_done_callback(lambda _: self._mailbox.post(self._receive, None))

    @property
    def result(self) -> PocketResult:
        """The result, once iteration has ended."""
        return self._handle.future.result(0)

    def cancel(self) -> None:
        self._handle.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta:
        """Raises what made the request fail."""
        while not self._deltas:
            if self._ended:
                self._handle.future.result(0)
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        delta = self._deltas.popleft()
        while self._deltas:
            more = self._deltas.popleft()
            delta = Delta(delta.reasoning + more.reasoning, delta.text + more.text, delta.tokens + more.tokens)
        return delta

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    def _receive(self, delta: Delta | None) -> None:
        if delta is None:
            self._ended = True
        else:
            self._deltas.append(delta)
        self._ready.set()


class Mailbox:
    """Carries calls from the engine's thread into an event loop, many with one wake-up of the loop."""

    _of_loop: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox]] = WeakKeyDictionary()

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)  # weak, or the table above would keep every loop alive
        self._letters: deque[tuple[Callable[[Delta | None], None], Delta | None]] = deque()
        self._awaited = False

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> Mailbox:
        """The mailbox of ``loop``; call from the loop's own thread."""
        if loop not in cls._of_loop:
            cls._of_loop[loop] = cls(loop)
        return cls._of_loop[loop]

    def post(self, call: Callable[[Delta | None], None], delta: Delta | None) -> None:
        """Have the loop call ``call(delta)``. Dropped if the loop is closed: nobody is left to hear it."""
        self._letters.append((call, delta))
        loop = self._loop()
        if self._awaited or loop is None or loop.is_closed():
            return
        self._awaited = True
        loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._awaited = False  # before emptying: a letter that comes meanwhile wakes the loop once more
        while self._letters:
            call, delta = self._letters.popleft()
            call(delta)


def _result(candidate: PocketCandidate, job: Job, seed: int) -> PocketResult:
    transcript, usage = job.transcript, job.usage
    answered = [entry.logprob for entry in job.tokens if entry.answering]
    return PocketResult(
        candidate=candidate.name,
        text=transcript.text,
        reasoning=transcript.reasoning,
        finish_reason=job.finish or "cancelled",
        refused=transcript.refused,
        usage=usage,
        tokens=tuple(job.tokens),
        timings=Timings(
            (job.started or job.ended) - job.submitted,
            (job.first_token or job.ended) - job.submitted,
            job.ended - job.submitted,
        ),
        seed=seed,
        cost_usd=candidate.cost(usage),
        energy_j=candidate.energy(usage),
        confidence=math.exp(sum(answered) / len(answered)) if answered else 0.0,
    )
