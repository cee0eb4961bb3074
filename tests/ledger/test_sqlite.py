"""The ledger in a SQLite file: what SQLite and the system refuse is said precisely; one process writes."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from interlock.errors import LedgerCorrupt, LedgerError
from interlock.ledger import Reading, SqliteLedger, verify

Fill = Callable[[SqliteLedger, int], None]


async def test_without_payload_no_text_is_in_the_file(path: Path, make: SimpleNamespace) -> None:
    with SqliteLedger(path) as ledger:
        ledger.put(make.decision(), make.request("PROMPT"))
        ledger.put(make.outcome(), answer="ANSWER")
        await ledger.commit(make.feedback())
        case = await ledger.explain("il-1")
        assert case.prompt is case.answer is None
        assert case.feedback[0].note == case.decision.signals["pii"].evidence == ""
        content = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"umbrella" not in content
    assert b"acme" in content
    for text in (b"PROMPT", b"ANSWER", b"EVIDENCE", b"NOTE"):
        assert text not in content


async def test_a_full_disk_fails_the_writes_and_later_ones_succeed(path: Path, make: SimpleNamespace) -> None:
    with SqliteLedger(path, linger=0.0) as ledger:
        await ledger.commit(make.feedback())
        connection = ledger._appender.connection
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

        async def fill_up() -> None:
            for i in range(500):
                await ledger.commit(make.feedback(f"il-{i}" + "x" * 1000))

        with pytest.raises(LedgerError, match="disk is full"):
            await fill_up()
        lost_from = ledger.seq
        assert ledger.trouble is not None
        connection.execute("PRAGMA max_page_count = 1000000")
        assert await ledger.commit(make.feedback()) == lost_from + 1
        assert ledger.trouble is None
    assert verify(path).rows == lost_from + 1


async def test_a_file_locked_by_another_program_is_said_so(path: Path, make: SimpleNamespace) -> None:
    with SqliteLedger(path, linger=0.0, busy_seconds=0.05) as ledger:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="another program holds the database locked"):
            await ledger.commit(make.feedback())
        other.execute("ROLLBACK")
        other.close()
        assert await ledger.commit(make.feedback()) == 1


def test_a_second_writer_is_refused_and_readers_are_not(path: Path, make: SimpleNamespace) -> None:
    code = f"from interlock.ledger import SqliteLedger; SqliteLedger({str(path)!r})"
    with SqliteLedger(path) as ledger:
        ledger.put(make.decision()).wait(5)
        with pytest.raises(LedgerError, match="writes this ledger already"):
            SqliteLedger(path)
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "one process writes, any number may read" in other.stderr
        assert Reading(path).decision("il-1").decision.id == "il-1"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_file_that_is_no_ledger_is_refused_precisely(tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("not a database, but long enough to have a header of a hundred bytes" * 9)
    with pytest.raises(LedgerError, match="not a SQLite database"):
        SqliteLedger(text)
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE songs(title)")
    connection.close()
    with pytest.raises(LedgerError, match="belongs to another program"):
        SqliteLedger(other)
    with pytest.raises(LedgerError, match="lock file cannot be opened"):
        SqliteLedger(tmp_path / "missing" / "ledger.db")
    with pytest.raises(LedgerError, match="no ledger here"):
        Reading(tmp_path / "none.db")


def test_another_schema_version_is_refused(path: Path) -> None:
    SqliteLedger(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(LedgerError, match="schema version 7, this interlock reads 1; use a newer"):
        SqliteLedger(path)


def test_a_readonly_file_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SqliteLedger(path).close()
    connect = sqlite3.connect
    readonly = partial(connect, f"file:{path}?mode=ro", uri=True)
    monkeypatch.setattr(sqlite3, "connect", lambda _, **options: readonly(**{**options, "uri": True}))
    with pytest.raises(LedgerError, match="not writable"):
        SqliteLedger(path)


def test_a_broken_end_is_not_extended(path: Path, fill: Fill) -> None:
    with SqliteLedger(path) as ledger:
        fill(ledger, 5)
    connection = sqlite3.connect(path)
    connection.executescript("DROP TRIGGER rows_keep; UPDATE rows SET tenant = 'other' WHERE seq = 3")
    connection.close()
    with pytest.raises(LedgerCorrupt) as caught:
        SqliteLedger(path)
    assert caught.value.seq == 3


def test_the_file_itself_refuses_changes(path: Path, fill: Fill) -> None:
    with SqliteLedger(path) as ledger:
        fill(ledger, 2)
    connection = sqlite3.connect(path)
    for statement in ("UPDATE rows SET at = 0", "DELETE FROM rows", "UPDATE attachments SET blob = x'00'"):
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(statement)
