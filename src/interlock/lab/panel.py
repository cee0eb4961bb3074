"""The honest panel: what stands beside every router, since most of them hardly beat it.

random, cheapest, best single (both chosen on the training part), every mixture of fixed candidates, a table of the mean
by task (the task of a test query given, or predicted from its vector), and the oracle that knows every answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from ..types import Array
from .tables import Table

Chosen = NDArray[np.intp]

SHRINK = 5.0
"""Queries of a task that a candidate's overall mean is worth in its cell of the task table."""


@dataclass(frozen=True)
class Played:
    """What an arm got at each of its operating points on n queries: quality and cost (n, p), NaN cost where unknown.

    `chosen` (n, p) are candidates' indices; `predicted` (n, k) is its estimate of quality, where it has one.
    """

    name: str
    kind: Literal["panel", "router"]
    quality: Array
    cost: Array
    chosen: Chosen | None = None
    predicted: Array | None = None
    fit_seconds: float = 0.0
    route_seconds: float = 0.0

    def take(self, rows: NDArray[np.bool_]) -> Self:
        """The same arm on some of its queries."""
        chosen = None if self.chosen is None else self.chosen[rows]
        predicted = None if self.predicted is None else self.predicted[rows]
        return replace(self, quality=self.quality[rows], cost=self.cost[rows], chosen=chosen, predicted=predicted)

    def followed_by(self, other: Self) -> Self:
        """The same arm on further queries, from another fold."""

        def join(a: Array | None, b: Array | None) -> Array | None:
            return None if a is None or b is None else np.concatenate([a, b])

        chosen = None if self.chosen is None or other.chosen is None else np.concatenate([self.chosen, other.chosen])
        total = len(self.quality) + len(other.quality)
        return replace(
            self,
            quality=np.concatenate([self.quality, other.quality]),
            cost=np.concatenate([self.cost, other.cost]),
            chosen=chosen,
            predicted=join(self.predicted, other.predicted),
            fit_seconds=self.fit_seconds + other.fit_seconds,
            route_seconds=(len(self.quality) * self.route_seconds + len(other.quality) * other.route_seconds) / total,
        )


def play(name: str, kind: Literal["panel", "router"], table: Table, chosen: Chosen) -> Played:
    """An arm that chose these candidates (n, p)."""
    quality, cost = (np.take_along_axis(cells, chosen, axis=1) for cells in (table.score, table.cost))
    return Played(name, kind, quality, cost, chosen)


Sweep = Callable[[Array, Array, NDArray[np.bool_]], Chosen]
"""Estimated quality and cost (n, k) and the cells that exist -> a choice at each operating point, (n, p)."""


def fixed(table: Table, preference: Array) -> Chosen:
    """The candidate of the highest preference (k,) that exists for each query, (n, 1)."""
    return np.asarray(np.where(table.answered, preference, -np.inf).argmax(axis=1)[:, None], dtype=np.intp)


def best_single(train: Table) -> Array:
    """Preference (k,) by mean score; those that answered less than nine tenths of the queries come after all others.

    Means over different queries cannot be compared, so a candidate tried on the easy ones alone is no best single.
    """
    common = train.answered.mean(axis=0)
    mean = np.nan_to_num(train.mean("score"), nan=-1.0)
    return np.where(common >= 0.9 * common.max(), mean, mean - 10.0)


def cheapest(train: Table) -> Array:
    """Preference (k,) by mean cost, unknown last."""
    return -np.nan_to_num(train.mean("cost"), nan=np.inf)


def task_means(train: Table, measure: Literal["score", "cost"]) -> dict[str, Array]:
    """Mean (k,) by task, drawn towards the candidate's own mean; "" is that mean alone."""
    cells, own = getattr(train, measure), train.mean(measure)
    labels, means = np.asarray(train.tasks, dtype=object), {"": own}
    for task in dict.fromkeys(train.tasks):
        mine = cells[labels == task]
        count = np.isfinite(mine).sum(axis=0)
        means[task] = (np.where(np.isfinite(mine), mine, 0.0).sum(axis=0) + SHRINK * own) / (count + SHRINK)
    return means


def look_up(means: dict[str, Array], tasks: Sequence[str]) -> Array:
    """The row of each query's task (n, k); the overall mean for a task never seen."""
    return np.stack([means.get(task, means[""]) for task in tasks])


def predicted_tasks(vectors: Array, tasks: Sequence[str], test: Array) -> list[str]:
    """The task of each test vector, read off by a ridge classifier fitted on the training ones."""
    known = list(dict.fromkeys(tasks))
    if len(known) < 2:
        return known * len(test)
    from sklearn.linear_model import RidgeClassifier
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(vectors)
    classifier = RidgeClassifier(alpha=10.0).fit(scaler.transform(vectors), list(tasks))
    return [str(task) for task in classifier.predict(scaler.transform(test))]


def panel(train: Table, test: Table, train_vectors: Array, test_vectors: Array, sweep: Sweep) -> list[Played]:
    """Every arm of the panel on the test part."""
    answered = test.answered
    arms = [
        Played("random", "panel", _row_mean(test.score), _row_mean(test.cost)),
        play("best single", "panel", test, fixed(test, best_single(train))),
    ]
    if np.isfinite(train.cost).any():
        arms.append(play("cheapest", "panel", test, fixed(test, cheapest(train))))
        order = [
            fixed(test, best_single(train) + 100.0 * (np.arange(len(test.candidates)) == column))
            for column in range(len(test.candidates))
        ]
        arms.append(play("mixtures of fixed", "panel", test, np.hstack(order)))
    guessed = predicted_tasks(train_vectors, train.tasks, test_vectors)
    scores, costs = task_means(train, "score"), task_means(train, "cost")
    for name, tasks in (("task table", guessed), ("task table, task given", test.tasks)):
        quality = look_up(scores, tasks)
        arm = play(name, "panel", test, sweep(quality, look_up(costs, tasks), answered))
        arms.append(replace(arm, predicted=quality))
    known = np.where(answered, test.score, -np.inf)
    cheap_first = known - 1e-9 * np.nan_to_num(
        test.cost / (np.nanmax(test.cost) if np.isfinite(test.cost).any() else 1.0)
    )
    best = cheap_first.argmax(axis=1)[:, None]
    chosen = best if not np.isfinite(test.cost).any() else np.hstack([best, sweep(known, test.cost, answered)])
    return [*arms, play("oracle", "panel", test, chosen)]


def _row_mean(cells: Array) -> Array:
    """Mean of what is known in each row, (n, 1)."""
    there = np.isfinite(cells)
    count = there.sum(axis=1)
    total = np.where(there, cells, 0.0).sum(axis=1)
    mean: Array = np.divide(total, count, out=np.full(len(cells), np.nan), where=count > 0)
    return mean[:, None]


def complementarity(table: Table) -> dict[str, float]:
    """What the oracle's mean quality loses without each candidate; below 0.002 it is superfluous."""
    cells = np.where(table.answered, table.score, -np.inf)
    if len(table.candidates) < 2:
        return dict.fromkeys(table.candidates, float("nan"))
    top = np.partition(cells, -2, axis=1)[:, -2:]
    sole = (cells == top[:, 1:]) & np.isfinite(cells)
    loss = np.where(sole & np.isfinite(top[:, :1]), top[:, 1:] - top[:, :1], 0.0)
    return {name: float(lost) for name, lost in zip(table.candidates, loss.mean(axis=0), strict=True)}
