"""Forgetting: the content leaves the file, the chain stays whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from interlock.errors import LedgerError, NotFound
from interlock.ledger import Reading, SqliteLedger, verify
from interlock.ledger.snapshots import sealed

Fill = Callable[[SqliteLedger, int], None]


def content(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir() if file.name.startswith(path.name))


def test_a_forgotten_tenant_leaves_no_byte_and_the_chain_verifies(path: Path, ledger: SqliteLedger, fill: Fill) -> None:
    fill(ledger, 20)
    ledger.keep_snapshot(sealed(30, 1.0, "m", b"state that learnt", b""), 5).wait(5)
    assert b"to acme" in content(path)
    assert b"of acme" in content(path)
    erasure = ledger.forget(tenant="acme")
    assert erasure.attachments == {"answer": 10, "prompt": 10, "quotes": 20, "vector": 10}
    assert len(erasure.snapshots) == 1
    assert erasure.wal_emptied
    for gone in (b"to acme", b"of acme", b"state that learnt"):
        assert gone not in content(path)
    assert b"to umbrella" in content(path)
    report = verify(path)
    assert (report.erased, report.attachments) == (50, 46)
    case = ledger.decision("il-0")
    assert case.prompt is case.answer is None
    assert case.decision.vector.size == 0
    assert case.erased == ("answer", "prompt", "quotes", "vector")
    audit = ledger.tail(1)[0].record
    assert (audit.action, audit.subject) == ("erase", "tenant=acme")  # type: ignore[union-attr]


async def test_one_decision_is_forgotten(ledger: SqliteLedger, fill: Fill, make: SimpleNamespace) -> None:
    fill(ledger, 4)
    erasure = await asyncio.to_thread(lambda: ledger.forget(decision="il-2"))
    assert erasure.rows == (7, 8, 9)
    assert ledger.decision("il-1").prompt is not None
    again = await asyncio.to_thread(lambda: ledger.forget(decision="il-2"))
    assert again.audit is None
    assert again.rows == ()


def test_who_is_unknown_cannot_be_forgotten(ledger: SqliteLedger, fill: Fill) -> None:
    fill(ledger, 2)
    with pytest.raises(NotFound, match="tenant=nobody"):
        ledger.forget(tenant="nobody")
    with pytest.raises(LedgerError, match="either"):
        ledger.forget()
    with pytest.raises(LedgerError, match="either"):
        ledger.forget(tenant="acme", decision="il-0")


def test_what_is_forgotten_stays_so_after_a_restart(path: Path, fill: Fill) -> None:
    with SqliteLedger(path, payload=True) as ledger:
        fill(ledger, 6)
        ledger.forget(tenant="umbrella")
    with SqliteLedger(path) as ledger:
        assert ledger.decision("il-1").erased
    reading = Reading(path)
    assert {row.tenant for row in reading.rows(tenant="umbrella")} == {"umbrella", ""}
