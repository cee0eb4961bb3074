"""Bayesian linear regression, one weight vector a candidate, with a part that all candidates share.

A candidate's weights are w_c = w_0 + v_c with normal priors on w_0 (with `share` of the prior variance) and on v_c (with
the rest). What all candidates have in common, that a prompt is hard, is so learnt from every event, and a new candidate
starts from it. The posterior is closed-form: with sums G_c = sum w x x' and b_c = sum w y x and S_c = (G_c + L1)^-1,

    P   = L0 + sum_c (L1 - L1 S_c L1)            m_0 = P^-1 sum_c L1 S_c b_c
    m_c = S_c (b_c + L1 (m_0 + prior))           cov_c = noise^2 (S_c + S_c L1 P^-1 L1 S_c)

which costs one d x d inverse a candidate and one more. Only the sums are state. Columns are standardised in closed form
from the pooled sums when the posterior is computed, so raw columns may have any scale, and sums remain sums.

Source: hierarchical linear model, Gelman & Hill (2007), chapter 12; as a contextual bandit: LinUCB (arXiv 1003.0146),
GreenServ (arXiv 2601.17551); forgetting: D-LinUCB, Russac et al. (arXiv 1909.09146).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..types import Array
from .base import Estimator, State, beliefs, events, query

_CLIP = 6.0  # standardised columns are cut here, so that one outlying request cannot command the prediction


class Posterior(NamedTuple):
    """What `predict` needs: how to standardise the columns, and per known candidate (axis 0) its weights.

    `pull` is how far the weights move per unit of the candidate's prior; the last row of each array is that of a
    candidate never seen. `covariance` is float32: it is what the request path reads most.
    """

    centre: Array
    scale: Array
    rows: dict[str, int]
    mean: Array
    pull: Array
    covariance: NDArray[np.float32]
    variance: Array


@dataclass
class Ridge(Estimator):
    """`noise` is the standard deviation of a target about its expectation, `prior_std` that of the expectation itself.

    `forgetting` multiplies a candidate's sums before each of its events: 0.998 remembers about 500 of its events, while
    the sums of candidates that are not chosen stay.
    """

    default: float = 0.5
    noise: float = 0.35
    prior_std: float = 0.5
    share: float = 0.5
    forgetting: float = 1.0
    _sums: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    _posterior: Posterior | None = field(default=None, init=False, repr=False, compare=False)
    _stacks: dict[tuple[str, ...], tuple[Array, Array, NDArray[np.float32]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

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
            # One outer product of (1, x, y) with itself holds count, G, b and the sum of squares.
            row = np.concatenate(([1.0], event.vector, [event.target]))
            sums = self._sums.get(event.name)
            if sums is None:
                sums = self._sums[event.name] = np.zeros((len(row), len(row)))
            elif self.forgetting != 1.0:
                sums *= self.forgetting
            sums += np.outer(event.weight * row, row)
            self._posterior = None
        return self

    def predict(
        self, vectors: ArrayLike, candidates: Sequence[str], prior: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        x, k = query(vectors, self.width), len(candidates)
        shift = beliefs(prior, k, self.default) - self.default
        if not self._sums or not k:
            return np.tile(self.default + shift, (len(x), 1)), np.full((len(x), k), self.prior_std)
        z = self._standardise(x)
        mean, pull, covariance = self._stack(tuple(candidates))
        rotated = (z.astype(np.float32) @ covariance).reshape(len(z), k, -1)
        variance = np.matmul(rotated, z.astype(np.float32)[:, :, None])[:, :, 0]
        return z @ (mean + pull * shift) + self.default, np.sqrt(np.maximum(variance, 0.0), dtype=np.float64)

    def residual_variance(self, candidates: Sequence[str]) -> Array:
        """Variance of the targets about their predictions, (k,), drawn towards `noise` squared while events are few."""
        if not self._sums:
            return np.full(len(candidates), self.noise**2)
        rows, variance = self._ready().rows, self._ready().variance
        return variance[[rows.get(name, -1) for name in candidates]]

    def prepare(self) -> None:
        if self._sums:
            self._ready()

    def state(self) -> State:
        names = sorted(self._sums)
        return {"names": names, "sums": np.stack([self._sums[name] for name in names])} if names else {}

    def restore(self, state: Mapping[str, Any]) -> Self:
        learnt = zip(state.get("names", ()), state.get("sums", ()), strict=True)
        self._sums = {name: sums.copy() for name, sums in learnt}
        self._posterior, self._stacks = None, {}
        return self

    def _standardise(self, x: Array) -> Array:
        posterior = self._ready()
        z = np.empty((len(x), x.shape[1] + 1))
        z[:, 0] = 1.0
        np.clip((x - posterior.centre) * posterior.scale, -_CLIP, _CLIP, out=z[:, 1:])
        return z

    def _stack(self, candidates: tuple[str, ...]) -> tuple[Array, Array, NDArray[np.float32]]:
        """Weights (d, k), pulls (d, k) and covariances (d, k x d) of these candidates, kept until the next event."""
        posterior = self._ready()
        stack = self._stacks.get(candidates)
        if stack is None:
            rows = [posterior.rows.get(name, -1) for name in candidates]
            covariance = posterior.covariance[rows].transpose(1, 0, 2).reshape(posterior.mean.shape[1], -1)
            stack = (
                np.ascontiguousarray(posterior.mean[rows].T),
                np.ascontiguousarray(posterior.pull[rows].T),
                np.ascontiguousarray(covariance),
            )
            if len(self._stacks) >= 16:
                self._stacks.clear()
            self._stacks[candidates] = stack
        return stack

    def _ready(self) -> Posterior:
        if self._posterior is None:
            self._stacks.clear()
            self._posterior = self._derive()
        return self._posterior

    def _derive(self) -> Posterior:
        """The posterior in standardised columns, from the sums alone. Names are sorted: no order of arrival matters."""
        names = sorted(self._sums)
        sums = np.stack([self._sums[name] for name in names])
        centre, scale = _moments(sums.sum(axis=0))
        d = len(centre) + 1
        # (1, z) = T (1, x) turns sums of raw columns into sums of standardised ones; targets count from the default.
        turn = np.zeros((d + 1, d + 1))
        turn[0, 0] = turn[d, d] = 1.0
        turn[1:d, 0], turn[d, 0] = -centre * scale, -self.default
        turn[1:d, 1:d] = np.diag(scale)
        sums = turn @ sums @ turn.T
        gram, moment = sums[:, :d, :d], sums[:, :d, d]
        # Half of the prior variance of a prediction is the intercept's, half is spread over the columns.
        spread = 0.5 * self.prior_std**2 * np.append(1.0, np.full(d - 1, 1.0 / max(1, d - 1)))
        own = self.noise**2 / (spread * (1.0 - self.share))
        inverse = np.linalg.inv(gram + np.diag(own))
        inverse = 0.5 * (inverse + inverse.transpose(0, 2, 1))
        common, common_inverse = np.zeros(d), np.zeros((d, d))
        if self.share > 0.0:
            precision = np.diag(self.noise**2 / (spread * self.share))
            precision = precision + (np.diag(own) - own[:, None] * inverse * own).sum(axis=0)
            common_inverse = np.linalg.inv(precision)
            common = common_inverse @ (own * np.matmul(inverse, moment[:, :, None])[:, :, 0]).sum(axis=0)
        inverse = np.concatenate([inverse, np.diag(1.0 / own)[None]])
        moment = np.concatenate([moment, np.zeros((1, d))])
        reach = inverse * own
        mean = np.matmul(inverse, (moment + own * common)[:, :, None])[:, :, 0]
        covariance = self.noise**2 * (inverse + reach @ common_inverse @ reach.transpose(0, 2, 1))
        return Posterior(
            centre,
            scale,
            {name: row for row, name in enumerate(names)},
            mean,
            reach[:, :, 0],
            covariance.astype(np.float32),
            self._residuals(sums, mean),
        )

    def _residuals(self, sums: Array, mean: Array) -> Array:
        """Residual variance of each candidate, with 10 pseudo-events of `noise`; the last is one never seen."""
        lens = np.concatenate([mean[:-1], np.full((len(sums), 1), -1.0)], axis=1)
        squares = np.maximum(np.einsum("ki,kij,kj->k", lens, sums, lens), 0.0)
        count = np.maximum(sums[:, 0, 0], 0.0)
        return np.append((squares + 10.0 * self.noise**2) / (count + 10.0), self.noise**2)


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
