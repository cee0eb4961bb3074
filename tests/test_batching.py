"""Requests of one tick share one call; each gets its own result, and a failure reaches everyone who waited."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from interlock.batching import Tick


async def test_one_tick_is_one_call() -> None:
    calls: list[list[int]] = []

    def double(items: Sequence[int]) -> list[int]:
        calls.append(list(items))
        return [2 * item for item in items]

    tick = Tick(double)
    assert await asyncio.gather(*(tick(item) for item in range(5))) == [0, 2, 4, 6, 8]
    assert await tick(7) == 14
    assert calls == [[0, 1, 2, 3, 4], [7]]


async def test_a_failure_reaches_every_waiter_and_the_next_tick_works() -> None:
    def fail_on_zero(items: Sequence[int]) -> list[int]:
        return [1 // item for item in items]

    tick = Tick(fail_on_zero)
    results = await asyncio.gather(tick(1), tick(0), return_exceptions=True)
    assert all(isinstance(result, ZeroDivisionError) for result in results)
    assert await tick(1) == 1


async def test_a_cancelled_waiter_is_left_out() -> None:
    seen: list[int] = []

    def note(items: Sequence[int]) -> list[int]:
        seen.extend(items)
        return list(items)

    tick = Tick(note)
    kept, cancelled = tick(1), tick(2)
    cancelled.cancel()
    assert await kept == 1
    assert seen == [1]
    with pytest.raises(asyncio.CancelledError):
        await cancelled
