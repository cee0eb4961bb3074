"""Bayesian logistic regression, one weight vector a candidate, learnt event by event, that forgets and notices change.

Each candidate keeps a normal posterior over its weights with full covariance; an event is one filter step, O(d^2).
Columns are standardised by their running moments at the time of the event. Two things move a posterior back towards the
prior: slowly, before each of its events (`forgetting`, so that what is not confirmed fades), and at once, when its
residuals say that the candidate is no longer the one that was learnt (`threshold`).

Source: filter: Ollivier, arXiv 1703.00209; bandit: Chapelle & Li, An Empirical Evaluation of Thompson Sampling (2011);
forgetting towards the prior: Kulhavy & Zarrop, Int. J. Control 58 (1993).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..types import Array
from .base import Estimator, State, beliefs, events, query, table
from .bernoulli import Moments, absorb, checked_score, logits, moments_of_sigmoid
from .change import Cusum
from .hierarchy import Posterior

_KEPT = 0.1  # of a candidate that turned out to be another


@dataclass
class Belief:
    """What is believed of one candidate's weights."""

    mean: Array
    covariance: Array
    change: Cusum = field(default_factory=Cusum)

    def fade(self, kept: float, prior: Belief) -> None:
        """One step of the stationary process with the prior as distribution and autocorrelation sqrt(kept)."""
        self.mean = prior.mean + np.sqrt(kept) * (self.mean - prior.mean)
        self.covariance = kept * self.covariance + (1.0 - kept) * prior.covariance


@dataclass
class Logistic(Estimator):
    """`prior_std` is a logit's before any event; half of its variance is the intercept's. Targets lie in [0, 1].

    `forgetting` is per event of the candidate; `slack` and `threshold` are those of `change.Cusum`.
    """

    default: float = 0.5
    prior_std: float = 4.0
    forgetting: float = 0.9995
    slack: float = 0.1
    threshold: float = 10.0
    _moments: Moments | None = field(default=None, init=False, repr=False, compare=False)
    _beliefs: dict[str, Belief] = field(default_factory=dict, init=False, repr=False, compare=False)
    _derived: tuple[Posterior, Array] | None = field(default=None, init=False, repr=False, compare=False)

    revocable = False

    @property
    def width(self) -> int | None:
        return None if self._moments is None else len(self._moments.mean)

    def partial_fit(
        self, vectors: ArrayLike, names: Sequence[str], targets: ArrayLike, weights: ArrayLike | None = None
    ) -> Self:
        batch = list(events(vectors, names, targets, weights, width=self.width, revocable=False))
        for row, event in enumerate(batch):
            checked_score(event.target, row)
        for event in batch:
            if event.weight > 0.0:
                self._learn(event.name, event.vector, event.target, event.weight)
        return self

    def fit_table(self, vectors: ArrayLike, candidates: Sequence[str], scores: ArrayLike) -> Self:
        """The posterior's mode and its curvature on all rows at once, instead of one filter step a cell.

        Nothing is forgotten. The prior is drawn from the table as well: its centre is the regression of the rows' mean
        score, its widths those of `_WIDTHS` under which the table is likeliest. Events learnt later go on from it.
        """
        x, cells = table(vectors, candidates, scores)
        known = np.isfinite(cells)
        for row, column in np.argwhere(known & ~((cells >= 0.0) & (cells <= 1.0))):
            checked_score(float(cells[row, column]), int(row))
        self.restore({})
        if not known.any():
            return self
        used = known.any(axis=1)
        x, cells, known = x[used], cells[used], known[used]
        self._moments = Moments(float(len(x)), x.mean(axis=0), ((x - x.mean(axis=0)) ** 2).sum(axis=0))
        columns = [c for c in range(len(candidates)) if known[:, c].any()]
        learnt = fitted(self._moments.standardise(x), cells[:, columns], known[:, columns], self._prior(x.shape[1] + 1))
        self._beliefs = {str(candidates[c]): belief for c, belief in zip(columns, learnt, strict=True)}
        return self

    def predict(
        self, vectors: ArrayLike, candidates: Sequence[str], prior: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        x, k = query(vectors, self.width), len(candidates)
        believed = logits(beliefs(prior, k, self.default))
        if self._moments is None or not k:
            logit = np.tile(believed, (len(x), 1))
            return moments_of_sigmoid(logit, np.full(logit.shape, self.prior_std**2))
        shift = believed - logits(np.array([self.default]))
        posterior, scale = self._ready()
        mean, variance = posterior.predict(self._moments.standardise(x, scale), candidates, shift)
        return moments_of_sigmoid(mean, variance)

    def prepare(self) -> None:
        if self._moments is not None:
            self._ready()

    def state(self) -> State:
        if self._moments is None:
            return {}
        of = {
            name: [belief.mean, belief.covariance, belief.change.better, belief.change.worse]
            for name, belief in sorted(self._beliefs.items())
        }
        return {"moments": self._moments.state(), "beliefs": {name: _copied(parts) for name, parts in of.items()}}

    def restore(self, state: Mapping[str, Any]) -> Self:
        self._moments = Moments.restored(state["moments"]) if state else None
        self._beliefs = {
            name: Belief(mean.copy(), covariance.copy(), Cusum(float(better), float(worse)))
            for name, (mean, covariance, better, worse) in state.get("beliefs", {}).items()
        }
        self._derived = None
        return self

    def _learn(self, name: str, vector: Array, target: float, weight: float) -> None:
        if self._moments is None:
            self._moments = Moments.of(len(vector))
        self._moments.add(vector)
        z = self._moments.standardise(vector[None, :])[0]
        prior = self._prior(len(z))
        mine = self._beliefs.setdefault(name, prior)
        logit = float(z @ mine.mean)
        expected, _ = moments_of_sigmoid(np.array(logit), z @ mine.covariance @ z)
        if mine.change.alarmed(min(weight, 1.0) * (target - float(expected)), self.slack, self.threshold):
            mine.fade(_KEPT, prior)
        elif self.forgetting < 1.0:
            mine.fade(self.forgetting, prior)
        absorb(mine.mean, mine.covariance, z, float(z @ mine.mean), target, weight)
        self._derived = None

    def _prior(self, width: int) -> Belief:
        spread = 0.5 * self.prior_std**2 * np.append(1.0, np.full(width - 1, 1.0 / max(1, width - 1)))
        mean = np.zeros(width)
        mean[0] = float(logits(np.array([self.default]))[0])
        return Belief(mean, np.diag(spread))

    def _ready(self) -> tuple[Posterior, Array]:
        if self._derived is None:
            assert self._moments is not None
            prior, names = self._prior(len(self._moments.mean) + 1), sorted(self._beliefs)
            all_of_them = [*(self._beliefs[name] for name in names), prior]
            covariance = np.stack([belief.covariance for belief in all_of_them])
            # A prior moves the intercept; covariance x prior precision says how much of that the events have left.
            posterior = Posterior(
                {name: row for row, name in enumerate(names)},
                np.stack([belief.mean for belief in all_of_them]),
                covariance[:, :, 0] / prior.covariance[0, 0],
                covariance.astype(np.float32),
            )
            self._derived = posterior, self._moments.scale()
        return self._derived


_WIDTHS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)  # of the prior variance of columns, tried by `fit_table`
_STEPS, _ENOUGH = 60, 1e-3


