"""Bayesian logistic regression, one weight vector a candidate, learnt event by event.

Each candidate keeps a normal posterior over its weights with full covariance; an event is one filter step, O(d^2).
Columns are standardised by their running moments at the time of the event.

Source: Ollivier, arXiv 1703.00209; Chapelle & Li, An Empirical Evaluation of Thompson Sampling (2011), algorithm 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from ..types import Array
from .base import Estimator, State, beliefs, events, query
from .bernoulli import Moments, absorb, checked_score, logits, moments_of_sigmoid


class Weights(NamedTuple):
    mean: Array
    covariance: Array


@dataclass
class Logistic(Estimator):
    """`prior_std` is a logit's before any event; half of its variance is the intercept's. Targets lie in [0, 1]."""

    default: float = 0.5
    prior_std: float = 2.0
    _moments: Moments | None = field(default=None, init=False, repr=False, compare=False)
    _weights: dict[str, Weights] = field(default_factory=dict, init=False, repr=False, compare=False)

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
            if self._moments is None:
                self._moments = Moments.of(len(event.vector))
            self._moments.add(event.vector)
            z = self._moments.standardise(event.vector[None, :])[0]
            mine = self._weights.get(event.name)
            if mine is None:
                mine = self._weights[event.name] = self._unseen(len(z))
            absorb(mine.mean, mine.covariance, z, float(z @ mine.mean), event.target, event.weight)
        return self

    def predict(
        self, vectors: ArrayLike, candidates: Sequence[str], prior: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        x, k = query(vectors, self.width), len(candidates)
        believed = logits(beliefs(prior, k, self.default))
        shift = believed - logits(np.array([self.default]))
        if self._moments is None or not k:
            logit = np.tile(believed, (len(x), 1))
            return moments_of_sigmoid(logit, np.full(logit.shape, self.prior_std**2))
        z = self._moments.standardise(x)
        unseen = self._unseen(z.shape[1])
        known = [self._weights.get(name, unseen) for name in candidates]
        covariance = np.stack([weights.covariance for weights in known])
        # A prior moves the intercept; how much of that is left after the events, covariance x prior precision says.
        pull = covariance[:, :, 0] / unseen.covariance[0, 0]
        mean = np.stack([weights.mean for weights in known]) + pull * shift[:, None]
        variance = (np.matmul(z, covariance) * z).sum(axis=2).T
        return moments_of_sigmoid(z @ mean.T, variance)

    def prepare(self) -> None:
        """Nothing to derive: the posterior is the state."""

    def state(self) -> State:
        if self._moments is None:
            return {}
        weights = {name: [mine.mean, mine.covariance] for name, mine in sorted(self._weights.items())}
        return {"moments": self._moments.state(), "weights": weights}

    def restore(self, state: Mapping[str, Any]) -> Self:
        self._moments = Moments.restored(state["moments"]) if state else None
        self._weights = {name: Weights(m.copy(), c.copy()) for name, (m, c) in state.get("weights", {}).items()}
        return self

    def _unseen(self, width: int) -> Weights:
        spread = 0.5 * self.prior_std**2 * np.append(1.0, np.full(width - 1, 1.0 / max(1, width - 1)))
        mean = np.zeros(width)
        mean[0] = float(logits(np.array([self.default]))[0])
        return Weights(mean, np.diag(spread))
