"""Reading a ledger: rows in order, one decision with all that followed, the latest, and counts.

A reader never blocks a writer nor the other way round. Long reads go page by page, each its own transaction, so they do
not keep SQLite's write-ahead log from being folded back into the file, or PostgreSQL's dead rows from being removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from ..errors import LedgerError, NotFound, nearest
from ..types import Decision, Feedback, Outcome
from .database import Place, located, open_database
from .records import KINDS, Record, decode

PAGE = 1000  # rows
FEW = 200  # parameters in one IN (...)
COLUMNS = "seq, at, kind, decision_id, tenant, body, prev, hash"


class Row(msgspec.Struct, frozen=True, gc=False):
    """A row as stored. `record` decodes its body; `decision` is the id of the decision it is about, empty if none."""

    seq: int
    at: float
    kind: str
    decision: str
    tenant: str
    body: bytes
    prev: bytes
    hash: bytes

    @property
    def record(self) -> Record:
        """The record without its attachments. Raises LedgerError when the body is garbled."""
        return decode(self.kind, self.body)[0]


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A decision and all that is known of it. `feedback` holds every row, in order, also what was replaced or revoked.

    `prompt` (the messages as JSON) and `answer` are None when not kept; `erased` names the attachments erased since.
    """

    decision: Decision
    outcome: Outcome | None
    feedback: tuple[Feedback, ...]
    prompt: str | None
    answer: str | None
    erased: tuple[str, ...]


class Stored(msgspec.Struct, frozen=True):
    """A stored snapshot. `maker` fingerprints the policy that made it; `trust` is the learner's own state."""

    version: str
    seq: int
    at: float
    maker: str
    state: bytes
    trust: bytes
    mark: bytes


