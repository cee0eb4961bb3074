"""Forgetting: the content leaves the file, the chain stays whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from interlock.errors import LedgerError, NotFound
from interlock.ledger import Ledger, Place, Reading, SqliteLedger, open_ledger, verify
from interlock.ledger.snapshots import sealed

Fill = Callable[[Ledger, int], None]


@pytest.fixture
def file(path: Path) -> Iterator[SqliteLedger]:
    with SqliteLedger(path, payload=True, linger=0.0, checkpoint_every=16) as ledger:
        yield ledger


def content(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir() if file.name.startswith(path.name))


def test_a_forgotten_tenant_leaves_no_byte_in_the_file(path: Path, file: SqliteLedger, fill: Fill) -> None:
    fill(file, 20)
    file.keep_snapshot(sealed(30, 1.0, "m", b"state that learnt", b""), 5).wait(5)
    assert b"to acme" in content(path)
    assert b"of acme" in content(path)
    assert file.forget(tenant="acme").wal_emptied
    for gone in (b"to acme", b"of acme", b"state that learnt"):
        assert gone not in content(path)
    assert b"to umbrella" in content(path)


def test_a_forgotten_tenant_leaves_no_content_and_the_chain_verifies(place: Place, ledger: Ledger, fill: Fill) -> None:
    fill(ledger, 20)
    ledger.keep_snapshot(sealed(30, 1.0, "m", b"state that learnt", b""), 5).wait(5)
    erasure = ledger.forget(tenant="acme")
    assert erasure.attachments == {"answer": 10, "prompt": 10, "quotes": 20, "vector": 10}
    assert len(erasure.snapshots) == 1
    assert ledger.snapshots() == []
    report = verify(place)
    assert (report.erased, report.attachments) == (50, 46)
    case = ledger.decision("il-0")
    assert case.prompt is case.answer is None
    assert case.decision.vector.size == 0
    assert case.erased == ("answer", "prompt", "quotes", "vector")
    audit = ledger.tail(1)[0].record
    assert (audit.action, audit.subject) == ("erase", "tenant=acme")  # type: ignore[union-attr]


async def test_one_decision_is_forgotten(ledger: Ledger, fill: Fill, make: SimpleNamespace) -> None:
    fill(ledger, 4)
    erasure = await asyncio.to_thread(lambda: ledger.forget(decision="il-2"))
    assert erasure.rows == (7, 8, 9)
    assert ledger.decision("il-1").prompt is not None
    again = await asyncio.to_thread(lambda: ledger.forget(decision="il-2"))
    assert again.audit is None
    assert again.rows == ()


def test_who_is_unknown_cannot_be_forgotten(ledger: Ledger, fill: Fill) -> None:
    fill(ledger, 2)
    with pytest.raises(NotFound, match="tenant=nobody"):
        ledger.forget(tenant="nobody")
    with pytest.raises(LedgerError, match="either"):
        ledger.forget()
    with pytest.raises(LedgerError, match="either"):
        ledger.forget(tenant="acme", decision="il-0")


def test_what_is_forgotten_stays_so_after_a_restart(place: Place, fill: Fill) -> None:
    with open_ledger(place, payload=True) as ledger:
        fill(ledger, 6)
        ledger.forget(tenant="umbrella")
    with open_ledger(place) as ledger:
        assert ledger.decision("il-1").erased
    reading = Reading(place)
    assert {row.tenant for row in reading.rows(tenant="umbrella")} == {"umbrella", ""}
