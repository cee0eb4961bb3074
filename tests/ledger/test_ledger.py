"""The ledger, in SQLite and in PostgreSQL: what is put is there, in order, once; what cannot be written says so."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from types import SimpleNamespace

import msgspec
import pytest

from interlock.errors import Busy, LedgerClosed, LedgerError, NotFound
from interlock.ledger import Ledger, Place, Reading, open_ledger, verify
from interlock.ledger.snapshots import pinned, sealed

Fill = Callable[[Ledger, int], None]


async def test_a_decision_is_found_with_what_followed(ledger: Ledger, make: SimpleNamespace) -> None:
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


def test_rows_are_selected_by_kind_tenant_and_position(ledger: Ledger, fill: Fill) -> None:
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


def test_paging_neither_drops_nor_repeats(ledger: Ledger, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(ledger, 12)
    everything = list(ledger.rows())
    for page in (1, 2, 5, len(everything), len(everything) + 1):
        monkeypatch.setattr("interlock.ledger.reading.PAGE", page)
        assert list(ledger.rows()) == everything
        assert list(ledger.rows(limit=7)) == everything[:7]


def test_many_threads_write_one_chain(place: Place, make: SimpleNamespace) -> None:
    with open_ledger(place, linger=0.0) as ledger:

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
    assert verify(place).rows == 800


def test_close_writes_what_is_queued_and_a_restart_continues_the_chain(
    place: Place, fill: Fill, make: SimpleNamespace
) -> None:
    with open_ledger(place, linger=0.2) as ledger:
        for i in range(50):
            ledger.put(make.outcome(f"il-{i}"))
    with open_ledger(place) as ledger:
        assert ledger.seq == 50
        assert ledger.put(make.outcome("il-50")).wait(5) == 51
    with pytest.raises(LedgerClosed):
        ledger.put(make.outcome("il-51"))
    ledger.close()
    assert verify(place).head == 51


async def test_a_full_queue_is_busy_and_loses_nothing(place: Place, make: SimpleNamespace) -> None:
    with open_ledger(place, capacity=10, linger=0.0) as ledger:
        tickets, refused = [], 0
        for i in range(3000):
            try:
                tickets.append(ledger.put(make.decision(f"il-{i}")))
            except Busy:
                refused += 1
        ledger_rows = [ticket.wait(10) for ticket in tickets]
        assert refused
        assert len(ledger_rows) == len(set(ledger_rows)) == ledger.seq == 3000 - refused


async def test_an_outcome_is_never_refused(place: Place, make: SimpleNamespace) -> None:
    """Its decision was let in, and what has been spent must not be lost."""
    with open_ledger(place, capacity=0, linger=0.0) as ledger:
        with pytest.raises(Busy):
            ledger.put(make.decision("il-1"))
        assert await ledger.put(make.outcome("il-0")) == 1


def test_one_bad_record_does_not_fail_its_group(place: Place, make: SimpleNamespace) -> None:
    with open_ledger(place, linger=0.05) as ledger:
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
    assert verify(place).rows == 2


async def test_unknown_decisions_are_not_found(ledger: Ledger) -> None:
    assert not await ledger.knows("il-0")
    assert not await ledger.knows("")
    with pytest.raises(NotFound):
        await ledger.explain("il-0")


async def test_awaiting_from_a_loop_does_not_block_it(ledger: Ledger, make: SimpleNamespace) -> None:
    seqs = await asyncio.gather(*(ledger.commit(make.feedback(f"il-{i}")) for i in range(100)))
    assert seqs == list(range(1, 101))
    ticket = ledger.put(make.feedback())
    called: list[int] = []
    ticket.add_callback(lambda ticket: called.append(ticket.result))
    assert await ticket == 101
    ticket.add_callback(lambda ticket: called.append(ticket.result))
    assert called == [101, 101]


def test_a_name_with_a_nul_is_refused_and_never_found(ledger: Ledger, make: SimpleNamespace) -> None:
    """PostgreSQL cannot hold one, and every ledger can be moved there."""
    with pytest.raises(LedgerError, match="NUL"):
        ledger.put(make.outcome("il-\0")).wait(5)
    assert not ledger.has("il-\0")


def test_the_newest_snapshots_and_the_pinned_are_kept(ledger: Ledger) -> None:
    made = [sealed(i, float(i), "maker", bytes([i]), b"trust") for i in range(6)]
    for snapshot in made:
        ledger.keep_snapshot(snapshot, 2, [made[1].version]).wait(5)
    ledger.keep_snapshot(made[5], 2, [made[1].version]).wait(5)
    assert [version for version, *_ in ledger.snapshots()] == [made[i].version for i in (5, 4, 1)]
    assert ledger.snapshot(made[4].version) == made[4]
    assert ledger.snapshot(made[0].version) is None
    assert pinned(ledger) == ""


def test_readers_see_what_is_committed_and_its_size(place: Place, ledger: Ledger, fill: Fill) -> None:
    fill(ledger, 10)
    reading = Reading(place)
    assert reading.head() == (28, bytes.fromhex(verify(place).hash))
    stats = reading.stats()
    assert (stats["rows"], stats["kinds"]["decision"], stats["attachments"]["prompt"]) == (28, 9, 10)
    assert stats["bytes"] > 10_000
    reading.close()
    with pytest.raises(LedgerError):
        Reading("mysql://here")
    with pytest.raises(LedgerError, match="NOWHERE"):
        Reading("env:NOWHERE")
