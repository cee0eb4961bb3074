from __future__ import annotations

from pathlib import Path

import pytest
import typer

from interlock.cli.keys import budgets, seconds
from interlock.ledger import Audit, Reading, SqliteLedger

from .conftest import Run


@pytest.fixture(params=["sqlite", "postgres"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    found = tmp_path / "ledger.db" if request.param == "sqlite" else request.getfixturevalue("postgres").database()
    return str(found)


def test_the_life_of_a_key_without_a_gateway(run: Run, ledger: str, tmp_path: Path) -> None:
    asked = ("--tenant", "acme", "--role", "admin", "--hard", "month:100", "--soft", "month:80", "--expires", "90d")
    made = run("keys", "create", "--ledger", ledger, *asked, "--meta", "team=x", "--json").json
    assert made["secret"].startswith(made["prefix"])
    assert made["budgets"] == [{"window": "month", "hard_usd": 100.0, "soft_usd": 80.0}]
    shown = run("keys", "create", "--ledger", ledger, "--tenant", "beta")
    assert shown.out.startswith("sk-il-")

    listed = run("keys", "list", "--ledger", ledger)
    assert made["id"] in listed.out.replace("\n", "")
    assert made["secret"] not in listed.out
    assert run("keys", "revoke", made["id"], "--ledger", ledger).code == 0
    assert run("keys", "show", made["id"], "--ledger", ledger, "--json").json["state"] == "revoked"
    assert run("keys", "show", "key-x", "--ledger", ledger).code == 2
    audits = [row.record for row in Reading(ledger).rows(kind="audit")]
    assert [a.action for a in audits if isinstance(a, Audit)] == ["key.create", "key.create", "key.revoke"]
    kept = [path.read_bytes() for path in tmp_path.glob("ledger*") if path.is_file()]
    assert not [content for content in kept if made["secret"].encode() in content]


def test_a_ledger_in_use_is_left_alone(run: Run, tmp_path: Path) -> None:
    with SqliteLedger(tmp_path / "ledger.db"):
        refused = run("keys", "create", "--ledger", str(tmp_path / "ledger.db"), "--tenant", "acme")
    assert refused.code == 4
    assert "writes this ledger already" in refused.err
    assert not (tmp_path / "ledger.keys.db").exists()


def test_budgets_and_times_are_read() -> None:
    assert budgets(["day:5", "month:50"], ["day:4"]) == [
        {"window": "day", "hard_usd": 5.0, "soft_usd": 4.0},
        {"window": "month", "hard_usd": 50.0},
    ]
    assert (seconds("90d"), seconds("1.5h"), seconds("30m")) == (90 * 86400, 5400, 1800)
    for wrong in ("day", "day:x", ":5"):
        with pytest.raises(typer.BadParameter):
            budgets([wrong], [])
    with pytest.raises(typer.BadParameter):
        seconds("soon")
