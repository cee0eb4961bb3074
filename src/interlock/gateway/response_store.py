"""Responses that may be asked for again, or continued: each its tenant's own, for a while, up to a number and a size.

In the memory of this process, or, when the configuration names a file, there: a gateway of several processes needs one,
and only then are prompts and answers written to a disk.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import msgspec

from ..errors import ConfigError, NotFound

SCHEMA = """
CREATE TABLE IF NOT EXISTS responses(
    id TEXT PRIMARY KEY, tenant TEXT NOT NULL, at REAL NOT NULL, input BLOB NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS responses_by_age ON responses(at);
"""
OLDEST = "SELECT id, length(input) + length(body) FROM responses ORDER BY at LIMIT 1"

Item = dict[str, Any]


class Response(msgspec.Struct, frozen=True):
    """`input` is the whole conversation that was answered, `body` the response's JSON."""

    id: str
    input: list[Item]
    body: bytes


class ResponseStore:
    """`retention` in seconds, `size` in bytes; what is older, and the oldest of too many, goes. Any thread may call.

    Raises `ConfigError` when the file cannot be opened.
    """

    def __init__(
        self,
        path: str = "",
        retention: float = 86_400.0,
        entries: int = 10_000,
        size: int = 64 * 1024 * 1024,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._retention, self._entries, self._size, self._clock = path, retention, entries, size, clock
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
            self._db.executescript(f"PRAGMA journal_mode = WAL; PRAGMA secure_delete = ON; {SCHEMA}")
        except sqlite3.Error as error:
            raise ConfigError(f"{path} cannot be opened: {error}", path="responses.path") from error

    async def put(self, response: Response, tenant: str) -> None:
        await asyncio.to_thread(self._put, response, tenant)

    async def get(self, id: str, tenant: str) -> Response:
        """Raises `NotFound`, for another tenant's as for one that never was."""
        return await asyncio.to_thread(self._get, id, tenant)

    async def delete(self, id: str, tenant: str) -> None:
        """Raises `NotFound`."""
        await asyncio.to_thread(self._delete, id, tenant)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _put(self, response: Response, tenant: str) -> None:
        row = response.id, tenant, self._clock(), msgspec.json.encode(response.input), response.body
        with self._lock, closing(self._db.cursor()) as cursor:
            cursor.execute("INSERT OR REPLACE INTO responses VALUES (?, ?, ?, ?, ?)", row)
            cursor.execute("DELETE FROM responses WHERE at < ?", (self._clock() - self._retention,))
            count, held = cursor.execute(
                "SELECT count(*), total(length(input) + length(body)) FROM responses"
            ).fetchone()
            while count > self._entries or held > self._size:
                oldest, size = cursor.execute(OLDEST).fetchone()
                cursor.execute("DELETE FROM responses WHERE id = ?", (oldest,))
                count, held = count - 1, held - size

    def _get(self, id: str, tenant: str) -> Response:
        since = self._clock() - self._retention
        with self._lock, closing(self._db.cursor()) as cursor:
            query = "SELECT input, body FROM responses WHERE id = ? AND tenant = ? AND at >= ?"
            found = cursor.execute(query, (id, tenant, since)).fetchone()
        if found is None:
            raise self._missing(id)
        return Response(id, msgspec.json.decode(found[0]), found[1])

    def _delete(self, id: str, tenant: str) -> None:
        with self._lock, closing(self._db.cursor()) as cursor:
            gone = cursor.execute("DELETE FROM responses WHERE id = ? AND tenant = ?", (id, tenant)).rowcount
        if not gone:
            raise self._missing(id)

    def _missing(self, id: str) -> NotFound:
        where = "in their file" if self._path else "in the memory of the process that gave them (see responses.path)"
        kept = f"responses are kept for {self._retention:g} seconds at most, {where}"
        return NotFound(f"no response {id!r} here; {kept}", param="id")
