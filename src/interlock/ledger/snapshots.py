"""Snapshots of the learner's state, stored beside the rows they were folded from.

They are not part of the chain, since any of them can be folded again from it; a mark makes damage visible, and the
version itself says which state it must be.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ..errors import SnapshotError
from .append import Appender
from .chain import snapshot_mark, snapshot_version
from .reading import Reading, Stored
from .records import Audit


def sealed(seq: int, at: float, maker: str, state: bytes, trust: bytes) -> Stored:
    """A snapshot with its version and mark."""
    version = snapshot_version(seq, state)
    return Stored(
        version, seq, at, maker, state, trust, snapshot_mark(seq, at, version.encode(), maker.encode(), state, trust)
    )


def check(snapshot: Stored) -> Stored:
    """The snapshot, if it is undamaged. Raises SnapshotError."""
    if snapshot_version(snapshot.seq, snapshot.state) != snapshot.version:
        raise SnapshotError(f"snapshot {snapshot.version} does not hold the state its version names")
    if sealed(snapshot.seq, snapshot.at, snapshot.maker, snapshot.state, snapshot.trust) != snapshot:
        raise SnapshotError(f"snapshot {snapshot.version} is damaged")
    return snapshot


def pinned(reading: Reading) -> str:
    """The version that an operator pinned last and has not released, or ""."""
    records = (row.record for row in reading.rows(kind="audit"))
    changes = [record for record in records if isinstance(record, Audit) and record.action in ("pin", "resume")]
    return changes[-1].subject if changes and changes[-1].action == "pin" else ""


def keep_snapshot(appender: Appender, snapshot: Stored, keep: int, pinned: Sequence[str]) -> None:
    """Store it (again is no error) and drop all but the newest `keep` and the `pinned`."""

    def store(connection: sqlite3.Connection) -> None:
        values = tuple(getattr(snapshot, name) for name in Stored.__struct_fields__)
        connection.execute("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        marks = ",".join("?" * len(pinned))
        newest = "SELECT version FROM snapshots ORDER BY seq DESC, at DESC LIMIT ?"
        query = f"DELETE FROM snapshots WHERE version NOT IN ({newest}) AND version NOT IN ({marks})"
        connection.execute(query, (keep, *pinned))

    appender.append((), also=store)
