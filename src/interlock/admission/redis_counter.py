"""The counter of many workers, in Redis or Valkey: one script reserves, one settles (see scripts.py).

Each worker also counts what it alone has spent and reserved, as `LocalCounter` does. From that Redis is set right at
the start, and again whenever it has lost its memory. While it cannot be reached:

    local     each worker lets in what its share permits: of what was left of a budget when it last saw it, and of every
              rate, one part in as many as there were workers
    refuse    who has a hard budget or a rate is refused until it is back; nobody else notices

A reservation is kept alive by the worker that holds it. When the worker dies it is given back within `LEASE` seconds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from ..errors import CounterUnreachable
from ..types import new_id
from . import scripts
from .counter import Ask, LocalCounter, Rate, Settlement, Verdict
from .windows import Line, lines

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger("interlock.admission")

LEASE = 30.0  # seconds a reservation outlives the last sign of life of its worker
BEAT = 5.0  # seconds between signs of life, and between attempts to reach a Redis that is lost
TIMEOUT = 2.0  # seconds for one script, the wait for a connection included
CONNECTIONS = 32

T = TypeVar("T")
WhenLost = Literal["local", "refuse"]


class RedisCounter:
    """`source` names the ledger whose money this worker counts. `run` must run beside it, after `start`."""

    def __init__(
        self,
        redis: Redis,
        source: str,
        *,
        prefix: str = "interlock",
        when_lost: WhenLost = "local",
        clock: Callable[[], float] = time.time,
        beat: float = BEAT,
        lease: float = LEASE,
    ) -> None:
        self._redis, self._source, self._when_lost = redis, source, when_lost
        self._prefix, self._beat_every, self._lease = f"{{{prefix}}}", beat, lease
        self._reserve, self._settle, self._start, self._beat = (
            redis.register_script(text) for text in (scripts.RESERVE, scripts.SETTLE, scripts.START, scripts.BEAT)
        )
        self.mine = LocalCounter(clock)
        self.lost, self.workers, self._worker = False, 1, new_id("w")
        self._seen: dict[Line, tuple[int, int, int]] = {}  # (which look, used and reserved by all, and by this worker)
        self._looks = 0
        self._dirty: dict[Line, None] = {}
        self._done: list[str] = []
        self._returns: list[Rate] = []
        self._news = asyncio.Event()

    async def start(self) -> None:
        """Set what Redis has counted for this source to what its ledger says. Raises `CounterUnreachable`."""
        self._dirty.clear()
        self._done.clear()
        await self._run(self._start, totals=self._written(self.mine.totals()), open=self._held(), lease=self._lease)
        self.workers = int(await self._run(self._beat, worker=self._worker, open=[], lease=self._lease))
        self.lost = False

    async def reserve(self, ask: Ask) -> Verdict:
        """Raises `CounterUnreachable` when Redis is lost and `when_lost` is `refuse`."""
        if not self.lost:
            self._looks += 1
            look, mine = self._looks, [self._own(cap.line) for cap in ask.caps]
            try:
                found = await self._ask(ask)
            except CounterUnreachable as error:
                self._lose(error)
            else:
                if not found.against:
                    self.mine.hold(ask, found.granted)
                self._note(ask, found, look, mine)
                return found
        if self._when_lost == "refuse":
            raise CounterUnreachable("budgets and rates cannot be checked: Redis does not answer")
        return self.mine.reserve_now(self._share(ask))

    def settle(self, ask: Ask, granted: int, end: Settlement | None) -> None:
        """Counted here at once, and sent to Redis with whatever else ends in the meantime."""
        held = ask.id in self.mine.open
        self.mine.settle(ask, granted, end)
        if held:
            self._done.append(self._member(ask.id))
        if end is not None:
            self._dirty.update(dict.fromkeys(lines(ask.accounts, ask.at)))
        tokens = end.tokens if end else 0
        self._returns += [r._replace(amount=r.amount - tokens) for r in ask.rates if r.kind == "tokens"]
        self._news.set()

    async def usage(self, asked: Sequence[Line]) -> list[tuple[int, int]]:
        """As Redis has it; while it is lost, as this worker knows it."""
        if not self.lost:
            try:
                async with self._redis.pipeline(transaction=False) as pipe:
                    for line in asked:
                        pipe.hmget(self._key(line), ["used", "reserved"])
                    rows = await self._within(pipe.execute())
                return [(int(used or 0), int(reserved or 0)) for used, reserved in rows]
            except CounterUnreachable as error:
                self._lose(error)
        return await self.mine.usage(asked)

    async def run(self) -> None:
        """Send what has ended, and signs of life, until cancelled."""
        beaten = 0.0
        while True:
            try:
                if self.lost:
                    await asyncio.sleep(self._beat_every)
                    await self.start()
                    log.warning("Redis is back: budgets are counted together again")
                if time.monotonic() - beaten >= self._beat_every:
                    open = [self._member(id) for id in self.mine.open]
                    self.workers = int(await self._run(self._beat, worker=self._worker, open=open, lease=self._lease))
                    beaten = time.monotonic()
                await self.flush()
            except CounterUnreachable as error:
                self._lose(error)
                continue
            try:
                async with asyncio.timeout(self._beat_every):
                    await self._news.wait()
            except TimeoutError:
                pass

    async def flush(self) -> None:
        """Send what has ended. Raises `CounterUnreachable`; what could not be sent is sent the next time."""
        self._news.clear()
        if not (self._dirty or self._done or self._returns):
            return
        dirty, done, returns = list(self._dirty), self._done, self._returns
        self._dirty, self._done, self._returns = {}, [], []
        totals = self._written(self.mine.used(dirty))
        try:
            told = await self._run(self._settle, totals=totals, done=done, rates=[r._asdict() for r in returns])
            if told == b"unknown":
                await self.start()
        except BaseException:
            self._dirty.update(dict.fromkeys(dirty))
            self._done = done + self._done
            raise

    async def close(self) -> None:
        try:
            await self.flush()
        except CounterUnreachable as error:
            log.error("what was spent last is told to Redis at the next start: %s", error)
        finally:
            await self._redis.aclose()

    async def _ask(self, ask: Ask) -> Verdict:
        caps = [{"line": self._key(cap.line), "hard": cap.hard} for cap in ask.caps]
        arguments = {
            "member": self._member(ask.id),
            "least": ask.least,
            "most": ask.most,
            "caps": caps,
            "rates": [rate._asdict() for rate in ask.rates],
            "streams": [stream._asdict() for stream in ask.streams],
            "lines": self._ends(lines(ask.accounts, ask.at)),
            "lease": self._lease,
        }
        told = await self._run(self._reserve, **arguments)
        if told[0] == b"unknown":
            await self.start()
            told = await self._run(self._reserve, **arguments)
        against, granted, index, wait, room, levels = told
        pairs = tuple((int(used), int(reserved)) for used, reserved in zip(room[::2], room[1::2], strict=True))
        left = tuple(float(level) for level in levels)
        return Verdict(int(granted), against.decode(), int(index), pairs, left, float(wait))

    def _own(self, line: Line) -> int:
        entry = self.mine.entry(line)
        return entry.used + entry.reserved

    def _note(self, ask: Ask, found: Verdict, look: int, mine: Sequence[int]) -> None:
        """What was there when looked; an answer that another one has overtaken says nothing new."""
        for cap, (used, reserved), own in zip(ask.caps, found.room, mine, strict=True):
            if look > self._seen.get(cap.line, (0, 0, 0))[0]:
                self._seen[cap.line] = look, used + reserved + found.granted, own + found.granted

    def _share(self, ask: Ask) -> Ask:
        """The ask with this worker's share in place of each limit."""

        def part(limit: int) -> int:
            return max(1, limit // self.workers)

        caps = []
        for cap in ask.caps:
            _, everyone, mine = self._seen.get(cap.line, (0, 0, 0))
            caps.append(cap._replace(hard=mine + max(0, cap.hard - everyone) // self.workers))
        return ask._replace(
            caps=tuple(caps),
            rates=tuple(rate._replace(per_minute=part(rate.per_minute)) for rate in ask.rates),
            streams=tuple(stream._replace(most=part(stream.most)) for stream in ask.streams),
        )

    def _lose(self, error: CounterUnreachable) -> None:
        if not self.lost:
            self.lost = True
            log.error("%s; until it is back: %s", error, self._when_lost)
            self._news.set()

    async def _run(self, script: Any, **said: Any) -> Any:
        said["source"] = self._source
        return await self._within(script(keys=[self._prefix], args=[msgspec.json.encode(said)]))

    async def _within(self, work: Awaitable[T]) -> T:
        from redis.exceptions import RedisError

        try:
            async with asyncio.timeout(TIMEOUT):
                return await work
        except (RedisError, OSError, TimeoutError) as error:
            raise CounterUnreachable(f"Redis cannot be used ({type(error).__name__})") from error

    def _key(self, line: Line) -> str:
        return f"{self._prefix}:used:{line.account}:{line.window}:{line.start}"

    def _member(self, id: str) -> str:
        return f"{self._source}/{id}"

    def _ends(self, asked: Iterable[Line]) -> list[tuple[str, int]]:
        return [(self._key(line), line.end) for line in asked]

    def _written(self, totals: dict[Line, int]) -> list[tuple[str, int, int]]:
        return [(self._key(line), used, line.end) for line, used in totals.items()]

    def _held(self) -> list[dict[str, Any]]:
        return [
            {
                "member": self._member(ask.id),
                "granted": granted,
                "lines": self._ends(lines(ask.accounts, ask.at)),
                "streams": [stream.account for stream in ask.streams],
            }
            for ask, granted in self.mine.open.values()
        ]
