"""The ledger in PostgreSQL: many writers and one chain, what waits while the database is away, and who leads."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from interlock.errors import LedgerCorrupt, LedgerError, LedgerUnreachable
from interlock.ledger import Ledger, Reading, verify
from interlock.ledger import postgres as module
from interlock.ledger.postgres import PostgresLedger
from interlock.ledger.postgres_session import shown
from interlock.ledger.snapshots import sealed

Fill = Callable[[Ledger, int], None]
WRITE = """
import sys
from interlock.ledger.postgres import PostgresLedger
from interlock.types import Outcome

url, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with PostgresLedger(url, linger=0.0) as ledger:
    tickets = [ledger.put(Outcome(decision=f"il-{name}-{i}", at=1.0, candidate=None, steps=())) for i in range(count)]
    assert len({ticket.wait(30) for ticket in tickets}) == count
"""


@pytest.fixture
def url(postgres: Any) -> str:
    found: str = postgres.database()
    return found


def run(url: str, *statements: str) -> list[Any]:
    """What the last statement gives, in a session of its own."""

    async def session() -> list[Any]:
        connection = await asyncpg.connect(url, server_settings={"search_path": "interlock"})
        try:
            found = [await connection.fetch(statement) for statement in statements]
            return found[-1]
        finally:
            await connection.close()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, session()).result()


def eventually(holds: Callable[[], Any], patience: float = 15.0) -> None:
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_many_processes_write_one_chain(url: str) -> None:
    command = [sys.executable, "-c", WRITE, url]
    writers = [subprocess.Popen([*command, str(name), "500"]) for name in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert verify(url).rows == 1500
    ids = [row.decision for row in Reading(url).rows()]
    for name in range(3):
        assert [id for id in ids if id.startswith(f"il-{name}-")] == [f"il-{name}-{i}" for i in range(500)]
    assert ids != sorted(ids), "they took turns"


def test_the_database_itself_refuses_changes(url: str, fill: Fill) -> None:
    with PostgresLedger(url, payload=True) as ledger:
        fill(ledger, 2)
    for statement in (
        "UPDATE rows SET at = 0",
        "DELETE FROM rows",
        "TRUNCATE rows",
        "UPDATE attachments SET blob = ''",
        "TRUNCATE attachments",
    ):
        with pytest.raises(asyncpg.RaiseError):
            run(url, statement)


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("rows", "at"),
        ("rows", "kind"),
        ("rows", "decision_id"),
        ("rows", "tenant"),
        ("rows", "body"),
        ("rows", "prev"),
        ("rows", "hash"),
        ("attachments", "name"),
        ("attachments", "salt"),
        ("attachments", "blob"),
        ("checkpoints", "at"),
        ("checkpoints", "hash"),
        ("checkpoints", "mark"),
        ("snapshots", "state"),
        ("snapshots", "maker"),
    ],
)
def test_a_change_in_any_column_is_located(url: str, fill: Fill, table: str, column: str) -> None:
    with PostgresLedger(url, payload=True, linger=0.0, checkpoint_every=16) as ledger:
        fill(ledger, 20)
        ledger.keep_snapshot(sealed(40, 1.0, "maker", b"state", b"trust"), 5).wait(5)
    seqs = [seq for (seq,) in run(url, f"SELECT DISTINCT seq FROM {table} ORDER BY 1")]
    seq = random.Random(f"{table}.{column}").choice(seqs)
    change = {"at": "at + 1", "kind": "'audit'", "decision_id": "'x' || decision_id", "tenant": "'x'", "name": "'x'"}
    new = change.get(column, f"overlay({column} placing '\\x17'::bytea from 3)" if column != "maker" else "'x'")
    one = " AND name = (SELECT min(name) FROM attachments a WHERE a.seq = attachments.seq)"
    where = f"seq = {seq}{one if table == 'attachments' else ''}"
    run(url, f"ALTER TABLE {table} DISABLE TRIGGER USER", f"UPDATE {table} SET {column} = {new} WHERE {where}")
    with pytest.raises(LedgerCorrupt) as caught:
        verify(url)
    assert caught.value.seq == seq
    if table == "rows" and seq > 48:
        with pytest.raises(LedgerCorrupt):
            PostgresLedger(url)


def test_a_group_sent_twice_is_appended_once(url: str, make: SimpleNamespace) -> None:
    """Nobody knows whether a group arrived when the connection breaks while it is committed."""
    with PostgresLedger(url, linger=0.0) as ledger:
        appender = ledger._appender
        entries = [module.Entry("outcome", 1.0, f"il-{i}", "", b"\x83") for i in range(3)]
        assert list(appender._committed("w", 1, entries)) == [1, 2, 3]
        assert list(appender._committed("w", 1, entries)) == [1, 2, 3]
        assert list(appender._committed("w", 2, entries)) == [4, 5, 6]
        appender._committed("w", 1, entries)
        assert ledger.head()[0] == 6


async def test_rows_wait_on_this_machine_while_the_database_is_away(
    postgres: Any, url: str, tmp_path: Path, make: SimpleNamespace
) -> None:
    with PostgresLedger(url, payload=True, linger=0.0, spool=tmp_path / "spool") as ledger:
        assert await ledger.put(make.decision("il-0"), make.request()) == 1
        postgres.stop(signal.SIGQUIT)
        try:
            seqs = [await ledger.put(make.decision(f"il-{i}"), make.request()) for i in range(1, 30)]
            assert await ledger.commit(make.feedback("il-1")) == 0
            assert set(seqs) == {0}
            assert "30 rows wait on this machine" in ledger.degraded
            assert ledger.trouble is None
            assert await ledger.knows("il-29")
            with pytest.raises(LedgerUnreachable):
                await ledger.explain("il-0")
        finally:
            postgres.start()
        await asyncio.to_thread(eventually, lambda: not ledger.degraded)
        assert await ledger.commit(make.outcome("il-0")) == 32
        assert [row.decision for row in ledger.rows(kind="decision")] == [f"il-{i}" for i in range(30)]
        assert (await ledger.explain("il-29")).prompt is not None
        assert ledger._uncommitted == set()
    assert verify(url).rows == 32
    assert list((tmp_path / "spool").iterdir()) == []


def test_what_a_killed_process_left_behind_is_written_by_the_next(
    postgres: Any, url: str, tmp_path: Path, make: SimpleNamespace
) -> None:
    spool = tmp_path / "spool"
    code = f"""
