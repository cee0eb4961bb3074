"""Calendar windows in UTC: which hour, day and month a moment is in. A request belongs to those in which it came."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

HOUR = 3600
NEVER = 1 << 52
"""When the window `total` ends."""


class Span(NamedTuple):
    """`start` and `end` in seconds since the epoch, `start` included."""

    window: str
    start: int
    end: int


class Line(NamedTuple):
    """What is counted: the money of one account (`key:<id>`, `tenant:<name>`) in one window."""

    account: str
    window: str
    start: int
    end: int


def spans(at: float) -> tuple[Span, ...]:
    """The four windows that the moment `at` is in: hour, day, month, total."""
    return _spans(int(at // HOUR))


@lru_cache(64)
def _spans(hour: int) -> tuple[Span, ...]:
    start = datetime.fromtimestamp(hour * HOUR, UTC)
    day = start.replace(hour=0)
    month = day.replace(day=1)
    following = (month + timedelta(days=31)).replace(day=1)

    def span(window: str, start: datetime, end: datetime) -> Span:
        return Span(window, int(start.timestamp()), int(end.timestamp()))

    return (
        span("hour", start, start + timedelta(hours=1)),
        span("day", day, day + timedelta(days=1)),
        span("month", month, following),
        Span("total", 0, NEVER),
    )


@lru_cache(4096)
def _lines(accounts: tuple[str, ...], hour: int) -> tuple[Line, ...]:
    return tuple(Line(account, *span) for account in accounts for span in _spans(hour))


def lines(accounts: tuple[str, ...], at: float) -> tuple[Line, ...]:
    """Every line that a request of these accounts at that moment counts on."""
    return _lines(accounts, int(at // HOUR))
