from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from interlock.errors import ConfigError
from interlock.exploration import UCB
from interlock.lab.experiments import Options, load, off_policy, ope_coverage, promise
from interlock.lab.experiments import replay as replaying
from interlock.lab.experiments.off_policy import World, fold_along, kendall, one_hot, rejected, simulated
from interlock.lab.experiments.promise import Kept, wilson
from interlock.lab.tables import Table


def world(n: int = 1500, seed: int = 0) -> World:
    """Two kinds of query, three models: each of the first two is right for one kind."""
    rng = np.random.default_rng(seed)
    context = np.eye(2)[rng.integers(0, 2, 200)]
    chance = context @ np.array([[0.9, 0.2, 0.5], [0.2, 0.9, 0.4]])
    matrix = (rng.random((200, 3)) < chance).astype(np.float64)
    row, chosen = rng.integers(0, 200, n), rng.integers(0, 3, n)
    return World(("a", "b", "c"), row, chosen, matrix[row, chosen], context, matrix)


def test_kendalls_tau() -> None:
    assert kendall([1, 2, 3, 4], [10, 20, 30, 40]) == 1.0
    assert kendall([1, 2, 3, 4], [4, 3, 2, 1]) == -1.0
    assert kendall([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(4 / 6)


def test_a_learner_folds_the_log_and_never_looks_ahead() -> None:
    one = world()
    whole = fold_along(one, UCB(0.3))
    turned = World(
        one.models, one.row, one.chosen, np.where(np.arange(1500) < 750, one.reward, 0.0), one.context, one.matrix
    )
    np.testing.assert_array_equal(whole[:750], fold_along(turned, UCB(0.3))[:750])
    kind = one.context.argmax(axis=1)[one.row]
    late = np.arange(1500) > 1000
    assert whole[late & (kind == 0), 0].mean() > 0.95
    assert whole[late & (kind == 1), 1].mean() > 0.95


def test_learning_online_by_rejection_is_like_learning_on_the_matrix() -> None:
    one = world(4000)
    earned, steps = zip(*(rejected(one, UCB(2.0), seed) for seed in range(3)), strict=True)
    assert 0.25 < np.mean(steps) / 4000 < 0.42
    assert np.mean(earned) == pytest.approx(
        np.mean([simulated(one, UCB(2.0), s, steps[0]) for s in range(3)]), abs=0.06
    )


def test_the_report_ranks_and_draws(tmp_path: Path) -> None:
    one = world(3000)
    policies = {f"always {m}": one_hot(np.full(3000, i), one) for i, m in enumerate(one.models)}
    policies["LinUCB"] = fold_along(one, UCB(0.3))
    report = off_policy.judge(one, policies, {"LinUCB": ([0.8, 0.8], [0.8, 0.8])}, Options(seeds=(0, 1), out=tmp_path))
    assert report.figures[0].ours >= 0.6
    assert Path(report.plots[0]).stat().st_size > 0
    by_name = {figure.name: figure for figure in report.figures}
    assert by_name["LinUCB"].ours > by_name["always c"].ours


@pytest.mark.parametrize("name", ["off-policy", "promise"])
def test_without_data_it_is_said(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--data"):
        load(name)(Options(out=tmp_path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"greenserv_log.parquet does not exist"):
        off_policy.read(tmp_path)


def outcomes(n: int = 600, seed: int = 0) -> tuple[Table, np.ndarray]:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, 4))
    score = (rng.random((n, 2)) < 1 / (1 + np.exp(-(2 * vectors[:, :1] + np.array([0.5, 3.0]))))).astype(np.float64)
    cost = np.tile([0.001, 0.01], (n, 1))
    none = np.full((n, 2), np.nan)
    names = tuple(str(i) for i in range(n))
    return Table("made-up", names, names, names, ("cheap", "dear"), score, cost, none, none, none, none), vectors


def test_a_promise_on_a_table_is_kept_below_the_strongests_cost() -> None:
    table, vectors = outcomes()
    kept = [promise.try_split(table, vectors, np.random.default_rng(i))[0.1] for i in range(20)]
    assert np.mean([one.violation <= 0.1 for one in kept]) >= 0.9
    assert np.mean([one.cost for one in kept]) < 0.9
    assert np.mean([one.accepted for one in kept]) > 0.3


def test_models_without_price_or_answers_take_no_part() -> None:
    table, _ = outcomes(50)
    cost = table.cost.copy()
    cost[:10, 0] = np.nan
    left = promise.complete(replace(table, cost=cost))
    assert left.candidates == ("dear",)
    assert len(left) == 50


@pytest.mark.parametrize(("violation", "verdict"), [(0.04, "pass"), (0.06, "short")])
def test_the_promises_verdict(violation: float, verdict: str, tmp_path: Path) -> None:
    splits = [Kept(violation, 0.5, 0.8, 0.8, 0.5)] * 20
    report = promise.judge({("made-up", 0.05): splits}, Options(seeds=(0,), out=tmp_path))
    assert report.verdict == verdict


def test_wilson_agrees_with_statsmodels() -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    share, low, high = wilson(93, 100)
    assert share == 0.93
    assert (low, high) == pytest.approx(proportion.proportion_confint(93, 100, method="wilson"), abs=1e-4)


def test_coverage_runs_small(tmp_path: Path) -> None:
    report = ope_coverage.run(Options(seeds=(0,), out=tmp_path, scale=0.02))
    assert 0.7 <= next(f.ours for f in report.figures if f.name == "doubly_robust, student") <= 1.0
    assert Path(report.plots[0]).exists()


def test_replay_runs_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table) -> None:
    monkeypatch.setattr(replaying, "EXPLORATIONS", {"epsilon 0.5": {"kind": "epsilon", "rate": 0.5}})
    right = {"small-t1": 0.95, "micro-t1": 0.7}
    monkeypatch.setattr(replaying, "answer_all", lambda examples, *_: table(len(examples), right))
    report = replaying.run(Options(seeds=(0,), out=tmp_path, scale=0.1))
    by_name = {figure.name: figure for figure in report.figures}
    assert by_name["epsilon 0.5: itself, within the logged interval"].ours == 1.0
    assert by_name["... of it never tried"].ours == 0.0
    assert Path(report.plots[0]).exists()
