from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from interlock import cli
from interlock.assembly import build_plan, build_policy
from interlock.cli.replay import moment
from interlock.config import load
from interlock.ledger import SqliteLedger
from interlock.plan import Served
from interlock.router import Router
from interlock.types import Feedback, Message, Outcome, Request, Step, Usage

Run = Callable[..., Any]
PROMPTS = ("Add 2 and 3.", "Write a poem about the sea.", "Is 7 prime?", "Translate 'house' into French.")


def record(config: Path, path: Path, n: int = 200) -> None:
    """A night of decisions under `config`: dear is always right, cheap every second time."""
    settings = load(config)
    plan = build_plan(settings)
    policy = build_policy(settings, plan.reader)
    with SqliteLedger(path, linger=0.0) as ledger:
        router = Router(plan, Served(policy.prepare(), "none"), ledger)
        for i in range(n):
            request = Request(messages=(Message("user", PROMPTS[i % 4]),), seed=i)
            (decision,) = router.decide([request])
            name = decision.chosen or ""
            cost = 1e-3 if name == "dear" else 1e-4
            step = Step(name, "chosen", usage=Usage(10, 100), cost=cost)
            ledger.put(decision, request)
            ledger.put(Outcome(decision=decision.id, at=decision.at, candidate=name, steps=(step,), cost=cost))
            score = 1.0 if name == "dear" or i % 2 else 0.0
            ledger.put(Feedback(decision=decision.id, at=decision.at, score=score, source="judge"))
        ledger.flush().wait(30)


@pytest.fixture
def wide(configured: Path, tmp_path: Path) -> Path:
    path = tmp_path / "wide.yaml"
    path.write_text(configured.read_text().replace("{kind: greedy}", "{kind: epsilon, rate: 0.8}"))
    return path


def test_a_table_json_and_a_plot(run: Run, wide: Path) -> None:
    record(wide, Path("night.db"))
    asked = ("replay", "night.db", "--policy", str(wide), "--fixed", "dear", "--fixed", "cheap")
    shown = run(*asked, "--plot", "replay.png")
    assert shown.code == 0, shown.err
    assert "as logged" in shown.out
    assert "always dear" in shown.out
    assert "200 decisions, 200 of them scored; method doubly_robust" in shown.out
    assert Path("replay.png").stat().st_size > 0
    document = run(*asked, "--json").json
    by_name = {one["name"]: one for one in document["contenders"]}
    dear = by_name["always dear"]["values"]
    assert dear["quality"]["low"] <= 1.0 <= dear["quality"]["high"]
    assert dear["cost"]["mean"] == pytest.approx(1e-3, rel=0.05)
    cheap = by_name["always cheap"]["values"]["quality"]
    assert cheap["low"] <= 0.5 <= cheap["high"] < dear["quality"]["low"]


def test_a_ledger_that_cannot_answer_says_why_and_exits_with_1(run: Run, configured: Path) -> None:
    record(configured, Path("greedy.db"), 60)
    done = run("replay", "greedy.db", "--policy", str(configured), "--fixed", "cheap", "--fixed", "dear")
    assert done.code == 1
    assert "no answer: 100.0% of what the policy would choose had no chance in the log" in done.out
    assert "never tried" in done.out


def test_what_is_asked_wrongly_gets_one_clear_line(run: Run, wide: Path, tmp_path: Path) -> None:
    record(wide, Path("night.db"), 40)
    for arguments, said in (
        (("--fixed", "deer"), "'deer' was never considered in this ledger; did you mean 'dear'?"),
        (("--method", "drr"), "no method 'drr'"),
        (("--snapshot", "7-x"), "snapshot '7-x' is not stored"),
        (("--since", "2100-01-01"), "nothing can be replayed: it has no decisions there"),
    ):
        done = run("replay", "night.db", "--policy", str(wide), *arguments)
        assert done.code in (1, 2)
        assert said in done.err
        assert "Traceback" not in done.err
    assert run("replay", "none.db", "--policy", str(wide)).code == 4
    other = tmp_path / "other.yaml"
    other.write_text(wide.read_text().replace("vector: [tokens, structure]", "vector: [tokens]"))
    done = run("replay", "night.db", "--policy", str(other))
    assert "columns, the policy reads" in done.err
    Path("text.db").write_text("no ledger at all")
    assert run("replay", "text.db", "--policy", str(wide)).code == 4


def test_moments() -> None:
    assert moment("") == -float("inf")
    assert moment("2h") == pytest.approx(time.time() - 7200, abs=5)
    assert moment("2026-01-31T00:00:00+00:00") == 1769817600.0
    assert moment("2026-01-31") == pytest.approx(1769817600.0, abs=86400)
    for wrong in ("yesterday", "12", "7w"):
        with pytest.raises(typer.BadParameter, match="expected a date"):
            moment(wrong)


def test_it_is_a_verb() -> None:
    assert "replay" in cli.VERBS
