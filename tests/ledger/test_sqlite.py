"""The embedded ledger: what is put is there, in order, once; what cannot be written says so."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from interlock.errors import Busy, LedgerClosed, LedgerCorrupt, LedgerError, NotFound
from interlock.ledger import Reading, SqliteLedger, verify

Fill = Callable[[SqliteLedger, int], None]


async def test_a_decision_is_found_with_what_followed(ledger: SqliteLedger, make: SimpleNamespace) -> None:
    ledger.put(make.decision(), make.request("PROMPT"))
    assert await ledger.knows("il-1")
    ledger.put(make.outcome(), answer="ANSWER")
    seq = await ledger.commit(make.feedback())
    case = await ledger.explain("il-1")
    assert seq == 3
    assert case.outcome == make.outcome()
    assert case.feedback == (make.feedback(),)
    assert case.decision.vector.tolist() == [0, 1, 2, 3]
    assert case.decision.signals["pii"].evidence == "EVIDENCE"
    assert msgspec.json.decode(case.prompt or "")[0]["content"] == "PROMPT"
    assert case.answer == "ANSWER"
    assert case.erased == ()
    assert math.isnan(case.decision.considered[0].energy)


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


def test_rows_are_selected_by_kind_tenant_and_position(ledger: SqliteLedger, fill: Fill) -> None:
    fill(ledger, 20)
    rows = list(ledger.rows())
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    assert {row.kind for row in rows} == {"decision", "refusal", "outcome", "feedback"}
    assert all(row.record is not None for row in rows)
    of_acme = list(ledger.rows(tenant="acme"))
    assert [row.decision for row in of_acme] == [row.decision for row in rows if int(row.decision[3:]) % 2 == 0]
    assert [row.seq for row in ledger.rows(since=5, until=9)] == [6, 7, 8, 9]
    assert [row.seq for row in ledger.rows(limit=3)] == [1, 2, 3]
    assert [row.seq for row in ledger.tail(2)] == [len(rows), len(rows) - 1]
    assert {row.kind for row in ledger.rows(kind="refusal")} == {"refusal"}


def test_paging_neither_drops_nor_repeats(ledger: SqliteLedger, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(ledger, 12)
    everything = list(ledger.rows())
    for page in (1, 2, 5, len(everything), len(everything) + 1):
        monkeypatch.setattr("interlock.ledger.reading.PAGE", page)
        assert list(ledger.rows()) == everything
        assert list(ledger.rows(limit=7)) == everything[:7]


def test_many_threads_write_one_chain(path: Path, make: SimpleNamespace) -> None:
    with SqliteLedger(path, linger=0.0) as ledger:

        def write(which: int) -> None:
            for i in range(200):
                ledger.put(make.outcome(f"il-{which}-{i}"))

        threads = [threading.Thread(target=write, args=(which,)) for which in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ledger.flush().wait(10)
        ids = [row.decision for row in ledger.rows()]
    of_each = [[id for id in ids if id.startswith(f"il-{which}-")] for which in range(4)]
    assert of_each == [[f"il-{which}-{i}" for i in range(200)] for which in range(4)]
    assert verify(path).rows == 800


def test_close_writes_what_is_queued_and_a_restart_continues_the_chain(
    path: Path, fill: Fill, make: SimpleNamespace
) -> None:
    with SqliteLedger(path, linger=0.2) as ledger:
        for i in range(50):
            ledger.put(make.outcome(f"il-{i}"))
    with SqliteLedger(path) as ledger:
        assert ledger.seq == 50
        assert ledger.put(make.outcome("il-50")).wait(5) == 51
    with pytest.raises(LedgerClosed):
        ledger.put(make.outcome("il-51"))
    ledger.close()
    assert verify(path).head == 51


async def test_a_full_queue_is_busy_and_loses_nothing(path: Path, make: SimpleNamespace) -> None:
    with SqliteLedger(path, capacity=10, linger=0.0) as ledger:
        tickets, refused = [], 0
        for i in range(3000):
            try:
                tickets.append(ledger.put(make.decision(f"il-{i}")))
            except Busy:
                refused += 1
        ledger_rows = [ticket.wait(10) for ticket in tickets]
        assert refused
        assert len(ledger_rows) == len(set(ledger_rows)) == ledger.seq == 3000 - refused


async def test_an_outcome_is_never_refused(path: Path, make: SimpleNamespace) -> None:
    """Its decision was let in, and what has been spent must not be lost."""
    with SqliteLedger(path, capacity=0, linger=0.0) as ledger:
        with pytest.raises(Busy):
            ledger.put(make.decision("il-1"))
        assert await ledger.put(make.outcome("il-0")) == 1


def test_one_bad_record_does_not_fail_its_group(path: Path, make: SimpleNamespace) -> None:
    with SqliteLedger(path, linger=0.05) as ledger:
        good = ledger.put(make.outcome())
        nan = ledger.put(msgspec.structs.replace(make.outcome(), at=math.nan))
        odd = ledger.put(msgspec.structs.replace(make.outcome(), error=object()))
        text = ledger.put(msgspec.structs.replace(make.outcome(), finish="\ud800"))
        after = ledger.put(make.outcome())
        assert (good.wait(5), after.wait(5)) == (1, 2)
        for ticket in (nan, odd, text):
            with pytest.raises(LedgerError):
                ticket.wait(5)
        assert ledger.failed == 3
    assert verify(path).rows == 2


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


async def test_unknown_decisions_are_not_found(ledger: SqliteLedger) -> None:
    assert not await ledger.knows("il-0")
    assert not await ledger.knows("")
    with pytest.raises(NotFound):
        await ledger.explain("il-0")


async def test_awaiting_from_a_loop_does_not_block_it(ledger: SqliteLedger, make: SimpleNamespace) -> None:
    seqs = await asyncio.gather(*(ledger.commit(make.feedback(f"il-{i}")) for i in range(100)))
    assert seqs == list(range(1, 101))
    ticket = ledger.put(make.feedback())
    called: list[int] = []
    ticket.add_callback(lambda ticket: called.append(ticket.result))
    assert await ticket == 101
    ticket.add_callback(lambda ticket: called.append(ticket.result))
    assert called == [101, 101]
