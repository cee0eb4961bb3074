from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interlock.lab.experiments import names
from interlock.lab.report import Figure, Report

Run = Callable[..., Any]


def test_list_shows_every_experiment_with_its_claim(run: Run) -> None:
    listed = run("lab", "list", "--json").json
    assert listed == names()
    assert "first-light" in listed
    assert all(claim.strip() for claim in listed.values())
    assert "first-light" in run("lab", "list").out


def test_an_unknown_experiment_gets_the_nearest_name(run: Run) -> None:
    done = run("lab", "run", "frist-light")
    assert done.code == 2
    assert "did you mean 'first-light'?" in done.err


@pytest.mark.parametrize(("verdict", "code"), [("pass", 0), ("short", 1)])
def test_a_report_is_shown_stored_and_decides_the_exit_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, verdict: str, code: int
) -> None:
    def experiment(options: object) -> Report:
        figure = Figure(name="share", ours=0.9, wanted=">= 0.8", verdict=verdict)  # type: ignore[arg-type]
        return Report(name="made-up", claim="it holds", figures=(figure,), seeds=(0, 1))

    monkeypatch.setattr("interlock.lab.experiments.load", lambda name: experiment)
    done = run("lab", "run", "made-up", "--out", "reports")
    assert done.code == code
    assert "it holds" in done.out
    assert run("lab", "run", "made-up", "--out", "reports", "--json").json["figures"][0]["ours"] == 0.9
    assert Path("reports/made-up/report.json").exists()


def test_a_missing_extra_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def experiment(options: object) -> Report:
        raise ModuleNotFoundError("No module named 'plotter'", name="plotter")

    monkeypatch.setattr("interlock.lab.experiments.load", lambda name: experiment)
    done = run("lab", "run", "made-up")
    assert done.code == 3
    assert "made-up needs plotter: pip install 'interlock[lab]'" in done.err