class Reading:
    """Read access to the ledger at `place` (see database.py). Usable from any thread; raises LedgerError."""

    def __init__(self, place: Place) -> None:
        self.place = located(place)
        self._database = open_database(self.place)

    @property
    def name(self) -> str:
        """Where the ledger is, in a form that may be printed."""
        return self._database.name

    def close(self) -> None:
        self._database.close()

    def fetch(self, query: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query, with the database's errors explained."""
        return self._database.fetch(query, parameters)

    def rows(
        self,
        kind: str | None = None,
        tenant: str | None = None,
        since: int = 0,
        until: int | None = None,
        limit: int | None = None,
    ) -> Iterator[Row]:
        """Rows with since < seq <= until, oldest first.

        `tenant` selects its decisions, what followed them, and the feedback it gave. `kind` is one of `records.KINDS`.
        """
        where, fixed = ["seq > ?", "seq <= ?"], [(1 << 62) if until is None else until]
        named: list[Any] = []
        if kind is not None:
            if kind not in KINDS:
                raise LedgerError(f"there is no kind of row {kind!r}; {nearest(kind, KINDS)}")
            where.append(f"kind = '{kind}'")  # not a parameter: a partial index needs to see it
        if tenant is not None:
            theirs = "SELECT decision_id FROM rows WHERE tenant = ? AND kind IN ('decision', 'refusal')"
            where.append(f"(tenant = ? OR decision_id IN ({theirs}))")
            named += [tenant, tenant]
        query = f"SELECT {COLUMNS} FROM rows WHERE {' AND '.join(where)} ORDER BY seq LIMIT ?"
        left = (1 << 62) if limit is None else limit
        while left > 0:
            page = self.fetch(query, (since, *fixed, *named, min(left, PAGE)))
            yield from (Row(*columns) for columns in page)
            if len(page) < min(left, PAGE):
                return
            left, since = left - len(page), page[-1][0]

    def head(self) -> tuple[int, bytes]:
        """The last row's seq and hash; (0, genesis) in an empty ledger. Kept elsewhere, it anchors the whole chain."""
        found = self.fetch("SELECT seq, hash FROM rows ORDER BY seq DESC LIMIT 1")
        return (found[0][0], found[0][1]) if found else (0, bytes(32))

    def written_before(self, at: float) -> int:
        """A seq up to which every row was written before `at`, as the checkpoints say; 0 when they say nothing."""
        found = self.fetch("SELECT max(seq) FROM checkpoints WHERE at < ?", (at,))[0][0]
        return int(found or 0)

    def tail(self, count: int) -> list[Row]:
        """The latest rows, newest first."""
        return [Row(*row) for row in self.fetch(f"SELECT {COLUMNS} FROM rows ORDER BY seq DESC LIMIT ?", (count,))]

    def about(self, decisions: Sequence[str], until: int) -> list[Row]:
        """Every row about any of the decisions up to seq `until`, in order."""
        found: list[Row] = []
        for start in range(0, len(decisions), FEW):
            few = decisions[start : start + FEW]
            marks = ",".join("?" * len(few))
            query = f"SELECT {COLUMNS} FROM rows WHERE decision_id IN ({marks}) AND decision_id != '' AND seq <= ?"
            found += [Row(*row) for row in self.fetch(query, (*few, until))]
        return sorted(found, key=lambda row: row.seq)

    def attachments(self, seqs: Sequence[int], name: str | None = None) -> dict[int, dict[str, bytes]]:
        """The attachments still there of the rows `seqs`: seq -> name -> content."""
        found: dict[int, dict[str, bytes]] = {}
        for start in range(0, len(seqs), FEW):
            few = seqs[start : start + FEW]
            query = f"SELECT seq, name, blob FROM attachments WHERE seq IN ({','.join('?' * len(few))})"
            extra = () if name is None else (name,)
            for seq, found_name, blob in self.fetch(query + (" AND name = ?" if extra else ""), (*few, *extra)):
                found.setdefault(seq, {})[found_name] = blob
        return found

    def has(self, decision: str) -> bool:
        which = "decision_id = ? AND decision_id != '' AND kind IN ('decision', 'refusal')"
        query = f"SELECT 1 FROM rows WHERE {which} LIMIT 1"
        return bool(self.fetch(query, (decision,)))

    def decision(self, id: str) -> Case:
        """A decision with its outcome and feedback. Raises NotFound; LedgerError when one of its rows is garbled."""
        rows = self.about([id], 1 << 62)
        blobs = self.attachments([row.seq for row in rows])
        decision: Decision | None = None
        outcome: Outcome | None = None
        feedback: list[Feedback] = []
        kept: dict[str, bytes] = {}
        erased: set[str] = set()
        for row in rows:
            here = blobs.get(row.seq, {})
            record, attached = decode(row.kind, row.body, here)
            kept |= here
            erased |= attached.keys() - here.keys()
            if isinstance(record, Decision):
                decision = record
            elif isinstance(record, Outcome):
                outcome = record
            elif isinstance(record, Feedback):
                feedback.append(record)
        if decision is None:
            raise NotFound(f"no decision {id!r} in the ledger", param="id")
        prompt, answer = (kept[name].decode() if name in kept else None for name in ("prompt", "answer"))
        return Case(
            decision=decision,
            outcome=outcome,
            feedback=tuple(feedback),
            prompt=prompt,
            answer=answer,
            erased=tuple(sorted(erased)),
        )

    def stats(self) -> dict[str, Any]:
        """Rows by kind, attachments by name, checkpoints, snapshots, the head, and the size on disk in bytes."""
        seq, hash = self.head()
        return {
            "path": self.name,
            "rows": seq,
            "head": hash.hex(),
            "bytes": self._database.size(),
            "kinds": dict(self.fetch("SELECT kind, count(*) FROM rows GROUP BY kind ORDER BY kind")),
            "attachments": dict(self.fetch("SELECT name, count(*) FROM attachments GROUP BY name ORDER BY name")),
            "checkpoints": self.fetch("SELECT count(*) FROM checkpoints")[0][0],
            "snapshots": self.fetch("SELECT count(*) FROM snapshots")[0][0],
        }

    def snapshots(self) -> list[tuple[str, int, float, str]]:
        """(version, seq, at, maker) of every stored snapshot, newest first."""
        return self.fetch("SELECT version, seq, at, maker FROM snapshots ORDER BY seq DESC, at DESC")

    def snapshot(self, version: str) -> Stored | None:
        query = "SELECT version, seq, at, maker, state, trust, mark FROM snapshots WHERE version = ?"
        found = self.fetch(query, (version,))
        return Stored(*found[0]) if found else None
