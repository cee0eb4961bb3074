"""Prompts and candidates in one space: a prompt is drawn to the candidates that answer it best, and from the worst.

    sim(x, c) = cos(h(x), k_c)      h(x) = W z

Two contrastive losses: prompt against candidates (each of the best is a positive, with the worst as negatives) and
prompt against prompts (one of its own group is the positive, others are negatives), so that similar prompts stay near.
Where a row has scores of few candidates, the means of its group stand in for the missing ones when best and worst are
told. A similarity is no quality, and does not tell what all fail from what all solve: a logistic regression a candidate
turns it into one, starting from the candidate's mean in the prompt's group.

Source: RouterDC (arXiv 2409.19886); calibration: Platt (1999).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..types import Array
from .batch import Batch, Cells
from .bernoulli import logits, moments_of_sigmoid
from .clusters import kmeans
from .descent import Descent, Rows, split
from .newton import logistic
from .scaling import Scaling, scaling, square_distances

Space = Sequence[Array]
"""W (d, r) and the candidates' vectors (k, r)."""


@dataclass
class Contrastive(Batch):
    """`ends` candidates are positives (of those that share the best scores) and as many negatives; `others` prompts
    are negatives of a prompt. `similar` weighs the loss between prompts. `temperature` divides similarities."""

    rank: int = 32
    ends: int = 3
    groups: int = 16
    others: int = 8
    similar: float = 0.2
    temperature: float = 0.2
    epochs: int = 30
    rate: float = 0.003
    decay: float = 0.3

    def train(self, cells: Cells, rng: np.random.Generator) -> Aligned:
        scale = scaling(cells.vectors)
        z = scale.apply(cells.vectors)
        sample = z if len(z) <= 2000 else z[np.sort(rng.choice(len(z), 2000, replace=False))]
        centres = kmeans(sample, self.groups)
        group = square_distances(z, centres).argmin(axis=1)
        level = levels(cells, group, len(centres), self.prior_strength, self.default)
        best, worst = ends(cells, level[group], self.ends)
        fit, held = split(len(z), rng)
        space = self._space(z, best, worst, group, fit, held, rng)
        # Calibrated on the rows held out as well: on its own rows a similarity is too good.
        similarity, offset = align(space, z), logits(level)[group]
        curves, spread = [], []
        for c in range(similarity.shape[1]):
            mine = held[cells.weights[held, c] > 0.0]
            line = np.stack([np.ones(len(mine)), similarity[mine, c]], axis=1)
            curve, covariance = logistic(
                line, cells.scores[mine, c], cells.weights[mine, c], np.zeros(2), np.array([4.0, 1.0]), offset[mine, c]
            )
            curves.append(curve)
            spread.append(covariance)
        return Aligned(scale, space, centres, logits(level), np.stack(curves), np.stack(spread))

    def _space(
        self,
        z: Array,
        best: Array,
        worst: Array,
        group: NDArray[np.intp],
        fit: Rows,
        held: Rows,
        rng: np.random.Generator,
    ) -> Space:
        d, k = z.shape[1], best.shape[1]
        start = [rng.normal(size=(d, self.rank)) / np.sqrt(d), rng.normal(size=(k, self.rank))]

        def loss(space: Space, rows: Rows) -> float:
            return _against_candidates(align(space, z[rows]) / self.temperature, best[rows], worst[rows])[0]

        def gradient(space: Space, rows: Rows) -> Sequence[Array]:
            h, k = z[rows] @ space[0], space[1]
            length, size = _length(h), _length(k)
            prompts, candidates = h / length, k / size
            _, pull = _against_candidates(prompts @ candidates.T / self.temperature, best[rows], worst[rows])
            to_prompts = pull @ candidates / self.temperature
            to_candidates = pull.T @ prompts / self.temperature
            alike = _against_prompts(prompts, group[rows], self.others, self.temperature, rng)
            to_prompts += self.similar * alike
            return z[rows].T @ _tangent(to_prompts, prompts, length), _tangent(to_candidates, candidates, size)

        return Descent(self.rate, self.decay, epochs=self.epochs).run(start, gradient, loss, fit, held, rng)


