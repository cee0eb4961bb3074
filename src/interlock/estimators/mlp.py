"""A small neural network: one hidden layer that all candidates share, and a logit a candidate.

Several networks are trained from different starts, each stopped early on other held-out rows; their mean predicts, and
where they disagree the deviation is wide.

Source: Hybrid LLM (arXiv 2404.14618) for the labels; ensembles: Lakshminarayanan et al. (arXiv 1612.01474).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..types import Array
from .batch import Batch, Cells
from .bernoulli import logits
from .descent import Descent, Rows, cross_entropy, residual, split
from .scaling import Scaling, scaling

Network = Sequence[Array]
"""Weights and biases of the hidden layer, (d, h) and (h,), and of the heads, (h, k) and (k,)."""


@dataclass
class MLP(Batch):
    """`label` says what is learnt: the `score`; or, as in Hybrid LLM, whether the candidate's score comes up to within
    `margin` of the row's best (`match`), which takes rows that several candidates answered: a table."""

    hidden: int = 64
    members: int = 3
    epochs: int = 40
    rate: float = 0.002
    decay: float = 0.3
    label: Literal["score", "match"] = "score"
    margin: float = 0.0

    def train(self, cells: Cells, rng: np.random.Generator) -> Networks:
        if self.label == "match":
            cells = matches(cells, self.margin)
        scale = scaling(cells.vectors)
        z = scale.apply(cells.vectors)
        w, y = cells.weights, cells.filled
        mean = ((w * y).sum(axis=0) + self.prior_strength * self.default) / (w.sum(axis=0) + self.prior_strength)
        networks = [self._network(z, y, w, logits(mean), rng) for _ in range(self.members)]
        return Networks(scale, networks, w.sum(axis=0) + self.prior_strength)

    def _network(self, z: Array, y: Array, w: Array, bias: Array, rng: np.random.Generator) -> Network:
        d, k = z.shape[1], y.shape[1]
        start = [
            rng.normal(size=(d, self.hidden)) / np.sqrt(d),
            np.zeros(self.hidden),
            np.zeros((self.hidden, k)),
            bias,
        ]

        def loss(network: Network, rows: Rows) -> float:
            return cross_entropy(forward(network, z[rows])[1], y[rows], w[rows])

        def gradient(network: Network, rows: Rows) -> Sequence[Array]:
            hidden, logit = forward(network, z[rows])
            error = residual(logit, y[rows], w[rows])
            back = (error @ network[2].T) * (hidden > 0.0)
            return z[rows].T @ back, back.sum(axis=0), hidden.T @ error, error.sum(axis=0)

        # Biases carry the candidates' means, which decay must not draw to nothing; few passes make that negligible.
        fit, held = split(len(z), rng)
        return Descent(self.rate, self.decay, epochs=self.epochs).run(start, gradient, loss, fit, held, rng)


@dataclass(frozen=True)
class Networks:
    scaling: Scaling
    members: Sequence[Network]
    rows: Array

    def predict(self, x: Array, columns: NDArray[np.intp]) -> tuple[Array, Array]:
        z = self.scaling.apply(x)
        chances = np.stack([0.5 * (1.0 + np.tanh(0.5 * forward(m, z)[1][:, columns])) for m in self.members])
        mean = chances.mean(axis=0)
        return mean, np.sqrt(chances.var(axis=0) + mean * (1.0 - mean) * _EFFECTIVE / self.rows[columns])


_EFFECTIVE = 8.0  # parameters that a candidate's rows are spent on: widens what only the rows' number bounds


def forward(network: Network, z: Array) -> tuple[Array, Array]:
    """The hidden layer (n, h) and the logits (n, k)."""
    hidden = np.maximum(z @ network[0] + network[1], 0.0)
    return hidden, hidden @ network[2] + network[3]


def matches(cells: Cells, margin: float) -> Cells:
    """1 where a candidate's score is at most `margin` below the row's best. A row with one score says nothing of that.

    If no row has two, the cells are given back as they are.
    """
    several = (cells.weights > 0.0).sum(axis=1) > 1
    if not several.any():
        return cells
    scores = cells.scores[several]
    best = np.nanmax(scores, axis=1, keepdims=True)
    label = np.where(np.isfinite(scores), (scores >= best - margin).astype(np.float64), np.nan)
    return Cells(cells.vectors[several], label, cells.weights[several])
