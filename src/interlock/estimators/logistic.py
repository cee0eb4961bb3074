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
from numpy.typing import ArrayLike

from ..types import Array
from .base import Estimator, State, beliefs, events, query
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


def _copied(parts: Sequence[Any]) -> list[Any]:
    return [part.copy() if isinstance(part, np.ndarray) else part for part in parts]
