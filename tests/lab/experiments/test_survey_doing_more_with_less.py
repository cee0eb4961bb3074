"""Retrieval routing on a small corpus, plans for two steps, a newcomer, and tables that must not be routed on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from interlock.lab.experiments import Options
from interlock.lab.experiments import survey_doing_more_with_less as survey
from interlock.lab.locate import NoData
from interlock.lab.newcomer import shares
from interlock.lab.panel import complementarity
from interlock.lab.strategies import STRATEGIES, Split, build_world
from interlock.lab.tables import Table
from interlock.lab.two_steps import PAIRS, Planner, Steps, on_a_purse, worst_window, worth_for

pytest.importorskip("sklearn")
pytest.importorskip("lightgbm")


def questions(n: int = 80) -> Table:
    prompts = tuple(f"Which of these treaties ended war number {i} between kingdoms? A. one B. two" for i in range(n))
    empty = np.full((n, 2), np.nan)
    score = np.tile([1.0, 0.0], (n, 1))
    return Table("q", tuple(map(str, range(n))), prompts, ("t",) * n, ("a", "b"), score, empty, *[empty] * 4)


def test_every_strategy_is_tried_and_routers_keep_their_documents_apart() -> None:
    world = build_world(questions(), 0.02)
    n = len(world.text)
    assert world.hit.shape == world.tokens.shape == (n, len(STRATEGIES))
    assert (world.hit[:, 0] == (world.document == -1)).all(), "nothing retrieved serves only what needs nothing"
    assert (np.diff(world.hit[:, 1:4], axis=1) >= 0).all(), "deeper finds no less"
    assert not world.tokens[:, 0].any()
    split = Split(world, 0)
    train, test = (set(world.document[part].tolist()) - {-1} for part in (~split.test, split.test))
    assert not train & test
    chosen = split.choice("oracle", 0.05)
    assert (
        split.got(world.utility(0.05), chosen).mean()
        >= split.got(world.utility(0.05), split.choice("after cheap scores", 0.05)).mean()
    )
    assert (split.choice("best single", 0.05, most=1) < len(STRATEGIES)).all()


def steps(n: int = 600, seed: int = 0) -> Steps:
    """Half of the questions need a record or the dearest model, so one of both is wasted; the others need nothing."""
    vectors = np.random.default_rng(seed).integers(0, 2, (n, 1)).astype(float)
    records = np.array([pair[0] for pair in PAIRS])
    model = np.array([index % 3 for index in range(9)])
    right = np.where(vectors == 1, (records > 0) | (model == 2), True)
    cost = np.tile((1.0 + records) * np.array([1.0, 5.0, 20.0])[model], (n, 1))
    return Steps(right.astype(float), cost, vectors)


def test_steps_planned_together_waste_less_than_apart_and_keep_to_the_purse() -> None:
    known, asked = steps(), steps(seed=1)
    together, apart = (Planner.fitted(known, asked.vectors, joint=joint) for joint in (True, False))
    at = np.arange(len(asked.quality))
    ours, theirs = (asked.utility[at, plan.choose()].mean() for plan in (together, apart))
    assert ours > theirs + 0.01
    assert ours == pytest.approx(asked.utility.max(axis=1).mean(), abs=0.005)
    allowance = 0.7 * float(asked.cost[at, together.choose()].mean())
    chosen = on_a_purse(together, asked, worth_for(together, allowance), allowance, 4 * allowance)
    assert worst_window(asked.cost[at, chosen], allowance) <= 1.02


def test_a_newcomer_that_is_best_gets_the_traffic_and_one_that_is_worst_does_not() -> None:
    rng = np.random.default_rng(0)
    for level, most in ((0.95, True), (0.05, False)):
        utility = np.clip(np.array([0.5, 0.4, level]) + rng.normal(0, 0.05, (1500, 3)), 0, 1)
        own, refitted = shares(utility, np.zeros((1500, 1)), ("a", "b", "new"), "new", [0])
        assert (own[0] > 0.8) == most
        assert (refitted[0] > 0.8) == most


def test_clones_complement_nothing_and_one_that_dominates_is_right_whenever_anybody_is() -> None:
    rng = np.random.default_rng(0)
    empty = np.full((300, 3), np.nan)
    score, cost = (rng.random((300, 3)) < 0.5).astype(float), np.tile([3.0, 2.0, 1.0], (300, 1))
    ids = tuple(map(str, range(300)))
    table = Table("t", ids, ids, ("x",) * 300, ("a", "b", "c"), score, cost, *[empty] * 4)
    assert max(complementarity(survey.clones(table)).values()) == 0.0
    assert max(complementarity(table).values()) > 0.05
    dominated = survey.degenerate(table, 1.0)
    np.testing.assert_array_equal(dominated.score[:, 0], table.score.max(axis=1))
    np.testing.assert_array_equal(dominated.cost[:, 0], 1.0)


def test_without_data_it_says_what_to_pass(tmp_path: Path) -> None:
    with pytest.raises(NoData, match="--data FOLDER"):
        survey.run(Options(seeds=(0,), out=tmp_path, data=tmp_path))
