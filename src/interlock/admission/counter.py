"""One counter for the money that is shown and the money that is enforced: reserve before, settle after.

    reserve   what a request may cost at most is set aside, in every window of its key and of its tenant at once,
              or nothing is: then the verdict says which budget or rate stands against it
    settle    the reservation is given back and the real cost counted, in the windows in which the request came

used + reserved never exceeds a hard budget by a reservation. So what is spent exceeds it at most by what answers cost
beyond their reservation. Sums are of whole numbers: the order in which requests settle does not matter.
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from .windows import HOUR, Line, lines

KEPT = 24 * HOUR  # seconds for which a window that is over is kept, for requests that began in it
MINUTE = 60.0


class Cap(NamedTuple):
    """A hard limit on a line, in nano-dollars."""

    line: Line
    hard: int


class Rate(NamedTuple):
    """A token bucket of `per_minute` and what this request takes from it. `kind` is requests or tokens."""

    account: str
    kind: str
    per_minute: int
    amount: int


class Open(NamedTuple):
    """How many streamed answers an account may have open."""

    account: str
    most: int


class Ask(NamedTuple):
    """What a request wants. Between `least` and `most` nano-dollars are set aside, as many as there are left.

    What costs nothing (`least` is 0) is let in when nothing is left, and gets nothing.
    """

    id: str
    at: float
    accounts: tuple[str, ...]
    caps: tuple[Cap, ...] = ()
    rates: tuple[Rate, ...] = ()
    streams: tuple[Open, ...] = ()
    least: int = 0
    most: int = 0


class Verdict(NamedTuple):
    """`against` is empty when granted, else `budget`, `rate` or `streams`, and `which` says which of the ask's.

    `room` has (used, reserved) of each cap's line, before this ask; `levels` what is left in each rate's bucket, after
    it. `wait` is how many seconds until a rate would let it in.
    """

    granted: int
    against: str = ""
    which: int = 0
    room: tuple[tuple[int, int], ...] = ()
    levels: tuple[float, ...] = ()
    wait: float = 0.0


class Settlement(NamedTuple):
    """How a request ended: `cost` in nano-dollars, `tokens` as the provider counted them."""

    cost: int
    tokens: int


class Counter(Protocol):
    async def reserve(self, ask: Ask) -> Verdict: ...

    def settle(self, ask: Ask, granted: int, end: Settlement | None) -> None:
        """Called once for each ask that was granted, and for those that were never reserved; `None`: nothing ran."""
        ...

    async def usage(self, asked: Sequence[Line]) -> list[tuple[int, int]]:
        """(used, reserved) of each line, in nano-dollars."""
        ...


@dataclass(slots=True)
class Entry:
    used: int = 0
    reserved: int = 0


@dataclass(slots=True)
class Bucket:
    level: float
    at: float


class LocalCounter:
    """The counter of one process, in memory. Everything happens between two awaits, so no lock is needed."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._entries: dict[Line, Entry] = {}
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self._streams: Tally[str] = Tally()
        self._pruned = clock()
        self.open: dict[str, tuple[Ask, int]] = {}
        """What is reserved at present: by request, what it asked for and what was granted."""

    async def reserve(self, ask: Ask) -> Verdict:
        return self.reserve_now(ask)

    def reserve_now(self, ask: Ask) -> Verdict:
        verdict = self.weigh(ask)
        if not verdict.against:
            self.hold(ask, verdict.granted)
            for rate in ask.rates:
                self._bucket(rate).level -= rate.amount
        return verdict

    def weigh(self, ask: Ask) -> Verdict:
        """The verdict, without taking anything but the time that has passed into the buckets."""
        room = tuple((entry.used, entry.reserved) for entry in (self.entry(cap.line) for cap in ask.caps))
        granted = ask.most
        for i, (cap, (used, reserved)) in enumerate(zip(ask.caps, room, strict=True)):
            left = cap.hard - used - reserved
            if left < ask.least and ask.least:
                return Verdict(0, "budget", i, room)
            granted = max(0, min(granted, left))
        levels = tuple(self._bucket(rate).level for rate in ask.rates)
        for i, (rate, level) in enumerate(zip(ask.rates, levels, strict=True)):
            needed = min(rate.amount, rate.per_minute)
            if level < needed:
                return Verdict(0, "rate", i, room, levels, (needed - level) * MINUTE / rate.per_minute)
        for i, stream in enumerate(ask.streams):
            if self._streams[stream.account] >= stream.most:
                return Verdict(0, "streams", i, room, levels, 1.0)
        after = tuple(level - rate.amount for rate, level in zip(ask.rates, levels, strict=True))
        return Verdict(granted, room=room, levels=after)

    def hold(self, ask: Ask, granted: int) -> None:
        """Note a reservation that somebody has granted."""
        self.open[ask.id] = ask, granted
        for line in lines(ask.accounts, ask.at) if granted else ():
            self.entry(line).reserved += granted
        for stream in ask.streams:
            self._streams[stream.account] += 1

    def settle(self, ask: Ask, granted: int, end: Settlement | None) -> None:
        held = self.open.pop(ask.id, None) is not None
        for line in lines(ask.accounts, ask.at):
            entry = self.entry(line)
            entry.reserved -= granted if held else 0
            entry.used += end.cost if end else 0
        for stream in ask.streams if held else ():
            self._streams[stream.account] -= 1
        for rate in ask.rates:
            if rate.kind == "tokens":
                bucket = self._bucket(rate)
                bucket.level = min(float(rate.per_minute), bucket.level + rate.amount - (end.tokens if end else 0))
        if self._clock() - self._pruned > HOUR:
            self._prune()

    async def usage(self, asked: Sequence[Line]) -> list[tuple[int, int]]:
        nothing = Entry()
        found = [self._entries.get(line, nothing) for line in asked]
        return [(entry.used, entry.reserved) for entry in found]

    def totals(self) -> dict[Line, int]:
        """What is used on every line that is not over."""
        now = self._clock()
        return {line: entry.used for line, entry in self._entries.items() if line.end > now}

    def used(self, asked: Iterable[Line]) -> dict[Line, int]:
        return {line: self.entry(line).used for line in asked}

    def restore(self, totals: Mapping[Line, int]) -> None:
        """Set what is used to these sums, and to nothing elsewhere. What is reserved stays."""
        for line, entry in self._entries.items():
            entry.used = totals.get(line, 0)
        for line, used in totals.items():
            self.entry(line).used = used

    def entry(self, line: Line) -> Entry:
        """What is counted on a line, to be looked at."""
        entry = self._entries.get(line)
        if entry is None:
            entry = self._entries[line] = Entry()
        return entry

    def _bucket(self, rate: Rate) -> Bucket:
        """The bucket as it is now. One that is new, or whose size has changed, is full."""
        now, size = self._clock(), float(rate.per_minute)
        bucket = self._buckets.get((rate.account, rate.kind))
        if bucket is None:
            bucket = self._buckets[rate.account, rate.kind] = Bucket(size, now)
        bucket.level = min(size, bucket.level + max(0.0, now - bucket.at) * size / MINUTE)
        bucket.at = now
        return bucket

    def _prune(self) -> None:
        now = self._pruned = self._clock()
        for line in [line for line, entry in self._entries.items() if line.end < now - KEPT and not entry.reserved]:
            del self._entries[line]
        for key in [key for key, bucket in self._buckets.items() if bucket.at < now - HOUR]:
            del self._buckets[key]
