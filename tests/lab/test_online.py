from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from interlock.lab import online
from interlock.lab.online import COMPLETED, online_regret, read_completed
from interlock.lab.tables import TableError


def world(folder: Path, n: int = 60, lacking: bool = False) -> Path:
    """Two tasks, three models: `x` is right on the first, `y` on the second, `z` on neither."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    tasks = ["even" if i % 2 == 0 else "odd" for i in range(n)]
    queries = [
        {"query_id": f"q{i}", "dataset": "w", "task": task, "prompt": f"{task} {i}"} for i, task in enumerate(tasks)
    ]
    best = {"even": "x", "odd": "y"}
    cells = [
        {"query_id": f"q{i}", "model": m, "reward_lambda_0_5": float(best[task] == m), "observed": m != "z"}
        for i, task in enumerate(tasks)
        for m in "xyz"
    ]
    pyarrow.parquet.write_table(pa.Table.from_pylist(queries), folder / "queries.parquet")
    pyarrow.parquet.write_table(pa.Table.from_pylist(cells[lacking:]), folder / COMPLETED)
    return folder


def test_the_matrix_is_read_whole(tmp_path: Path) -> None:
    arms, prompts, tasks, reward, imputed = read_completed(world(tmp_path))
    assert (arms, prompts[0], tasks[1]) == (("x", "y", "z"), "even 0", "odd")
    np.testing.assert_array_equal(reward[:2], [[1, 0, 0], [0, 1, 0]])
    assert imputed == pytest.approx(1 / 3)


def test_one_that_sees_the_task_gives_away_least(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(online, "POLICIES", ("greenserv",))
    told: list[str] = []
    found = online_regret(world(tmp_path, 200), told.append, seeds=(0, 1))
    mean = {name: figures[0] for name, figures in found.regret.items()}
    assert mean["greenserv / task"] < mean["best fixed"] < mean["random"]
    assert mean["best fixed"] == pytest.approx(100)
    assert told


def test_a_matrix_with_holes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="lacks 1 rewards"):
        read_completed(world(tmp_path, lacking=True))
