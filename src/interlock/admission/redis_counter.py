"""The counter of many workers, in Redis or Valkey: one script reserves, one settles (see scripts.py).

Each life of a worker counts what it alone has spent and reserved, as `LocalCounter` does, and tells Redis the sums.
What earlier lives have spent, and other workers on the same ledger that are dead, is folded from the ledger's rows: at
the start, and whenever a worker has died. Who folds it does not matter, for everybody finds the same sums. From both
Redis is set right, also when it has lost its memory. While it cannot be reached:

    local     each worker lets in what its share permits: of what was left of a budget when it last saw it, and of every
              rate, one part in as many as there were workers
    refuse    who has a hard budget or a rate is refused until it is back; nobody else notices

A reservation is kept alive by the worker that holds it. When the worker dies it is given back within `LEASE` seconds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from ..errors import CounterUnreachable, InterlockError
from ..types import new_id, time_of
from . import scripts
from .counter import Ask, LocalCounter, Rate, Settlement, Verdict
from .fold import Readable, Spent, fold
from .windows import Line, lines

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger("interlock.admission")

LEASE = 30.0  # seconds a reservation outlives the last sign of life of its worker
BEAT = 5.0  # seconds between signs of life, and between attempts to reach a Redis that is lost
TIMEOUT = 2.0  # seconds for one script, the wait for a connection included
CONNECTIONS = 32
APART = 600.0  # seconds that clocks may be apart

T = TypeVar("T")
WhenLost = Literal["local", "refuse"]


class RedisCounter:
    """`name` is that of `ledger` among those whose money is counted together; `shared`: others may write it as well.

    `run` and `recounting` must run beside it, after `start`.
    """

    def __init__(
        self,
        redis: Redis,
        name: str,
        ledger: Readable,
        *,
        shared: bool = False,
        prefix: str = "interlock",
        when_lost: WhenLost = "local",
        clock: Callable[[], float] = time.time,
        beat: float = BEAT,
        lease: float = LEASE,
    ) -> None:
        self._redis, self._name, self._ledger, self._shared = redis, name, ledger, shared
        self._prefix, self._beat_every, self._lease = f"{{{prefix}}}", beat, lease
        self._when_lost, self._clock = when_lost, clock
        self._reserve, self._settle, self._start, self._beat = (
            redis.register_script(text) for text in (scripts.RESERVE, scripts.SETTLE, scripts.START, scripts.BEAT)
        )
        self.mine = LocalCounter(clock)
        self.life = new_id("w")
        """What `Decision.writer` must be for the requests that are counted here."""
        self.lost, self.workers = False, 1
        self._source = self._source_of(self.life)
        self._others: dict[str, dict[Line, int]] = {}  # by source: what the dead have spent
        self._dead: set[str] = set()  # sources that were found dead, and are counted or about to be
        self._due: set[str] = set()  # of those, the ones about to be
        self._forgotten = False  # whether Redis has lost its memory, and not everybody that ever wrote is counted again
        self._starting = asyncio.Lock()
        self._seen: dict[Line, tuple[int, int, int]] = {}  # (which look, used and reserved by all, and by this worker)
        self._looks = 0
        self._dirty: dict[Line, None] = {}
        self._done: list[str] = []
        self._returns: list[Rate] = []
        self._news, self._deaths = asyncio.Event(), asyncio.Event()

    async def start(self) -> None:
        """Tell Redis all that is known: what the dead have spent, and this worker. Raises `CounterUnreachable`."""
        self._dirty.clear()
        self._done.clear()
        living, _ = await self._live()
        for source in self._others.keys() - living:
            await self._tell_of(source)
        await self._run(self._start, totals=self._written(self.mine.totals()), open=self._held(), lease=self._lease)
        self.lost = False

    async def recount(self, dead: Iterable[str] | None = None) -> None:
        """Fold what the `dead` have spent (sources; all there are, if not given) from the ledger, and tell Redis.

        Raises `LedgerError`, `CounterUnreachable`.
        """
        if dead is None:
            living, known = await self._live()
            spent = await asyncio.to_thread(self._folded, 0.0)
            living |= (await self._live())[0]  # who came meanwhile
            known |= {self._source_of(writer) for writer in spent.by}
            dead = known - (living if self._shared else {self._source})
            self._due -= dead
        else:
            spent = await asyncio.to_thread(self._folded, min(time_of(self._life_of(source)) or 0.0 for source in dead))
        for source in dead:
            self._others[source] = spent.by.get(self._life_of(source), {})
            await self._tell_of(source)

    async def recounting(self) -> None:
        """Recount whenever a worker has died, and all of it when Redis has lost its memory, until cancelled."""
        while True:
            await self._deaths.wait()
            self._deaths.clear()
            try:
                if self._forgotten:
                    await asyncio.sleep(2 * self._beat_every)  # until all who live have said so again
                    await self.recount()
                    self._forgotten = False
                elif due := set(self._due):
                    await self.recount(due)
                    self._due -= due
            except InterlockError as error:
                log.error("what a dead worker has spent is not counted yet: %s", error)
                await asyncio.sleep(self._beat_every)
                self._deaths.set()

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
        """As Redis has it; while it is lost, what this worker and the dead have spent."""
        if not self.lost:
            try:
                async with self._redis.pipeline(transaction=False) as pipe:
                    for line in asked:
                        pipe.hmget(self._key(line), ["used", "reserved"])
                    rows = await self._within(pipe.execute())
                return [(int(used or 0), int(reserved or 0)) for used, reserved in rows]
            except CounterUnreachable as error:
                self._lose(error)
        mine = await self.mine.usage(asked)
        return [(used + self._elsewhere(line), held) for line, (used, held) in zip(asked, mine, strict=True)]

    async def run(self) -> None:
        """Send what has ended, and signs of life, until cancelled."""
        beaten = 0.0
        while True:
            try:
                if self.lost:
                    await asyncio.sleep(self._beat_every)
                    await self._start_again()
                    log.warning("Redis is back: budgets are counted together again")
                if time.monotonic() - beaten >= self._beat_every:
                    await self._live(restart=True)
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
                await self._start_again()
        except BaseException:
            self._dirty.update(dict.fromkeys(dirty))
            self._done = done + self._done
            raise

    async def close(self, complete: bool = False) -> None:
        """Send what has ended. `complete`: the ledger has it all, so nobody needs to recount this worker."""
        try:
            await self.flush()
            if complete:
                await self._within(self._redis.zrem(f"{self._prefix}:workers", self._source))
        except CounterUnreachable as error:
            log.error("what was spent last is told to Redis at the next start: %s", error)
        finally:
            await self._redis.aclose()

    async def _live(self, restart: bool = False) -> tuple[set[str], set[str]]:
        """Give a sign of life; the sources on this ledger that live, and all that did within a day.

        Those newly found dead are to be recounted. `restart` when others could have taken this worker for dead.
        """
        open = [self._member(id) for id in self.mine.open]
        living, dead, late = await self._run(self._beat, open=open, lease=self._lease)
        self.workers = len(living)
        ours, died = (
            {source for source in map(bytes.decode, found) if source.startswith(f"{self._name}:")}
            for found in (living, dead)
        )
        if self._shared and (news := died - self._dead):
            self._dead |= news
            self._due |= news
            self._deaths.set()
        if late and restart:
            await self.start()
        return ours, ours | died

    def _folded(self, born: float) -> Spent:
        """What each writer has spent that was born then or later."""
        since = self._ledger.written_before(born - APART)
        return fold(self._ledger, self._clock(), self._ledger.head()[0], since)

    async def _start_again(self) -> None:
        """Redis was away, or has lost its memory: tell it everything, once for all requests that find out together.

        Of those that ended in order since this worker began only the ledger knows what they spent.
        """
        async with self._starting:
            remembered = await self._within(self._redis.exists(f"{self._prefix}:source:{self._source}"))
            if self.lost or not remembered:
                await self.start()
            if not remembered:
                self._forgotten = True
                self._deaths.set()

    async def _tell_of(self, source: str) -> None:
        totals = self._written(self._others[source])
        await self._run(self._start, source=source, totals=totals, open=[], lease=self._lease)

    def _elsewhere(self, line: Line) -> int:
        """What the dead have spent."""
        return sum(totals.get(line, 0) for totals in self._others.values())

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
            await self._start_again()
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
            _, everyone, mine = self._seen.get(cap.line) or (0, self._elsewhere(cap.line), 0)
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
        said.setdefault("source", self._source)
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

    def _source_of(self, writer: str) -> str:
        return f"{self._name}:{writer}" if writer else self._name

    def _life_of(self, source: str) -> str:
        return source.removeprefix(self._name).removeprefix(":")

    def _member(self, id: str) -> str:
        return f"{self._source}/{id}"

    def _ends(self, asked: Iterable[Line]) -> list[tuple[str, int]]:
        return [(self._key(line), line.end) for line in asked]

    def _written(self, totals: Mapping[Line, int]) -> list[tuple[str, int, int]]:
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
