from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from interlock.lab.process import Gateway

Run = Callable[..., Any]

SUM = "What is the sum of 47 and 85?"


def test_explain_shows_every_candidate_and_records_nothing(run: Run, configured: Path) -> None:
    done = run("route", SUM, "--explain", "--config", str(configured))
    assert done.code == 0
    assert "cheap" in done.out
    assert "-> dear" in done.out
    assert "dear was chosen with probability 1.00; cheap came second: 0.40 less expected quality" in done.out
    assert not Path(".interlock").exists()


def test_explain_as_json(run: Run, configured: Path) -> None:
    decision = run("route", SUM, "--explain", "--json", "-c", str(configured), "--tenant", "acme").json
    assert (decision["chosen"], decision["tenant"], decision["probability"]) == ("dear", "acme", 1.0)
    assert [row["grade"] for row in decision["considered"]] == ["permitted", "permitted"]


def test_limits_remove_and_say_why(run: Run, configured: Path) -> None:
    done = run("route", SUM, "--explain", "-c", str(configured), "--max-cost", "0.001")
    assert "-> cheap" in done.out
    assert re.search(r"^dear: but for limits: it would cost about \$0\.002\d*, the limit is \$0\.001$", done.out, re.M)


def test_a_refusal_is_exit_code_1(run: Run, configured: Path) -> None:
    dry = run("route", SUM, "--explain", "-c", str(configured), "--min-quality", "0.95")
    assert dry.code == 1
    assert "refused: no candidate may serve this request" in dry.out
    live = run("route", SUM, "-c", str(configured), "--min-quality", "0.95")
    assert live.code == 1
    assert live.err.startswith("error: no candidate may serve this request (cheap: ")


def test_a_provider_that_is_not_there_is_exit_code_5(run: Run, configured: Path) -> None:
    done = run("route", SUM, "-c", str(configured), "--deadline", "5")
    assert done.code == 1, "no latency is known, so the deadline rules both out"
    done = run("route", SUM, "-c", str(configured))
    assert done.code == 5
    assert done.err.startswith("error: ")


def test_the_embedded_pool_answers_and_the_decision_is_recorded(run: Run) -> None:
    done = run("route", SUM, "--json")
    assert done.code == 0
    said = done.json
    assert said["outcome"]["candidate"] in [row["candidate"] for row in said["decision"]["considered"]]
    assert said["outcome"]["cost"] > 0
    shown = run("ledger", "show", said["decision"]["id"], "--json").json
    assert shown["decision"]["chosen"] == said["decision"]["chosen"]
    assert shown["outcome"]["candidate"] == said["outcome"]["candidate"]


def test_the_same_seed_draws_the_same(run: Run) -> None:
    def chosen(seed: int) -> str:
        name: str = run("route", SUM, "--explain", "--json", "--seed", str(seed)).json["chosen"]
        return name

    assert [chosen(5), chosen(5)] == [chosen(5)] * 2
    assert len({chosen(seed) for seed in range(12)}) > 1


def test_explain_works_beside_a_gateway_and_knows_what_it_stored(run: Run, gateway: Gateway) -> None:
    ledger = str(gateway.log.with_name("ledger.db"))
    done = run("route", SUM, "--explain", "--json", "--ledger", ledger)
    assert done.code == 0, done.err
    assert done.json["snapshot"].partition("-")[0].isdigit()
    live = run("route", SUM, "--ledger", ledger)
    assert live.code == 4
    assert "writes this ledger already" in live.err
