"""Erasure: the content goes, the evidence that there was a decision stays.

Attachments (vector, prompt, answer, quotes) are deleted: by SQLite with secure_delete, so that their bytes are
overwritten in the file, and the write-ahead log, which may still hold them, is emptied; by PostgreSQL from every view
at once, and from its files when it vacuums and its own log has been recycled. The chain knows only salted
digests and still verifies; an audit row says which rows lost what. Folds skip decisions whose vector was erased, and
snapshots that may have learned from them are dropped: the learner folds again from the start.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from ..errors import LedgerError, NotFound
from .database import Query
from .records import Audit, Entry, encode

TENANT = """(decision_id IN (SELECT decision_id FROM rows WHERE tenant = ? AND kind IN ('decision', 'refusal'))
    OR tenant = ?)"""
DECISION = "decision_id = ? AND decision_id != ''"


class Transactions(Protocol):
    """What erasing needs of an appender to a SQL database."""

    def query(self, query: str, parameters: Sequence[Any] = ()) -> list[Any]: ...

    def append(
        self, entries: Sequence[Entry], durable: bool = False, also: Callable[[Query], None] | None = None
    ) -> Sequence[int]: ...

    def scrub(self) -> bool: ...


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """What was erased: attachments by name, the rows that lost them, and the snapshots dropped.

    `audit` is the seq of the row that says so, None when there was nothing (left) to erase. `wal_emptied` is False when
    a log of the database may still hold the content: SQLite's while a reader needs it, PostgreSQL's until recycled.
    """

    subject: str
    attachments: dict[str, int]
    rows: tuple[int, ...]
    snapshots: tuple[str, ...]
    audit: int | None
    wal_emptied: bool


def erase(appender: Transactions, *, tenant: str | None = None, decision: str | None = None) -> Erasure:
    """Erase everything attached to a tenant's rows, or to one decision's. Raises NotFound, LedgerError."""
    if (tenant is None) == (decision is None):
        raise LedgerError("name either a tenant or a decision to forget")
    named: tuple[str | None, ...] = (decision,) if tenant is None else (tenant, tenant)
    subject, where = (f"tenant={tenant}", TENANT) if tenant is not None else (f"decision={decision}", DECISION)
    if not appender.query(f"SELECT 1 FROM rows WHERE {where} LIMIT 1", named):
        raise NotFound(f"the ledger has no row of {subject}")
    query = f"SELECT seq, name FROM attachments WHERE seq IN (SELECT seq FROM rows WHERE {where}) ORDER BY seq"
    found = appender.query(query, named)
    if not found:
        return Erasure(subject=subject, attachments={}, rows=(), snapshots=(), audit=None, wal_emptied=appender.scrub())
    first = found[0][0]
    query = "SELECT version FROM snapshots WHERE seq >= ? ORDER BY seq"
    snapshots = tuple(version for (version,) in appender.query(query, (first,)))
    rows = tuple(sorted({seq for seq, _ in found}))
    detail: dict[str, Any] = {
        "attachments": dict(Counter(name for _, name in found)),
        "rows": rows,
        "snapshots": snapshots,
    }

    def delete(query: Query) -> None:
        for seq in rows:
            query("DELETE FROM attachments WHERE seq = ?", (seq,))
        query("DELETE FROM snapshots WHERE seq >= ?", (first,))

    audit = encode(Audit(at=time.time(), action="erase", subject=subject, detail=detail))
    (seq,) = appender.append([audit], durable=True, also=delete)
    return Erasure(
        subject=subject,
        rows=rows,
        audit=seq,
        wal_emptied=appender.scrub(),
        **{k: detail[k] for k in ("attachments", "snapshots")},
    )
