"""The scores of the most similar earlier prompts, candidate by candidate.

Each candidate remembers its last `memory` events exactly. Its neighbours are weighted by a Gaussian kernel, a third of
the median distance wide, and drawn towards the candidate's own mean, so that far neighbours say little.

Source: k-nearest-neighbour routing as in RouterBench (arXiv 2403.12031); weights: Nadaraya (1964), Watson (1964).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from ..types import Array
from .base import Estimator, State, beliefs, events, query
from .scaling import Scaling, scaling, square_distances


@dataclass
class Ring:
    """The last rows (vector, target, weight), overwritten in order once full. `seen` counts all that ever came."""

    rows: Array
    seen: int = 0

    def add(self, row: Array, memory: int) -> None:
        if self.seen < memory and self.seen == len(self.rows):
            self.rows = np.concatenate([self.rows, np.zeros((min(max(16, self.seen), memory - self.seen), len(row)))])
        self.rows[self.seen % memory] = row
        self.seen += 1

    @property
    def held(self) -> Array:
        return self.rows[: min(self.seen, len(self.rows))]


class Derived(NamedTuple):
    scaling: Scaling
    bandwidth: float
    standardised: dict[str, Array]


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
        for column, name in enumerate(candidates):
            ring = self._rings.get(name)
            if ring is not None:
                weights, scores = self._near(z, derived, name, ring.held)
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

    def _near(self, z: Array, derived: Derived, name: str, rows: Array) -> tuple[Array, Array]:
        """Kernel weights and scores (n, m) of the candidate's nearest rows."""
        square = square_distances(z, derived.standardised[name])
        scores, trust = np.broadcast_to(rows[:, -2], square.shape), np.broadcast_to(rows[:, -1], square.shape)
        if len(rows) > self.neighbours:
            nearest = np.argpartition(square, self.neighbours - 1, axis=1)[:, : self.neighbours]
            square, scores, trust = (np.take_along_axis(of, nearest, axis=1) for of in (square, scores, trust))
        return trust * np.exp(-0.5 * square / derived.bandwidth), scores

    def _ready(self) -> Derived:
        if self._derived is None:
            names = sorted(self._rings)
            rows = np.concatenate([self._rings[name].held[:, :-2] for name in names])
            scale = scaling(rows)
            standardised = {name: scale.apply(self._rings[name].held[:, :-2]) for name in names}
            sample = scale.apply(rows[:: max(1, len(rows) // 200)])
            apart = square_distances(sample, sample)
            apart = apart[apart > 1e-9]
            # A third of the median distance: prompts of the same kind, not of the same language.
            self._derived = Derived(scale, float(np.median(apart)) / 9.0 if len(apart) else 1.0, standardised)
        return self._derived
