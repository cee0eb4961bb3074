"""Snapshots of the learner's state, stored beside the rows they were folded from.

They are not part of the chain, since any of them can be folded again from it; a mark makes damage visible, and the
version itself says which state it must be.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import SnapshotError
from .chain import snapshot_mark, snapshot_version
from .database import Query
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
    return pin_since(reading, 0, "")[0]


def pin_since(reading: Reading, since: int, pin: str) -> tuple[str, int]:
    """The version that is pinned, if `pin` was at row `since`; and the last row that said anything of it."""
    for row in reading.rows(kind="audit", since=since):
        record, since = row.record, row.seq
        if isinstance(record, Audit) and record.action in ("pin", "resume"):
            pin = record.subject if record.action == "pin" else ""
    return pin, since


def replace(query: Query, snapshot: Stored, keep: int, pinned: Sequence[str]) -> None:
    """Inside a transaction: store it and drop all but the newest `keep` and the `pinned`."""
    values = tuple(getattr(snapshot, name) for name in Stored.__struct_fields__)
    query("DELETE FROM snapshots WHERE version = ?", (snapshot.version,))
    query("INSERT INTO snapshots VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    newest = "SELECT version FROM snapshots ORDER BY seq DESC, at DESC LIMIT ?"
    others = "".join(" AND version != ?" for _ in pinned)
    query(f"DELETE FROM snapshots WHERE version NOT IN ({newest}){others}", (keep, *pinned))
