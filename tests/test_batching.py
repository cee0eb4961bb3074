"""Requests of one tick share one call; each gets its own result, and a failure reaches who caused it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from interlock.batching import TICKS, Tick


async def test_one_tick_is_one_call() -> None:
    calls: list[list[int]] = []

    def double(items: Sequence[int]) -> list[int]:
        calls.append(list(items))
        return [2 * item for item in items]

    tick = Tick(double)
    assert await asyncio.gather(*(tick(item) for item in range(5))) == [0, 2, 4, 6, 8]
    assert await tick(7) == 14
    assert calls == [[0, 1, 2, 3, 4], [7]]


async def test_what_comes_while_more_keeps_coming_is_in_the_same_call() -> None:
    calls: list[int] = []

    def note(items: Sequence[int]) -> Sequence[int]:
        calls.append(len(items))
        return items

    tick = Tick(note)

    async def later(ticks: int) -> int:
        for _ in range(ticks):
            await asyncio.sleep(0)
        return await tick(ticks)

    await asyncio.gather(*(later(ticks) for ticks in range(4)))
    assert calls == [4]
    await asyncio.gather(*(later(ticks) for ticks in range(4 * TICKS)))
    assert len(calls) > 2, "a stream that never ends does not wait for its end"
    assert sum(calls) == 4 + 4 * TICKS


async def test_a_failure_reaches_only_who_caused_it_and_the_next_tick_works() -> None:
    def fail_on_zero(items: Sequence[int]) -> list[int]:
        return [12 // item for item in items]

    tick = Tick(fail_on_zero)
    three, zero, four = await asyncio.gather(tick(3), tick(0), tick(4), return_exceptions=True)
    assert (three, four) == (4, 3)
    assert isinstance(zero, ZeroDivisionError)
    assert await tick(1) == 12


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


def test_event_loops_do_not_wait_for_each_other() -> None:
    tick = Tick(lambda items: [item + 1 for item in items])

    async def ask(item: int) -> int:
        async with asyncio.timeout(30):
            return await tick(item)

    async def ask_and_leave() -> None:
        tick(0)

    abandoned = asyncio.new_event_loop()
    abandoned.run_until_complete(ask_and_leave())  # it ends before the tick does
    abandoned.close()
    assert asyncio.run(ask(1)) == 2
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(asyncio.run, map(ask, range(64)))) == list(range(1, 65))
