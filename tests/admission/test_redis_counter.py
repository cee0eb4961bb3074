"""What only several workers on one Redis can show: sums, dead workers, a Redis that is gone or has forgotten."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from interlock.admission import Ask, Rate, Settlement
from interlock.admission.redis_counter import RedisCounter
from interlock.errors import CounterUnreachable
from interlock.lab.process import free_port

from ..conftest import Redis
from .conftest import AT, line, redis_counter

Asking = Callable[..., Ask]
DAY = line("key:k", "day")


@pytest.fixture
async def worker(redis_server: Redis) -> AsyncIterator[Callable[..., Any]]:
    made: list[RedisCounter] = []

    async def start(source: str, **parameters: Any) -> RedisCounter:
        counter = await redis_counter(redis_server.url, source, clock=lambda: AT, **parameters)
        if not made:
            await counter._redis.flushall()
        made.append(counter)
        await counter.start()
        return counter

    yield start
    for counter in made:
        await counter.close()


async def test_workers_share_one_budget(worker: Any, asking: Asking) -> None:
    one, two = await worker("a"), await worker("b")
    mine, theirs = asking(5, 60, {"day": 100}), asking(5, 60, {"day": 100})
    assert ((await one.reserve(mine)).granted, (await two.reserve(theirs)).granted) == (60, 40)
    one.settle(mine, 60, Settlement(11, 0))
    two.settle(theirs, 40, Settlement(22, 0))
    await asyncio.gather(one.flush(), two.flush())
    assert await one.usage([DAY]) == await two.usage([DAY]) == [(33, 0)]
    assert [counter.mine.totals()[DAY] for counter in (one, two)] == [11, 22]


async def test_many_at_once_get_no_more_than_there_is(worker: Any, asking: Asking) -> None:
    workers = [await worker(name) for name in "abc"]
    asks = [asking(3, 7, {"day": 1000}) for _ in range(300)]
    verdicts = await asyncio.gather(*(workers[i % 3].reserve(ask) for i, ask in enumerate(asks)))
    assert sum(verdict.granted for verdict in verdicts) <= 1000
    assert sum(verdict.granted for verdict in verdicts) > 1000 - 3


async def test_a_settlement_that_comes_twice_counts_once(worker: Any, asking: Asking) -> None:
    counter = await worker("a")
    ask = asking(5, 5, {"day": 100})
    await counter.reserve(ask)
    counter.settle(ask, 5, Settlement(4, 0))
    await counter.flush()
    counter._dirty[DAY] = None
    counter._done.append(counter._member(ask.id))
    await counter.flush()
    assert await counter.usage([DAY]) == [(4, 0)]


async def test_a_restart_says_again_what_its_ledger_holds(worker: Any, asking: Asking) -> None:
    before, other = await worker("a"), await worker("b")
    ask, lost = asking(5, 5, {"day": 100}), asking(7, 7, {"day": 100})
    await before.reserve(ask)
    before.settle(ask, 5, Settlement(4, 0))
    await before.reserve(lost)
    other.settle(asking(), 0, Settlement(10, 0))
    await asyncio.gather(before.flush(), other.flush())
    after = await redis_counter(f"redis://127.0.0.1:{port(before)}/0", "a", clock=lambda: AT)
    after.mine.restore({DAY: 3})  # the last cent never reached the ledger
    await after.start()
    assert await after.usage([DAY, line("key:k", "hour")]) == [(13, 0), (10, 0)]
    await after.close()


def port(counter: RedisCounter) -> int:
    found: int = counter._redis.connection_pool.connection_kwargs["port"]
    return found


async def test_a_dead_workers_reservations_are_given_back(worker: Any, asking: Asking) -> None:
    dies, lives = await worker("a", lease=0.3, beat=0.05), await worker("b", lease=0.3, beat=0.05)
    await dies.reserve(asking(60, 60, {"day": 100}))
    kept = asking(40, 40, {"day": 100})
    await lives.reserve(kept)
    async with running(lives):
        assert (await lives.reserve(asking(10, 10, {"day": 100}))).against == "budget"
        await asyncio.sleep(0.5)
        found = await lives.reserve(asking(10, 60, {"day": 100}))
    assert (found.granted, found.room) == (60, ((0, 40),))
    assert lives.workers == 1


async def test_a_redis_that_forgets_is_told_again(worker: Any, asking: Asking) -> None:
    counter = await worker("a")
    spent, held = asking(5, 5, {"day": 100}), asking(8, 8, {"day": 100})
    await counter.reserve(spent)
    await counter.reserve(held)
    counter.settle(spent, 5, Settlement(4, 0))
    await counter._redis.flushall()
    assert (await counter.reserve(asking(1, 1, {"day": 100}))).room == ((4, 8),)
    await counter._redis.flushall()
    counter.settle(held, 8, Settlement(8, 0))
    await counter.flush()
    assert (await counter.usage([DAY]))[0][0] == 12


@contextlib.asynccontextmanager
async def running(counter: RedisCounter) -> AsyncIterator[None]:
    task = asyncio.create_task(counter.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def a_redis_of_its_own() -> AsyncIterator[Redis]:
    server = Redis(free_port())
    server.start()
    try:
        yield server
    finally:
        server.stop()


async def test_lost_redis_leaves_each_worker_its_share(redis_server: Redis, asking: Asking) -> None:
    async with a_redis_of_its_own() as server:
        one, two = [await redis_counter(server.url, source, clock=lambda: AT, beat=0.1) for source in "ab"]
        await one.start()
        await two.start()
        async with running(one), running(two):
            await asyncio.sleep(0.3)
            assert one.workers == 2
            spent = asking(20, 20, {"day": 100})
            await one.reserve(spent)
            one.settle(spent, 20, Settlement(20, 0))
            await one.flush()
            await two.reserve(asking(1, 1, {"day": 100}))
            await one.reserve(asking(1, 1, {"day": 100}))
            server.stop()
            # one saw 22 of 100 taken, so 39 are its share; two saw 21, so its is 39 too
            found = [await counter.reserve(asking(1, 90, {"day": 100})) for counter in (one, two)]
            assert [verdict.granted for verdict in found] == [39, 39]
            assert [(await c.reserve(asking(1, 9, {"day": 100}))).against for c in (one, two)] == ["budget"] * 2
            assert one.lost
            assert two.lost
            one.settle(asking(), 0, Settlement(5, 0))
            server.start()
            async with asyncio.timeout(10):
                while one.lost or two.lost:
                    await asyncio.sleep(0.05)
            assert (await one.usage([DAY]))[0] == (25, 39 + 39 + 1 + 1)
        await one.close()
        await two.close()


async def test_lost_redis_refuses_where_that_is_asked_for(redis_server: Redis, asking: Asking) -> None:
    async with a_redis_of_its_own() as server:
        counter = await redis_counter(server.url, "a", clock=lambda: AT, when_lost="refuse")
        await counter.start()
        server.stop()
        for _ in range(2):
            with pytest.raises(CounterUnreachable):
                await counter.reserve(asking(rates=(Rate("key:k", "requests", 5, 1),)))
        counter.settle(asking(), 0, Settlement(5, 0))
        assert await counter.usage([DAY]) == [(5, 0)]
        await counter.close()
