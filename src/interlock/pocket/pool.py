"""All pocket models of a process behind one door: any thread submits, one thread computes.

One thread steps every model in turn, because the work is bound by arithmetic and two threads would only share
the same core; a gateway worker has one core for everything.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import math
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Condition, Thread
from types import TracebackType
from typing import Literal, Self

import numpy as np

from interlock.errors import Busy, NotFound, RequestError, nearest
from interlock.pocket.attention import PromptChunk, reach
from interlock.pocket.engine import Engine, EngineStats, Job
from interlock.pocket.family import Family, PocketCandidate, load_family
from interlock.pocket.handle import Handle, Stream
from interlock.pocket.requests import Delta, PocketRequest, PocketResult
from interlock.pocket.sampling import Sampler
from interlock.pocket.tokenizer import BOS, BUDGETS, encode
from interlock.pocket.transcript import Transcript
from interlock.pocket.transformer import Batch, Transformer
from interlock.pocket.weights import Floats

_LEVEL = {"t0": 0, "t1": 1, "t2": 2, "tN": 1}
_VOTE_TEMPERATURE = 0.8

log = logging.getLogger(__name__)


class Pool:
    """Loaded models, each with its engine, and the thread that steps them.

    Args:
        slots: the most requests a model works on at once.
        max_queue: the most requests that may wait for each model; more are refused.
        prefix_bytes: size of each model's prefix cache.
        window: cuts the models' attention to this many latest tokens, to see what that costs; None leaves it whole.
    """

    def __init__(
        self,
        family: Family,
        *,
        slots: int = 32,
        max_queue: int = 256,
        prefix_bytes: int = 16 << 20,
        window: int | None = None,
    ) -> None:
        # More BLAS threads than one gain nothing at this size, cost context switches, and may round otherwise.
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        threadpool_limits(1, user_api="blas")
        self.family = family
        self._engines = {
            name: Engine(
                Transformer(member.config, member.file.tensors, member.adapters),
                [adapter.name for adapter in member.adapters], slots=slots, prefix_bytes=prefix_bytes,
                window=window,
            )
            for name, member in family.members.items()
        }  # fmt: skip
        self._limit = slots + max_queue
        self._open = dict.fromkeys(self._engines, 0)
        self._service = dict.fromkeys(self._engines, 0.0)  # smoothed seconds of work a request takes
        self._inbox: deque[tuple[Engine, Job]] = deque()
        self._changed = Condition()
        self._closing = False
        self._thread = Thread(target=self._run, name="interlock-pocket", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    @classmethod
    def load(cls, names: Sequence[str] | None = None, path: Path | None = None, **options: int) -> Self:
        """Load models (all shipped ones by default) and start the engine thread.

        Raises:
            WeightsError, NotFound: as `load_family`.
        """
        return cls(load_family(path, names), **options)

    def candidates(self) -> list[PocketCandidate]:
        return list(self.family.candidates.values())

    def adapters(self, model: str) -> tuple[str, ...]:
        return self._engines[model].adapters

    def stats(self) -> dict[str, EngineStats]:
        """Load and counts of each model, as of its last step."""
        return {name: engine.stats for name, engine in self._engines.items()}

    def submit(self, request: PocketRequest, on_delta: Callable[[Delta], None] | None = None) -> Handle:
        """Queue a request. ``on_delta`` is called from the engine's thread and must not block.

        Raises:
            NotFound: no such candidate.
            RequestError: the prompt leaves no room for an answer (``context_length_exceeded``).
            Busy: too many requests wait for this model, or the pool is closed.
        """
        return self._submit(request, on_delta, bounded=True)

    async def generate(self, request: PocketRequest) -> PocketResult:
        """Submit and await the result. Cancelling the task cancels the request. Raises as `submit`."""
        handle = self.submit(request)
        try:
            return await asyncio.wrap_future(handle.future)
        finally:
            handle.cancel()

    def stream(self, request: PocketRequest) -> Stream:
        """Submit and iterate over deltas, then read ``result``; leaving the block early cancels. Raises as `submit`."""
        return Stream(lambda on_delta: self.submit(request, on_delta))

    def generate_many(
        self, requests: Sequence[PocketRequest], progress: Callable[[int, int], None] | None = None
    ) -> list[PocketResult]:
        """Results in the order of requests, all slots kept full; the queue limit does not apply.

        ``progress`` gets the number done and the number of all. Raises as `submit`; whatever interrupts it
        cancels what has not finished.
        """
        handles: list[Handle] = []
        results = []
        try:
            for request in requests:
                handles.append(self._submit(request, None, bounded=False))
            for handle in handles:
                results.append(handle.result())
                if progress:
                    progress(len(results), len(handles))
        finally:
            for handle in handles[len(results) :]:
                handle.cancel()
        return results

    def hidden_states(
        self, model: str, text: str, layer: int | None = None, pooling: Literal["mean", "last"] = "mean"
    ) -> tuple[Floats, int]:
        """The residual stream [d] after ``layer`` blocks, over ``<bos> text``, and the number of tokens read.

        ``layer`` counts from 0 (the embedding); all blocks by default. Runs in the calling thread.

        Raises:
            NotFound: no such model. RequestError: no such layer, or the text is longer than the context.
        """
        if model not in self._engines:
            raise NotFound(f"no pocket model {model!r}; {nearest(model, list(self._engines))}", param="model")
        network, ids = self._engines[model].model, [BOS, *encode(text)]
        config = network.config
        if layer is not None and not 0 <= layer <= config.layers:
            raise RequestError(f"layer must be from 0 to {config.layers}, got {layer}", param="layer")
        _check_length(len(ids), config.context, "input", "has")
        shape = (config.layers, config.heads, reach(len(ids)), config.head_dim)
        chunk = PromptChunk(np.zeros(shape, np.float32), np.zeros(shape, np.float32), 0, len(ids))
        padded = np.array([config.vocab, config.vocab, *ids], np.int64)
        tokens = np.stack([padded[2:], padded[1:-1], padded[:-2]], axis=1)
        hidden = network.forward(Batch(tokens, np.arange(len(ids)), [chunk]), layer)
        return (hidden.mean(axis=0) if pooling == "mean" else hidden[-1]), len(ids)

    def close(self) -> None:
        """Stop the thread; requests that have not finished fail with `Busy`. Idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _submit(self, request: PocketRequest, on_delta: Callable[[Delta], None] | None, *, bounded: bool) -> Handle:
        candidate = self.family.candidate(request.candidate)
        engine = self._engines[candidate.model]
        level = _LEVEL[candidate.budget]
        prompt = [BOS, *encode(request.prompt), BUDGETS[level]]
        _check_length(len(prompt) + 1, engine.model.config.context, "prompt", "needs, with one for an answer,")
        handle = Handle(candidate, on_delta, lambda job: self._finished(candidate.model, job))
        count = request.samples if candidate.budget == "tN" else 1
        default = _VOTE_TEMPERATURE if candidate.budget == "tN" else 0.0
        temperature = default if request.temperature is None else request.temperature
        first_seed = secrets.randbits(32) if request.seed is None else request.seed
        for seed in range(first_seed, first_seed + count):
            room = engine.model.config.context - len(prompt)
            handle.attach(seed, Job(
                prompt=prompt,
                adapter=engine.adapters.index(candidate.adapter) if candidate.adapter else -1,
                sampler=Sampler(temperature, request.top_p, seed),
                transcript=Transcript(thinks=level > 0, stop=request.stop),
                limit=min(request.max_tokens or room, room),
                top_logprobs=request.top_logprobs,
                on_delta=handle.on_delta,
                on_end=handle.on_end,
                on_fail=handle.on_fail,
            ))  # fmt: skip
        self._enqueue(candidate.model, handle.jobs, bounded)
        return handle

    def _enqueue(self, model: str, jobs: Sequence[Job], bounded: bool) -> None:
        with self._changed:
            if self._closing:
                raise Busy("the pocket pool is shutting down")
            if bounded and self._open[model] + len(jobs) > self._limit:
                engine = self._engines[model]
                wait = self._service[model] * self._open[model] / engine.slots
                waiting = self._open[model] - engine.slots
                raise Busy(f"{model} has {waiting} requests waiting, the limit is {self._limit - engine.slots}",
                           retry_after=max(1.0, math.ceil(wait)))  # fmt: skip
            self._open[model] += len(jobs)
            self._inbox.extend((self._engines[model], job) for job in jobs)
            self._changed.notify()

    def _finished(self, model: str, job: Job) -> None:
        with self._changed:
            self._open[model] -= 1
            if job.started:
                self._service[model] += 0.1 * (job.ended - job.started - self._service[model])

    def _run(self) -> None:
        while self._take_in():
            for engine in self._engines.values():
                if engine.busy:
                    self._step(engine)
        for engine, job in self._inbox:
            engine.submit(job)
        for engine in self._engines.values():
            _fail(engine, Busy("the pocket pool is shutting down"))

    def _take_in(self) -> bool:
        """Hand new jobs to their engines, waiting for one if nothing else is to do; false once closing."""
        with self._changed:
            busy = any(engine.busy for engine in self._engines.values())
            self._changed.wait_for(lambda: busy or self._inbox or self._closing)
            if self._closing:
                return False
            while self._inbox:
                engine, job = self._inbox.popleft()
                engine.submit(job)
            return True

    def _step(self, engine: Engine) -> None:
        try:
            engine.step()
        except Exception as error:
            log.exception("a step of a pocket model failed; its requests fail with it")
            _fail(engine, error)


def _fail(engine: Engine, error: Exception) -> None:
    for job in engine.abandon():
        job.on_fail(job, error)


def _check_length(tokens: int, context: int, param: str, verb: str) -> None:
    if tokens > context:
        problem = f"{param} {verb} {tokens} tokens, the model's context is {context}"
        raise RequestError(problem, param=param, code="context_length_exceeded")
