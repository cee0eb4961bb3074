"""Verify a ledger: recompute every hash and name the first place where something is not what was written.

A full verification reads everything: rows, attachments, checkpoints, snapshots, and what the database itself can check.
The recent one starts at the last checkpoint, trusting what lies before it, and is what every start of a writer does. A
hash chain alone cannot show that its end was cut off; an anchor (seq and hash of a row, kept elsewhere) can.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import msgspec

from ..errors import LedgerCorrupt, LedgerError, SnapshotError
from .chain import GENESIS, attachment_digest, checkpoint_mark, row_hash
from .database import Database, Place, open_database
from .reading import Stored
from .records import Audit, decode
from .snapshots import check

Progress = Callable[[int, int], None]
STEP = 1000  # rows between two calls of progress


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was verified, from the row after `since`. `head` and `hash` together are the anchor to keep elsewhere."""

    since: int
    rows: int
    attachments: int
    erased: int
    checkpoints: int
    snapshots: int
    head: int
    hash: str


def verify(
    place: Place, full: bool = True, anchor: tuple[int, str] | None = None, progress: Progress | None = None
) -> Report:
    """Raises LedgerCorrupt, whose `seq` is the first row that does not verify, or LedgerError."""
    reached = [0]
    try:
        with closing(open_database(place, bytes)) as database, database.consistent():
            return _Verification(database, reached, progress).run(full, anchor)
    except LedgerCorrupt as error:
        if error.seq:
            raise
        raise LedgerCorrupt(f"unreadable after row {reached[0]}: {error}", reached[0] + 1) from error
    except (TypeError, ValueError, AttributeError, struct.error) as error:
        raise LedgerCorrupt(f"a value after row {reached[0]} is of another type: {error}", reached[0] + 1) from error


