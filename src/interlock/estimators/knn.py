"""The scores of the most similar earlier prompts, candidate by candidate.

Each candidate remembers its last `memory` events exactly. Its neighbours are weighted by a Gaussian kernel, as wide as
predicts the remembered rows best from one another, and drawn towards the candidate's own mean.

A new candidate needs no training. With 50 answers it is drawn to its mean: 0.3 points of AIQ lost on RouterBench.

Source: k-nearest-neighbour routing as in RouterBench (arXiv 2403.12031); weights: Nadaraya (1964), Watson (1964).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..types import Array
from .base import Estimator, State, beliefs, events, query, table
from .scaling import Scaling, scaling, square_distances


@dataclass
class Ring:
    """The last rows (vector, target, weight), overwritten in order once full. `seen` counts all that ever came.

    A table may have given it more rows than `memory`; then it stays that long.
    """

    rows: Array
    seen: int = 0

    def add(self, row: Array, memory: int) -> None:
        if self.seen < memory and self.seen == len(self.rows):
            self.rows = np.concatenate([self.rows, np.zeros((min(max(16, self.seen), memory - self.seen), len(row)))])
        self.rows[self.seen % max(memory, len(self.rows))] = row
        self.seen += 1

    @property
    def held(self) -> Array:
        return self.rows[: min(self.seen, len(self.rows))]


class Derived(NamedTuple):
    """`prompts` are each candidate's, standardised."""

    scaling: Scaling
    bandwidth: float
    prompts: dict[str, Array]


class Near(NamedTuple):
    """Which rows are near, (n, m), and their squared distances."""

    at: NDArray[np.intp]
    square: Array


_SHARES = (1.0 / 9.0, 1.0 / 3.0, 1.0)  # of the median squared distance, tried as the kernel's variance
_ASKED = 100  # rows a candidate, on which they are tried


