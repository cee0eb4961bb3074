"""The judging on worlds whose answer is known, and the whole experiment small when the data is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from interlock.lab.answers import Table
from interlock.lab.bandit import Change, World, simulate
from interlock.lab.experiments import Options, greenserv, load, names
from interlock.lab.experiments.greenserv import IN, OUT, judge_swap, policy
from interlock.lab.locate import NoData, data_folder


@pytest.mark.parametrize(("good", "verdict"), [(0.95, "pass"), (0.05, "short")])
def test_a_newcomer_has_to_get_its_share(good: float, verdict: str) -> None:
    rng = np.random.default_rng(0)
    means = np.array([0.5, 0.4, good])
    rewards = np.clip(means + rng.normal(0, 0.05, (600, 3)), 0, 1)
    world = World(("other", OUT, IN), np.zeros((600, 1)), rewards, changes=(Change(300, add=(IN,), remove=(OUT,)),))
    figures = judge_swap(simulate(policy("greenserv"), world, [0, 1]))
    assert figures[0].verdict == verdict


def test_without_data_it_says_what_to_pass(tmp_path: Path) -> None:
    with pytest.raises(NoData, match="--data FOLDER"):
        greenserv.run(Options(seeds=(0,), out=tmp_path, data=tmp_path))


def test_it_runs_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table) -> None:
    try:
        folder = data_folder()
    except NoData:
        pytest.skip("no outcome tables beside this checkout")
    if not (folder / "greenserv_log.parquet").exists():
        pytest.skip("no GreenServ log in the folder")

    def answers(examples: list[object], *_: object) -> Table:
        made: Table = table(len(examples), {"small-t1": 0.95, "nano-t0": 0.4})
        return made

    monkeypatch.setattr(greenserv, "answer_all", answers)
    monkeypatch.setattr(greenserv, "seconds_of", lambda *_: 1.0)
    monkeypatch.setattr(greenserv, "TRADES", (0.0, 0.5, 1.0))
    assert "greenserv" in names()
    report = load("greenserv")(Options(seeds=(0,), out=tmp_path / "greenserv", data=folder, scale=0.02))
    by_name = {figure.name: figure for figure in report.figures}
    assert by_name["log: random, mean reward"].ours == pytest.approx(0.672, abs=0.005)
    assert by_name["ours / random"].ours < 1.0
    assert Path(report.plots[0]).stat().st_size > 0
    report.save(tmp_path)