from pathlib import Path
import os, signal, sys
from interlock.ledger.postgres import PostgresLedger
from interlock.types import Outcome
ledger = PostgresLedger({url!r}, linger=0.0, spool=Path({str(spool)!r}))
print("open", flush=True)
sys.stdin.readline()
for i in range(5):
    ledger.put(Outcome(decision=f"il-{{i}}", at=1.0, candidate=None, steps=())).wait(30)
os.kill(os.getpid(), signal.SIGKILL)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    postgres.stop()
    try:
        process.communicate("go\n", 60)
        assert process.returncode == -signal.SIGKILL
        (left,) = spool.iterdir()
        with left.open("ab") as file:
            file.write(b"\0\0\1\0torn")  # a frame that was being written
    finally:
        postgres.start()
    with PostgresLedger(url, linger=0.0, spool=spool) as ledger:
        eventually(lambda: ledger.head()[0] == 5)
        assert ledger.put(make.outcome("il-5")).wait(5) == 6
    assert [row.decision for row in Reading(url).rows()] == [f"il-{i}" for i in range(6)]
    assert verify(url).rows == 6


def test_without_a_spool_a_group_fails_after_a_while(
    postgres: Any, url: str, make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.5)
    with PostgresLedger(url, linger=0.0) as ledger:
        postgres.stop()
        try:
            with pytest.raises(LedgerUnreachable, match=r"cannot be reached|does not answer"):
                ledger.put(make.outcome()).wait(20)
            assert isinstance(ledger.trouble, LedgerUnreachable)
        finally:
            postgres.start()
        eventually(lambda: _written(ledger, make))
        assert ledger.trouble is None


def _written(ledger: Ledger, make: SimpleNamespace) -> bool:
    try:
        return bool(ledger.put(make.outcome()).wait(20))
    except LedgerError:
        return False


def test_one_leads_and_another_takes_over(url: str) -> None:
    with PostgresLedger(url) as first, PostgresLedger(url) as second:
        first.election.stand()
        eventually(lambda: first.election.leading)
        second.election.stand()
        time.sleep(1.5)
        assert not second.election.leading
        run(url, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
        eventually(lambda: first.election.leading != second.election.leading, 10)
        for ledger in (first, second):
            if ledger.election.leading:
                ledger.election.withdraw()
                break
        other = second if ledger is first else first
        eventually(lambda: other.election.leading, 10)


def test_snapshots_are_announced(url: str) -> None:
    with PostgresLedger(url) as first, PostgresLedger(url) as second:
        eventually(second.election.news)
        time.sleep(0.5)
        second.election.news()
        assert not second.election.news()
        first.keep_snapshot(sealed(1, 1.0, "maker", b"state", b"trust"), 5).wait(5)
        eventually(second.election.news, 2)


def test_what_is_no_ledger_is_refused_precisely(postgres: Any, url: str) -> None:
    with pytest.raises(LedgerError, match="there is no ledger here"):
        Reading(url)
    PostgresLedger(url).close()
    run(url, "UPDATE ledger SET version = 7")
    with pytest.raises(LedgerError, match="schema version 7, this interlock reads 1; use a newer"):
        PostgresLedger(url)
    other = postgres.database()
    run(other, "CREATE SCHEMA interlock", "CREATE TABLE interlock.songs(title text)")
    with pytest.raises(LedgerError, match="belongs to another program"):
        PostgresLedger(other)
    latin = other.rpartition("/")[2] + "latin"
    run(url, f"CREATE DATABASE {latin} ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(LedgerError, match="encoding is LATIN1"):
        PostgresLedger(other.rpartition("/")[0] + "/" + latin)
    with pytest.raises(LedgerUnreachable, match="cannot be reached"):
        PostgresLedger("postgresql://interlock@127.0.0.1:9/none")


def test_a_password_is_never_shown() -> None:
    assert shown("postgres://me:secret@db:5432/il?sslmode=require") == "postgresql://me@db:5432/il"
    with pytest.raises(LedgerUnreachable) as caught:
        PostgresLedger("postgresql://me:secret@127.0.0.1:9/none")
    assert "secret" not in str(caught.value)
