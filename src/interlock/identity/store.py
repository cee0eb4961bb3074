"""Where virtual keys are kept. The seam is four methods wide, so that another database can stand behind it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from ..errors import KeyStoreError, NotFound
from .virtual import VirtualKey


class Loaded(NamedTuple):
    """All keys, oldest first, and the version of the store that they are: it grows with every change."""

    version: int
    keys: list[VirtualKey]


class KeyStore(Protocol):
    """Any number of processes may use one store at a time. Each method raises `KeyStoreError`."""

    async def load(self, known: int = -1) -> Loaded | None:
        """Everything, or `None` when it still is at the version `known`."""
        ...

    async def put(self, key: VirtualKey) -> None:
        """Add a key, or replace the one of the same id. A revoked one stays revoked."""
        ...

    async def revoke(self, id: str, at: float) -> VirtualKey:
        """Mark it; the first time counts. Raises `NotFound`."""
        ...

    async def close(self) -> None: ...


SCHEMA = """
CREATE TABLE IF NOT EXISTS keys(
    id TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, created REAL NOT NULL, revoked REAL, record BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS version(number INTEGER NOT NULL) STRICT;
INSERT INTO version SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM version);
CREATE TRIGGER IF NOT EXISTS key_added AFTER INSERT ON keys BEGIN UPDATE version SET number = number + 1; END;
CREATE TRIGGER IF NOT EXISTS key_changed AFTER UPDATE ON keys BEGIN UPDATE version SET number = number + 1; END;
"""

_PUT = """
INSERT INTO keys VALUES (?, ?, ?, ?, ?)
ON CONFLICT(id) DO UPDATE SET record = excluded.record, revoked = coalesce(keys.revoked, excluded.revoked)
"""


class SqliteKeys:
    """A file of its own, readable by its owner only. It is made with the first use."""

    def __init__(self, path: Path | str) -> None:
        self.path, self._lock = Path(path), threading.Lock()
        self._opened: sqlite3.Connection | None = None

    async def load(self, known: int = -1) -> Loaded | None:
        return await asyncio.to_thread(self._load, known)

    async def put(self, key: VirtualKey) -> None:
        row = (key.id, key.digest, key.created, key.revoked, msgspec.msgpack.encode(key))
        await asyncio.to_thread(self._execute, _PUT, row)

    async def revoke(self, id: str, at: float) -> VirtualKey:
        await asyncio.to_thread(self._execute, "UPDATE keys SET revoked = ? WHERE id = ? AND revoked IS NULL", (at, id))
        found = await self.load()
        for key in found.keys if found else ():
            if key.id == id:
                return key
        raise NotFound(f"there is no key {id!r}", param="id")

    async def close(self) -> None:
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            opened = sqlite3.connect(self.path, timeout=5.0, isolation_level=None, check_same_thread=False)
            _write_ahead(opened)
            opened.execute("PRAGMA synchronous = FULL")
            opened.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
            self._opened = opened
        return self._opened

    def _load(self, known: int) -> Loaded | None:
        with self._lock, self._explained():
            if self._opened is None and not self.path.exists():
                return None if known == 0 else Loaded(0, [])
            connection = self._connection
            connection.execute("BEGIN")
            try:
                (version,) = connection.execute("SELECT number FROM version").fetchone()
                if version == known:
                    return None
                rows = connection.execute("SELECT record, revoked FROM keys ORDER BY created, id").fetchall()
            finally:
                connection.execute("COMMIT")
            return Loaded(version, [msgspec.structs.replace(_read(record), revoked=at) for record, at in rows])

    def _execute(self, statement: str, parameters: tuple[object, ...]) -> None:
        with self._lock, self._explained():
            self._connection.execute(statement, parameters)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, msgspec.MsgspecError) as error:
            raise KeyStoreError(f"{self.path}: the keys cannot be read or written ({error})") from error


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Of two that do this to a new file at once, SQLite refuses one without waiting. Raises `sqlite3.Error`."""
    deadline = time.monotonic() + 5.0
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _read(record: bytes) -> VirtualKey:
    return msgspec.msgpack.decode(record, type=VirtualKey)
