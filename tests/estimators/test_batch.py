"""Estimators that are trained in batches: what is kept, when they train, how a new candidate is placed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from interlock.checks.estimators import same_state
from interlock.estimators import (
    MLP,
    Boosted,
    Contrastive,
    Ensemble,
    Estimator,
    Graph,
    MatrixFactorization,
)
from interlock.estimators.batch import Batch, Cells, Model

Floats = NDArray[np.float64]

BATCHED: dict[str, Callable[[], Batch]] = {
    "boosted": Boosted,
    "mlp": MLP,
    "matrix_factorization": MatrixFactorization,
    "contrastive": Contrastive,
    "graph": Graph,
    "ensemble": partial(Ensemble, members=("clusters", "logistic", "mlp")),
}
BATCHED_ONES = pytest.mark.parametrize("factory", BATCHED.values(), ids=BATCHED)


def specialists(n: int, seed: int = 0, names: int = 3) -> tuple[Floats, list[str], Floats]:
    """A table on which candidate c is right nine times in ten where column c is the largest, else rarely."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6))
    best = x[:, :names].argmax(axis=1)
    chance = np.where(best[:, None] == np.arange(names), 0.9, 0.2)
    return x, [f"c{i}" for i in range(names)], (rng.random((n, names)) < chance).astype(np.float64)


def events_of(x: Floats, names: list[str], scores: Floats, seed: int = 1) -> tuple[Floats, list[str], Floats]:
    """One cell of each row."""
    column = np.random.default_rng(seed).integers(0, len(names), len(x))
    return x, [names[c] for c in column], scores[np.arange(len(x)), column]


@BATCHED_ONES
def test_a_table_teaches_who_is_good_at_what(factory: Callable[[], Batch]) -> None:
    x, names, scores = specialists(600)
    asked, _, _ = specialists(300, seed=9)
    mean, _ = factory().fit_table(x, names, scores).predict(asked, names)
    assert (mean.argmax(axis=1) == asked[:, :3].argmax(axis=1)).mean() > 0.6, "by chance it would be a third"


@BATCHED_ONES
def test_events_teach_it_too(factory: Callable[[], Batch]) -> None:
    x, names, scores = specialists(1500)
    asked, _, _ = specialists(300, seed=9)
    mean, _ = factory().fit(*events_of(x, names, scores)).predict(asked, names)
    assert (mean.argmax(axis=1) == asked[:, :3].argmax(axis=1)).mean() > 0.5


@BATCHED_ONES
def test_a_table_survives_a_round_trip(factory: Callable[[], Batch]) -> None:
    x, names, scores = specialists(200)
    scores[::3, 1] = np.nan
    learnt = factory().fit_table(x, names, scores)
    copy = factory().restore(learnt.state())
    assert same_state(learnt.state(), copy.state())
    assert same_state(list(learnt.predict(x[:20], names)), list(copy.predict(x[:20], names)))


@BATCHED_ONES
def test_a_new_candidate_is_placed_without_training(factory: Callable[[], Batch]) -> None:
    x, names, scores = specialists(600)
    estimator = factory().fit_table(x, names, scores)
    trained = estimator._ready().model
    like, _, answers = specialists(50, seed=5)
    estimator.partial_fit(like, ["new"] * 50, answers[:, 0])
    assert estimator._ready().model is trained
    asked, _, _ = specialists(300, seed=9)
    mean, _ = estimator.predict(asked, [*names, "new"])
    apart = [np.abs(mean[:, 3] - mean[:, c]).mean() for c in range(3)]
    assert apart[0] == min(apart), "it is taken for the one it behaves like"


@BATCHED_ONES
@pytest.mark.parametrize(
    ("scores", "message"),
    [([[0.5, 1.5]] * 4, "row 0: target 1.5"), ([[0.5, np.inf]] * 4, "row 0: its scores"), ([[0.5]] * 4, "shape")],
)
def test_a_bad_table_is_refused(factory: Callable[[], Batch], scores: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        factory().fit_table(np.zeros((4, 2)), ["a", "b"], scores)


@BATCHED_ONES
@pytest.mark.parametrize("score", [0.0, 1.0])
def test_scores_that_are_all_the_same_are_no_trouble(factory: Callable[[], Batch], score: float) -> None:
    x = np.random.default_rng(3).normal(size=(150, 4))
    mean, std = factory().fit_table(x, ["a", "b"], np.full((150, 2), score)).predict(x, ["a", "b"])
    assert np.isfinite([mean, std]).all()
    assert np.abs(mean - score).max() < 0.2


@BATCHED_ONES
def test_one_candidate_and_equal_rows_are_no_trouble(factory: Callable[[], Batch]) -> None:
    scores = (np.arange(150) % 2).astype(np.float64)[:, None]
    mean, _ = factory().fit_table(np.ones((150, 3)), ["a"], scores).predict(np.ones((2, 3)), ["a"])
    assert np.abs(mean - 0.5).max() < 0.15


class Counting(Batch):
    """Says each candidate's mean, and counts how often it was trained."""

    trainings = 0

    def train(self, cells: Cells, rng: np.random.Generator) -> Model:
        type(self).trainings += 1
        return Means(np.nanmean(cells.scores, axis=0))


class Means:
    def __init__(self, of: Floats) -> None:
        self.of = of

    def predict(self, x: Floats, columns: NDArray[np.intp]) -> tuple[Floats, Floats]:
        return np.tile(self.of[columns], (len(x), 1)), np.full((len(x), len(columns)), 0.1)


def test_training_is_rare_and_a_clone_keeps_the_model() -> None:
    Counting.trainings = 0
    estimator, (x, names, scores) = Counting(), specialists(2000)
    vectors, asked, targets = events_of(x, names, scores)
    for row in range(len(vectors)):
        estimator.partial_fit(vectors[row : row + 1], [asked[row]], targets[row : row + 1])
        estimator.predict(vectors[:1], names)
    assert 5 < Counting.trainings < 30
    before = Counting.trainings
    clone = copy.copy(estimator).restore(estimator.state())
    clone.predict(vectors[:1], names)
    assert Counting.trainings == before


def test_the_oldest_rows_are_dropped() -> None:
    estimator = Counting(memory=100)
    old, new = np.zeros(500), np.ones(500)
    estimator.fit(np.zeros((1000, 2)), ["a"] * 1000, np.concatenate([old, new]))
    assert estimator.predict(np.zeros((1, 2)), ["a"])[0][0, 0] > 0.95


def test_a_table_is_kept_whole() -> None:
    x, names, scores = specialists(300)
    state = Counting(memory=100).fit_table(x, names, scores).state()
    assert len(state["settled"][0]) == 300


@pytest.mark.parametrize("factory", BATCHED.values(), ids=BATCHED)
def test_the_same_rows_give_the_same_model(factory: Callable[[], Estimator]) -> None:
    x, names, scores = specialists(150)
    first, second = (factory().fit_table(x, names, scores).predict(x[:9], names) for _ in range(2))
    assert same_state(list(first), list(second))
