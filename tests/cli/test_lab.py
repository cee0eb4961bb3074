from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interlock.lab.experiments import names
from interlock.lab.report import Figure, Report
from interlock.lab.tables import MEASURES, Table, read_tables, write_tables

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


def tables(folder: Path, names: tuple[str, ...] = ("x",), seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    made = []
    for name in names:
        measures = {measure: np.full((60, 2), np.nan) for measure in MEASURES}
        measures["score"], measures["cost"] = (rng.random((60, 2)) < [0.4, 0.7]) * 1.0, np.full((60, 2), 0.01)
        prompts = tuple(f"prompt {i} of {seed}" for i in range(60))
        ids = tuple(f"{name}{i}" for i in range(60))
        made.append(Table(name, ids, prompts, ("",) * 60, ("small", "large"), **measures))
    write_tables(folder, made, "jsonl")
    return folder


def test_evaluate_judges_what_both_folders_hold(run: Run, tmp_path: Path) -> None:
    train, test = tables(tmp_path / "train", ("x", "y")), tables(tmp_path / "test", ("y", "z"), seed=1)
    few = ("--estimators", "constant,ridge", "--rounds", "20")
    done = run("lab", "evaluate", str(train), str(test), *few, "--json", "--out", str(tmp_path / "out")).json
    assert [evaluation["dataset"] for evaluation in done["evaluations"]] == ["y"]
    assert {"oracle", "constant", "ridge"} <= {arm["name"] for arm in done["evaluations"][0]["arms"]}
    assert done["evaluations"][0]["verdict"]["text"].startswith(("route", "do not route here"))
    assert (tmp_path / "out" / "y.json").exists()
    shown = run("lab", "evaluate", str(train), str(test), *few)
    assert "best single" in shown.out
    assert "route" in shown.out


def test_cross_validate_takes_one_folder(run: Run, tmp_path: Path) -> None:
    folder = tables(tmp_path / "t")
    done = run(
        "lab", "cross-validate", str(folder), "--folds", "2", "--estimators", "constant", "--rounds", "20", "--json"
    )
    assert done.json["evaluations"][0]["judged_on"] == 60


def test_leaderboard_writes_the_page(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("interlock.lab.leaderboard.LEAST", 10)
    places = ("--cache", str(tmp_path / "c"), "--out", str(tmp_path / "o"), "--page", str(tmp_path / "page.md"))
    few = ("--estimators", "constant", "--folds", "2", "--rounds", "20", "--processes", "1")
    done = run("lab", "leaderboard", "--data", str(tables(tmp_path / "t")), *places, *few)
    assert "| constant |" in done.out
    assert (tmp_path / "page.md").read_text() == (tmp_path / "o" / "leaderboard.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--estimators", "rigde"), "did you mean 'ridge'"),
        (("--datasets", "w"), "has no data set 'w'"),
        (("--objectives", "cheap"), "no objective 'cheap'"),
    ],
)
def test_what_does_not_exist_is_named(run: Run, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    folder = str(tables(tmp_path / "t"))
    done = run("lab", "evaluate", folder, folder, *arguments)
    assert done.code == 2
    assert message in done.err


def test_convert_writes_the_canonical_layout(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "data.jsonl"
    source.write_text(
        '{"query": "q", "model_name": "a", "performance": 1.0}\n{"query": "q", "model_name": "b", "performance": 0}\n'
    )
    done = run("lab", "convert", "llmrouter", str(source), str(tmp_path / "out"), "--jsonl", "--json").json
    assert (done["queries"], done["candidates"], done["missing"]) == (1, ["a", "b"], 0.0)
    assert list(read_tables(tmp_path / "out")) == ["llmrouter"]
    assert run("lab", "convert", "llmrouter", "none", "out").code == 2
