"""What a query will cost with each candidate, from the training part: its mean, or a regression on the query.

Costs spread over orders of magnitude, so the regression is of log cost, and its exponential is scaled to the right mean
(smearing). Which of the two is used is decided for each candidate on a fifth of the training queries.

Source: Duan, "Smearing Estimate", JASA 78 (1983).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from ..types import Array

_SMALLEST = 1e-9  # USD; below it a cost is taken for free, so that its logarithm stays finite
_FEWEST = 40  # rows that a regression needs


@dataclass
class Costs:
    """`fit(vectors (n, d), cost (n, k))`, then `predict` gives (n, k); NaN for a candidate of unknown cost."""

    penalty: float = 30.0
    _weights: Array = field(default_factory=lambda: np.zeros((0, 0)), init=False, repr=False)
    _scale: Array = field(default_factory=lambda: np.zeros(0), init=False, repr=False)

    def fit(self, vectors: Array, cost: Array, seed: int = 0) -> Self:
        z, dev = _with_intercept(vectors), np.random.default_rng(seed).random(len(vectors)) < 0.2
        self._weights, self._scale = np.zeros((z.shape[1], cost.shape[1])), np.full(cost.shape[1], np.nan)
        for column, paid in enumerate(cost.T):
            known = np.isfinite(paid)
            if not known.any():
                continue
            self._scale[column] = paid[known].mean()
            if (known & ~dev).sum() < _FEWEST or (known & dev).sum() < _FEWEST / 4:
                continue
            weights, scale = self._regress(z[known & ~dev], paid[known & ~dev])
            held, truth = scale * np.exp(z[known & dev] @ weights), paid[known & dev]
            if np.square(held - truth).mean() < np.square(paid[known & ~dev].mean() - truth).mean():
                self._weights[:, column], self._scale[column] = self._regress(z[known], paid[known])
        return self

    def predict(self, vectors: Array) -> Array:
        return np.asarray(np.exp(_with_intercept(vectors) @ self._weights) * self._scale)

    def _regress(self, z: Array, paid: Array) -> tuple[Array, float]:
        """Weights of log cost without its mean, and the factor that makes the mean of the predictions right."""
        logs = np.log(np.maximum(paid, _SMALLEST))
        ridge = np.diag(np.append(1e-9, np.full(z.shape[1] - 1, self.penalty)))
        weights = np.asarray(np.linalg.solve(z.T @ z + ridge, z.T @ logs), dtype=np.float64)
        weights[0] -= logs.mean()
        return weights, float(paid.mean() / np.exp(z @ weights).mean())


def _with_intercept(vectors: Array) -> Array:
    return np.hstack([np.ones((len(vectors), 1)), vectors])
