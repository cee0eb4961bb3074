from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from interlock.lab.experiments import Options, load, poison
from interlock.lab.experiments.poison import Told


def told(lost: float, trusting: float) -> Told:
    clean = np.full((2, 300), 0.8)
    poisoned = clean.copy()
    poisoned[0, :100] -= 3 * lost  # all of it in the first third
    return Told(clean, poisoned, clean - trusting, clean)


def test_cost_is_in_points_of_the_whole_stream_or_its_end() -> None:
    seen = told(0.01, 0.05)
    assert seen.cost(seen.poisoned) == pytest.approx([1.0, 0.0])
    assert seen.cost(seen.poisoned, 1 / 3) == pytest.approx([0.0, 0.0])
    assert seen.cost(seen.trusting) == pytest.approx([5.0, 5.0])


@pytest.mark.parametrize(("lost", "verdict"), [(0.01, "pass"), (0.03, "short")])
def test_the_mean_cost_as_configured_decides(lost: float, verdict: str, tmp_path: Path) -> None:
    report = poison.judge([told(lost, 0.09), told(lost, 0.09)], Options(seeds=(0, 1), out=tmp_path))
    assert report.verdict == verdict
    assert Path(report.plots[0]).stat().st_size > 0


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table) -> None:
    monkeypatch.setattr(poison, "answer_all", lambda examples, *_: table(len(examples), {"small-t1": 0.95}))
    report = load("poison")(Options(seeds=(0,), out=tmp_path / "poison", scale=0.06))
    by_name = {figure.name: figure.ours for figure in report.figures}
    assert by_name["utility they lose, nobody doubted"] > 0, "lies do harm"
    assert 50 < by_name["their utility without poison"] < 95
