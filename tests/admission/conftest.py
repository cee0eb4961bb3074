"""Every counter there is, so that each passes the same tests."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from interlock.admission import Ask, Cap, LocalCounter, lines
from interlock.admission.redis_counter import CONNECTIONS, RedisCounter
from interlock.admission.windows import Line

AT = time.time() // 3600 * 3600  # this hour: Redis forgets windows that are over


async def redis_counter(url: str, source: str = "l-test", **parameters: Any) -> RedisCounter:
    from redis.asyncio import BlockingConnectionPool, Redis

    pool = BlockingConnectionPool.from_url(url, max_connections=CONNECTIONS, timeout=None)
    return RedisCounter(Redis.from_pool(pool), source, **parameters)


@pytest.fixture(params=["local", "redis"])
async def counter(request: pytest.FixtureRequest) -> AsyncIterator[LocalCounter | RedisCounter]:
    if request.param == "local":
        yield LocalCounter(clock=lambda: AT)
        return
    server = request.getfixturevalue("redis_server")
    made = await redis_counter(server.url, clock=lambda: AT)
    await made._redis.flushall()
    await made.start()
    yield made
    await made.close()


async def settled(counter: LocalCounter | RedisCounter) -> None:
    """Whatever has ended is counted."""
    if isinstance(counter, RedisCounter):
        await counter.flush()


@pytest.fixture
def asking() -> Callable[..., Ask]:
    """`asking(least, most, hard={window: nano})` of the key `k` and the tenant `t`, with a new id each time."""
    count = iter(range(10**9))

    def make(least: int = 0, most: int = 0, hard: dict[str, int] | None = None, **fields: Any) -> Ask:
        accounts = ("key:k", "tenant:t")
        caps = tuple(Cap(line("key:k", window), limit) for window, limit in (hard or {}).items())
        return Ask(f"il-{next(count)}", AT, accounts, caps, least=least, most=most, **fields)

    return make


def line(account: str, window: str) -> Line:
    return next(found for found in lines((account,), AT) if found.window == window)


__all__ = ["AT", "line", "redis_counter", "settled"]
