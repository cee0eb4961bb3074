"""Learning profiles without labels: hide some of the graph's features and scores, and learn to fill them in.

    H = tanh(S^k X W)      X' = H V      score'(i, j) = h_i . h_j / sqrt(width)

A part of the prompts', tasks' and models' vectors is replaced by a learnt mask and a part of the scores by nothing; the
loss is the squared error of both. A profile is X' of a model, so it lies in the space of prompts.

Source: the self-supervised configuration of RouteProfile (arXiv 2605.00180), with a simplified convolution (SGC, arXiv
1902.07153) in place of graph attention; masking: GraphMAE (arXiv 2205.10803).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..types import Array, Mask
from .evidence import KINDS, EvidenceGraph, Kind, normalised, spread


@dataclass(frozen=True)
class MaskedAutoencoder:
    """`depth` rounds of propagation, `width` hidden units, `hidden` the share that is masked in each of `epochs`."""

    depth: int = 2
    width: int = 64
    hidden: float = 0.3
    epochs: int = 60
    rate: float = 0.01
    seed: int = 0

    def profiles(self, graph: EvidenceGraph, kinds: Collection[Kind] = KINDS) -> Array:
        """Vectors of the graph's models (models, d)."""
        rng = np.random.default_rng(self.seed)
        x = graph.features()
        centre, size = x.mean(axis=0), float(x.std()) or 1.0
        x = (x - centre) / size
        d = x.shape[1]
        scored = [(pair, w) for kind in ("task", "query") if kind in kinds for pair, w in graph.relative(kind).items()]
        ends = np.array([pair for pair, _ in scored], dtype=np.intp).reshape(-1, 2)
        score = np.array([w for _, w in scored])
        score = score / (float(score.std()) or 1.0) if len(score) else score
        steps = [normalised(matrix, "sym") for matrix in graph.adjacency(kinds).values()]

        def smooth(rows: Array) -> Array:
            """The steps are symmetric up to the average over kinds, which is taken per node."""
            for _ in range(self.depth):
                rows = spread(steps, rows)
            return rows

        weights = [rng.normal(0.0, 1.0 / np.sqrt(d), (d, self.width)), np.zeros((self.width, d)), np.zeros(d)]
        first, second = [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights]
        for epoch in range(1, self.epochs + 1):
            masked = rng.random(len(x)) < self.hidden
            mask_share = smooth(masked[:, None].astype(np.float64))[:, 0]
            shown = smooth(np.where(masked[:, None], 0.0, x)) + mask_share[:, None] * weights[2]
            kept = rng.random(len(score)) < self.hidden  # the scores that have to be guessed
            gradient = self._gradient(weights, shown, mask_share, x, masked, ends[kept], score[kept])
            for w, m, v, g in zip(weights, first, second, gradient, strict=True):
                m += 0.1 * (g - m)
                v += 0.001 * (g * g - v)
                w -= self.rate * (m / (1.0 - 0.9**epoch)) / (np.sqrt(v / (1.0 - 0.999**epoch)) + 1e-8)
        models = [i for i, node in enumerate(graph.nodes) if node.kind == "model"]
        out = np.tanh(smooth(x)[models] @ weights[0]) @ weights[1]
        return np.asarray(out * size + centre)

    def _gradient(
        self,
        weights: Sequence[Array],
        shown: Array,
        mask_share: Array,
        x: Array,
        masked: Mask,
        ends: NDArray[np.intp],
        score: Array,
    ) -> list[Array]:
        """Of the mean squared errors of masked features and of hidden scores, in W, V and the mask."""
        inner, outer, _ = weights
        h = np.tanh(shown @ inner)
        wrong = np.where(masked[:, None], h @ outer - x, 0.0) * (2.0 / max(float(masked.sum()) * x.shape[1], 1.0))
        to_h = wrong @ outer.T
        if len(ends):
            left, right = h[ends[:, 0]], h[ends[:, 1]]
            scale = 1.0 / np.sqrt(self.width)
            error = ((left * right).sum(axis=1) * scale - score) * (2.0 * scale / len(ends))
            np.add.at(to_h, ends[:, 0], error[:, None] * right)
            np.add.at(to_h, ends[:, 1], error[:, None] * left)
        to_raw = to_h * (1.0 - h * h)
        return [shown.T @ to_raw, h.T @ wrong, mask_share @ (to_raw @ inner.T)]
