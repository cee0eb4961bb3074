"""Bayesian linear regression on the vector, one weight vector a candidate, with a part that all candidates share.

Only sums are state, and the last few events of each candidate, which join its sums `BLOCK` at a time: by one matrix
product, at a tenth of the cost of as many outer products. Where a block ends depends on the candidate's events alone.
Columns are standardised in closed form from the pooled sums when the posterior is computed, so raw columns may have any
scale and sums remain sums.

Source: LinUCB (arXiv 1003.0146), GreenServ (arXiv 2601.17551); forgetting: D-LinUCB, Russac et al. (arXiv 1909.09146).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from ..types import Array
from .base import Estimator, State, beliefs, events, query, table
from .hierarchy import Posterior, posterior

BLOCK = 32  # events

_CLIP = 6.0  # standardised columns are cut here, so that one outlying request cannot command the prediction


class Events(NamedTuple):
    """A candidate's latest: rows (1, x, y), and weights."""

    rows: list[Array]
    weights: list[float]


class Derived(NamedTuple):
    """What `predict` needs: how to standardise the columns, the posterior, residual variances (the last: unseen)."""

    centre: Array
    scale: Array
    posterior: Posterior
    residual: Array

    def standardise(self, x: Array) -> Array:
        z = np.ones((len(x), x.shape[1] + 1))
        scaled = z[:, 1:]
        np.multiply(x - self.centre, self.scale, out=scaled)
        np.minimum(np.maximum(scaled, -_CLIP, out=scaled), _CLIP, out=scaled)
        return z


