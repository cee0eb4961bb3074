from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from interlock.cli.pocket import app
from interlock.errors import NotFound, RequestError
from interlock.pocket.family import BUDGETS
from interlock.pocket.paired import Difference, paired_interval
from interlock.pocket.pool import Pool
from interlock.pocket.score import by_candidate, choose_cells, score, wilson
from interlock.pocket.tasks import TASKS
from interlock.pocket.weights import load, save


def run(*arguments: str) -> Any:
    done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_interval_of_a_share_is_wilsons() -> None:
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(0, 10)[0] == 0
    assert wilson(10, 10)[1] == pytest.approx(1)


def test_cells_are_chosen_by_name_and_level() -> None:
    assert choose_cells(["cups"], [1, 3]) == [("cups", 1), ("cups", 3)]
    assert "recall_long" not in {task for task, _ in choose_cells()}
    assert {task for task, _ in choose_cells(["recall_long"])} == {"recall_long"}
    with pytest.raises(NotFound, match="'cups'"):
        choose_cells(["cupps"])
    with pytest.raises(RequestError, match="level"):
        choose_cells(["cups"], [99])


def test_every_candidate_meets_the_same_prompts_and_is_scored_exactly(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    with Pool.load(["tiny"], weights) as pool:
        answer = pool.generate_many

        def listen(requests: Any, progress: Any = None) -> Any:
            asked.append([request.prompt for request in requests])
            return answer(requests, progress)

        monkeypatch.setattr(pool, "generate_many", listen)
        monkeypatch.setattr("interlock.pocket.tasks.Example.verify", lambda self, _: self.prompt == asked[0][0])
        seen: list[tuple[int, int]] = []
        rows = score(
            pool, ["tiny-t0", "tiny-left-t0"], [("add", 3), ("sort", 4)], n=6, progress=lambda *x: seen.append(x)
        )
    assert asked[:2] == asked[2:]
    assert all(TASKS[row.task] and row.n == 6 for row in rows)
    assert [row.right for row in rows] == [asked[0].count(asked[0][0]), 0] * 2
    assert seen == [(6, 24), (12, 24), (18, 24), (24, 24)]
    assert [name for name, _ in by_candidate(rows)] == ["tiny-t0", "tiny-left-t0"]


def test_the_verbs_print_json(weights: Path) -> None:
    folder = ("--weights", str(weights))
    names = {card["name"] for card in run("list", *folder)}
    assert {"tiny-t0", "tiny-right-tN", "speck-t2"} <= names
    answers = run("ask", "Add 1 and 2.", "-c", "tiny", "-c", "speck-tN", "--max-tokens", "5", *folder)
    assert [(answer["candidate"], answer["usage"]["completion"]) for answer in answers] == [
        ("tiny-t0", 5),
        ("speck-tN", 25),
    ]
    cells = run("eval", "-c", "speck-t0", "-t", "sort", "-l", "3", "-n", "4", *folder)
    assert [(cell["task"], cell["level"], cell["n"]) for cell in cells] == [("sort", 3, 4)]
    assert cells[0]["accuracy"] == cells[0]["right"] / 4


def test_weights_are_compared_prompt_by_prompt(weights: Path, tmp_path: Path) -> None:
    save(tmp_path / "tiny.safetensors", load(weights / "tiny.safetensors").tensors, name="tiny",
         config=load(weights / "tiny.safetensors").config, precision="fp32")  # fmt: skip
    folders = "--weights", str(weights), "--against", str(tmp_path)
    rows = run("eval", "-c", "tiny-t0", "-t", "sort", "-t", "add", "-n", "12", *folders)
    assert [(row["task"], row["n"], row["points"]) for row in rows] == [("sort", 14, 0.0), ("add", 12, 0.0)]
    assert {row["candidate"] for row in run("eval", "-t", "clock", "-n", "1", *folders)} == {
        f"tiny-{budget}" for budget in BUDGETS
    }


def test_paired_points_and_interval_follow_from_the_prompts_that_differ() -> None:
    row = Difference("x-t0", "sort", 1000, right=900, other_right=910, only=5, other_only=15)
    assert row.points == pytest.approx(-1.0)
    low, high = row.interval
    # 1002 pairs with the halves: (-10 -+ 1.96 sqrt(21 - 100 / 1002)) / 1002
    assert (low, high) == pytest.approx((-1.8922, -0.1038), abs=1e-3)
    assert paired_interval(0, 0, 10)[0] < 0 < paired_interval(0, 0, 10)[1]


def test_the_verbs_print_tables(weights: Path) -> None:
    for arguments in (["list"], ["ask", "x", "-c", "tiny"], ["eval", "-c", "tiny-t0", "-t", "sort", "-n", "2"]):
        done = CliRunner().invoke(app, [*arguments, "--weights", str(weights)], catch_exceptions=False)
        assert done.exit_code == 0
        assert "tiny" in done.stdout
