"""The protocol of every routing result: fit on one part, judge on another, beside the honest panel, with intervals.

    evaluate(train, test, estimators) -> Evaluation        cross_validate(table, estimators) -> Evaluation

Features and estimators are fitted on the training part. For the test part each estimator predicts quality, cost is
predicted from the training part too, and an objective is swept over its trade-off; each setting is an operating point.
A candidate that has no answer for a query is not on offer there, so every arm is judged on the same queries, on cells
that exist. Where no candidate has a cost, the only operating point is the best predicted quality.

Source: the protocol of Varangot-Reille et al. (arXiv 2502.00409) and LLMRouterBench (arXiv 2601.07206).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..errors import nearest
from ..estimators import ESTIMATORS
from ..objectives import CheapestAbove, Chebyshev, Objective, Weighted
from ..types import Array, Estimate
from .cache import Cache, code, digest
from .costs import Costs
from .evaluation import Evaluation, judge
from .features import Features
from .panel import Chosen, Played, panel, play
from .tables import Table, TableError, join

Progress = Callable[[str], object]
"""Told what is about to be done."""

NOTHING_KEPT = Cache()


class Learner(Protocol):
    """What can be judged: every estimator, or anything else with these two. A NaN prediction is never chosen."""

    def fit_table(self, vectors: Array, candidates: Sequence[str], scores: Array) -> Any:
        """Forget everything and learn: vectors (n, d), scores (n, k), NaN where a candidate has none."""
        ...

    def predict(self, vectors: Array, candidates: Sequence[str]) -> tuple[Array, Array]:
        """Expected score and its standard deviation, both (n, k)."""
        ...


@runtime_checkable
class Prepared(Protocol):
    def prepare(self) -> None: ...


POINTS = 48
_SCALES = np.concatenate([[0.0], np.geomspace(1e-3, 1e2, POINTS - 2), [1e7]])  # from quality alone to cost alone

OBJECTIVES: dict[str, Callable[[float], list[Objective]]] = {
    "weighted": lambda dearest: [Weighted(cost=scale / dearest) for scale in _SCALES],
    "chebyshev": lambda dearest: [Chebyshev(1.0 / (1.0 + scale)) for scale in _SCALES],
    "cheapest_above": lambda dearest: [CheapestAbove(level) for level in np.linspace(1.001, 0.0, POINTS)],
}
"""The settings of each objective, from quality alone to cost alone; `dearest` is the mean cost of the dearest."""


def evaluate(
    train: Table,
    test: Table,
    estimators: Mapping[str, Learner] | Sequence[str],
    *,
    objectives: Sequence[str] = ("weighted",),
    features: Features | None = None,
    rounds: int = 500,
    seed: int = 0,
    progress: Progress = lambda _: None,
    cache: Cache = NOTHING_KEPT,
) -> Evaluation:
    """Judge `estimators` (by name, or made ones by any name) on `test` after fitting them on `train`.

    Both tables need the same candidates, or `TableError` is raised; so do tables with a single one, or without queries.
    """
    train, test = comparable(train, test)
    arms = run(train, test, made(estimators), objectives, features or Features(), progress, cache)
    progress(f"{test.name}: judging")
    return judge(test, arms, trained_on=len(train), rounds=rounds, seed=seed)


def cross_validate(
    table: Table,
    estimators: Mapping[str, Learner] | Sequence[str],
    *,
    folds: int = 5,
    objectives: Sequence[str] = ("weighted",),
    features: Features | None = None,
    rounds: int = 500,
    seed: int = 0,
    progress: Progress = lambda _: None,
    cache: Cache = NOTHING_KEPT,
) -> Evaluation:
    """The same under cross-validation: every query is judged once, by what was fitted without its fold.

    Intervals are over the queries of all folds together.
    """
    table, _ = comparable(table, table)
    parts: list[Table] = []
    arms: list[Played] = []
    for number, (train, test) in enumerate(table.folds(folds, seed)):
        told = partial(_prefixed, progress, f"fold {number + 1}/{folds}: ")
        more = run(train, test, made(estimators), objectives, copy.deepcopy(features) or Features(), told, cache)
        arms = more if not arms else [arm.followed_by(other) for arm, other in zip(arms, more, strict=True)]
        parts.append(test)
    progress(f"{table.name}: judging")
    return judge(join(parts), arms, trained_on=len(table) - len(table) // folds, rounds=rounds, seed=seed)


def comparable(train: Table, test: Table) -> tuple[Table, Table]:
    """Both parts with the candidates they share, those with a cost if any has one, and the queries that can be judged.

    Raises `TableError` when nothing is left to choose between.
    """
    shared = [name for name in train.candidates if name in test.candidates]
    if len(shared) < 2:
        raise TableError(
            f"{test.name}: the training part has {len(train.candidates)} candidates and the test part "
            f"{len(test.candidates)}, of which {len(shared)} are the same; routing needs at least two"
        )
    train, test = train.only(shared), test.only(shared)
    both = [name for name in train.priced().candidates if name in test.priced().candidates]
    if len(both) > 1:
        train, test = train.only(both).with_cost(), test.only(both).with_cost()
    train, test = train.judgeable(), test.judgeable()
    for part, table in (("training", train), ("test", test)):
        if len(table) < 2:
            raise TableError(f"{table.name}: the {part} part has {len(table)} queries with a score; two are the least")
    known = train.score[train.answered]
    if np.ptp(known) == 0.0:
        raise TableError(
            f"{train.name}: every score of the training part is {known[0]:g}; nothing tells candidates apart"
        )
    return train, test


def made(estimators: Mapping[str, Learner] | Sequence[str]) -> dict[str, Learner]:
    """Fresh estimators by name."""
    if isinstance(estimators, Mapping):
        return {name: copy.deepcopy(estimator) for name, estimator in estimators.items()}
    return {name: ESTIMATORS[name]() for name in estimators}


def run(
    train: Table,
    test: Table,
    estimators: Mapping[str, Learner],
    objectives: Sequence[str],
    features: Features,
    progress: Progress = lambda _: None,
    cache: Cache = NOTHING_KEPT,
) -> list[Played]:
    """What the panel and every estimator under every objective got on `test`, each arm's time included."""
    for name in objectives:
        if name not in OBJECTIVES:
            raise TableError(f"no objective {name!r}; {nearest(name, list(OBJECTIVES))}")
    progress(f"{test.name}: features")
    key = digest(
        code("lab/features.py", "signals", "encoder.py"), features, train.prompts, train.tasks, test.prompts, test.tasks
    )
    read = cache.arrays(key, partial(_featurised, features, train, test))
    vectors, asked = read["vectors"], read["asked"]
    priced = bool(np.isfinite(train.cost).any())
    cost = Costs().fit(vectors, train.cost).predict(asked) if priced else np.full(test.score.shape, np.nan)
    dearest = float(np.nanmax(train.mean("cost"))) if priced else 1.0
    sweeps = [partial(swept, OBJECTIVES[name](dearest) if priced else [Weighted()]) for name in objectives]
    arms = panel(train, test, vectors, asked, sweeps[0])
    for name, estimator in estimators.items():
        progress(f"{test.name}: {name}")
        mine = digest(key, code("estimators"), type(estimator).__qualname__, estimator, train.score, train.candidates)
        said = cache.arrays(mine, partial(_predicted, estimator, train, vectors, asked))
        quality, (fitted, routed) = said["quality"], said["seconds"]
        for objective, sweep in zip(objectives if priced else objectives[:1], sweeps, strict=False):
            shown = name if objective == objectives[0] else f"{name} / {objective}"
            arm = play(shown, "router", test, sweep(quality, cost, test.answered))
            spent = float(read["seconds"][0]) + float(routed)
            arms.append(replace(arm, predicted=quality, fit_seconds=float(fitted), route_seconds=spent))
    return arms


