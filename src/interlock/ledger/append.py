"""Append entries to the chain: number them, hash them, insert them in one transaction, all or nothing.

Rows go in by multi-row statements in sizes of powers of two: SQLite releases Python's lock once a statement, and each
time the writer must wait to get it back from a busy event loop, so one statement a row would cost milliseconds a row.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from ..errors import LedgerError
from .chain import GENESIS, checkpoint_mark, row_hash
from .database import Query
from .erase import Erasure, erase
from .reading import Stored
from .records import Entry
from .snapshots import replace
from .store import explaining, open_writer

CHUNK = 256  # rows in the largest statement; 8 columns each stay far below SQLite's 32766 parameters


class SqliteAppender:
    """The one writing connection and the head of the chain: a `database.Appender` for one thread at a time."""

    degraded, spooled = "", 0

    def __init__(self, path: Path, checkpoint_every: int = 1024, busy_seconds: float = 5.0) -> None:
        self.path, self._every = path, checkpoint_every
        self.connection = open_writer(path, busy_seconds)
        self._full = False
        with explaining(path):
            last = self.connection.execute("SELECT seq, hash FROM rows ORDER BY seq DESC LIMIT 1").fetchone()
            mark = self.connection.execute("SELECT mark FROM checkpoints ORDER BY seq DESC LIMIT 1").fetchone()
        self.head: tuple[int, bytes] = last or (0, GENESIS)
        self._mark: bytes = mark[0] if mark else GENESIS

    def append(
        self,
        entries: Sequence[Entry],
        durable: bool = False,
        also: Callable[[Query], None] | None = None,
    ) -> range:
        """The seqs given to the entries, once committed; `also` runs in the same transaction, after them.

        `durable` waits until the disk has it (a power cut loses nothing); otherwise only the process may die without
        loss. Raises LedgerError, and then nothing of it was written.
        """
        first = self.head[0] + 1
        rows, attached, checkpoints, mark = self._link(entries)
        with explaining(self.path):
            self._synchronous(durable)
            try:
                self.connection.execute("BEGIN IMMEDIATE")
                _insert(self.connection, "rows", rows)
                _insert(self.connection, "attachments", attached)
                _insert(self.connection, "checkpoints", checkpoints)
                if also is not None:
                    also(self.query)
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise
        if rows:
            self.head, self._mark = (rows[-1][0], rows[-1][-1]), mark
        return range(first, first + len(rows))

    def query(self, query: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with explaining(self.path):
            return self.connection.execute(query, parameters).fetchall()

    def keep_snapshot(self, snapshot: Stored, keep: int, pinned: Sequence[str]) -> None:
        self.append((), also=partial(replace, snapshot=snapshot, keep=keep, pinned=pinned))

    def erase(self, *, tenant: str | None, decision: str | None) -> Erasure:
        return erase(self, tenant=tenant, decision=decision)

    def tend(self) -> None:
        """Nothing is ever due."""

    def scrub(self) -> bool:
        """Fold the write-ahead log, which may hold what was deleted, into the file and empty it.

        False when a reader still needs it.
        """
        with explaining(self.path):
            return not self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]

    def close(self) -> None:
        with suppress(LedgerError):
            self.scrub()
        self.connection.close()

    def _link(self, entries: Sequence[Entry]) -> tuple[list[Any], list[Any], list[Any], bytes]:
        """The rows of four tables' worth: rows, attachments, checkpoints, and the last checkpoint's mark."""
        rows: list[Any] = []
        attached: list[Any] = []
        checkpoints: list[Any] = []
        (seq, prev), mark = self.head, self._mark
        for entry in entries:
            seq += 1
            kind, decision, tenant = entry.kind.encode(), entry.decision.encode(), entry.tenant.encode()
            hash = row_hash(prev, seq, entry.at, kind, decision, tenant, entry.body)
            rows.append((seq, entry.at, entry.kind, entry.decision, entry.tenant, entry.body, prev, hash))
            attached += [(seq, a.name, a.salt, a.blob) for a in entry.attachments]
            if seq % self._every == 0:
                at = time.time()
                mark = checkpoint_mark(mark, seq, at, hash)
                checkpoints.append((seq, at, hash, mark))
            prev = hash
        return rows, attached, checkpoints, mark

    def _synchronous(self, durable: bool) -> None:
        if durable != self._full:
            self.connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._full = durable


def _insert(connection: sqlite3.Connection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    start, size = 0, CHUNK
    while start < len(rows):
        while size > len(rows) - start:
            size //= 2
        chunk = rows[start : start + size]
        connection.execute(_statement(table, len(chunk[0]), size), [value for row in chunk for value in row])
        start += size


@lru_cache(maxsize=64)
def _statement(table: str, columns: int, rows: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"INSERT INTO {table} VALUES {', '.join([row] * rows)}"
