"""LinUCB's own model: one ridge regression a candidate on the raw columns, its inverse kept by rank-one updates.

    A = penalty I + sum w x x'      b = sum w y x      mean = x' A^-1 b      std = noise sqrt(x' A^-1 x)

Nothing is shared between candidates and no column is standardised, so one event moves one candidate in O(d^2) and what
is predicted needs no derivation: made for learning step by step. `ridge` is better where candidates have something in
common or columns differ in scale. The inverse is computed anew from A after every `REFRESH` events of a candidate, and
when an event is taken back, so that rounding cannot build up.

Source: LinUCB with disjoint models, Li, Chu, Langford & Schapire, arXiv 1003.0146; Sherman & Morrison (1950).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ..types import Array
from .base import Estimator, State, beliefs, events, query

REFRESH = 1000


@dataclass
class Disjoint(Estimator):
    """With `noise` 1 the deviation is LinUCB's, and the width of `ucb` its alpha; `intercept` adds a column of ones."""

    default: float = 0.5
    noise: float = 0.3
    penalty: float = 1.0
    intercept: bool = True
    _rows: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)
    _count: list[int] = field(default_factory=list, init=False, repr=False, compare=False)
    _gram: Array = field(init=False, repr=False, compare=False)
    _inverse: Array = field(init=False, repr=False, compare=False)
    _moment: Array = field(init=False, repr=False, compare=False)
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
        return self._moment.shape[1] - self.intercept if self._rows else None

    def partial_fit(
        self, vectors: ArrayLike, names: Sequence[str], targets: ArrayLike, weights: ArrayLike | None = None
    ) -> Self:
        for event in events(vectors, names, targets, weights, width=self.width, revocable=True):
            x = np.append(1.0, event.vector) if self.intercept else event.vector
            row = self._rows.get(event.name)
            if row is None:
                row = self._add(event.name, len(x))
            self._count[row] += 1
            weighted = event.weight * x
            self._gram[row] += weighted[:, None] * x
            self._moment[row] += (event.target - self.default) * weighted
            if event.weight < 0.0 or self._count[row] % REFRESH == 0:
                self._inverse[row] = np.linalg.inv(self._gram[row])
            else:
                along = self._inverse[row] @ x
                step = event.weight / (1.0 + event.weight * float(along @ x))
                self._inverse[row] -= (step * along)[:, None] * along
            self._weights[row] = self._inverse[row] @ self._moment[row]
        return self

    def predict(
        self, vectors: ArrayLike, candidates: Sequence[str], prior: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        x, k = query(vectors, self.width), len(candidates)
        believed = beliefs(prior, k, self.default)
        if self.intercept:
            x = np.column_stack([np.ones(len(x)), x])
        unseen = np.sqrt((x * x).sum(axis=1) / self.penalty)[:, None]
        if not self._rows or not k:
            return np.tile(believed, (len(x), 1)), self.noise * np.tile(unseen, (1, k))
        rows, known = self._columns(candidates)
        inverse, weights = (
            (self._inverse, self._weights) if rows is None else (self._inverse[rows], self._weights[rows])
        )
        d = x.shape[1]
        spread = (inverse.reshape(-1, d) @ x.T).reshape(len(inverse), d, len(x))
        variance = np.maximum(np.einsum("kdn,nd->nk", spread, x), 0.0)
        # A prior is a pseudo-target of the intercept: what of it the events have left.
        left = spread[:, 0, :].T * self.penalty if self.intercept else 0.0
        mean, std = x @ weights.T + self.default + left * (believed - self.default), self.noise * np.sqrt(variance)
        return (
            (mean, std)
            if known is None
            else (np.where(known, mean, believed), np.where(known, std, self.noise * unseen))
        )

    def prepare(self) -> None:
        """Nothing is derived."""

    def state(self) -> State:
        if not self._rows:
            return {}
        names = sorted(self._rows)
        order = [self._rows[name] for name in names]
        return {
            "names": names,
            "count": [self._count[row] for row in order],
            "gram": self._gram[order],
            "inverse": self._inverse[order],
            "moment": self._moment[order],
            "weights": self._weights[order],
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        self._rows = {name: row for row, name in enumerate(state.get("names", ()))}
        self._count = [int(count) for count in state.get("count", ())]
        empty = {"gram": (0, 0, 0), "inverse": (0, 0, 0), "moment": (0, 0), "weights": (0, 0)}
        for name, shape in empty.items():
            setattr(self, f"_{name}", np.array(state.get(name, np.zeros(shape)), dtype=np.float64))
        self._asked = (), None
        return self

    def _add(self, name: str, d: int) -> int:
        self._rows[name] = row = len(self._rows)
        self._count.append(0)
        own = {
            "gram": self.penalty * np.eye(d),
            "inverse": np.eye(d) / self.penalty,
            "moment": np.zeros(d),
            "weights": np.zeros(d),
        }
        for part, first in own.items():
            held = getattr(self, f"_{part}")
            setattr(self, f"_{part}", np.concatenate([held, first[None]]) if row else first[None].copy())
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