@dataclass
class Ridge(Estimator):
    """`noise` is the standard deviation of a target about its expectation, `prior_std` that of the expectation itself.

    `forgetting` multiplies a candidate's sums before each of its events: 0.998 remembers about 500 of its events, while
    the sums of candidates that are not chosen stay.
    """

    default: float = 0.5
    noise: float = 0.3
    prior_std: float = 0.5
    share: float = 0.3
    forgetting: float = 1.0
    _sums: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    _recent: dict[str, Events] = field(default_factory=dict, init=False, repr=False, compare=False)
    _derived: Derived | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def revocable(self) -> bool:
        return self.forgetting == 1.0

    @property
    def width(self) -> int | None:
        return next((len(sums) - 2 for sums in self._sums.values()), None)

    def partial_fit(
        self, vectors: ArrayLike, names: Sequence[str], targets: ArrayLike, weights: ArrayLike | None = None
    ) -> Self:
        for event in events(vectors, names, targets, weights, width=self.width, revocable=self.revocable):
            width = len(event.vector) + 2
            if event.name not in self._sums:
                self._sums[event.name], self._recent[event.name] = np.zeros((width, width)), Events([], [])
            recent = self._recent[event.name]
            row = np.empty(width)
            row[0], row[1:-1], row[-1] = 1.0, event.vector, event.target
            recent.rows.append(row)
            recent.weights.append(event.weight)
            if len(recent.rows) == BLOCK:
                self._join(recent, self._sums[event.name])
                self._recent[event.name] = Events([], [])
            self._derived = None
        return self

    def _join(self, recent: Events, sums: Array) -> None:
        """Add a candidate's recent events to its sums: products of (1, x, y) hold count, G, b, the sum of squares."""
        if recent.rows:
            kept = self.forgetting ** np.arange(len(recent.rows), -1, -1.0)
            x = np.array(recent.rows)
            sums *= kept[0]
            sums += (x.T * (kept[1:] * recent.weights)) @ x

    def fit_table(self, vectors: ArrayLike, candidates: Sequence[str], scores: ArrayLike) -> Self:
        """By matrix products: the sums of the events, up to rounding. With `forgetting`, row by row."""
        if self.forgetting != 1.0:
            return super().fit_table(vectors, candidates, scores)
        x, cells = table(vectors, candidates, scores)
        self.restore({})
        for name, targets in zip(candidates, cells.T, strict=True):
            mine = np.isfinite(targets)
            if mine.any():
                rows = np.column_stack([np.ones(int(mine.sum())), x[mine], targets[mine]])
                self._sums[str(name)], self._recent[str(name)] = rows.T @ rows, Events([], [])
        return self

    def predict(
        self, vectors: ArrayLike, candidates: Sequence[str], prior: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        x, k = query(vectors, self.width), len(candidates)
        shift = beliefs(prior, k, self.default) - self.default
        if not self._sums or not k:
            return np.tile(self.default + shift, (len(x), 1)), np.full((len(x), k), self.prior_std)
        derived = self._ready(spread=True)
        mean, variance = derived.posterior.predict(derived.standardise(x), candidates, shift)
        return mean + self.default, np.sqrt(variance)

    def expect(self, vectors: ArrayLike, candidates: Sequence[str], prior: ArrayLike | None = None) -> Array:
        """The mean (n, k) alone, which costs a fraction of `predict`."""
        x = query(vectors, self.width)
        shift = beliefs(prior, len(candidates), self.default) - self.default
        if not self._sums:
            return np.tile(self.default + shift, (len(x), 1))
        derived = self._ready()
        return derived.posterior.expect(derived.standardise(x), candidates, shift) + self.default

    def residual_variance(self, candidates: Sequence[str]) -> Array:
        """Variance of the targets about their predictions, (k,), drawn towards `noise` squared while events are few."""
        if not self._sums:
            return np.full(len(candidates), self.noise**2)
        derived = self._ready()
        return derived.residual[[derived.posterior.rows.get(name, -1) for name in candidates]]

    def prepare(self, spread: bool = True) -> None:
        """Without `spread` for what `expect` needs alone, at half the cost."""
        if self._sums:
            self._ready(spread)

    def state(self) -> State:
        names = sorted(self._sums)
        if not names:
            return {}
        recent = [
            [np.array(of.rows).reshape(-1, len(self._sums[name])), of.weights]
            for name, of in sorted(self._recent.items())
        ]
        return {"names": names, "sums": np.stack([self._sums[name] for name in names]), "recent": recent}

    def restore(self, state: Mapping[str, Any]) -> Self:
        names = state.get("names", ())
        self._sums = dict(
            zip(names, np.array(state.get("sums", ())), strict=True)
        )  # one copy, of which each has a part
        recent = zip(names, state.get("recent", ()), strict=True)
        self._recent = {name: Events(list(np.array(rows)), list(weights)) for name, (rows, weights) in recent}
        self._derived = None
        return self

    def _ready(self, spread: bool = False) -> Derived:
        if self._derived is None or (spread and self._derived.posterior.covariance is None):
            self._derived = self._derive(spread)
        return self._derived

    def _derive(self, spread: bool) -> Derived:
        names = sorted(self._sums)
        sums = np.stack([self._sums[name] for name in names])
        for name, one in zip(names, sums, strict=True):
            self._join(self._recent[name], one)
        centre, scale = _moments(sums.sum(axis=0))
        d = len(centre) + 1
        _turn(sums, np.concatenate(([0.0], centre, [self.default])), np.concatenate(([1.0], scale, [1.0])))
        # Half of the prior variance of a prediction is the intercept's, half is spread over the columns.
        variance = 0.5 * self.prior_std**2 * np.append(1.0, np.full(d - 1, 1.0 / max(1, d - 1)))
        learnt = posterior(names, sums[:, :d, :d], sums[:, :d, d], variance, self.noise, self.share, spread)
        return Derived(centre, scale, learnt, self._residuals(sums, learnt.mean))

    def _residuals(self, sums: Array, mean: Array) -> Array:
        """Residual variance of each candidate, with 10 pseudo-events of `noise`; the last is one never seen."""
        lens = np.concatenate([mean[:-1], np.full((len(sums), 1), -1.0)], axis=1)
        squares = np.maximum(np.einsum("ki,kij,kj->k", lens, sums, lens), 0.0)
        count = np.maximum(sums[:, 0, 0], 0.0)
        return np.append((squares + 10.0 * self.noise**2) / (count + 10.0), self.noise**2)


def _turn(sums: Array, shift: Array, scale: Array) -> None:
    """Turn, in place, sums (k, d, d) of products of (1, x, y) into those of ((1, x, y) - `shift`) x `scale`."""
    first = sums[:, :, 0].copy()
    first -= 0.5 * first[:, :1] * shift
    for one, products in zip(sums, first, strict=True):
        crossed = np.multiply.outer(products, shift)
        one -= crossed
        one -= crossed.T
        one *= scale
        one *= scale[:, None]


def _moments(total: Array) -> tuple[Array, Array]:
    """Centre and reciprocal scale of each column from the pooled sums; a constant column is switched off (scale 0).

    Columns that hardly vary are not blown up to unit variance: the scale has a floor at 3% of the median column's.
    """
    count = max(total[0, 0], 1e-9)
    centre = total[0, 1:-1] / count
    square = np.diagonal(total)[1:-1] / count
    variance = np.maximum(square - centre**2, 0.0)
    varies = variance > 1e-10 * np.maximum(square, 1e-12)
    floor = 1e-3 * np.median(variance[varies]) if varies.any() else 1.0
    return centre, np.where(varies, 1.0 / np.sqrt(np.maximum(variance, floor) + 1e-300), 0.0)
