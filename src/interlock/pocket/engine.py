"""Continuous batching for one model: requests join and leave between steps, and none changes another's text.

A step is one forward pass over one new token of every sequence being decoded and up to 64 tokens of prompts
still being read, oldest first. Prompts start from the longest prefix the cache knows.

Source: iteration-level scheduling, Yu et al., "Orca", 2022; chunked prompts, Agrawal et al., "Sarathi", 2023.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from interlock.pocket.attention import TILE, DecodeRows, PromptChunk, reach
from interlock.pocket.kv_cache import CacheRow, KVCache, PrefixCache
from interlock.pocket.requests import Delta, TokenLogprob, Usage
from interlock.pocket.sampling import Sampler, choose, log_softmax, top
from interlock.pocket.tokenizer import VOCAB
from interlock.pocket.transcript import FinishReason, Piece, Transcript
from interlock.pocket.transformer import Batch, Transformer
from interlock.pocket.weights import Floats

_PROMPT_TOKENS_A_STEP = 64


@dataclass(eq=False, slots=True, kw_only=True)
class Job:
    """One completion on its way through an engine.

    The callbacks run in the thread that steps the engine and must not block; of ``on_end`` and ``on_fail`` exactly
    one is called, once.
    Setting ``cancelled`` from any thread ends the job before the next step.
    """

    prompt: list[int]
    adapter: int
    sampler: Sampler
    transcript: Transcript
    limit: int
    top_logprobs: int = 0
    on_delta: Callable[[Delta], None]
    on_end: Callable[[Job], None]
    on_fail: Callable[[Job, Exception], None]
    cancelled: bool = False
    finish: FinishReason | None = None
    generated: list[int] = field(default_factory=list)
    tokens: list[TokenLogprob] = field(default_factory=list)
    cached: int = 0
    submitted: float = field(default_factory=perf_counter)
    started: float = 0.0
    first_token: float = 0.0
    ended: float = 0.0

    @property
    def usage(self) -> Usage:
        """The prompt counts only once work on it has begun: a request cancelled while waiting used nothing."""
        prompt = len(self.prompt) if self.started else 0
        return Usage(prompt, self.cached, len(self.generated), self.transcript.reasoning_tokens)


@dataclass(eq=False, slots=True)
class _Reading:
    """A job whose prompt is being processed: its own buffers [layers, heads, reach, head_dim] and how far it got."""

    job: Job
    chain: list[bytes]
    keys: Floats
    values: Floats
    done: int


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Counts since the start, and the present load (waiting, running, fraction of cache positions in use)."""

    waiting: int
    running: int
    cache_usage: float
    waiting_adapters: tuple[int, ...]
    running_adapters: tuple[int, ...]
    prompt_tokens: int
    generated_tokens: int
    prefix_queried_tokens: int
    prefix_hit_tokens: int


