from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from interlock.lab import leaderboard as module
from interlock.lab.leaderboard import leaderboard
from interlock.lab.tables import MEASURES, Table, write_tables


def table(name: str, n: int, cost: float) -> Table:
    rng = np.random.default_rng(0)
    measures = {measure: np.full((n, 2), np.nan) for measure in MEASURES}
    measures["score"] = (rng.random((n, 2)) < [0.4, 0.7]) * 1.0
    measures["cost"] = np.full((n, 2), cost) * [1.0, 5.0]
    ids, prompts = tuple(f"{name}{i}" for i in range(n)), tuple(f"prompt {i} of {name}" for i in range(n))
    return Table(name, ids, prompts, ("",) * n, ("small", "large"), **measures)


def test_one_page_a_plot_a_table_and_what_was_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    write_tables(tmp_path, [table("priced", 120, 0.01), table("free", 120, np.nan), table("tiny", 9, 0.1)], "jsonl")
    options = {"folds": 2, "rounds": 50, "processes": 1, "cache": tmp_path / "cache", "out": tmp_path / "out"}
    told: list[str] = []
    board = leaderboard(tmp_path, ["constant", "ridge"], progress=told.append, **options)
    assert list(board.evaluations) == ["priced", "free"]
    assert board.left_out == {"tiny": "9 queries"}
    assert told
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "priced.png", "free.png", "leaderboard.md", "leaderboard.html", "leaderboard.json",
    }  # fmt: skip
    text = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "| arm | priced (AIQ) | free (APGR) |" in text
    for name in ("| best single |", "| oracle |", "| constant |", "| ridge / chebyshev |"):
        assert name in text
    assert "**tiny**: left out (9 queries)" in text
    assert (tmp_path / "out" / "leaderboard.html").read_text().count("data:image/png;base64") == 2
    before = sorted(path.name for path in (tmp_path / "cache").iterdir())
    leaderboard(tmp_path, ["constant", "ridge"], **options)
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == before


def test_tables_may_be_worked_on_in_processes(tmp_path: Path) -> None:
    write_tables(tmp_path, [table("x", 110, 0.01), table("y", 105, 0.01)], "jsonl")
    board = leaderboard(tmp_path, ["constant"], folds=2, rounds=20, processes=2, cache=None, out=tmp_path / "out")
    assert set(board.evaluations) == {"x", "y"}


def test_a_table_that_cannot_be_judged_is_left_out_with_its_reason(tmp_path: Path) -> None:
    one = table("x", 110, 0.01).only(["small"])
    reason = module.one_table(one, estimators=("constant",), folds=2, rounds=20, cache=None)
    assert "at least two" in str(reason)