@dataclass
class KNN(Estimator):
    """mean = (sum w y + prior_strength x own mean) / (sum w + prior_strength) over the `neighbours` nearest.

    The own mean is drawn towards the candidate's prior likewise; std = `noise` / sqrt(sum w + prior_strength).
    """

    neighbours: int = 16
    memory: int = 1000
    default: float = 0.5
    noise: float = 0.5
    prior_strength: float = 1.0
    _rings: dict[str, Ring] = field(default_factory=dict, init=False, repr=False, compare=False)
    _derived: Derived | None = field(default=None, init=False, repr=False, compare=False)

    revocable = False

    @property
    def width(self) -> int | None:
        return next((ring.rows.shape[1] - 2 for ring in self._rings.values()), None)

    def partial_fit(
        self, vectors: ArrayLike, names: Sequence[str], targets: ArrayLike, weights: ArrayLike | None = None
    ) -> Self:
        for event in events(vectors, names, targets, weights, width=self.width, revocable=False):
            row = np.concatenate([event.vector, [event.target, event.weight]])
            if event.weight == 0.0:
                continue  # it would take the place of a neighbour that has something to say
            ring = self._rings.get(event.name)
            if ring is None:
                ring = self._rings[event.name] = Ring(np.zeros((0, len(row))))
            ring.add(row, self.memory)
            self._derived = None
        return self

    def fit_table(self, vectors: ArrayLike, candidates: Sequence[str], scores: ArrayLike) -> Self:
        """The rows of the events; a table is kept whole, however long."""
        x, cells = table(vectors, candidates, scores)
        self.restore({})
        for name, targets in zip(candidates, cells.T, strict=True):
            mine = np.isfinite(targets)
            if mine.any():
                rows = np.column_stack([x[mine], targets[mine], np.ones(int(mine.sum()))])
                self._rings[str(name)] = Ring(rows, len(rows))
        return self

    def predict(
        self, vectors: ArrayLike, candidates: Sequence[str], prior: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        x, k = query(vectors, self.width), len(candidates)
        believed = beliefs(prior, k, self.default)
        mean = np.tile(believed, (len(x), 1))
        std = np.full((len(x), k), self.noise / np.sqrt(self.prior_strength))
        if not self._rings:
            return mean, std
        derived = self._ready()
        z = derived.scaling.apply(x)
        near: dict[int, Near] = {}
        for column, name in enumerate(candidates):
            ring = self._rings.get(name)
            if ring is not None:
                prompts = derived.prompts[name]
                if id(prompts) not in near:
                    near[id(prompts)] = nearest(z, prompts, self.neighbours)
                weights, scores = weighed(near[id(prompts)], ring.held, derived.bandwidth)
                own = ring.held[:, -1] @ ring.held[:, -2] + self.prior_strength * believed[column]
                own = own / (ring.held[:, -1].sum() + self.prior_strength)
                strength = weights.sum(axis=1) + self.prior_strength
                mean[:, column] = ((weights * scores).sum(axis=1) + self.prior_strength * own) / strength
                std[:, column] = self.noise / np.sqrt(strength)
        return mean, std

    def prepare(self) -> None:
        if self._rings:
            self._ready()

    def state(self) -> State:
        return {"rings": {name: [ring.held.copy(), ring.seen] for name, ring in sorted(self._rings.items())}}

    def restore(self, state: Mapping[str, Any]) -> Self:
        self._rings = {name: Ring(rows.copy(), int(seen)) for name, (rows, seen) in state.get("rings", {}).items()}
        self._derived = None
        return self

    def _ready(self) -> Derived:
        if self._derived is None:
            names = sorted(self._rings)
            rows = np.concatenate([self._rings[name].held[:, :-2] for name in names])
            scale = scaling(rows)
            # Candidates that answered the same prompts share them, and so the search for the nearest.
            shared: dict[bytes, Array] = {}
            prompts: dict[str, Array] = {}
            for name in names:
                mine = np.ascontiguousarray(self._rings[name].held[:, :-2])
                prompts[name] = shared.setdefault(mine.tobytes(), mine)
            standardised = {id(mine): scale.apply(mine) for mine in shared.values()}
            prompts = {name: standardised[id(mine)] for name, mine in prompts.items()}
            sample = scale.apply(rows[:: max(1, len(rows) // 200)])
            apart = square_distances(sample, sample)
            apart = apart[apart > 1e-9]
            median = float(np.median(apart)) if len(apart) else 1.0
            self._derived = Derived(scale, self._bandwidth(median, prompts), prompts)
        return self._derived

    def _bandwidth(self, median: float, prompts: Mapping[str, Array]) -> float:
        """The share of the median squared distance that predicts held rows best from the others of their candidate."""
        errors = np.zeros(len(_SHARES))
        for name in sorted(prompts):
            held, rows = self._rings[name].held, prompts[name]
            asked = np.arange(0, len(rows), max(1, len(rows) // _ASKED))
            found = nearest(rows[asked], rows, self.neighbours + 1)
            other = found.at != asked[:, None]
            weight = held[:, -1].sum() + self.prior_strength
            own = (held[:, -1] @ held[:, -2] + self.prior_strength * self.default) / weight
            for i, share in enumerate(_SHARES):
                weights, scores = weighed(found, held, share * median)
                weights = weights * other
                strength = weights.sum(axis=1) + self.prior_strength
                mean = ((weights * scores).sum(axis=1) + self.prior_strength * own) / strength
                errors[i] += (held[asked, -1] * (held[asked, -2] - mean) ** 2).sum()
        return max(median * _SHARES[int(errors.argmin())], 1e-9)


def nearest(z: Array, rows: Array, count: int) -> Near:
    """The `count` nearest of the rows (m, d) of each prompt z (n, d)."""
    square = square_distances(z, rows)
    if len(rows) <= count:
        return Near(np.broadcast_to(np.arange(len(rows)), square.shape), square)
    at = np.argpartition(square, count - 1, axis=1)[:, :count]
    return Near(at, np.take_along_axis(square, at, axis=1))


def weighed(near: Near, held: Array, bandwidth: float) -> tuple[Array, Array]:
    """Kernel weights and scores (n, m) of the nearest rows."""
    return held[near.at, -1] * np.exp(-0.5 * near.square / bandwidth), held[near.at, -2]
