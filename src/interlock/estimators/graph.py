"""A graph of prompts, tasks and candidates: scores are propagated along it, and a scorer reads what reaches an edge.

Nodes are the kept prompts, the tasks they fall into (groups of similar prompts) and the candidates; edges join a prompt
to its task and to its nearest prompts, and a candidate to the prompts it has answered, labelled with the score. What
reaches the edge (prompt, candidate) is the candidate's mean in the task, and what is left unexplained at 1, 8 and 32
near prompts and at those near them: the candidate's own, and what all candidates share there (a hard corner). When the
scorer is trained, an edge's own label is masked. The scorer is a logistic regression whose weights are the task's own,
drawn towards weights common to all tasks: it learns where near prompts repeat a score, and where they contradict it.

Source: GraphRouter (arXiv 2410.03834); propagation: Zhou et al., Learning with Local and Global Consistency (2004).
Ours differs in that propagation is fixed and only the edge scorer is learnt, so it is trained in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..types import Array
from .batch import Batch, Cells
from .bernoulli import logits, moments_of_sigmoid
from .clusters import kmeans
from .newton import logistic
from .scaling import Scaling, scaling, square_distances

_NEAR = (1, 8, 32)
_LINEAR = (0.3, 1.0, 3.0, 10.0)  # penalties tried for the linear trend, in multiples of the number of rows
_BLOCK = 512  # prompts whose distances are held at once


class Near(NamedTuple):
    """The nearest kept prompts of each prompt, (n, m), nearest first, and their kernel weights."""

    at: NDArray[np.intp]
    weight: Array


@dataclass
class Graph(Batch):
    """`tasks` groups at most; `cell_strength` rows shrink a task's mean to the candidate's, `near_strength` what
    neighbours say to nothing. `common_std` and `task_std` are the prior's of the scorer's weights."""

    tasks: int = 16
    cell_strength: float = 5.0
    near_strength: float = 2.0
    common_std: float = 1.0
    task_std: float = 0.3

    def train(self, cells: Cells, rng: np.random.Generator) -> Edges:
        scale = scaling(cells.vectors)
        z = scale.apply(cells.vectors)
        # The groups are found on a sample: their number, not their exact place, matters.
        sample = z if len(z) <= 2000 else z[np.sort(rng.choice(len(z), 2000, replace=False))]
        return Edges.trained(self, cells, scale, z, kmeans(sample, self.tasks))


@dataclass(frozen=True)
class Edges:
    """The graph, and the scorer's weights a task (g, f) with their covariance (g, f, f)."""

    of: Graph
    scaling: Scaling
    centres: Array
    kept: Array
    mean: Array
    cell: Array
    count: Array
    left: Array
    weights: Array
    trend: Array
    bandwidth: float
    scorer: Array
    covariance: Array

    @classmethod
    def trained(cls, of: Graph, cells: Cells, scale: Scaling, z: Array, centres: Array) -> Edges:
        w, y = cells.weights, cells.filled
        task = square_distances(z, centres).argmin(axis=1)
        overall = float((w * y).sum() / w.sum())
        mean = ((w * y).sum(axis=0) + of.prior_strength * overall) / (w.sum(axis=0) + of.prior_strength)
        member = np.eye(len(centres))[task]
        total, count = member.T @ (w * y), member.T @ w
        cell = (total + of.cell_strength * mean) / (count + of.cell_strength)
        masked = (total[task] - w * y + of.cell_strength * mean) / (count[task] - w + of.cell_strength)
        left = np.where(w > 0.0, y - masked, 0.0)
        trend, reached = _trend(z, w * left)
        bandwidth = _bandwidth(z)
        blank = np.zeros((0, 0))
        edges = cls(of, scale, centres, z, mean, cell, count, left, w, trend, bandwidth, blank, blank)
        messages = edges.messages(edges.near(z, itself=True), reached)
        scorer, covariance = edges._scorer(messages, masked, task, y)
        return cls(of, scale, centres, z, mean, cell, count, left, w, trend, bandwidth, scorer, covariance)

    def predict(self, x: Array, columns: NDArray[np.intp]) -> tuple[Array, Array]:
        mean, std = np.empty((len(x), len(columns))), np.empty((len(x), len(columns)))
        for start in range(0, len(x), _BLOCK):
            block = slice(start, start + _BLOCK)
            mean[block], std[block] = self._score(self.scaling.apply(x[block]), columns)
        return mean, std

    def _score(self, z: Array, columns: NDArray[np.intp]) -> tuple[Array, Array]:
        task = square_distances(z, self.centres).argmin(axis=1)
        near = self.near(z, itself=False)
        reached = np.hstack([np.ones((len(z), 1)), z]) @ self.trend
        messages = self.messages(near, reached)[:, columns]
        logit = logits(self.cell[task][:, columns]) + np.einsum("nkf,nf->nk", messages, self.scorer[task])
        variance = np.einsum("nkf,nfg,nkg->nk", messages, self.covariance[task], messages, optimize=True)
        chance, spread = moments_of_sigmoid(logit, variance)
        strength = self.count[task][:, columns] + self.of.cell_strength
        return chance, np.sqrt(spread**2 + chance * (1.0 - chance) / strength)

    def near(self, z: Array, *, itself: bool) -> Near:
        """With `itself`, row i of z is kept prompt i, which is no neighbour of its own."""
        count = min(max(_NEAR), len(self.kept) - 1)
        at, weight = np.empty((len(z), count), dtype=np.intp), np.empty((len(z), count))
        for start in range(0, len(z), _BLOCK):
            square = square_distances(z[start : start + _BLOCK], self.kept)
            rows = np.arange(len(square))
            if itself:
                square[rows, start + rows] = np.inf
            close = np.argpartition(square, count - 1, axis=1)[:, :count] if count else np.zeros((len(rows), 0), int)
            gap = np.take_along_axis(square, close, axis=1)
            order = np.argsort(gap, axis=1, kind="stable")
            at[start + rows] = np.take_along_axis(close, order, axis=1)
            weight[start + rows] = np.exp(-0.5 * np.take_along_axis(gap, order, axis=1) / self.bandwidth)
        return Near(at, weight)

    def messages(self, near: Near, reached: Array) -> Array:
        """What the scorer reads of each edge, (n, k, f): 1, the linear trend, own and shared messages of each reach."""
        strength = self.of.near_strength
        parts = [np.ones_like(reached), reached, np.broadcast_to(reached.mean(axis=1, keepdims=True), reached.shape)]
        for reach in _NEAR:
            at, weight = near.at[:, :reach], near.weight[:, :reach]
            said = np.einsum("nm,nmk->nk", weight, (self.weights * self.left)[at])
            heard = np.einsum("nm,nmk->nk", weight, self.weights[at])
            shared = said.sum(axis=1) / (heard.sum(axis=1) + strength)
            parts += [said / (heard + strength), np.broadcast_to(shared[:, None], said.shape)]
        return np.stack(parts, axis=2)

    def _scorer(self, messages: Array, masked: Array, task: NDArray[np.intp], y: Array) -> tuple[Array, Array]:
        """Common weights first, then each task's own about them."""
        offset, width, w = logits(masked), messages.shape[2], self.weights
        rows = w > 0.0
        common, _ = logistic(
            messages[rows], y[rows], w[rows], np.zeros(width), np.full(width, self.of.common_std**-2.0), offset[rows]
        )
        scorer, covariance = [], []
        for group in range(len(self.centres)):
            mine = rows & (task == group)[:, None]
            own, spread = logistic(
                messages[mine], y[mine], w[mine], common, np.full(width, self.of.task_std**-2.0), offset[mine]
            )
            scorer.append(own)
            covariance.append(spread)
        return np.stack(scorer), np.stack(covariance)