class _Verification:
    def __init__(self, database: Database, reached: list[int], progress: Progress | None) -> None:
        self._database, self._reached, self._progress = database, reached, progress
        self._attachments = self._erased = 0
        self._said_erased = self._erasures()

    def run(self, full: bool, anchor: tuple[int, str] | None) -> Report:
        marks = self._checkpoints()
        since, prev = (0, GENESIS) if full or not marks else max(marks.items())
        if since:
            self._same(self._stored_hash(since), prev, since, "its hash is not the one in the checkpoint")
        seq, hash = self._rows(since, prev, {} if not full else marks)
        if marks and max(marks) > seq:
            raise LedgerCorrupt(f"missing: the ledger ends at row {seq}, a checkpoint names a later one", seq + 1)
        if anchor is not None:
            self._anchored(anchor, seq)
        snapshots = 0
        if full:
            snapshots = self._snapshots(seq)
            self._structure()
        return Report(
            since=since,
            rows=seq - since,
            attachments=self._attachments,
            erased=self._erased,
            checkpoints=len(marks),
            snapshots=snapshots,
            head=seq,
            hash=hash.hex(),
        )

    def _checkpoints(self) -> dict[int, bytes]:
        """seq -> hash of that row, the checkpoints' own chain verified."""
        found: dict[int, bytes] = {}
        mark = GENESIS
        for seq, at, hash, stored in self._database.stream("SELECT seq, at, hash, mark FROM checkpoints ORDER BY seq"):
            mark = checkpoint_mark(mark, seq, at, hash)
            self._same(stored, mark, seq, "the checkpoint here is not what was written")
            found[seq] = hash
        return found

    def _rows(self, since: int, prev: bytes, marks: dict[int, bytes]) -> tuple[int, bytes]:
        """Walk rows and attachments side by side; the last row's seq and hash."""
        last = self._database.fetch("SELECT max(seq) FROM rows")[0][0] or 0
        query = "SELECT seq, at, kind, decision_id, tenant, body, prev, hash FROM rows WHERE seq > ? ORDER BY seq"
        attachments = self._attached(since)
        beside = next(attachments, None)
        seq = since
        for found, at, kind, decision, tenant, body, stored_prev, stored in self._database.stream(query, (since,)):
            seq += 1
            if found != seq:
                raise LedgerCorrupt(f"missing: the next row is {found}", seq)
            self._same(stored_prev, prev, seq, "it does not follow the row before it")
            prev = row_hash(prev, seq, at, kind, decision, tenant, body)
            self._same(stored, prev, seq, "its content is not what was written")
            self._same(marks.get(seq, prev), prev, seq, "its hash is not the one in the checkpoint")
            here: dict[str, bytes] = {}
            while beside is not None and beside[0] <= seq:
                if beside[0] < seq:
                    raise LedgerCorrupt("an attachment belongs to no row", beside[0])
                here[beside[1].decode(errors="replace")] = attachment_digest(beside[2], beside[1], beside[3])
                beside = next(attachments, None)
            self._attached_as_written(seq, kind.decode(), body, here)
            self._reached[0] = seq
            if self._progress is not None and (seq % STEP == 0 or seq == last):
                self._progress(seq, last)
        if beside is not None:
            raise LedgerCorrupt("an attachment belongs to no row", beside[0])
        return seq, prev

    def _attached(self, since: int) -> Iterator[Any]:
        query = "SELECT seq, name, salt, blob FROM attachments WHERE seq > ? ORDER BY seq, name"
        return self._database.stream(query, (since,))

    def _attached_as_written(self, seq: int, kind: str, body: bytes, here: dict[str, bytes]) -> None:
        """Digests match the body; of what is missing an audit row says that it was erased."""
        try:
            _, attached = decode(kind, body)
        except LedgerError as error:
            raise LedgerCorrupt(str(error), seq) from error
        for name, digest in here.items():
            if attached.get(name) != digest:
                raise LedgerCorrupt(f"its attachment {name!r} is not what was written", seq)
        self._attachments += len(here)
        gone = ", ".join(sorted(attached.keys() - here.keys()))
        if gone and seq not in self._said_erased:
            raise LedgerCorrupt(f"its attachment ({gone}) is gone and no audit row says that it was erased", seq)
        if not gone and seq in self._said_erased:
            raise LedgerCorrupt("an audit row says that its attachments were erased, but they are there", seq)
        self._erased += len(attached) - len(here)

    def _erasures(self) -> set[int]:
        """The rows that lost attachments, as audit rows say. One that is garbled is found when its turn comes."""
        said: set[int] = set()
        for (body,) in self._database.stream("SELECT body FROM rows WHERE kind = 'audit'"):
            with suppress(LedgerError):
                audit, _ = decode("audit", body)
                said.update(
                    audit.detail.get("rows", ()) if isinstance(audit, Audit) and audit.action == "erase" else ()
                )
        return said

    def _snapshots(self, head: int) -> int:
        query = "SELECT version, seq, at, maker, state, trust, mark FROM snapshots ORDER BY seq"
        count = 0
        for version, seq, at, maker, state, trust, mark in self._database.stream(query):
            try:
                check(Stored(version.decode(), seq, at, maker.decode(), state, trust, mark))
            except (SnapshotError, UnicodeDecodeError) as error:
                raise LedgerCorrupt(f"the snapshot here is not what was written ({error})", seq) from error
            if seq > head:
                raise LedgerCorrupt(f"missing: snapshot {version.decode()} was folded from it", head + 1)
            count += 1
        return count

    def _structure(self) -> None:
        if problems := self._database.check_structure():
            raise LedgerCorrupt(
                f"all rows verify, but the database's structure does not: {problems}", self._reached[0] + 1
            )

    def _anchored(self, anchor: tuple[int, str], head: int) -> None:
        seq, expected = anchor
        if seq > head:
            raise LedgerCorrupt(f"missing: the anchor names row {seq}, the ledger ends at {head}", head + 1)
        if self._stored_hash(seq).hex() != expected:
            raise LedgerCorrupt("it is not the row that the anchor names", seq)

    def _stored_hash(self, seq: int) -> bytes:
        found = self._database.fetch("SELECT hash FROM rows WHERE seq = ?", (seq,))
        if not found and seq:
            raise LedgerCorrupt("missing: a checkpoint or anchor names it", seq)
        hash: bytes = found[0][0] if found else GENESIS
        return hash

    @staticmethod
    def _same(stored: bytes, computed: bytes, seq: int, otherwise: str) -> None:
        if stored != computed:
            raise LedgerCorrupt(otherwise, seq)
