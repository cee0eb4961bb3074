"""Any change is detected, and located: one byte of any column of any table, and one byte of the file."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interlock.errors import LedgerCorrupt, LedgerError
from interlock.ledger import SqliteLedger, verify
from interlock.ledger.snapshots import sealed

Fill = Callable[[SqliteLedger, int], None]
COLUMNS = {
    "rows": ("seq", "at", "kind", "decision_id", "tenant", "body", "prev", "hash"),
    "attachments": ("seq", "name", "salt", "blob"),
    "checkpoints": ("seq", "at", "hash", "mark"),
    "snapshots": ("version", "seq", "at", "maker", "state", "trust", "mark"),
}


@pytest.fixture
def whole(path: Path, fill: Fill) -> Path:
    """A ledger with rows of every kind, erased and present attachments, checkpoints and snapshots; cleanly closed."""
    with SqliteLedger(path, payload=True, linger=0.0, checkpoint_every=16) as ledger:
        fill(ledger, 25)
        ledger.forget(decision="il-4")
        for i in range(2):
            ledger.keep_snapshot(sealed(40 + i, 1.7e9 + i, "maker", bytes([i]) * 50, b"trust"), 5).wait(5)
    return path


def test_an_untouched_ledger_verifies(whole: Path) -> None:
    steps: list[tuple[int, int]] = []
    report = verify(whole, progress=lambda done, of: steps.append((done, of)))
    assert (report.since, report.rows, report.head) == (0, 72, 72)
    assert (report.checkpoints, report.snapshots, report.erased) == (4, 2, 5)
    assert report.attachments == 25 * 3 + 2 * 23 - 5
    assert steps[-1] == (72, 72)
    recent = verify(whole, full=False)
    assert (recent.since, recent.rows, recent.hash) == (64, 8, report.hash)


@pytest.mark.parametrize(("table", "column"), [(table, column) for table in COLUMNS for column in COLUMNS[table]])
def test_a_flipped_byte_in_any_column_is_located(whole: Path, table: str, column: str) -> None:
    dice = random.Random(f"{table}.{column}")
    for attempt in range(6):
        changed = whole.with_name(f"changed-{attempt}.db")
        shutil.copy(whole, changed)
        seq = flip(changed, table, column, dice)
        with pytest.raises(LedgerCorrupt) as caught:
            verify(changed)
        assert caught.value.seq == seq, caught.value


def flip(path: Path, table: str, column: str, dice: random.Random) -> int:
    """Change one byte of one value; the row where that must be noticed."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript("DROP TRIGGER rows_keep; DROP TRIGGER attachments_keep;")
    values = connection.execute(f"SELECT rowid, seq, {column} FROM {table} WHERE length({column})").fetchall()
    rowid, seq, value = dice.choice(values)
    new = flipped(value, dice)
    if column == "seq":
        taken = {found for (found,) in connection.execute(f"SELECT seq FROM {table}")}
        while table in ("rows", "checkpoints") and new in taken:
            new = flipped(value, dice)
    connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (new, rowid))
    connection.close()
    if column == "seq" and table != "rows":
        return expected_for_moved(table, seq, new)
    return int(seq)


def flipped(value: Any, dice: random.Random) -> Any:
    if isinstance(value, int):
        return value ^ (1 << dice.randrange(20))
    if isinstance(value, float):
        return value + dice.choice([-1.0, 0.001, 5.0])
    data = bytearray(value if isinstance(value, bytes) else value.encode())
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(7 if isinstance(value, str) else 8)
    return bytes(data) if isinstance(value, bytes) else data.decode()


def expected_for_moved(table: str, seq: int, new: int) -> int:
    """Where a moved attachment, checkpoint or snapshot must be noticed: it is read in the order of its new place."""
    if table == "attachments":
        return min(seq, new)  # missing where it was, or too much where it is, whichever comes first
    if table == "checkpoints":
        order = sorted({16, 32, 48, 64} - {seq} | {new})
        return next(at for i, at in enumerate(order) if at != (16, 32, 48, 64)[i])
    return new


def test_missing_rows_are_located(whole: Path) -> None:
    for seq in (1, 17, 71):
        changed = whole.with_name(f"without-{seq}.db")
        shutil.copy(whole, changed)
        change(changed, f"DELETE FROM rows WHERE seq = {seq}")
        with pytest.raises(LedgerCorrupt, match="missing") as caught:
            verify(changed)
        assert caught.value.seq == seq


def test_two_rows_exchanged_are_located(whole: Path) -> None:
    change(whole, "UPDATE rows SET seq = -seq WHERE seq IN (8, 9); UPDATE rows SET seq = 17 + seq WHERE seq < 0")
    with pytest.raises(LedgerCorrupt) as caught:
        verify(whole)
    assert caught.value.seq == 8


