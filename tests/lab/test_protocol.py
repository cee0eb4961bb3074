from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interlock.estimators import Constant, Logistic, Ridge
from interlock.lab.cache import Cache
from interlock.lab.evaluation import Evaluation
from interlock.lab.features import Features
from interlock.lab.panel import best_single, complementarity, fixed, task_means
from interlock.lab.protocol import OBJECTIVES, comparable, cross_validate, evaluate, swept
from interlock.lab.tables import MEASURES, Table, TableError

FEATURES = Features(terms=0, embedding=0)


def made(scores: Any, cost: Any = None, tasks: Any = None, prompts: Any = None, name: str = "made") -> Table:
    """A table of these scores (n, k); cost (k,) or (n, k)."""
    score = np.asarray(scores, dtype=np.float64)
    n, k = score.shape
    nothing = {measure: np.full((n, k), np.nan) for measure in MEASURES}
    if cost is not None:
        nothing["cost"] = np.broadcast_to(np.asarray(cost, dtype=np.float64), (n, k)).copy()
    prompts = prompts or [f"prompt number {i}" for i in range(n)]
    ids, candidates = tuple(map(str, range(n))), tuple("abcdefgh"[:k])
    return Table(name, ids, tuple(prompts), tuple(tasks or [""] * n), candidates, **(nothing | {"score": score}))


def specialists(n: int = 400, seed: int = 0) -> Table:
    """`a` is cheap and good at sums, `b` good at code, `c` dear and fair at both; prompts tell which is which."""
    rng = np.random.default_rng(seed)
    sums = rng.random(n) < 0.5
    right = np.stack([np.where(sums, 0.9, 0.2), np.where(sums, 0.2, 0.9), np.full(n, 0.7)], axis=1)
    prompts = [f"What is {i} + {i}?" if s else f"def f{i}(x): return x;" for i, s in enumerate(sums)]
    tasks = ["sums" if s else "code" for s in sums]
    cost = rng.uniform(0.5, 1.5, (n, 1)) * [0.001, 0.002, 0.01]
    return made((rng.random((n, 3)) < right) * 1.0, cost, tasks, prompts)


@pytest.fixture(scope="module")
def routable() -> Evaluation:
    estimators = {"ridge": Ridge(), "constant": Constant()}
    return evaluate(specialists(), specialists(seed=1), estimators, objectives=tuple(OBJECTIVES), features=FEATURES)


def test_the_panel_stands_beside_the_routers(routable: Evaluation) -> None:
    names = {arm.name for arm in routable.arms if arm.kind == "panel"}
    assert names >= {"random", "cheapest", "best single", "task table", "task table, task given", "oracle"}
    assert {arm.name for arm in routable.arms if arm.kind == "router"} >= {"ridge", "ridge / chebyshev", "constant"}


def test_a_router_beats_the_best_single_where_there_is_something_to_route_on(routable: Evaluation) -> None:
    accuracy = {arm.name: arm.figures["accuracy"].value for arm in routable.arms}
    assert accuracy["ridge"] > accuracy["best single"] + 0.1
    assert accuracy["oracle"] > accuracy["task table"] > accuracy["random"]
    assert accuracy["constant"] == pytest.approx(accuracy["best single"])
    assert routable.verdict.route
    assert routable.verdict.text.startswith("route: ")
    assert routable.verdict.gain.low > 0.05


def test_every_figure_has_an_interval_around_it(routable: Evaluation) -> None:
    ridge = routable.arm("ridge").figures
    assert ridge.keys() >= {
        "aiq", "quarter", "matched", "accuracy", "macro", "hypervolume", "perf_gain", "cost_save", "cost_at_quality",
        "ece", "log_loss", "entropy", "rank_correlation", "pareto_distance",
    }  # fmt: skip
    for name, figure in ridge.items():
        assert figure.low <= figure.value <= figure.high, name
    assert ridge["aiq"].value > routable.arm("mixtures of fixed").figures["aiq"].value
    assert routable.arm("oracle").figures["aiq"].value > ridge["aiq"].value


def test_frontiers_run_from_quality_to_cost_and_time_is_measured(routable: Evaluation) -> None:
    ridge = routable.arm("ridge")
    assert ridge.cost[0] > ridge.cost[-1]
    assert ridge.quality[0] > ridge.quality[-1]
    assert ridge.cost[-1] == pytest.approx(routable.arm("cheapest").cost[0], rel=1e-6)
    assert ridge.route_microseconds > 0
    assert sum(ridge.shares.values()) == pytest.approx(1.0)


def test_shuffled_labels_are_never_a_gain() -> None:
    for seed in range(3):
        table = specialists(300, seed)
        rng = np.random.default_rng(seed)
        mixed = replace(table, score=rng.permuted(table.score, axis=0))
        made = cross_validate(mixed, ["ridge", "knn"], folds=3, features=FEATURES, rounds=200)
        assert not made.verdict.route, made.verdict
        assert made.verdict.text.startswith("do not route here")


def test_one_that_dominates_gives_do_not_route() -> None:
    rng = np.random.default_rng(0)
    scores = np.stack([np.ones(200), rng.random(200) < 0.5], axis=1)
    result = cross_validate(made(scores, [0.001, 0.01]), ["ridge"], folds=2, features=FEATURES, rounds=100)
    assert not result.verdict.route
    assert result.best_single == "a"
    assert result.margin.value == 0.0


