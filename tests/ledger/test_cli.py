"""The verbs `interlock ledger ...` and `interlock learner ...` on a file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from interlock.cli import learned
from interlock.cli import learner as learner_verbs
from interlock.cli import ledger as ledger_verbs
from interlock.errors import LedgerCorrupt, NotFound
from interlock.estimators import Ridge
from interlock.exploration import Greedy
from interlock.learning.trust import Trust
from interlock.ledger import Reading, SqliteLedger
from interlock.ledger.snapshots import sealed
from interlock.objectives import Weighted
from interlock.policy import Policy


@pytest.fixture
def filled(path: Path, fill: Callable[[SqliteLedger, int], None]) -> Path:
    with SqliteLedger(path, payload=True) as ledger:
        fill(ledger, 20)
        ledger.keep_snapshot(sealed(50, 1.0, "m", b"state", b""), 5).wait(5)
    return path


def run(*arguments: object, app: Any = ledger_verbs.app) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_show(filled: Path) -> None:
    rows = json.loads(run("show", "-l", filled, "-n", 3, "--json"))
    assert [row["seq"] for row in rows] == [54, 55, 56]
    refusals = json.loads(run("show", "-l", filled, "--kind", "refusal", "--json"))
    assert [row["kind"] for row in refusals] == ["refusal"] * 2
    case = json.loads(run("show", "il-1", "-l", filled, "--json"))
    assert case["decision"]["chosen"] == case["outcome"]["candidate"] == "small"
    assert case["feedback"][0]["score"] == 1.0
    assert "PROMPT" not in json.dumps(case)
    assert "PROMPT 1 of umbrella" in run("show", "il-1", "-l", filled, "--json", "--quoting")
    assert "small was chosen" in run("show", "il-1", "-l", filled)
    assert "refusal" in run("show", "-l", filled, "-n", 200)
    with pytest.raises(NotFound):
        run("show", "il-unknown", "-l", filled)


def test_verify_export_import(filled: Path, tmp_path: Path) -> None:
    facts = json.loads(run("verify", "-l", filled, "--json"))
    assert "verified" in run("verify", "-l", filled, "--anchor", f"{facts['head']}:{facts['hash']}")
    written = {"rows": 56, "to": str(tmp_path / "out.jsonl")}
    assert json.loads(run("export", tmp_path / "out.jsonl", "-l", filled, "--json")) == written
    assert json.loads(run("verify", "--exported", tmp_path / "out.jsonl", "--json"))["hash"] == facts["hash"]
    copied = json.loads(run("import", tmp_path / "out.jsonl", "-l", tmp_path / "copy.db", "--json"))
    assert copied == {"rows": 56, "to": str(tmp_path / "copy.db")}
    piped = CliRunner().invoke(ledger_verbs.app, ["export", "-", "-l", str(filled), "--json"])
    assert len(piped.stdout_bytes.splitlines()) >= 56, "only the rows"
    assert json.loads(piped.stderr) == {"rows": 56, "to": "-"}
    assert json.loads(run("verify", "-l", tmp_path / "copy.db", "--json"))["hash"] == facts["hash"]
    connection = sqlite3.connect(filled)
    connection.executescript("DROP TRIGGER rows_keep; UPDATE rows SET at = at + 1 WHERE seq = 7")
    connection.close()
    with pytest.raises(LedgerCorrupt, match="row 7"):
        run("verify", "-l", filled)
    assert CliRunner().invoke(ledger_verbs.app, ["verify", "-l", str(filled), "--anchor", "nonsense"]).exit_code == 2


def test_forget(filled: Path) -> None:
    assert CliRunner().invoke(ledger_verbs.app, ["forget", "-l", str(filled)]).exit_code == 2
    asked = CliRunner().invoke(ledger_verbs.app, ["forget", "--tenant", "acme", "-l", str(filled)], input="n\n")
    assert asked.exit_code == 1
    assert Reading(filled).decision("il-0").prompt is not None
    assert json.loads(run("forget", "--tenant", "acme", "-y", "--json", "-l", filled))["attachments"]["prompt"] == 10
    assert Reading(filled).decision("il-0").prompt is None


def test_fold(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(config: Path | None) -> tuple[Policy, Trust]:
        return Policy(Ridge(), Weighted(), Greedy()), Trust()

    monkeypatch.setattr(learned, "policy_and_trust", plain)
    whole = json.loads(run("fold", "-l", filled, "--json"))
    assert (whole["rows"], whole["learnt"]) == (56, 36)
    assert json.loads(run("fold", "-l", filled, "--json"))["version"] == whole["version"]
    without = json.loads(run("fold", "-l", filled, "--without", "tenant=acme", "--json"))
    assert without["skipped"] == {"left out": 20}
    assert without["version"] != whole["version"]
    assert json.loads(run("fold", "-l", filled, "--until", 10, "--json"))["rows"] == 10
    assert whole["version"] in run("fold", "-l", filled)
    assert CliRunner().invoke(ledger_verbs.app, ["fold", "--without", "acme"]).exit_code == 2


def test_the_learner_verbs_on_a_file(filled: Path) -> None:
    status = json.loads(run("status", "-l", filled, "--json", app=learner_verbs.app))
    (version,) = status["snapshots"]
    with pytest.raises(NotFound):
        run("rollback", "1-abc", "-l", filled, app=learner_verbs.app)
    run("rollback", version, "-l", filled, app=learner_verbs.app)
    assert json.loads(run("status", "-l", filled, "--json", app=learner_verbs.app))["pinned"] == version
    run("resume", "-l", filled, app=learner_verbs.app)
    assert json.loads(run("status", "-l", filled, "--json", app=learner_verbs.app))["pinned"] == ""
    assert version in run("status", "-l", filled, app=learner_verbs.app)


def test_migrate_and_what_reads_a_database(
    filled: Path, tmp_path: Path, postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres.database())
    done = json.loads(run("migrate", filled, "env:DATABASE_URL", "--json"))
    assert done["rows"] == done["copied"] == 56
    assert "0 rows brought, 56 verified" in run("migrate", filled, "env:DATABASE_URL")
    assert json.loads(run("verify", "-l", "env:DATABASE_URL", "--json"))["hash"] == done["hash"]
    (version,) = json.loads(run("status", "-l", "env:DATABASE_URL", "--json", app=learner_verbs.app))["snapshots"]
    run("rollback", version, "-l", "env:DATABASE_URL", app=learner_verbs.app)
    back = tmp_path / "back.db"
    run("migrate", "env:DATABASE_URL", back)
    assert json.loads(run("status", "-l", back, "--json", app=learner_verbs.app))["pinned"] == version
