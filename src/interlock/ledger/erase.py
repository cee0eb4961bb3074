"""Erasure: the content goes, the evidence that there was a decision stays.

Attachments (vector, prompt, answer, quotes) are deleted with SQLite's secure_delete, so their bytes are overwritten in
the file, and the write-ahead log, which may still hold them, is emptied. The chain knows only salted digests and still
verifies; an audit row says which rows lost what. Folds skip decisions whose vector was erased, and snapshots that may
have learned from them are dropped: the learner folds again from the start.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from typing import Any

import msgspec

from ..errors import LedgerError, NotFound
from .append import Appender
from .reading import explaining
from .records import Audit, encode

TENANT = """decision_id IN (SELECT decision_id FROM rows WHERE tenant = :subject AND kind IN ('decision', 'refusal'))
    OR tenant = :subject"""
DECISION = "decision_id = :subject AND decision_id != ''"


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """What was erased: attachments by name, the rows that lost them, and the snapshots dropped.

    `audit` is the seq of the row that says so, None when there was nothing (left) to erase. `wal_emptied` is False when
    a reader still held the write-ahead log: its copy of the content goes with the next checkpoint.
    """

    subject: str
    attachments: dict[str, int]
    rows: tuple[int, ...]
    snapshots: tuple[str, ...]
    audit: int | None
    wal_emptied: bool


def erase(appender: Appender, *, tenant: str | None = None, decision: str | None = None) -> Erasure:
    """Erase everything attached to a tenant's rows, or to one decision's. Raises NotFound, LedgerError."""
    if (tenant is None) == (decision is None):
        raise LedgerError("name either a tenant or a decision to forget")
    subject, where = (f"tenant={tenant}", TENANT) if tenant is not None else (f"decision={decision}", DECISION)
    named = {"subject": decision if tenant is None else tenant}
    connection = appender.connection
    with explaining(appender.path):
        if connection.execute(f"SELECT 1 FROM rows WHERE {where} LIMIT 1", named).fetchone() is None:
            raise NotFound(f"the ledger has no row of {subject}")
        query = f"SELECT seq, name FROM attachments WHERE seq IN (SELECT seq FROM rows WHERE {where}) ORDER BY seq"
        found = connection.execute(query, named).fetchall()
        if not found:
            return Erasure(
                subject=subject, attachments={}, rows=(), snapshots=(), audit=None, wal_emptied=appender.truncate_wal()
            )
        first = found[0][0]
        query = "SELECT version FROM snapshots WHERE seq >= ? ORDER BY seq"
        snapshots = tuple(version for (version,) in connection.execute(query, (first,)))
    rows = tuple(sorted({seq for seq, _ in found}))
    detail: dict[str, Any] = {
        "attachments": dict(Counter(name for _, name in found)),
        "rows": rows,
        "snapshots": snapshots,
    }

    def delete(connection: sqlite3.Connection) -> None:
        connection.executemany("DELETE FROM attachments WHERE seq = ?", [(seq,) for seq in rows])
        connection.execute("DELETE FROM snapshots WHERE seq >= ?", (first,))

    audit = encode(Audit(at=time.time(), action="erase", subject=subject, detail=detail))
    (seq,) = appender.append([audit], durable=True, also=delete)
    return Erasure(
        subject=subject,
        rows=rows,
        audit=seq,
        wal_emptied=appender.truncate_wal(),
        **{k: detail[k] for k in ("attachments", "snapshots")},
    )
