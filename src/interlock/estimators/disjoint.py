"""LinUCB's own model: one ridge regression a candidate on the raw columns, its inverse kept by rank-one updates.

    A = penalty I + sum w x x'      b = sum w y x      mean = x' A^-1 b      std = noise sqrt(x' A^-1 x)

Nothing is shared between candidates and no column is standardised, so one event moves one candidate in O(d^2) and what
is predicted needs no derivation: made for learning step by step. `ridge` is better where candidates have something in
common or columns differ in scale. The inverse is computed anew from A after every `REFRESH` events of a candidate, and
when an event is taken back, so that rounding cannot build up.

Source: LinUCB with disjoint models, Li, Chu, Langford & Schapire, arXiv 1003.0146; Sherman & Morrison (1950).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ..types import Array
from .base import Estimator, State, beliefs, events, query

REFRESH = 1024
PENDING = 64  # events of a candidate between two additions to A, which so cost one matrix product


@dataclass
class Model:
    """One candidate's: `gram` is A without the `pending` rows sqrt(w) x, `inverse` and `moment` are up to date."""

    gram: Array
    pending: list[Array]
    moment: Array
    count: int = 0

    def settled(self) -> Array:
        """A with everything in it."""
        if self.pending:
            rows = np.stack(self.pending)
            self.gram = self.gram + rows.T @ rows
            self.pending = []
        return self.gram


@dataclass
class Disjoint(Estimator):
    """With `noise` 1 the deviation is LinUCB's, and the width of `ucb` its alpha; `intercept` adds a column of ones."""

    default: float = 0.5
    noise: float = 0.3
    penalty: float = 1.0
    intercept: bool = True
    _rows: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)
    _models: list[Model] = field(default_factory=list, init=False, repr=False, compare=False)
    _inverse: Array = field(init=False, repr=False, compare=False)
    _weights: Array = field(init=False, repr=False, compare=False)
    _asked: tuple[Any, Any] = field(default=((), None), init=False, repr=False, compare=False)

    revocable = True

    def __post_init__(self) -> None:
        for name in ("noise", "penalty"):
            if not 0.0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} is {getattr(self, name):g}: expected a number above 0")
        self.restore({})

    @property
    def width(self) -> int | None:
        return self._weights.shape[1] - self.intercept if self._rows else None

    def partial_fit(
        self, vectors: ArrayLike, names: Sequence[str], targets: ArrayLike, weights: ArrayLike | None = None
    ) -> Self:
        for event in events(vectors, names, targets, weights, width=self.width, revocable=True):
            x = np.append(1.0, event.vector) if self.intercept else event.vector
            row = self._rows.get(event.name)
            if row is None:
                row = self._add(event.name, len(x))
            self._learn(self._models[row], row, x, event.target - self.default, event.weight)
        return self

    def _learn(self, model: Model, row: int, x: Array, target: float, weight: float) -> None:
        inverse = self._inverse[row]
        model.count += 1
        model.moment += target * weight * x
        if weight < 0.0:
            model.gram = model.settled() + weight * np.multiply.outer(x, x)
        else:
            model.pending.append(x.copy() if weight == 1.0 else math.sqrt(weight) * x)
        if weight < 0.0 or model.count % REFRESH == 0:
            inverse[:] = np.linalg.inv(model.settled())
        else:
            along = inverse.dot(x)
            step = weight / (1.0 + weight * float(along.dot(x)))
            inverse -= np.multiply.outer(step * along, along)
            if len(model.pending) == PENDING:
                model.settled()
        self._weights[row] = inverse.dot(model.moment)

    def predict(
        self, vectors: ArrayLike, candidates: Sequence[str], prior: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        x, k = query(vectors, self.width), len(candidates)
        if self.intercept:
            x = np.column_stack([np.ones(len(x)), x])
        if not self._rows or not k:
            return self._unseen(x, beliefs(prior, k, self.default))
        rows, known = self._columns(candidates)
        inverse, weights = self._inverse, self._weights
        if rows is not None:
            inverse, weights = inverse[rows], weights[rows]
        spread = inverse.reshape(-1, x.shape[1]).dot(x.T).reshape(*weights.shape, len(x))
        variance = np.matmul(x[None, :, None, :], spread.transpose(0, 2, 1)[..., None])[:, :, 0, 0].T
        mean, std = x.dot(weights.T) + self.default, self.noise * np.sqrt(np.maximum(variance, 0.0))
        if prior is None and known is None:
            return mean, std
        believed = beliefs(prior, k, self.default)
        if self.intercept:
            # A prior is a pseudo-target of the intercept; this is what the events have left of it.
            mean = mean + self.penalty * spread[:, 0, :].T * (believed - self.default)
        if known is None:
            return mean, std
        first = self._unseen(x, believed)
        return np.where(known, mean, first[0]), np.where(known, std, first[1])

    def _unseen(self, x: Array, believed: Array) -> tuple[Array, Array]:
        wide = self.noise * np.sqrt((x * x).sum(axis=1) / self.penalty)
        return np.tile(believed, (len(x), 1)), np.tile(wide[:, None], (1, len(believed)))

    def prepare(self) -> None:
        """Nothing is derived."""

    def state(self) -> State:
        return {
            name: {
                "count": self._models[row].count,
                "gram": self._models[row].gram,
                "pending": [held.copy() for held in self._models[row].pending],
                "moment": self._models[row].moment.copy(),
                "inverse": self._inverse[row].copy(),
                "weights": self._weights[row].copy(),
            }
            for name, row in sorted(self._rows.items())
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        self._rows, self._models = {}, []
        self._inverse, self._weights = np.zeros((0, 0, 0)), np.zeros((0, 0))
        for name, of in state.items():
            row = self._add(name, len(of["moment"]))
            pending = [np.array(held) for held in of["pending"]]
            self._models[row] = Model(np.array(of["gram"]), pending, np.array(of["moment"]), int(of["count"]))
            self._inverse[row], self._weights[row] = of["inverse"], of["weights"]
        return self

    def _add(self, name: str, d: int) -> int:
        self._rows[name] = row = len(self._rows)
        self._models.append(Model(self.penalty * np.eye(d), [], np.zeros(d)))
        inverse, weights = np.eye(d)[None] / self.penalty, np.zeros((1, d))
        self._inverse = np.concatenate([self._inverse, inverse]) if row else inverse
        self._weights = np.concatenate([self._weights, weights]) if row else weights
        self._asked = (), None
        return row

    def _columns(self, candidates: Sequence[str]) -> tuple[Any, Any]:
        """Rows of the candidates and which are known, (k,); None for "all in their order" and for "all"."""
        asked = tuple(candidates)
        if self._asked[0] != asked:
            rows = [self._rows.get(name, -1) for name in asked]
            known = None if -1 not in rows else np.array(rows) >= 0
            self._asked = asked, (None if rows == list(range(len(self._rows))) else np.maximum(rows, 0), known)
        found: tuple[Any, Any] = self._asked[1]
        return found
