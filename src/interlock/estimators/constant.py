"""Each candidate's running mean, whatever the request: the baseline that every report prints.

Source: the conjugate normal mean, e.g. Gelman et al., Bayesian Data Analysis (3rd ed., 2013), section 2.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ..types import Array
from .base import Estimator, State, beliefs, events, query


@dataclass
class Constant(Estimator):
    """mean = (prior_strength x prior + sum of w y) / (prior_strength + sum of w); std = noise / sqrt(of that count).

    `forgetting` multiplies a candidate's sums before each of its events: 0.99 remembers about 100 events.
    """

    default: float = 0.5
    prior_strength: float = 1.0
    noise: float = 0.5
    forgetting: float = 1.0
    _sums: dict[str, tuple[float, float]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def revocable(self) -> bool:
        return self.forgetting == 1.0

    def partial_fit(
        self, vectors: ArrayLike, names: Sequence[str], targets: ArrayLike, weights: ArrayLike | None = None
    ) -> Self:
        for _, name, target, weight in events(vectors, names, targets, weights, width=None, revocable=self.revocable):
            count, total = self._sums.get(name, (0.0, 0.0))
            self._sums[name] = self.forgetting * count + weight, self.forgetting * total + weight * target
        return self

    def predict(
        self, vectors: ArrayLike, candidates: Sequence[str], prior: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        n, k = len(query(vectors, None)), len(candidates)
        count, total = np.array([self._sums.get(name, (0.0, 0.0)) for name in candidates]).reshape(k, 2).T
        # A revocation may leave a count of -1e-17 behind.
        strength = self.prior_strength + np.maximum(count, 0.0)
        mean = (self.prior_strength * beliefs(prior, k, self.default) + total) / strength
        return np.tile(mean, (n, 1)), np.tile(self.noise / np.sqrt(strength), (n, 1))

    def prepare(self) -> None:
        """Nothing to derive."""

    def state(self) -> State:
        return {"sums": {name: list(sums) for name, sums in sorted(self._sums.items())}}

    def restore(self, state: Mapping[str, Any]) -> Self:
        self._sums = {name: (float(count), float(total)) for name, (count, total) in state.get("sums", {}).items()}
        return self