def _trend(z: Array, left: Array) -> tuple[Array, Array]:
    """Ridge weights (1 + d, k) of what is left on z, and their leave-one-out predictions (n, k).

    The penalty is the one of `_LINEAR` with the least leave-one-out error. Source: Allen, Technometrics 16 (1974).
    """
    rows = np.hstack([np.ones((len(z), 1)), z])
    gram, moment = rows.T @ rows, rows.T @ left
    best: tuple[float, Array, Array] | None = None
    for penalty in _LINEAR:
        inverse = np.linalg.inv(gram + penalty * len(z) * np.eye(len(gram)))
        weights = inverse @ moment
        leverage = np.einsum("nd,nd->n", rows @ inverse, rows)[:, None]
        out = (rows @ weights - leverage * left) / (1.0 - leverage)
        error = float(((left - out) ** 2).sum())
        if best is None or error < best[0]:
            best = error, weights, out
    assert best is not None
    return best[1], best[2]


def _bandwidth(z: Array) -> float:
    """Half of the median squared distance to the nearest neighbour, over a sample of the kept prompts."""
    sample = z[:: max(1, len(z) // 200)]
    square = square_distances(sample, z)
    square[square < 1e-9] = np.inf
    nearest = square.min(axis=1)
    nearest = nearest[np.isfinite(nearest)]
    return float(np.median(nearest)) / 2.0 if len(nearest) else 1.0
