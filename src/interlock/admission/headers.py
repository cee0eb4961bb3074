"""The response headers of admission: OpenAI's `x-ratelimit-*`, and a warning when a soft budget is exceeded."""

from __future__ import annotations

from collections.abc import Sequence

from .counter import MINUTE, Rate
from .windows import Line


def rate_headers(rates: Sequence[Rate], levels: Sequence[float]) -> bytes:
    """Of each kind the bucket with the least in it: its size, what is left, and when it is full again."""
    tightest: dict[str, tuple[float, Rate]] = {}
    for rate, level in zip(rates, levels, strict=False):
        if rate.kind not in tightest or level < tightest[rate.kind][0]:
            tightest[rate.kind] = level, rate
    return b"".join(
        b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %d\r\nx-ratelimit-reset-%b: %b\r\n"
        % (name, rate.per_minute, name, max(0, int(level)), name, _duration(level, rate))
        for level, rate in tightest.values()
        for name in (rate.kind.encode(),)
    )


def _duration(level: float, rate: Rate) -> bytes:
    """As OpenAI writes it: `6m0s`, `1.5s`, `20ms`."""
    seconds = max(0.0, (rate.per_minute - level) * MINUTE / rate.per_minute)
    if seconds < 1:
        return b"%dms" % round(seconds * 1000)
    minutes, rest = divmod(seconds, 60)
    text = f"{rest:.3f}".rstrip("0").rstrip(".")
    return f"{int(minutes)}m{text}s".encode() if minutes else f"{text}s".encode()


def warning(line: Line, used: float, soft: float) -> bytes:
    scope = line.account.split(":", 1)[0]
    return f"x-interlock-budget-warning: {scope} {line.window} used={used:.6f} soft={soft:.6f}\r\n".encode()
