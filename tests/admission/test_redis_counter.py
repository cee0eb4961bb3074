"""What only several workers on one Redis can show: sums, dead workers, a Redis that is gone or has forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from interlock.admission import Ask, Rate, Settlement, fold
from interlock.admission.redis_counter import APART, RedisCounter
from interlock.errors import CounterUnreachable
from interlock.lab.process import free_port
from interlock.ledger import Ledger, SqliteLedger

from ..conftest import Redis
from .conftest import AT, line, redis_counter, spend

Asking = Callable[..., Ask]
DAY = line("key:k", "day")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with SqliteLedger(tmp_path / "ledger.db") as ledger:
        yield ledger


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


async def test_a_restart_counts_what_the_ledger_holds(worker: Any, asking: Asking, ledger: Ledger) -> None:
    before, other = await worker("a", ledger=ledger), await worker("b")
    ask, lost, gone = (asking(5, 5, {"day": 100}) for _ in range(3))
    await before.reserve(ask)
    before.settle(ask, 5, Settlement(4, 0))
    await spend(ledger, ask, 3, before.life)  # the last cent never reached the ledger
    await before.reserve(gone)
    before.settle(gone, 5, Settlement(5, 0))  # nor did anything of this one
    await before.reserve(lost)
    await spend(ledger, asking(), 2)  # from before there was Redis
    other.settle(asking(), 0, Settlement(10, 0))
    await asyncio.gather(before.flush(), other.flush())
    after = await worker("a", ledger=ledger)
    await after.recount()
    assert await after.usage([DAY, line("key:k", "hour")]) == [(15, 0), (15, 0)]
    await after._redis.flushall()
    await after.reserve(asking(1, 1, {"day": 100}))
    assert await after.usage([DAY]) == [(5, 1)]  # all that this ledger knows is told again


async def test_what_a_dead_worker_spent_is_counted_by_those_who_live(
    worker: Any, asking: Asking, ledger: Ledger
) -> None:
    """On one ledger: one worker dies with spendings that only Redis knows, and others that only the ledger knows."""
    quick = {"ledger": ledger, "shared": True, "lease": 0.4, "beat": 0.05}
    dies, one, two = [await worker("a", **quick) for _ in range(3)]
    told, written, held = (asking(5, 5, {"day": 1000}) for _ in range(3))
    await dies.reserve(told)
    dies.settle(told, 5, Settlement(4, 0))
    await dies.flush()
    await spend(ledger, written, 70, dies.life)
    await dies.reserve(held)
    for counter, cost in ((one, 100), (two, 200)):
        ask = asking(5, 5, {"day": 1000})
        await counter.reserve(ask)
        await spend(ledger, ask, cost, counter.life)
        counter.settle(ask, 5, Settlement(cost, 0))
    async with running(one), running(two):
        await eventually(one, (370, 0))
        late = await worker("a", **quick)  # one that starts counts the dead, and not the living twice
        await late.recount()
        assert await late.usage([DAY]) == [(370, 0)]
        assert sum(fold(ledger, AT).totals[line] for line in [DAY]) == 370
        assert late.workers == 3


async def test_one_that_was_taken_for_dead_comes_back(worker: Any, asking: Asking, ledger: Ledger) -> None:
    quick = {"ledger": ledger, "shared": True, "lease": 0.3, "beat": 0.05}
    sleeps, lives = [await worker("a", **quick) for _ in range(2)]
    ask, unwritten, held = (asking(5, 5, {"day": 1000}) for _ in range(3))
    for one, cost in ((ask, 30), (unwritten, 4)):
        await sleeps.reserve(one)
        sleeps.settle(one, 5, Settlement(cost, 0))
    await sleeps.reserve(held)
    await sleeps.flush()
    await spend(ledger, ask, 30, sleeps.life)
    async with running(lives):
        await eventually(lives, (30, 0))
        async with running(sleeps):
            await eventually(lives, (34, 5))
            await asyncio.sleep(0.5)
            assert await lives.usage([DAY]) == [(34, 5)]
            await lives._redis.flushall()
            await lives.reserve(asking(1, 1, {"day": 1000}))
            await eventually(lives, (34, 6))


async def test_a_redis_that_forgets_is_told_of_those_that_ended_in_order(
    worker: Any, asking: Asking, ledger: Ledger
) -> None:
    shared = {"ledger": ledger, "shared": True, "beat": 0.05}
    stays, ends = [await worker("a", **shared) for _ in range(2)]
    ask = asking(5, 5, {"day": 1000})
    await ends.reserve(ask)
    await spend(ledger, ask, 7, ends.life)
    ends.settle(ask, 5, Settlement(7, 0))
    await ends.close(complete=True)
    async with running(stays):
        await eventually(stays, (7, 0))
        assert stays.workers == 1
        await stays._redis.flushall()
        assert (await stays.reserve(asking(1, 1, {"day": 1000}))).granted == 1
        await eventually(stays, (7, 1))


async def test_only_rows_since_the_dead_was_born_are_read(worker: Any, asking: Asking, tmp_path: Path) -> None:
    with SqliteLedger(tmp_path / "many.db", checkpoint_every=4) as ledger:
        counter = await worker("a", ledger=ledger, shared=True)
        for _ in range(8):
            await spend(ledger, asking(), 1)
        read: list[int] = []
        rows = ledger.rows
        ledger.rows = lambda **asked: read.append(asked["since"]) or rows(**asked)  # type: ignore[method-assign,func-returns-value]
        born = int((time.time() + 2 * APART) * 1000)
        await counter.recount([f"a:w-{born:012x}{'0' * 18}"])
        await counter.recount()
        assert read == [16, 0]
        assert await counter.usage([DAY]) == [(8, 0)]


async def eventually(counter: RedisCounter, expected: tuple[int, int]) -> None:
    found = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            while (found := (await counter.usage([DAY]))[0]) != expected:
                await asyncio.sleep(0.02)
    assert found == expected


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
    tasks = [asyncio.create_task(counter.run()), asyncio.create_task(counter.recounting())]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


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