class Engine:
    """Steps one model. Not thread-safe: ``submit`` and ``step`` belong to one thread; ``stats`` to any.

    Args:
        adapters: names of the model's adapters, in the transformer's order.
        slots: the most sequences in work at once.
        prefix_bytes: size of the prefix cache.
        window: cuts attention to this many latest tokens, which no model was trained for; None leaves it whole.
    """

    def __init__(
        self,
        model: Transformer,
        adapters: Sequence[str] = (),
        *,
        slots: int = 32,
        prefix_bytes: int = 16 << 20,
        window: int | None = None,
    ) -> None:
        self.model, self.adapters, self.slots, self.window = model, tuple(adapters), slots, window
        self._waiting: deque[Job] = deque()
        self._reading: list[_Reading] = []
        self._cache: KVCache[Job] = KVCache(model.config)
        self._prefixes = PrefixCache(prefix_bytes)
        self._outbox: deque[tuple[Job, Delta | None]] = deque()  # None: the job has ended
        self._prompt_tokens = self._generated_tokens = 0
        self.stats = self._measure()

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._reading or self._outbox or len(self._cache))

    def submit(self, job: Job) -> None:
        self._waiting.append(job)

    def step(self) -> None:
        """Advance every running request by one token and read up to 64 prompt tokens."""
        self._drop_cancelled()
        self._cache.make_room()
        rows = [row for arena in self._cache.arenas() for row in arena.rows]
        chunks = list(self._next_chunks(len(rows)))
        if rows or chunks:
            self._advance(rows, chunks)
        self.stats = self._measure()
        self._deliver()

    def abandon(self) -> list[Job]:
        """Forget all jobs that have not been told of their end, without telling them, and return them."""
        jobs = [*self._waiting, *(reading.job for reading in self._reading), *self._decoding()]
        jobs += [job for job, delta in self._outbox if delta is None]
        jobs = list(dict.fromkeys(jobs))
        self._waiting.clear()
        self._reading.clear()
        self._outbox.clear()
        self._cache = KVCache(self.model.config)
        self.stats = self._measure()
        return jobs

    def _advance(self, rows: list[CacheRow[Job]], chunks: list[tuple[_Reading, PromptChunk]]) -> None:
        x = self.model.forward(self._batch(rows, chunks))
        ends = len(rows) + np.cumsum([chunk.count for _, chunk in chunks], dtype=np.int64) - 1
        finished = []
        for (reading, chunk), end in zip(chunks, ends, strict=True):
            reading.done += chunk.count
            self._prefixes.store(reading.chain, reading.keys, reading.values, chunk.start, reading.done)
            if reading.done == len(reading.job.prompt):
                finished.append((reading, end))
        for row in rows:
            row.length += 1
        picked = np.array([*range(len(rows)), *(end for _, end in finished)], np.int64)
        if not len(picked):
            return
        logprobs = log_softmax(self.model.logits(x[picked]))
        jobs = [*(row.owner for row in rows), *(reading.job for reading, _ in finished)]
        tokens = choose([job.sampler for job in jobs], logprobs)
        chosen = logprobs[np.arange(len(jobs)), tokens].tolist()
        for job, token, logprob, row_logprobs in zip(jobs, tokens, chosen, logprobs, strict=True):
            self._emit(job, token, logprob, row_logprobs)
        for row in rows:
            if row.owner.finish:
                row.arena.remove(row)
        for reading, _ in finished:
            self._reading.remove(reading)
            if not reading.job.finish:
                self._cache.add(reading.job, reading.keys, reading.values, reading.done)

    def _batch(self, rows: list[CacheRow[Job]], chunks: list[tuple[_Reading, PromptChunk]]) -> Batch:
        nothing = self.model.config.vocab
        tokens: list[list[int]] = []
        positions: list[int] = []
        for row in rows:
            generated, prompt = row.owner.generated, row.owner.prompt
            recent = generated[-3:] if len(generated) >= 3 else (prompt + generated)[-3:]
            tokens.append(recent[::-1])
            positions.append(row.length)
        for reading, chunk in chunks:
            padded = [nothing, nothing, *reading.job.prompt]
            tokens += [padded[at : at + 3][::-1] for at in range(chunk.start, chunk.start + chunk.count)]
            positions += range(chunk.start, chunk.start + chunk.count)
        adapters = [row.owner.adapter for row in rows]
        for reading, chunk in chunks:
            adapters += [reading.job.adapter] * chunk.count
        segments: list[DecodeRows | PromptChunk] = []
        for arena in self._cache.arenas():
            n = len(arena.rows)
            lengths = np.array([row.length for row in arena.rows], np.int64)
            segments.append(DecodeRows(arena.keys[:, :n], arena.values[:, :n], lengths, self.window))
        segments += [chunk for _, chunk in chunks]
        return Batch(
            np.array(tokens, np.int64), np.array(positions, np.int64), segments,
            np.array(adapters, np.int64) if max(adapters) >= 0 else None,
        )  # fmt: skip

    def _next_chunks(self, decoding: int) -> Iterator[tuple[_Reading, PromptChunk]]:
        """Prompt chunks of this step: whole tiles, oldest request first, starting new requests while slots last."""
        budget, at = _PROMPT_TOKENS_A_STEP, 0
        while budget >= TILE:
            if at == len(self._reading):
                if not self._waiting or decoding + at >= self.slots:
                    return
                self._reading.append(self._start(self._waiting.popleft()))
            reading = self._reading[at]
            count = min(len(reading.job.prompt) - reading.done, budget)
            yield reading, PromptChunk(reading.keys, reading.values, reading.done, count, self.window)
            budget -= -(-count // TILE) * TILE
            at += 1

    def _start(self, job: Job) -> _Reading:
        config, n = self.model.config, len(job.prompt)
        job.started = perf_counter()
        shape = (config.layers, config.heads, reach(n), config.head_dim)
        keys, values = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        salt = self.adapters[job.adapter] if job.adapter >= 0 else ""
        chain = PrefixCache.chain(job.prompt, salt)
        # The last token is always computed: its logits are what the prompt was read for.
        job.cached = self._prefixes.fill(chain, keys, values, (n - 1) // TILE)
        self._prompt_tokens += n
        return _Reading(job, chain, keys, values, job.cached)

    def _emit(self, job: Job, token: int, logprob: float, row: Floats) -> None:
        """Report a job's next token, and its end if that is it."""
        self._generated_tokens += 1
        job.generated.append(token)
        job.first_token = job.first_token or perf_counter()
        piece = job.transcript.feed(token)
        job.finish = job.transcript.finish
        if job.finish is None and len(job.generated) == job.limit:
            job.finish, piece = "length", _joined(piece, job.transcript.flush())
        alternatives = tuple((VOCAB[i], p) for i, p in top(row, job.top_logprobs)) if job.top_logprobs else ()
        entry = TokenLogprob(VOCAB[token], logprob, piece.answering, alternatives)
        job.tokens.append(entry)
        self._outbox.append((job, Delta(piece.reasoning, piece.text, (entry,))))
        if job.finish:
            self._end(job)

    def _end(self, job: Job) -> None:
        job.ended = perf_counter()
        self._outbox.append((job, None))

    def _deliver(self) -> None:
        """Tell jobs what the step brought them, after the counts that a listener may look at."""
        while self._outbox:
            job, delta = self._outbox.popleft()
            if delta is None:
                job.on_end(job)
            else:
                job.on_delta(delta)

    def _drop_cancelled(self) -> None:
        for row in [row for arena in self._cache.arenas() for row in arena.rows if row.owner.cancelled]:
            row.arena.remove(row)
            self._cancel(row.owner)
        for reading in [reading for reading in self._reading if reading.job.cancelled]:
            self._reading.remove(reading)
            self._cancel(reading.job)
        if any(job.cancelled for job in self._waiting):
            gone = [job for job in self._waiting if job.cancelled]
            self._waiting = deque(job for job in self._waiting if not job.cancelled)
            for job in gone:
                self._cancel(job)

    def _cancel(self, job: Job) -> None:
        job.finish = "cancelled"
        self._end(job)

    def _decoding(self) -> list[Job]:
        return [row.owner for arena in self._cache.arenas() for row in arena.rows]

    def _measure(self) -> EngineStats:
        running = [*(reading.job for reading in self._reading), *self._decoding()]
        used = self._cache.tokens + sum(reading.done for reading in self._reading)
        return EngineStats(
            waiting=len(self._waiting),
            running=len(running),
            cache_usage=used / (self.slots * self.model.config.context),
            waiting_adapters=tuple(sorted({job.adapter for job in self._waiting if job.adapter >= 0})),
            running_adapters=tuple(sorted({job.adapter for job in running if job.adapter >= 0})),
            prompt_tokens=self._prompt_tokens,
            generated_tokens=self._generated_tokens,
            prefix_queried_tokens=self._prefixes.queried_tokens,
            prefix_hit_tokens=self._prefixes.hit_tokens,
        )


def _joined(first: Piece, second: Piece) -> Piece:
    return Piece(first.reasoning + second.reasoning, first.text + second.text, first.answering)