def test_attachments_exchanged_are_located(whole: Path) -> None:
    away, back = (
        "UPDATE attachments SET seq = -seq WHERE seq IN (1, 4)",
        "UPDATE attachments SET seq = 5 + seq WHERE seq < 0",
    )
    change(whole, f"{away}; {back}")
    with pytest.raises(LedgerCorrupt) as caught:
        verify(whole)
    assert caught.value.seq == 1


def test_an_end_cut_off_shows_against_a_checkpoint_or_an_anchor(path: Path, fill: Fill) -> None:
    with SqliteLedger(path, linger=0.0, checkpoint_every=16) as ledger:
        fill(ledger, 20)
    report = verify(path)
    anchor = report.head, report.hash
    assert verify(path, anchor=anchor).head == 56
    change(path, "DELETE FROM rows WHERE seq > 50; DELETE FROM attachments WHERE seq > 50")
    assert verify(path).head == 50  # a chain alone cannot show this
    with pytest.raises(LedgerCorrupt, match="anchor") as caught:
        verify(path, anchor=anchor)
    assert caught.value.seq == 51
    change(path, "DELETE FROM rows WHERE seq > 40; DELETE FROM attachments WHERE seq > 40")
    with pytest.raises(LedgerCorrupt, match="checkpoint") as caught:
        verify(path)
    assert caught.value.seq == 41


def test_another_anchor_is_not_the_row(whole: Path) -> None:
    with pytest.raises(LedgerCorrupt, match="not the row that the anchor names"):
        verify(whole, anchor=(5, "00" * 32))


def test_a_rewritten_chain_shows_against_its_checkpoints(whole: Path) -> None:
    """Who recomputes all hashes after a change must also forge the checkpoints, which quick verification reads."""
    from interlock.ledger.chain import GENESIS, row_hash

    connection = sqlite3.connect(whole, isolation_level=None)
    connection.executescript("DROP TRIGGER rows_keep; UPDATE rows SET tenant = 'other' WHERE seq = 3;")
    prev = GENESIS
    for seq, at, kind, decision, tenant, body in connection.execute(
        "SELECT seq, at, kind, decision_id, tenant, body FROM rows ORDER BY seq"
    ).fetchall():
        hash = row_hash(prev, seq, at, kind.encode(), decision.encode(), tenant.encode(), body)
        connection.execute("UPDATE rows SET prev = ?, hash = ? WHERE seq = ?", (prev, hash, seq))
        prev = hash
    connection.close()
    for full, where in ((True, 16), (False, 64)):
        with pytest.raises(LedgerCorrupt, match="checkpoint") as caught:
            verify(whole, full=full)
        assert caught.value.seq == where


def test_content_gone_without_an_audit_row_is_located(whole: Path) -> None:
    change(whole, "DELETE FROM attachments WHERE seq = 7 AND name = 'prompt'")
    with pytest.raises(LedgerCorrupt, match=r"\(prompt\) is gone and no audit row") as caught:
        verify(whole)
    assert caught.value.seq == 7


def change(path: Path, script: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for trigger in ("rows_keep", "rows_stay", "attachments_keep"):
        connection.execute(f"DROP TRIGGER IF EXISTS {trigger}")
    connection.executescript(script)
    connection.close()


def test_a_flipped_byte_of_the_file_is_detected_or_changes_nothing(whole: Path) -> None:
    """Bytes of the file that hold no row (free pages, slack, statistics) may change unnoticed; content may not."""
    content, dice, found = whole.read_bytes(), random.Random(5), 0
    before = dump(whole)
    for attempt in range(60):
        damaged = bytearray(content)
        at = dice.randrange(100, len(content))
        damaged[at] ^= 1 << dice.randrange(8)
        file = whole.with_name(f"byte-{attempt}.db")
        file.write_bytes(damaged)
        try:
            verify(file)
        except LedgerError:
            found += 1
        else:
            assert dump(file) == before, f"byte {at}"
    assert found > 20


def dump(path: Path) -> list[Any]:
    connection = sqlite3.connect(path)
    content = [connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in COLUMNS]
    connection.close()
    return content


def test_a_value_of_another_type_is_located(whole: Path) -> None:
    """STRICT tables refuse it; a flipped byte in a record's header can do it all the same."""
    connection = sqlite3.connect(whole, isolation_level=None)
    connection.executescript(
        "DROP TRIGGER rows_keep; PRAGMA writable_schema = ON;"
        "UPDATE sqlite_master SET sql = replace(sql, ') STRICT', ')') WHERE name = 'rows';"
        "PRAGMA writable_schema = RESET;"
        "UPDATE rows SET body = 5 WHERE seq = 9;"
    )
    connection.close()
    with pytest.raises(LedgerCorrupt, match="another type") as caught:
        verify(whole)
    assert caught.value.seq == 9