def _featurised(features: Features, train: Table, test: Table) -> dict[str, Array]:
    """Vectors of both parts, and the seconds that one test prompt took."""
    vectors = features.fit_transform(train.prompts, train.tasks)
    start = time.perf_counter()
    asked = features.transform(test.prompts, test.tasks) if features.given else features.transform(test.prompts)
    return {"vectors": vectors, "asked": asked, "seconds": np.array([(time.perf_counter() - start) / len(test)])}


def _predicted(estimator: Learner, train: Table, vectors: Array, asked: Array) -> dict[str, Array]:
    """Predicted quality (n, k), and the seconds to fit and to predict one row."""
    start = time.perf_counter()
    estimator.fit_table(vectors, train.candidates, train.score)
    if isinstance(estimator, Prepared):
        estimator.prepare()
    fitted = time.perf_counter()
    quality, _ = estimator.predict(asked, train.candidates)
    seconds = np.array([fitted - start, (time.perf_counter() - fitted) / len(asked)])
    return {"quality": quality, "seconds": seconds}


def swept(settings: Sequence[Objective], quality: Array, cost: Array, answered: NDArray[np.bool_]) -> Chosen:
    """What each setting of an objective chooses among the cells that exist, (n, settings)."""
    unknown = np.full(quality.shape, np.nan)
    estimate = Estimate(quality, unknown, cost, unknown, unknown)
    chosen = np.empty((len(quality), len(settings)), dtype=np.intp)
    for point, objective in enumerate(settings):
        utility = objective.utility(estimate)
        chosen[:, point] = np.where(answered & np.isfinite(utility), utility, -np.inf).argmax(axis=1)
        lost = ~np.take_along_axis(answered, chosen[:, point : point + 1], axis=1)[:, 0]
        chosen[lost, point] = answered[lost].argmax(axis=1)  # no cost is known of any that answered: the first of them
    return chosen


def _prefixed(progress: Progress, prefix: str, what: str) -> None:
    progress(prefix + what)
