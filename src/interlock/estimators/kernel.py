"""Gaussian-process regression on landmarks: nonlinear in the vector, one function a candidate plus a part all share.

The first `landmarks` events are kept as they are and the regression on them is exact. Then they are the landmarks: an
event enters as its kernel values against them, and only sums are updated, so time and memory stay bounded. Away from
all landmarks the deviation returns to the prior's (the FITC correction), so the unfamiliar is never taken for known.

The kernel is Gaussian on standardised columns; `length` is in units of the median distance between landmarks.

Source: Nystroem features, Williams & Seeger (2000); FITC, Quinonero-Candela & Rasmussen (2005), section 6; as a
contextual bandit: kernelised UCB, Valko et al. (arXiv 1309.6869).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from ..types import Array
from .base import Estimator, Event, State, beliefs, events, query, table
from .hierarchy import Posterior, posterior
from .scaling import Scaling, scaling, square_distances

_RANK = 1e-5  # directions of the landmarks' kernel below this share of the largest are noise


class Space(NamedTuple):
    """Landmarks (m, d) in standardised columns, and how kernel values become features with an identity prior."""

    scaling: Scaling
    length: float
    landmarks: Array
    whiten: Array

    def kernel(self, x: Array) -> Array:
        """Kernel values (n, m) of raw rows x (n, d) against the landmarks."""
        return np.asarray(np.exp(-0.5 * square_distances(self.scaling.apply(x), self.landmarks) / self.length**2))


def span(vectors: Array, length: float) -> Space:
    """The space spanned by these raw vectors (m, d)."""
    scale = scaling(vectors)
    landmarks = scale.apply(vectors)
    square = square_distances(landmarks, landmarks)
    apart = square[square > 1e-9]
    length = length * float(np.sqrt(np.median(apart))) if len(apart) else 1.0
    values, directions = np.linalg.eigh(np.exp(-0.5 * square / length**2))
    kept = values > _RANK * values[-1]
    return Space(scale, length, landmarks, directions[:, kept] / np.sqrt(values[kept]))


@dataclass
class Kernel(Estimator):
    """`noise`, `prior_std`, `share` and `forgetting` are those of `Ridge`."""

    default: float = 0.5
    noise: float = 0.3
    prior_std: float = 0.5
    share: float = 0.3
    length: float = 0.7
    landmarks: int = 192
    forgetting: float = 1.0
    _first: list[Event] = field(default_factory=list, init=False, repr=False, compare=False)
    _sums: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    _space: Space | None = field(default=None, init=False, repr=False, compare=False)
    _derived: tuple[Space, Posterior] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def revocable(self) -> bool:
        return self.forgetting == 1.0

    @property
    def width(self) -> int | None:
        return len(self._first[0].vector) if self._first else None

    def partial_fit(
        self, vectors: ArrayLike, names: Sequence[str], targets: ArrayLike, weights: ArrayLike | None = None
    ) -> Self:
        for event in events(vectors, names, targets, weights, width=self.width, revocable=self.revocable):
            self._derived = None
            if self._space is None:
                self._first.append(event)
                if len(self._first) >= self.landmarks:
                    self._space = self._span()
                    for one in self._first:
                        self._add(self._sums, self._space, one)
            else:
                self._add(self._sums, self._space, event)
        return self

    def fit_table(self, vectors: ArrayLike, candidates: Sequence[str], scores: ArrayLike) -> Self:
        """The landmarks are spread over the whole table rather than its first rows; sums are matrix products."""
        x, cells = table(vectors, candidates, scores)
        known = np.isfinite(cells)
        rows = np.flatnonzero(known.any(axis=1))
        if self.forgetting != 1.0 or len(rows) < self.landmarks:
            return super().fit_table(vectors, candidates, scores)
        self.restore({})
        for row in rows[np.linspace(0, len(rows) - 1, self.landmarks).astype(np.intp)]:
            column = int(known[row].argmax())
            self._first.append(Event(x[row].copy(), str(candidates[column]), float(cells[row, column]), 1.0))
        self._space = self._span()
        values = self._space.kernel(x)
        for name, targets, mine in zip(candidates, cells.T, known.T, strict=True):
            if mine.any():
                seen = np.column_stack([np.ones(int(mine.sum())), values[mine], targets[mine] - self.default])
                self._sums[str(name)] = seen.T @ seen
        return self

    def predict(
        self, vectors: ArrayLike, candidates: Sequence[str], prior: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        x, k = query(vectors, self.width), len(candidates)
        shift = beliefs(prior, k, self.default) - self.default
        if not self._first or not k:
            return np.tile(self.default + shift, (len(x), 1)), np.full((len(x), k), self.prior_std)
        space, learnt = self._ready()
        z = np.ones((len(x), space.whiten.shape[1] + 1))
        z[:, 1:] = space.kernel(x) @ space.whiten
        mean, variance = learnt.predict(z, candidates, shift)
        unexplained = np.maximum(1.0 - (z[:, 1:] ** 2).sum(axis=1), 0.0)
        variance += 0.5 * self.prior_std**2 * unexplained[:, None]
        return mean + self.default, np.sqrt(variance)

    def prepare(self) -> None:
        if self._first:
            self._ready()

    def state(self) -> State:
        if not self._first:
            return {}
        names = sorted(self._sums)
        vectors, asked, targets, weights = zip(*self._first, strict=True)
        return {
            "vectors": np.stack(vectors),
            "candidates": list(asked),
            "targets": np.array(targets),
            "weights": np.array(weights),
            "names": names,
            "sums": np.stack([self._sums[name] for name in names]) if names else np.zeros((0, 0, 0)),
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        rows = (state.get(key, ()) for key in ("vectors", "candidates", "targets", "weights"))
        self._first = [Event(x.copy(), name, float(y), float(w)) for x, name, y, w in zip(*rows, strict=True)]
        learnt = zip(state.get("names", ()), state.get("sums", ()), strict=True)
        self._sums = {name: sums.copy() for name, sums in learnt}
        self._space = self._span() if self._sums else None
        self._derived = None
        return self

    def _span(self) -> Space:
        return span(np.stack([event.vector for event in self._first]), self.length)

    def _add(self, sums: dict[str, Array], space: Space, event: Event) -> None:
        row = np.concatenate(([1.0], space.kernel(event.vector[None, :])[0], [event.target - self.default]))
        mine = sums.get(event.name)
        if mine is None:
            mine = sums[event.name] = np.zeros((len(row), len(row)))
        elif self.forgetting != 1.0:
            mine *= self.forgetting
        mine += np.outer(event.weight * row, row)

    def _ready(self) -> tuple[Space, Posterior]:
        if self._derived is None:
            self._derived = self._derive()
        return self._derived

    def _derive(self) -> tuple[Space, Posterior]:
        space, table = self._space, self._sums
        if space is None:
            space, table = self._span(), {}
            for event in self._first:
                self._add(table, space, event)
        names = sorted(table)
        sums = np.stack([table[name] for name in names])
        m, r = space.whiten.shape
        turn = np.zeros((r + 2, m + 2))
        turn[0, 0] = turn[-1, -1] = 1.0
        turn[1:-1, 1:-1] = space.whiten.T
        sums = turn @ sums @ turn.T
        # Half of the prior variance is the intercept's; features have unit norm, so each has the other half.
        spread = np.full(r + 1, 0.5 * self.prior_std**2)
        return space, posterior(names, sums[:, :-1, :-1], sums[:, :-1, -1], spread, self.noise, self.share)
