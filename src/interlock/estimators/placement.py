"""Placing a new candidate by asking it few, telling questions: computerised adaptive testing over known items.

The next item is the one with the largest Fisher information at the ability so far, p (1 - p) a'Va with V the ability's
posterior covariance, among the kind of items that has been asked least for its size (content balancing): left alone,
information would ask of one task only, where a candidate may be a specialist. It also trusts the fitted items, and
under misfit it grows biased, so after `adaptive` items the rest is drawn at random from all levels of difficulty.

Source: RADAR (arXiv 2509.25426); Lord, Applications of Item Response Theory (1980); several abilities: Segall,
Psychometrika 61 (1996); content balancing: Kingsbury & Zara, Applied Measurement in Education 2 (1989).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..types import Array
from .base import query
from .bernoulli import checked_score
from .clusters import kmeans
from .item_response import ItemResponse, Items
from .scaling import square_distances

ADAPTIVE = 40
STRATA = 10
KINDS = 20


class Placement(NamedTuple):
    """Ability (r,), its standard errors (r,), and the rows of the items that were asked, in order."""

    theta: Array
    se: Array
    asked: list[int]


def place(
    model: ItemResponse,
    candidate: str,
    vectors: ArrayLike,
    ask: Callable[[int], float],
    *,
    max_items: int,
    stop_se: float = 0.0,
    adaptive: int = ADAPTIVE,
    seed: int = 0,
) -> Placement:
    """Learn `candidate`'s ability from at most `max_items` of the items `vectors` (m, d); `model` knows it afterwards.

    `ask(row)` gives its score in [0, 1] on that item. Stops early once every standard error is at most `stop_se`.
    Raises `ValueError` for a model that has not been fitted to a table, or for a score out of range.
    """
    if model._familiar is None:
        raise ValueError("placing needs known items: fit_table the model first")
    x = query(vectors, model.width)
    items = model._items(model._standardised(x))
    prior_mean, prior_covariance = model.newcomer()
    theta, covariance = prior_mean, prior_covariance
    rest = iter(_spread_over_difficulties(items.difficulty, seed))
    z = model._standardised(x)[:, 1:]
    kind = square_distances(z, kmeans(z, KINDS)).argmin(axis=1)
    share = np.bincount(kind) / len(kind)
    asked: list[int] = []
    scores: list[float] = []
    while len(asked) < min(max_items, len(x)):
        if asked and np.sqrt(np.diagonal(covariance)).max() <= stop_se:
            break
        if len(asked) < adaptive:
            told = information(items, theta, covariance)
            told[asked] = -1.0
            due = share * (len(asked) + 1) - np.bincount(kind[asked], minlength=len(share))
            told[kind != due.argmax()] -= 2.0 * (told.max() + 1.0)
            row = int(told.argmax())
        else:
            row = next(r for r in rest if r not in asked)
        score = float(ask(row))
        checked_score(score, row)
        asked.append(row)
        scores.append(score)
        if len(asked) < adaptive or stop_se > 0.0:  # else the next item does not depend on it
            theta, covariance = ability(items, asked, np.array(scores), prior_mean, prior_covariance)
    theta, covariance = ability(items, asked, np.array(scores), prior_mean, prior_covariance)
    model.know(candidate, theta, covariance)
    return Placement(theta, np.sqrt(np.diagonal(covariance)), asked)


def information(items: Items, theta: Array, covariance: Array) -> Array:
    """What each item would tell of an ability N(theta, covariance): p (1 - p) a'Va, (m,)."""
    p = 0.5 * (1.0 + np.tanh(0.5 * items.logits(theta[None, :])[:, 0]))
    return np.asarray(p * (1.0 - p) * ((items.slope @ covariance) * items.slope).sum(axis=1))


def ability(
    items: Items, rows: list[int], scores: Array, prior_mean: Array, prior_covariance: Array
) -> tuple[Array, Array]:
    """Maximum a posteriori and Laplace covariance of one ability with the items known. The prior bounds all-right."""
    precision, slope = np.linalg.inv(prior_covariance), items.slope[rows]
    offset = slope.sum(axis=1) * items.difficulty[rows]
    theta, hessian = prior_mean.copy(), precision
    for _ in range(50):
        p = 0.5 * (1.0 + np.tanh(0.5 * (slope @ theta - offset)))
        hessian = precision + (slope * (p * (1.0 - p))[:, None]).T @ slope
        step = np.linalg.solve(hessian, slope.T @ (scores - p) - precision @ (theta - prior_mean))
        theta = theta + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    return theta, np.asarray(np.linalg.inv(hessian))


def _spread_over_difficulties(difficulty: Array, seed: int) -> list[int]:
    """All rows at random, taking turns among strata of difficulty."""
    rng = np.random.default_rng(seed)
    strata = [rng.permutation(s).tolist() for s in np.array_split(np.argsort(difficulty), STRATA) if len(s)]

    def turns() -> Iterator[int]:
        while any(strata):
            for k in rng.permutation(len(strata)):
                if strata[k]:
                    yield strata[k].pop()

    return list(turns())