def test_clones_complement_nobody() -> None:
    score = (np.random.default_rng(0).random((50, 1)) < 0.5) * np.ones((1, 3))
    assert complementarity(made(score)) == {"a": 0.0, "b": 0.0, "c": 0.0}
    assert complementarity(made([[1.0, 0.0], [0.0, 0.5]])) == {"a": 0.5, "b": 0.25}


def test_without_costs_accuracy_is_judged_and_no_frontier(routable: Evaluation) -> None:
    table = specialists(200)
    free = replace(table, cost=np.full(table.cost.shape, np.nan))
    result = cross_validate(
        free, {"ridge": Ridge()}, folds=2, objectives=tuple(OBJECTIVES), features=FEATURES, rounds=50
    )
    assert not result.priced
    assert result.figure == "accuracy"
    assert "aiq" not in result.arm("ridge").figures
    assert [arm.name for arm in result.arms if arm.kind == "router"] == ["ridge"]


def test_two_candidates_have_a_deferral_curve() -> None:
    table = specialists(300).only(["a", "c"])
    result = cross_validate(table, {"ridge": Ridge()}, folds=2, features=FEATURES, rounds=100)
    figures = result.arm("ridge").figures
    assert figures["apgr"].value > 0.6
    assert 0 < figures["cpt50"].value < figures["cpt80"].value < 1


def test_what_did_not_answer_is_not_on_offer() -> None:
    table = specialists(300)
    score = table.score.copy()
    score[::3, 0] = np.nan
    result = cross_validate(replace(table, score=score), {"ridge": Ridge()}, folds=2, features=FEATURES, rounds=50)
    assert result.missing == pytest.approx(1 / 9, abs=0.01)
    for arm in result.arms:
        assert np.isfinite(arm.figures["accuracy"].value), arm.name


def test_one_tried_on_the_easy_queries_alone_is_no_best_single() -> None:
    score = np.array([[1.0, 0.6], [np.nan, 0.6], [np.nan, 0.6]])
    assert best_single(made(score)).argmax() == 1
    np.testing.assert_array_equal(fixed(made(score), np.array([1.0, 0.0]))[:, 0], [0, 1, 1])


def test_cells_of_the_task_table_are_drawn_to_the_mean() -> None:
    means = task_means(made([[1.0], [0.0], [0.0]], tasks=["x", "y", "y"]), "score")
    assert means["y"][0] < means[""][0] < means["x"][0] < 1.0


def test_points_are_chosen_by_the_objective_among_what_exists() -> None:
    quality, cost = np.array([[0.9, 0.8, 0.1]]), np.array([[1.0, 0.1, 0.01]])
    there = np.array([[True, True, True]])
    chosen = swept(OBJECTIVES["weighted"](1.0), quality, cost, there)[0]
    assert list(dict.fromkeys(chosen.tolist())) == [0, 1, 2]
    assert set(swept(OBJECTIVES["weighted"](1.0), quality, cost, np.array([[False, False, True]]))[0].tolist()) == {2}


def test_equal_seeds_give_equal_figures() -> None:
    runs = [
        cross_validate(specialists(120), {"ridge": Ridge()}, folds=2, features=FEATURES, rounds=50).arm("ridge").figures
        for _ in range(2)
    ]
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (made([[1.0]] * 5), made([[1.0]] * 5), "routing needs at least two"),
        (made([[1.0, 0.0]] * 5), made([[1.0]] * 5), "of which 1 are the same"),
        (made(np.full((5, 2), np.nan)), made([[1.0, 0.0]] * 5), "the training part has 0 queries with a score"),
        (made([[0.5, 0.5]] * 5), made([[1.0, 0.0]] * 5), "every score of the training part is 0.5"),
    ],
)
def test_tables_that_cannot_be_judged_are_refused(train: Table, test: Table, message: str) -> None:
    with pytest.raises(TableError, match=message):
        evaluate(train, test, ["constant"], features=FEATURES)


def test_candidates_without_a_cost_are_left_out_where_others_have_one() -> None:
    table = made(np.eye(3), [0.1, np.nan, 0.2])
    assert comparable(table, table)[0].candidates == ("a", "c")


def test_finished_parts_are_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, cache = specialists(100), Cache(tmp_path)
    first = cross_validate(table, ["logistic"], folds=2, features=FEATURES, rounds=50, cache=cache)
    monkeypatch.setattr(Logistic, "fit_table", lambda *_: pytest.fail("fitted again"))
    again = cross_validate(table, ["logistic"], folds=2, features=FEATURES, rounds=50, cache=cache)
    assert again.arm("logistic").figures == first.arm("logistic").figures
    assert again.verdict == first.verdict
    with pytest.raises(pytest.fail.Exception):  # other parameters are another part
        cross_validate(table, {"logistic": Logistic(prior_std=9.0)}, folds=2, features=FEATURES, rounds=50, cache=cache)


def test_families_of_tasks_are_judged_alone_too() -> None:
    table = specialists(300)
    tasks = tuple(task if task == "sums" else f"code:{i % 3}" for i, task in enumerate(table.tasks))
    named = replace(table, tasks=tasks)
    result = cross_validate(named, {"ridge": Ridge()}, folds=2, features=FEATURES, rounds=50)
    assert set(result.families) == {"sums", "code"}
    alone = {family: figures["ridge"]["accuracy"].value for family, figures in result.families.items()}
    sums = np.array([task == "sums" for task in named.tasks]).mean()
    both = sums * alone["sums"] + (1 - sums) * alone["code"]
    assert both == pytest.approx(result.arm("ridge").figures["accuracy"].value)
    assert cross_validate(table, {"ridge": Ridge()}, folds=2, features=FEATURES, rounds=50).families == {}
