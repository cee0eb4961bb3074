"""Take a ledger from one database to another: rows, attachments, checkpoints and snapshots, hashes and all.

It goes row by row from where the target ends, so a migration that broke off goes on when it is run again, and one that
is run again after its source has grown brings the rest. In the end the whole target is verified against the source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..errors import LedgerError
from .append import SqliteAppender
from .database import Place, is_url, located
from .export import beside
from .reading import Reading, Row
from .records import Attachment, Audit, Entry
from .store import WriterLock
from .verify import verify

if TYPE_CHECKING:
    from .postgres import PostgresAppender

PAGE = 500  # rows
Progress = Callable[[int, int], None]


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """`rows` the target has now, of which `copied` were brought; `head` and `hash` are its anchor."""

    rows: int
    copied: int
    snapshots: int
    head: int
    hash: str


def migrate(source: Place, target: Place, progress: Progress | None = None) -> Migration:
    """Bring what `source` has now to `target`, which is made when there is none; `progress` gets (done, of) rows.

    The target must hold nothing, or the beginning of the same chain. Raises LedgerError, LedgerCorrupt.
    """
    source, target = located(source), located(target)
    if source == target:
        raise LedgerError("a ledger cannot be migrated to where it is")
    with closing(Reading(source)) as reading:
        until, hash = reading.head()
        with _appending(target) as appender:
            since = _common(reading, appender, until)
            rows = reading.rows(since=since, until=until)
            while page := list(islice(rows, PAGE)):
                _copy(reading, appender, page, since)
                if progress is not None:
                    progress(page[-1].seq, until)
            snapshots = [reading.snapshot(version) for version, seq, *_ in reading.snapshots() if seq <= until]
            for snapshot in reversed([found for found in snapshots if found is not None]):
                appender.keep_snapshot(snapshot, len(snapshots), ())
    report = verify(target, anchor=(until, hash.hex()) if until else None)
    if report.head != until:
        raise LedgerError(f"somebody else writes the target: it has {report.head} rows, the source has {until}")
    return Migration(
        rows=report.rows, copied=until - since, snapshots=report.snapshots, head=report.head, hash=report.hash
    )


@contextmanager
def _appending(place: Place) -> Iterator[SqliteAppender | PostgresAppender]:
    if is_url(place):
        from .postgres import PostgresAppender

        with closing(PostgresAppender(str(place))) as far:
            yield far
    else:
        with WriterLock(Path(place)), closing(SqliteAppender(Path(place))) as near:
            yield near


def _common(reading: Reading, appender: SqliteAppender | PostgresAppender, until: int) -> int:
    """The row up to which the target holds the source's chain. Raises LedgerError when it holds another."""
    found = appender.query("SELECT seq, hash FROM rows ORDER BY seq DESC LIMIT 1")
    if not found:
        return 0
    seq, hash = found[0]
    if seq > until:
        raise LedgerError(f"the target has {seq} rows already, more than the source's {until}")
    if [row.hash for row in reading.rows(since=seq - 1, until=seq)] != [hash]:
        raise LedgerError(f"the target holds another ledger: its row {seq} is not the source's; take an empty one")
    return int(seq)


def _copy(reading: Reading, appender: SqliteAppender | PostgresAppender, page: list[Row], since: int) -> None:
    kept = beside(reading, [row.seq for row in page])
    entries = [
        Entry(
            row.kind,
            row.at,
            row.decision,
            row.tenant,
            row.body,
            tuple(Attachment(name, k.salt, k.blob) for name, k in sorted(kept.get(row.seq, {}).items())),
        )
        for row in page
    ]
    seqs = appender.append(entries)
    if seqs[0] != page[0].seq:
        raise LedgerError(f"somebody else writes the target: row {page[0].seq} became its row {seqs[0]}")
    for row in page:
        record = row.record
        if isinstance(record, Audit) and record.action == "erase":  # since an earlier run brought what it erased
            for seq in record.detail["rows"]:
                if seq <= since:
                    appender.query("DELETE FROM attachments WHERE seq = ?", (seq,))
