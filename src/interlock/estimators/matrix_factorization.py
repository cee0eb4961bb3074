"""A bilinear score: a vector of unit length a candidate, multiplied with a projection of the prompt.

    logit(c, x) = mean logit of c + u' (P_c * W z),  |P_c| = 1        P(a beats b) = sigmoid(logit(a) - logit(b))

A candidate that is placed gets a mixture of the known candidates' vectors, W and u frozen.

Source: RouteLLM, its matrix-factorisation router (arXiv 2406.18665), for k candidates and scores rather than two and
battles; Koren et al., Matrix Factorization Techniques for Recommender Systems (2009).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..types import Array
from .batch import Batch, Cells
from .bernoulli import logits
from .descent import Descent, Rows, cross_entropy, residual, split
from .scaling import Scaling, scaling

Factors = Sequence[Array]
"""The candidates' vectors P (k, r), the projection W (1 + d, r), and u (r,)."""


@dataclass
class MatrixFactorization(Batch):
    """`rank` is the length of a candidate's vector; the mean of `members` factorisations predicts."""

    rank: int = 32
    members: int = 3
    epochs: int = 40
    rate: float = 0.002
    decay: float = 0.3

    def train(self, cells: Cells, rng: np.random.Generator) -> Factorizations:
        scale = scaling(cells.vectors)
        z = np.hstack([np.ones((len(cells.vectors), 1)), scale.apply(cells.vectors)])
        w, y = cells.weights, cells.filled
        rows = w.sum(axis=0) + self.prior_strength
        offset = logits(((w * y).sum(axis=0) + self.prior_strength * self.default) / rows)
        members = [self._factors(z, y, w, offset, rng) for _ in range(self.members)]
        return Factorizations(scale, offset, members, rows)

    def _factors(self, z: Array, y: Array, w: Array, offset: Array, rng: np.random.Generator) -> Factors:
        d, k, r = z.shape[1], y.shape[1], self.rank
        # W starts at nothing, so that every prompt starts from the candidate's mean.
        start = [rng.normal(size=(k, r)), np.zeros((d, r)), np.ones(r)]

        def loss(factors: Factors, rows: Rows) -> float:
            return cross_entropy(offset + z[rows] @ weights(factors), y[rows], w[rows])

        def gradient(factors: Factors, rows: Rows) -> Sequence[Array]:
            p, projection, u = factors
            length = np.sqrt((p * p).sum(axis=1, keepdims=True))
            unit = p / length
            error = residual(offset + z[rows] @ weights(factors), y[rows], w[rows])
            prompts = z[rows] @ projection
            crossed = error.T @ prompts  # (k, r): what each candidate's vector is pulled by, before u
            pull = crossed * u
            along = (pull * unit).sum(axis=1, keepdims=True) * unit
            return (pull - along) / length, z[rows].T @ (error @ (unit * u)), (crossed * unit).sum(axis=0)

        fit, held = split(len(z), rng)
        return Descent(self.rate, self.decay, epochs=self.epochs).run(start, gradient, loss, fit, held, rng)


@dataclass(frozen=True)
class Factorizations:
    scaling: Scaling
    offset: Array
    members: Sequence[Factors]
    rows: Array

    def predict(self, x: Array, columns: NDArray[np.intp]) -> tuple[Array, Array]:
        z = np.hstack([np.ones((len(x), 1)), self.scaling.apply(x)])
        logit = np.stack([self.offset[columns] + z @ weights(m)[:, columns] for m in self.members])
        chances = 0.5 * (1.0 + np.tanh(0.5 * logit))
        mean = chances.mean(axis=0)
        return mean, np.sqrt(chances.var(axis=0) + mean * (1.0 - mean) * _EFFECTIVE / self.rows[columns])


_EFFECTIVE = 8.0  # parameters that a candidate's rows are spent on: widens what only the rows' number bounds


def weights(factors: Factors) -> Array:
    """W diag(u) P', (1 + d, k): what a prompt's columns are multiplied with."""
    p, projection, u = factors
    unit = p / np.sqrt((p * p).sum(axis=1, keepdims=True))
    return np.asarray(projection @ (unit * u).T)
