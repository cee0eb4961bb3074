"""Every counter there is, so that each passes the same tests."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interlock.admission import Ask, Cap, LocalCounter, lines
from interlock.admission.redis_counter import CONNECTIONS, RedisCounter
from interlock.admission.windows import Line
from interlock.ledger import Ledger, SqliteLedger
from interlock.types import Decision, Outcome, Slate

AT = time.time() // 3600 * 3600  # this hour: Redis forgets windows that are over


async def redis_counter(
    url: str, name: str = "l-test", ledger: Ledger | None = None, **parameters: Any
) -> RedisCounter:
    """Of an empty ledger, if none is given."""
    from redis.asyncio import BlockingConnectionPool, Redis

    pool = BlockingConnectionPool.from_url(url, max_connections=CONNECTIONS, timeout=None)
    return RedisCounter(Redis.from_pool(pool), name, ledger or empty(), **parameters)


@cache
def empty() -> Ledger:
    return SqliteLedger(Path(tempfile.mkdtemp(prefix="interlock-test-")) / "ledger.db")


async def spend(ledger: Ledger, ask: Ask, nano: int, writer: str = "") -> None:
    """The rows of a request that cost this much."""
    ledger.put(
        Decision(
            id=ask.id, at=AT, tenant="t", session="", model="auto", considered=Slate((), (), np.zeros((0, 7))),
            chosen="c", policy="p", snapshot="s", config="c", seed=0, key="k", writer=writer,
        )
    )  # fmt: skip
    ledger.put(Outcome(decision=ask.id, at=AT, candidate="c", steps=(), cost=nano / 1e9))
    await ledger.flush()


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


__all__ = ["AT", "line", "redis_counter", "settled", "spend"]