def fitted(z: Array, cells: Array, known: NDArray[np.bool_], prior: Belief) -> list[Belief]:
    """A belief a candidate from rows z (n, d) and scores (n, k)."""
    weights = known.astype(np.float64)
    scores = np.where(known, cells, 0.0)
    # How often candidates succeed on a row is one observation of it: they fail together.
    mean = scores.sum(axis=1, keepdims=True) / weights.sum(axis=1, keepdims=True)
    spread = np.diagonal(prior.covariance)
    shared, level = _precision(z, mean - mean.mean(), float(mean.mean()), spread), np.ones_like(mean)
    centre = modes(z, mean, level, prior.mean[:, None], shared)
    # Where candidates contradict each other their mean tells nothing, yet each may have much of its own: the wider.
    left = weights * (scores - 0.5 * (1.0 + np.tanh(0.5 * (z @ centre))))
    left -= weights * left.sum(axis=0) / np.maximum(weights.sum(axis=0), 1.0)
    precision = np.minimum(shared, _precision(z, left, float(mean.mean()), spread))
    each = modes(z, scores, weights, centre, precision)
    return [
        Belief(*_polished(z, scores[:, c], weights[:, c], each[:, c], centre[:, 0], precision))
        for c in range(cells.shape[1])
    ]


def modes(z: Array, scores: Array, weights: Array, centre: Array, precision: Array) -> Array:
    """The posterior modes (d, k) of as many logistic regressions on the same rows, side by side.

    Curvature is bounded by a quarter, so one inverse serves all steps of all of them, and each step is uphill.
    Source: Boehning & Lindsay (1988).
    """
    inverse = np.linalg.inv(0.25 * z.T @ z + np.diag(precision))
    w: Array = np.repeat(centre, scores.shape[1], axis=1)
    for _ in range(_STEPS):
        chance = 0.5 * (1.0 + np.tanh(0.5 * (z @ w)))
        step = inverse @ (z.T @ (weights * (scores - chance)) - precision[:, None] * (w - centre))
        w = w + step
        if np.abs(step).max() < _ENOUGH:
            break
    return w


def _polished(
    z: Array, scores: Array, weights: Array, w: Array, centre: Array, precision: Array
) -> tuple[Array, Array]:
    """One Newton step from near the mode, and the covariance there."""
    chance = 0.5 * (1.0 + np.tanh(0.5 * (z @ w)))
    curvature = weights * np.maximum(chance * (1.0 - chance), 1e-3)
    covariance = np.linalg.inv((z * curvature[:, None]).T @ z + np.diag(precision))
    covariance = 0.5 * (covariance + covariance.T)
    return w + covariance @ (z.T @ (weights * (scores - chance)) - precision * (w - centre)), covariance


def _precision(z: Array, left: Array, rate: float, spread: Array) -> Array:
    """Of each column, (d,), at the width under which what is left (n, m) of scores is likeliest.

    By the evidence of the linear model, in closed form; `rate` is the mean score.
    Source: MacKay, Bayesian Interpolation, Neural Computation 4 (1992).
    """
    slope = np.clip(rate, 0.02, 0.98) * (1.0 - np.clip(rate, 0.02, 0.98))  # of a score in the logit
    directions, sizes, _ = np.linalg.svd(z[:, 1:] * (slope * np.sqrt(spread[1:])), full_matrices=False)
    along = (directions.T @ left) ** 2
    rest = np.maximum((left**2).sum(axis=0) - along.sum(axis=0), 0.0)
    noise = np.maximum((left**2).mean(axis=0), 1e-6)
    likely = []
    for width in _WIDTHS:
        variance = width * (sizes**2)[:, None] + noise
        likely.append(-np.log(variance / noise).sum() - (along / variance).sum() - (rest / noise).sum())
    return np.asarray(1.0 / (spread * np.append(1.0, np.full(len(spread) - 1, _WIDTHS[int(np.argmax(likely))]))))


def _copied(parts: Sequence[Any]) -> list[Any]:
    return [part.copy() if isinstance(part, np.ndarray) else part for part in parts]
