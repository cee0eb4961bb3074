"""Thresholds of a cascade, searched jointly on held-out rows, and what a cascade gives and costs at them.

A stage's answer is returned when its acceptor's probability of being right reaches the stage's threshold; the last
stage returns whatever it has. Every stage that was asked is paid for.

Source: FrugalGPT, Chen et al. (arXiv 2305.05176); the guarantee is learn-then-test with a binomial tail, Angelopoulos
et al. (arXiv 2110.01052).
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..types import Array

REFUSE = np.inf  # a threshold no probability reaches


class Cascaded(NamedTuple):
    """Of n requests: the stage (n,) whose answer was returned, quality and cost (n,), and whether it was accepted."""

    stage: NDArray[np.intp]
    quality: Array
    cost: Array
    accepted: NDArray[np.bool_]

    @property
    def wrong(self) -> Array:
        """1 where an early stage's answer was accepted and wrong."""
        return np.asarray(self.accepted * (1.0 - self.quality))


def cascade(
    probability: Array, right: Array, cost: Array, thresholds: Array, tried: NDArray[np.bool_] | None = None
) -> Cascaded:
    """`probability` (n, s - 1) are the acceptors', `right` and `cost` (n, s) the stages', thresholds (s - 1,).

    A stage whose threshold is `REFUSE` is not asked, nor is one for a request where `tried` (n, s - 1) says no.
    """
    n, stages = right.shape
    asks = np.ones((n, stages), dtype=np.bool_)
    asks[:, :-1] = np.isfinite(thresholds) if tried is None else tried & np.isfinite(thresholds)
    convinced = asks & np.hstack([probability >= thresholds, np.ones((n, 1), dtype=np.bool_)])
    stage = convinced.argmax(axis=1)
    paid = np.cumsum(np.where(asks, cost, 0.0), axis=1)[np.arange(n), stage]
    return Cascaded(stage, right[np.arange(n), stage], paid, stage < stages - 1)


def search(
    probability: Array,
    right: Array,
    cost: Array,
    tried: NDArray[np.bool_] | None = None,
    *,
    least: float,
    steps: int = 33,
) -> Array:
    """The cheapest thresholds (s - 1,) on a joint grid of quantiles whose mean quality is `least` or more.

    When no setting qualifies: always the last stage.
    """
    levels = np.linspace(0.0, 1.0, steps)
    grids = [np.append(np.unique(np.quantile(column, levels)), REFUSE) for column in probability.T]
    kept = np.full(probability.shape[1], REFUSE)
    cheapest = np.inf
    for thresholds in product(*grids):
        ran = cascade(probability, right, cost, np.array(thresholds), tried)
        if ran.quality.mean() >= least and ran.cost.mean() < cheapest:
            kept, cheapest = np.array(thresholds), float(ran.cost.mean())
    return kept


def certify(
    probability: Array,
    right: Array,
    cost: Array,
    thresholds: Array,
    tried: NDArray[np.bool_] | None = None,
    *,
    epsilon: float,
    level: float = 0.05,
    steps: int = 40,
) -> Array:
    """The loosest thresholds on the way from "accept nothing" to these with P(accepted and wrong) <= epsilon.

    The rows must not be those that the thresholds were searched on. Settings are tested one after the other, strictest
    first, each by a binomial test at `level`, until one fails; then the claim holds with probability 1 - level.
    """
    from scipy import stats

    kept = np.full(len(thresholds), REFUSE)
    top = probability.max(axis=0) + 1e-9
    for share in np.linspace(1.0, 0.0, steps):
        setting = np.where(np.isfinite(thresholds), thresholds + share * np.maximum(top - thresholds, 0.0), REFUSE)
        wrong = round(float(cascade(probability, right, cost, setting, tried).wrong.sum()))
        if stats.binom.cdf(wrong, len(right), epsilon) > level:
            break
        kept = setting
    return kept
