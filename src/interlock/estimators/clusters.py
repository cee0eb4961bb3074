"""Group prompts, keep a mean a candidate in each group.

The first `warm_up` events are kept; k-means on them fixes the groups, and from then on only sums are updated. (Groups
that kept moving would make earlier sums those of other prompts.) A prompt is read off its nearest groups, softly; a
cell is drawn towards the candidate's mean, and that towards its prior.

Source: Avengers (arXiv 2505.19797); shrunk cells: Jitkrittum et al. (arXiv 2502.08773); k-means++: Arthur &
Vassilvitskii (2007).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from ..types import Array
from .base import Estimator, Event, State, beliefs, events, query, table
from .scaling import Scaling, scaling, square_distances


class Groups(NamedTuple):
    scaling: Scaling
    centres: Array


@dataclass
class Clusters(Estimator):
    """`nearest` groups are mixed with weights softmax(-sharpness x squared distance / median squared distance).

    `prior_strength` is the number of events the candidate's mean is worth in a cell, and its prior in its mean.
    """

    groups: int = 16
    warm_up: int = 256
    nearest: int = 3
    sharpness: float = 6.0
    default: float = 0.5
    noise: float = 0.5
    prior_strength: float = 2.0
    _first: list[Event] = field(default_factory=list, init=False, repr=False, compare=False)
    _sums: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    _groups: Groups | None = field(default=None, init=False, repr=False, compare=False)
    _derived: tuple[Groups, dict[str, Array]] | None = field(default=None, init=False, repr=False, compare=False)

    revocable = True

    @property
    def width(self) -> int | None:
        if self._groups is not None:
            return len(self._groups.scaling.centre)
        return len(self._first[0].vector) if self._first else None

    def partial_fit(
        self, vectors: ArrayLike, names: Sequence[str], targets: ArrayLike, weights: ArrayLike | None = None
    ) -> Self:
        for event in events(vectors, names, targets, weights, width=self.width, revocable=True):
            self._derived = None
            if self._groups is not None:
                _add(self._sums, self._groups, event)
                continue
            self._first.append(event)
            if len(self._first) >= self.warm_up:
                self._groups, self._sums = self._settle()
                self._first = []
        return self

    def fit_table(self, vectors: ArrayLike, candidates: Sequence[str], scores: ArrayLike) -> Self:
        """The groups are those of all rows (of 2,000 evenly spaced ones, if more) rather than of the first events."""
        x, cells = table(vectors, candidates, scores)
        known = np.isfinite(cells)
        rows = x[known.any(axis=1)]
        if len(rows) < self.groups:
            return super().fit_table(vectors, candidates, scores)
        self.restore({})
        scale = scaling(rows)
        sample = rows[np.linspace(0, len(rows) - 1, min(len(rows), 2000)).astype(np.intp)]
        self._groups = Groups(scale, kmeans(scale.apply(sample), self.groups))
        member = np.eye(len(self._groups.centres))[
            square_distances(scale.apply(x), self._groups.centres).argmin(axis=1)
        ]
        count, total = member.T @ known, member.T @ np.where(known, cells, 0.0)
        for column, name in enumerate(candidates):
            if known[:, column].any():
                self._sums[str(name)] = np.stack([count[:, column], total[:, column]], axis=1)
        return self

    def predict(
        self, vectors: ArrayLike, candidates: Sequence[str], prior: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        x, k = query(vectors, self.width), len(candidates)
        believed = beliefs(prior, k, self.default)
        if (self._groups is None and not self._first) or not k:
            shape = len(x), k
            return np.tile(believed, (len(x), 1)), np.full(shape, self.noise / np.sqrt(self.prior_strength))
        groups, sums = self._ready()
        square = square_distances(groups.scaling.apply(x), groups.centres)
        spread = np.median(square_distances(groups.centres, groups.centres)) or 1.0
        close = np.argsort(square, axis=1, kind="stable")[:, : self.nearest]
        gap = np.take_along_axis(square, close, axis=1)
        near = np.zeros_like(square)
        np.put_along_axis(near, close, np.exp(-self.sharpness * (gap - gap[:, :1]) / spread), axis=1)
        near /= near.sum(axis=1, keepdims=True)
        empty = np.zeros((len(groups.centres), 2))
        cells = np.stack([sums.get(name, empty) for name in candidates])
        count, total = np.maximum(cells[:, :, 0], 0.0), cells[:, :, 1]
        own = (total.sum(axis=1) + self.prior_strength * believed) / (count.sum(axis=1) + self.prior_strength)
        mean = (total + self.prior_strength * own[:, None]) / (count + self.prior_strength)
        return near @ mean.T, self.noise / np.sqrt(near @ count.T + self.prior_strength)

    def prepare(self) -> None:
        if self.width is not None:
            self._ready()

    def state(self) -> State:
        state: State = {"sums": {name: cells.copy() for name, cells in sorted(self._sums.items())}}
        if self._first:
            state["first"] = [list(event) for event in self._first]
        if self._groups is not None:
            state["groups"] = [*self._groups.scaling, self._groups.centres]
        return state

    def restore(self, state: Mapping[str, Any]) -> Self:
        self._first = [Event(x.copy(), name, float(y), float(w)) for x, name, y, w in state.get("first", ())]
        self._sums = {name: cells.copy() for name, cells in state.get("sums", {}).items()}
        centre, scale, centres = state.get("groups", (None, None, None))
        self._groups = None if centre is None else Groups(Scaling(centre.copy(), scale.copy()), centres.copy())
        self._derived = None
        return self

    def _ready(self) -> tuple[Groups, dict[str, Array]]:
        if self._derived is None:
            self._derived = self._settle() if self._groups is None else (self._groups, self._sums)
        return self._derived

    def _settle(self) -> tuple[Groups, dict[str, Array]]:
        """Groups and sums from the first events alone."""
        rows = np.stack([event.vector for event in self._first])
        scale = scaling(rows)
        groups = Groups(scale, kmeans(scale.apply(rows), self.groups))
        sums: dict[str, Array] = {}
        for event in self._first:
            _add(sums, groups, event)
        return groups, sums


def _add(sums: dict[str, Array], groups: Groups, event: Event) -> None:
    square = square_distances(groups.scaling.apply(event.vector[None, :]), groups.centres)
    cells = sums.setdefault(event.name, np.zeros((len(groups.centres), 2)))
    cells[int(square[0].argmin())] += event.weight, event.weight * event.target


def kmeans(rows: Array, count: int, rounds: int = 20) -> Array:
    """At most `count` centres of rows (m, d): Lloyd's algorithm from seeded k-means++. Same rows, same centres."""
    rng = np.random.default_rng(0)
    chosen = [0]
    square = square_distances(rows, rows[:1])[:, 0]
    while len(chosen) < min(count, len(rows)) and square.sum() > 1e-12:
        chosen.append(int(rng.choice(len(rows), p=square / square.sum())))
        square = np.minimum(square, square_distances(rows, rows[chosen[-1:]])[:, 0])
    centres = rows[chosen]
    for _ in range(rounds):
        member = square_distances(rows, centres).argmin(axis=1)
        groups = [rows[member == c] for c in range(len(centres))]
        moved = np.stack([g.mean(axis=0) if len(g) else old for g, old in zip(groups, centres, strict=True)])
        if np.array_equal(moved, centres):
            break
        centres = moved
    return np.asarray(centres)
