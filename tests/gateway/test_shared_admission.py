"""What only a ledger that several processes write can show of admission."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from interlock.config.settings import AdmissionSettings
from interlock.gateway.admission import Admission, name_of
from interlock.gateway.front import front
from interlock.identity import Allowance, Budget
from interlock.ledger import open_ledger
from interlock.ledger.records import encode
from interlock.ledger.spool import Spool
from interlock.types import Decision, Outcome, Slate, new_id

from ..conftest import Redis
from .conftest import CANDIDATES, SETTINGS, keys

ACME = keys(("sk-a", "acme", "viewer"), allowance=Allowance((Budget("total", 1.0),)))


@asynccontextmanager
async def nobody_appends(url: str) -> AsyncIterator[None]:
    """The ledger's advisory lock is held by somebody else."""
    import asyncpg

    from interlock.ledger.postgres_schema import LOCK

    connection = await asyncpg.connect(url, server_settings={"search_path": "interlock"})
    try:
        await connection.execute(f"SELECT pg_advisory_lock({LOCK}, 'rows'::regclass::oid::integer)")
        yield
    finally:
        await connection.close()


def leave_behind(folder: Path, writer: str, cost: float) -> None:
    """The spool of a process that was killed while the database was away."""
    id, now = new_id(), time.time()
    decided = Decision(
        id=id, at=now, tenant="acme", session="", model="auto", considered=Slate((), (), np.zeros((0, 7))),
        chosen="c", policy="p", snapshot="s", config="c", seed=0, key="a", writer=writer,
    )  # fmt: skip
    spool = Spool.open(folder, "0" * 32)
    spool.add(1, [encode(decided), encode(Outcome(decision=id, at=now, candidate="c", steps=(), cost=cost))])
    spool.close()


async def test_what_a_dead_process_left_in_its_spool_is_counted_once_it_is_written(
    postgres: Any, redis_server: Redis, tmp_path: Path
) -> None:
    url = postgres.database()
    with open_ledger(url) as ledger:
        await name_of(ledger)
    leave_behind(tmp_path, new_id("w"), 0.25)
    own = AdmissionSettings(redis=redis_server.url, prefix=new_id("test"))
    admission = Admission(replace(front(SETTINGS, CANDIDATES), static=ACME, admission=own), lambda *_: None)
    async with nobody_appends(url):
        ledger = await asyncio.to_thread(open_ledger, url, spool=tmp_path)
        await admission.open(ledger)
        assert await used(admission) == 0.0
    async with asyncio.timeout(20):
        while await used(admission) != 0.25:
            await asyncio.sleep(0.05)
    assert ledger.spooled == 0
    await admission.close()
    await asyncio.to_thread(ledger.close)


async def used(admission: Admission) -> float:
    return (await admission.control.used(["key:a"]))["key:a"]["total"]
