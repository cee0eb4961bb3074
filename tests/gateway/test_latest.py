"""Paging backwards through a ledger shows every row once, newest first, whatever is filtered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock.gateway.latest import latest
from interlock.ledger import Row, SqliteLedger
from interlock.types import Decision, Outcome

N = 700


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteLedger]:
    path: Path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    ledger = SqliteLedger(path)
    for i in range(N):
        tenant = "rare" if i in (3, 650) else "acme"
        ledger.put(
            Decision(
                id=f"d{i}", at=float(i), tenant=tenant, session="", model="auto", considered=(), chosen="x",
                policy="", snapshot="", config="", seed=0,
            )
        )  # fmt: skip
        ticket = ledger.put(Outcome(decision=f"d{i}", at=float(i), candidate="x", steps=()))
    ticket.wait(10)
    yield ledger
    ledger.close()


def pages(ledger: SqliteLedger, limit: int, kind: str | None = None, tenant: str | None = None) -> list[Row]:
    found: list[Row] = []
    before = 1 << 62
    while page := latest(ledger, limit, before, kind, tenant):
        found, before = found + page, page[-1].seq
    return found


@pytest.mark.parametrize("limit", [1, 97, 256, 1000])
def test_all_rows(ledger: SqliteLedger, limit: int) -> None:
    if limit == 1:
        assert [row.seq for row in latest(ledger, 1, 1 << 62)] == [2 * N]
        return
    assert [row.seq for row in pages(ledger, limit)] == list(range(2 * N, 0, -1))


def test_one_kind(ledger: SqliteLedger) -> None:
    assert [row.decision for row in pages(ledger, 50, kind="decision")] == [f"d{i}" for i in reversed(range(N))]


def test_a_rare_tenant_is_found_however_far_back(ledger: SqliteLedger) -> None:
    assert [row.decision for row in latest(ledger, 10, 1 << 62, tenant="rare")] == ["d650", "d650", "d3", "d3"]


def test_below_the_first_there_is_nothing(ledger: SqliteLedger) -> None:
    assert latest(ledger, 10, 1) == []
