"""What a key or a tenant may use: budgets in USD per window of time, and rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

Window = Literal["hour", "day", "month", "total"]
Usd = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]
PerMinute = Annotated[int, msgspec.Meta(ge=1, le=10**12)]
Streams = Annotated[int, msgspec.Meta(ge=1, le=10**6)]


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """USD in one calendar window (UTC): above `soft_usd` answers carry a warning, `hard_usd` is never exceeded."""

    window: Window
    hard_usd: Usd | None = None
    soft_usd: Usd | None = None


class RateLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Token buckets that hold a minute's worth, and how many streamed answers may be open at once."""

    requests_per_minute: PerMinute | None = None
    tokens_per_minute: PerMinute | None = None
    parallel_streams: Streams | None = None


class Allowance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that is counted for one key or one tenant."""

    budgets: tuple[Budget, ...] = ()
    limits: RateLimits = RateLimits()


NO_LIMITS = RateLimits()
UNLIMITED = Allowance()


def misfit(budgets: Sequence[Budget]) -> tuple[int, str] | None:
    """The first budget that makes no sense beside the others, and why; `None` when all do."""
    seen: set[str] = set()
    for i, budget in enumerate(budgets):
        if budget.window in seen:
            return i, f"a second budget for the window {budget.window!r}; one holds both soft_usd and hard_usd"
        if budget.hard_usd is None and budget.soft_usd is None:
            return i, "a budget needs hard_usd, soft_usd or both"
        if budget.hard_usd is not None and budget.soft_usd is not None and budget.soft_usd > budget.hard_usd:
            return i, f"soft_usd ({budget.soft_usd:g}) must not be above hard_usd ({budget.hard_usd:g})"
        seen.add(budget.window)
    return None