@dataclass(frozen=True)
class Aligned:
    """The space, the groups' centres (g, d) and logits (g, k); intercepts and slopes (k, 2), covariances (k, 2, 2)."""

    scaling: Scaling
    space: Space
    centres: Array
    offset: Array
    curves: Array
    covariance: Array

    def predict(self, x: Array, columns: NDArray[np.intp]) -> tuple[Array, Array]:
        z = self.scaling.apply(x)
        similarity = align(self.space, z)[:, columns]
        offset = self.offset[square_distances(z, self.centres).argmin(axis=1)][:, columns]
        line = np.stack([np.ones_like(similarity), similarity], axis=2)
        variance = np.einsum("nki,kij,nkj->nk", line, self.covariance[columns], line)
        return moments_of_sigmoid(offset + (line * self.curves[columns]).sum(axis=2), variance)


def align(space: Space, z: Array) -> Array:
    """The cosine (n, k) of each prompt and candidate."""
    h, k = z @ space[0], space[1]
    return np.asarray((h / _length(h)) @ (k / _length(k)).T)


def levels(cells: Cells, group: NDArray[np.intp], groups: int, strength: float, default: float) -> Array:
    """Each candidate's mean in each group, (g, k), drawn towards its mean, and that towards the default."""
    w, y = cells.weights, cells.filled
    mean = ((w * y).sum(axis=0) + strength * default) / (w.sum(axis=0) + strength)
    member = np.eye(groups)[group]
    return np.asarray((member.T @ (w * y) + _CELL * mean) / (member.T @ w + _CELL))


_CELL = 5.0  # rows that a candidate's mean is worth in a group


def ends(cells: Cells, level: Array, count: int) -> tuple[Array, Array]:
    """The best and the worst of each row, (n, k) of 0 and 1, at most `count` of each and never one that is both.

    A candidate is among the best only if it is above the row's middle, so a row on which all score alike has none.
    `level` (n, k) stands in for a missing score; among equals, those with the higher level go first.
    """
    scores = np.where(cells.weights > 0.0, cells.filled, level)
    low, high = scores.min(axis=1, keepdims=True), scores.max(axis=1, keepdims=True)
    middle = 0.5 * (low + high)
    rank = np.argsort(np.argsort(-(scores + 1e-6 * level), axis=1, kind="stable"), axis=1)
    some = min(count, max(1, scores.shape[1] // 2))
    best = (rank < some) & (scores > middle)
    worst = (rank >= scores.shape[1] - some) & (scores < middle)
    return best.astype(np.float64), worst.astype(np.float64)


def _against_candidates(score: Array, best: Array, worst: Array) -> tuple[float, Array]:
    """-log(e^s+ / (e^s+ + sum of e^s-)) over the positives, mean over the rows, and its gradient in the scores."""
    e = np.exp(score)
    against = (worst * e).sum(axis=1, keepdims=True)
    chance = e / (e + against)
    value = float(-(best * np.log(chance)).sum() / len(score))
    missing = best * (1.0 - chance)
    pull = -missing + worst * e * (best / (e + against)).sum(axis=1, keepdims=True)
    return value, pull / len(score)


def _against_prompts(
    prompts: Array, group: NDArray[np.intp], others: int, temperature: float, rng: np.random.Generator
) -> Array:
    """The gradient, in the unit vectors, of the loss that tells one prompt of a row's group from `others` outside."""
    n = len(prompts)
    same = group[:, None] == group
    np.fill_diagonal(same, False)
    draw = rng.random((n, n))
    friend = np.where(same, draw, -1.0).argmax(axis=1)
    outside = group[:, None] != group
    strangers = outside & (np.argsort(np.argsort(np.where(outside, draw, 2.0), axis=1), axis=1) < others)
    usable = same.any(axis=1) & strangers.any(axis=1)
    score = prompts @ prompts.T / temperature
    e = np.exp(score - score.max(axis=1, keepdims=True))
    positive = e[np.arange(n), friend]
    total = positive + (strangers * e).sum(axis=1)
    pull = strangers * e / total[:, None]
    pull[np.arange(n), friend] -= 1.0 - positive / total
    pull *= usable[:, None] / (n * temperature)
    return np.asarray((pull + pull.T) @ prompts)


def _length(rows: Array) -> Array:
    return np.asarray(np.sqrt((rows * rows).sum(axis=1, keepdims=True)) + 1e-12)


def _tangent(gradient: Array, unit: Array, length: Array) -> Array:
    """The gradient in a vector from that in its direction."""
    return np.asarray((gradient - (gradient * unit).sum(axis=1, keepdims=True) * unit) / length)
