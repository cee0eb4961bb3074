"""Virtual keys in PostgreSQL, beside the ledger that several gateways write: all of them have the same keys.

keys           one row a key; the record is MessagePack, `revoked` the time that counts
key_changes    one number that grows in the transaction of each change, so whoever looks knows whether to read on
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import msgspec

from ..errors import KeyStoreError, LedgerError, NotFound
from ..ledger.postgres_schema import SETUP
from ..ledger.postgres_session import Connection, Session, loop, prepare
from .store import Loaded
from .virtual import VirtualKey

T = TypeVar("T")
PATIENCE = 5.0  # seconds for one query

SCHEMA = """
CREATE TABLE IF NOT EXISTS keys(
    id text COLLATE "C" PRIMARY KEY, digest bytea NOT NULL UNIQUE, created double precision NOT NULL,
    revoked double precision, record bytea NOT NULL
);
CREATE TABLE IF NOT EXISTS key_changes(number bigint NOT NULL);
INSERT INTO key_changes SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM key_changes);
"""

_THERE = "SELECT to_regclass('interlock.key_changes') IS NOT NULL"
_PUT = """
INSERT INTO keys VALUES ($1, $2, $3, $4, $5)
ON CONFLICT(id) DO UPDATE SET record = excluded.record, revoked = coalesce(keys.revoked, excluded.revoked)
"""
_REVOKE = "UPDATE keys SET revoked = $1 WHERE id = $2 AND revoked IS NULL"
_ALL = "SELECT record, revoked FROM keys ORDER BY created, id"


class PostgresKeys:
    """See `KeyStore`. The tables are made with the first key, and the ledger's if there are none yet."""

    def __init__(self, url: str) -> None:
        self._session = Session(url, patience=PATIENCE)
        self.name = self._session.name
        self._there = False

    async def load(self, known: int = -1) -> Loaded | None:
        return await self._run(partial(self._load, known=known))

    async def put(self, key: VirtualKey) -> None:
        row = (key.id, key.digest, key.created, key.revoked, msgspec.msgpack.encode(key))
        await self._run(lambda connection: self._change(connection, _PUT, row))

    async def revoke(self, id: str, at: float) -> VirtualKey:
        await self._run(lambda connection: self._change(connection, _REVOKE, (at, id)))
        found = await self.load()
        for key in found.keys if found else ():
            if key.id == id:
                return key
        raise NotFound(f"there is no key {id!r}", param="id")

    async def close(self) -> None:
        await asyncio.to_thread(self._session.close)

    async def _load(self, connection: Connection, known: int) -> Loaded | None:
        if not self._there:
            self._there = await connection.fetchval(_THERE)
            if not self._there:
                return None if known == 0 else Loaded(0, [])
        if await connection.fetchval("SELECT number FROM key_changes") == known:
            return None
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            version = await connection.fetchval("SELECT number FROM key_changes")
            rows = await connection.fetch(_ALL)
        return Loaded(version, [msgspec.structs.replace(_read(record), revoked=at) for record, at in rows])

    async def _change(self, connection: Connection, statement: str, parameters: tuple[object, ...]) -> None:
        if not await connection.fetchval(_THERE):
            await prepare(connection, self.name)
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", SETUP)  # another gateway may do it too
                await connection.execute(SCHEMA)
        async with connection.transaction():
            await connection.execute("UPDATE key_changes SET number = number + 1")  # one change at a time
            await connection.execute(statement, *parameters)

    async def _run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._session.work(work), loop()))
        except LedgerError as error:
            raise KeyStoreError(f"the keys cannot be read or written: {error}") from error


def _read(record: bytes) -> VirtualKey:
    return msgspec.msgpack.decode(record, type=VirtualKey)
