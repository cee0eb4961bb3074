"""A ledger as JSON Lines: to keep elsewhere, to read with other tools, to load again.

The first line says what follows: `rows`, the `hash` of the last, and the `selection` if it is not everything. Then
a line a row: its columns, with `body` as Base64 (the bytes that are hashed) and `record` as the same in plain JSON for
people and other tools; and its attachments. A whole export verifies by itself, without a database.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

import msgspec

from ..errors import LedgerCorrupt, LedgerError
from .append import SqliteAppender
from .chain import GENESIS, attachment_digest, row_hash
from .reading import Reading, Row
from .records import Attachment, Entry, decode, document
from .store import WriterLock
from .verify import verify

FORMAT = "interlock-ledger-1"
PAGE = 500  # rows
Progress = Callable[[int, int], None]


class Kept(msgspec.Struct, frozen=True):
    """An attachment in an export."""

    salt: bytes
    blob: bytes


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A row in an export. msgspec writes bytes as Base64."""

    seq: int
    at: float
    kind: str
    decision: str
    tenant: str
    body: bytes
    prev: bytes
    hash: bytes
    attachments: dict[str, Kept] = {}
    record: Any = None


def export(
    reading: Reading,
    out: IO[bytes],
    *,
    tenant: str | None = None,
    kind: str | None = None,
    progress: Progress | None = None,
) -> int:
    """Write the rows there are now, of a tenant or kind if given; how many. Raises LedgerError."""
    head, hash = reading.head()
    selection = {name: value for name, value in (("tenant", tenant), ("kind", kind)) if value is not None}
    first = {"format": FORMAT, "rows": head, "hash": base64.b64encode(hash).decode(), "selection": selection}
    out.write(msgspec.json.encode(first) + b"\n")
    count = 0
    rows = reading.rows(kind=kind, tenant=tenant, until=head)
    while page := list(islice(rows, PAGE)):
        kept = beside(reading, [row.seq for row in page])
        for row in page:
            out.write(msgspec.json.encode(_line(row, kept.get(row.seq, {}))) + b"\n")
        count += len(page)
        if progress is not None:
            progress(page[-1].seq, head)
    return count


def read_export(lines: Iterable[bytes], progress: Progress | None = None) -> Iterator[Line]:
    """The rows of a whole export, each verified. Raises LedgerCorrupt, LedgerError when it is not a whole export."""
    source = iter(lines)
    try:
        first = msgspec.json.decode(next(source, b""))
        rows, hash = int(first["rows"]), base64.b64decode(first["hash"])
        if first["format"] != FORMAT:
            raise LedgerError(f"the export's format is {first['format']!r}, this interlock reads {FORMAT!r}")
        selection = first.get("selection")
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise LedgerError("this is not an export: its first line does not say what follows") from error
    if selection:
        raise LedgerError(f"this export is a selection ({selection}); only a whole one can be verified or imported")
    seq, prev = 0, GENESIS
    for seq, text in enumerate(source, 1):
        try:
            line = msgspec.json.decode(text, type=Line)
        except msgspec.MsgspecError as error:
            raise LedgerCorrupt(f"line {seq + 1} of the export is garbled: {error}", seq) from error
        prev = _verified(line, seq, prev)
        if progress is not None and (seq % PAGE == 0 or seq == rows):
            progress(seq, rows)
        yield line
    if (seq, prev) != (rows, hash):
        raise LedgerCorrupt(f"the export should end with row {rows}, it ends with row {seq}", seq + 1)


def import_export(lines: Iterable[bytes], path: Path, progress: Progress | None = None) -> int:
    """A new ledger at `path` with the rows of a whole export, hashes and all; how many.

    It is written beside and takes its name only when complete and verified. Raises LedgerError when `path` exists.
    """
    if path.exists():
        raise LedgerError(f"{path}: there is a file already; import into a new one")
    partial = path.with_name(path.name + ".partial")
    _remove(partial)
    try:
        with WriterLock(partial):
            appender = SqliteAppender(partial)
            try:
                source = read_export(lines, progress)
                while page := list(islice(source, PAGE)):
                    appender.append([_entry(line) for line in page])
                    if appender.head != (page[-1].seq, page[-1].hash):
                        raise LedgerCorrupt("it does not hash as exported", page[0].seq)
                count = appender.head[0]
            finally:
                appender.close()
            verify(partial)
            os.replace(partial, path)
    finally:
        _remove(partial)
    return count


def _line(row: Row, beside: dict[str, Kept]) -> Line:
    columns = {name: getattr(row, name) for name in Row.__struct_fields__}
    try:
        record: Any = document(row.record)
    except LedgerError as error:
        record = {"garbled": str(error)}
    return Line(**columns, attachments=beside, record=record)


def _entry(line: Line) -> Entry:
    attachments = tuple(Attachment(name, kept.salt, kept.blob) for name, kept in sorted(line.attachments.items()))
    return Entry(line.kind, line.at, line.decision, line.tenant, line.body, attachments)


def _verified(line: Line, seq: int, prev: bytes) -> bytes:
    """The line's hash, if it is row `seq` and unchanged."""
    if line.seq != seq:
        raise LedgerCorrupt(f"missing from the export: the next row is {line.seq}", seq)
    columns = (line.kind.encode(), line.decision.encode(), line.tenant.encode())
    if line.prev != prev or row_hash(prev, seq, line.at, *columns, line.body) != line.hash:
        raise LedgerCorrupt("its content is not what was exported", seq)
    attached = decode(line.kind, line.body)[1]
    for name, kept in line.attachments.items():
        if attached.get(name) != attachment_digest(kept.salt, name.encode(), kept.blob):
            raise LedgerCorrupt(f"its attachment {name!r} is not what was exported", seq)
    return line.hash


def beside(reading: Reading, seqs: list[int]) -> dict[int, dict[str, Kept]]:
    """The attachments, with their salts, of a page of rows in order: seq -> name -> attachment."""
    found: dict[int, dict[str, Kept]] = {}
    query = "SELECT seq, name, salt, blob FROM attachments WHERE seq BETWEEN ? AND ?"
    wanted = set(seqs)
    for seq, name, salt, blob in reading.fetch(query, (seqs[0], seqs[-1])):
        if seq in wanted:
            found.setdefault(seq, {})[name] = Kept(salt, blob)
    return found


def _remove(path: Path) -> None:
    for ending in ("", "-wal", "-shm", ".lock"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
