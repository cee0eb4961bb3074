"""Item response theory: a few abilities a candidate; how hard and how telling a prompt is, read off its vector.

    P(candidate c solves prompt x) = sigmoid(sum_r a_r(x) (theta_cr - b(x)))
    b(x) = w_b'z     a_r(x) = softplus(w_r'z)

All parameters share one joint normal posterior, so a success of any candidate teaches how hard such prompts are, and a
few answers are enough to place a new candidate. Discriminations are positive, so more ability never hurts. A scalar
ability cannot express specialisation; `rank` 2 to 4 can (the multidimensional model).

Event by event everything is filtered. On a whole table (`fit_table`) the maximum a posteriori is found by L-BFGS with
its Laplace covariance; from then on items are frozen and events move abilities alone, until the next table.

Source: RADAR (arXiv 2509.25426); IRT-Router (arXiv 2506.01048); Birnbaum (1968); Reckase, Multidimensional Item
Response Theory (2009); filter: Ollivier, arXiv 1703.00209; frozen part: Schmidt, Advances in Control Systems 3 (1966).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from ..types import Array
from .base import Estimator, State, beliefs, events, query
from .bernoulli import Moments, absorb, checked_score, logits, moments_of_sigmoid

_FEW = 80  # rows of a table too small to hold any out
_LOOSER = (1.0, 2.5, 5.0, 10.0)


def chosen_rank(
    vectors: ArrayLike, candidates: Sequence[str], scores: ArrayLike, ranks: Sequence[int] = (1, 2, 4)
) -> int:
    """The rank that foretells a held-out quarter of a table's rows best, by log loss. Needs scipy."""
    x, cells = np.asarray(vectors, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    order = np.random.default_rng(1).permutation(len(x))
    train, held = order[len(x) // 4 :], order[: len(x) // 4]
    losses = {}
    for rank in ranks:
        model = ItemResponse(rank=rank).fit_table(x[train], candidates, cells[train])
        p, _ = model.predict(x[held], candidates)
        p, y = np.clip(p, 1e-6, 1.0 - 1e-6), cells[held]
        losses[rank] = float(-np.nanmean(y * np.log(p) + (1.0 - y) * np.log(1.0 - p)))
    return min(losses, key=losses.__getitem__)


class Items(NamedTuple):
    """What is believed of prompts: slopes a (n, r), their derivative by the raw value (n, r), difficulty b (n,)."""

    slope: Array
    rises: Array
    difficulty: Array

    def logits(self, ability: Array) -> Array:
        """(n, k) for abilities (k, r)."""
        return np.asarray(self.slope @ ability.T - (self.slope.sum(axis=1) * self.difficulty)[:, None])

    def gradient(self, ability: Array) -> Array:
        """Of the logits by (w_1'z, ..., w_r'z, w_b'z): (n, k, r + 1)."""
        to_slope = (ability[None, :, :] - self.difficulty[:, None, None]) * self.rises[:, None, :]
        to_difficulty = np.broadcast_to(-self.slope.sum(axis=1)[:, None, None], (*to_slope.shape[:2], 1))
        return np.concatenate([to_slope, to_difficulty], axis=2)


@dataclass
class ItemResponse(Estimator):
    """`ability_std` is the prior's of each theta, `item_std` that of b(x) and of a(x) before the softplus.

    With `discriminating=False` a(x) = 1 (the 1PL, or Rasch, model; rank 1 only). `adapt` lets `fit_table` loosen
    `item_std`, up to tenfold, where held-out rows are foretold better for it.
    """

    default: float = 0.5
    ability_std: float = 1.5
    item_std: float = 0.4
    discriminating: bool = True
    rank: int = 1
    adapt: bool = True
    _moments: Moments | None = field(default=None, init=False, repr=False, compare=False)
    _names: list[str] = field(default_factory=list, init=False, repr=False, compare=False)
    _mean: Array = field(default_factory=lambda: np.zeros(0), init=False, repr=False, compare=False)
    _covariance: Array = field(default_factory=lambda: np.zeros((0, 0)), init=False, repr=False, compare=False)
    _familiar: float | None = field(default=None, init=False, repr=False, compare=False)
    """Once items are frozen: the variance of b(x) that 99% of the table's prompts stay below."""

    revocable = False

    def __post_init__(self) -> None:
        if not 1 <= self.rank <= 4:
            raise ValueError(f"rank {self.rank}, expected 1 to 4 abilities a candidate")
        if self.rank > 1 and not self.discriminating:
            raise ValueError("several abilities differ only by the prompts they matter for: rank > 1 discriminates")

    @property
    def width(self) -> int | None:
        return None if self._moments is None else len(self._moments.mean)

    def partial_fit(
        self, vectors: ArrayLike, names: Sequence[str], targets: ArrayLike, weights: ArrayLike | None = None
    ) -> Self:
        batch = list(events(vectors, names, targets, weights, width=self.width, revocable=False))
        for row, event in enumerate(batch):
            checked_score(event.target, row)
        for event in batch:
            if self._moments is None:
                self._begin(len(event.vector))
            moments = self._moments
            assert moments is not None
            if self._familiar is None:
                moments.add(event.vector)
            z = self._standardised(event.vector[None, :])
            own = self._place(event.name)
            items, ability = self._items(z), self._mean[own]
            gradient = np.zeros(len(self._mean))
            gradient[: self._first] = np.outer(items.gradient(ability[None, :])[0, 0], z[0]).ravel()
            gradient[own] = items.slope[0]
            logit = float(items.logits(ability[None, :])[0, 0])
            if self._familiar is None:
                absorb(self._mean, self._covariance, gradient, logit, event.target, event.weight)
            else:
                _absorb_partly(self._mean, self._covariance, gradient, logit, event.target, event.weight, own)
        return self

    def fit_table(self, vectors: ArrayLike, candidates: Sequence[str], scores: ArrayLike) -> Self:
        """Fit items and abilities to all cells at once, then freeze the items. Needs scipy."""
        self.restore({})
        x, cells = np.atleast_2d(np.asarray(vectors, dtype=np.float64)), np.asarray(scores, dtype=np.float64)
        if cells.shape != (len(x), len(candidates)):
            raise ValueError(f"scores have shape {cells.shape}, expected ({len(x)}, {len(candidates)})")
        seen = np.isfinite(cells)
        for row, column in zip(*np.nonzero(seen & ((cells < 0.0) | (cells > 1.0))), strict=True):
            checked_score(float(cells[row, column]), int(row))
        known = np.asarray(seen.any(axis=0))
        if not known.any():
            return self
        if not np.isfinite(x).all():
            raise ValueError(f"row {int(np.argmin(np.isfinite(x).all(axis=1)))}: its vector is not finite")
        names = [name for name, here in zip(candidates, known, strict=True) if here]
        looser = self._best_looseness(x, names, cells[:, known])
        z = self._start(x, names, looser)
        self._mean = self._most_probable(z, cells[:, known])
        self._covariance = np.asarray(np.linalg.inv(self._curvature(z, seen[:, known])), dtype=np.float64)
        self._familiar = float(np.quantile(self._item_variance(z)[:, -1, -1], 0.99))
        return self

    def predict(
        self, vectors: ArrayLike, candidates: Sequence[str], prior: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        x, k = query(vectors, self.width), len(candidates)
        believed = logits(beliefs(prior, k, self.default))
        if self._moments is None or not k:
            variance = np.full((len(x), k), self.ability_std**2 + self.item_std**2)
            return moments_of_sigmoid(np.tile(believed, (len(x), 1)), variance)
        ability, variance, cross = self._abilities(candidates, believed)
        z = self._standardised(x)
        items = self._items(z)
        gradient = items.gradient(ability)
        of_items = self._item_variance(z)
        if self._familiar is not None:
            # Hard prompts unlike any of the table would be taken for easy ones: their difficulty is anyone's guess.
            of_items = of_items * np.maximum(1.0, of_items[:, -1, -1] / self._familiar)[:, None, None]
            of_items[~x.any(axis=1)] += self.item_std**2 * np.eye(self.rank + 1)
        spread = ((gradient @ of_items) * gradient).sum(axis=2)
        spread += np.einsum("nr,krs,ns->nk", items.slope, variance, items.slope)
        if cross.any():
            by_raw = np.einsum("kpdr,nd->nkpr", cross.reshape(k, self.rank + 1, z.shape[1], self.rank), z)
            spread += 2.0 * np.einsum("nkp,nkpr,nr->nk", gradient, by_raw, items.slope)
        return moments_of_sigmoid(items.logits(ability), spread)

    def abilities(self) -> dict[str, tuple[float, float]]:
        """Each candidate's mean ability and its standard deviation, on the scale of the prompts' difficulties."""
        found = {}
        for name in self._names:
            own = self._own(name)
            average = np.full(self.rank, 1.0 / self.rank)
            found[name] = (
                float(self._mean[own] @ average),
                float(np.sqrt(average @ self._covariance[own, own] @ average)),
            )
        return found

    def difficulty(self, vectors: ArrayLike) -> Array:
        """The difficulty b(x) of each prompt, (n,); 0 before the first event."""
        x = query(vectors, self.width)
        return np.zeros(len(x)) if self._moments is None else self._items(self._standardised(x)).difficulty

    def discrimination(self, vectors: ArrayLike) -> Array:
        """The slopes a(x) of each prompt, (n, rank); 1 before the first event."""
        x = query(vectors, self.width)
        return np.ones((len(x), self.rank)) if self._moments is None else self._items(self._standardised(x)).slope

    def prepare(self) -> None:
        """Nothing to derive: the posterior is the state."""

    def state(self) -> State:
        if self._moments is None:
            return {}
        return {
            "moments": self._moments.state(),
            "names": list(self._names),
            "mean": self._mean.copy(),
            "covariance": self._covariance.copy(),
            "familiar": self._familiar,
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        self._moments = Moments.restored(state["moments"]) if state else None
        self._names = list(state.get("names", ()))
        self._mean = np.array(state.get("mean", np.zeros(0)), copy=True)
        self._covariance = np.array(state.get("covariance", np.zeros((0, 0))), copy=True)
        self._familiar = state.get("familiar")
        return self

    def know(self, candidate: str, ability: Array, covariance: Array) -> None:
        """Believe N(ability (r,), covariance (r, r)) of a candidate, whatever was believed of it before."""
        own = self._place(candidate)
        self._mean[own] = ability
        self._covariance[own, :] = 0.0
        self._covariance[:, own] = 0.0
        self._covariance[own, own] = covariance

    def newcomer(self) -> tuple[Array, Array]:
        """Mean (r,) and covariance (r, r) of a candidate of which nothing is known: as the pool is, once frozen."""
        start, broad = self._default_ability, np.eye(self.rank) * self.ability_std**2
        if self._familiar is None or len(self._names) < 2:
            return np.full(self.rank, start), broad
        pool = self._mean[self._first :].reshape(-1, self.rank)
        return pool.mean(axis=0), np.diag(np.maximum(pool.var(axis=0, ddof=1), 0.1))

    @property
    def _default_ability(self) -> float:
        return float(logits(np.array([self.default]))[0])

    @property
    def _first(self) -> int:
        """Where the abilities begin among the parameters; before them stand w_1, ..., w_r, w_b."""
        return len(self._mean) - self.rank * len(self._names)

    def _begin(self, width: int) -> None:
        self._moments = Moments.of(width)
        self._mean = np.zeros((self.rank + 1) * (width + 1))
        raw = self._mean.reshape(self.rank + 1, width + 1)
        raw[:-1, 0] = np.log(np.expm1(1.0 / self.rank))
        if self.rank > 1:  # else no event could ever tell one ability from another
            raw[:-1, 1:] = np.random.default_rng(0).normal(0.0, 0.5 / np.sqrt(width), (self.rank, width))
        self._covariance = np.diag(self._item_prior(width))

    def _start(self, x: Array, names: Sequence[str], looser: float) -> Array:
        """Prior parameters for a table's candidates, and its rows standardised; items vary `looser` times as much."""
        self.restore({})
        self._begin(x.shape[1])
        self._covariance *= looser**2
        self._moments = Moments(float(len(x)), x.mean(axis=0), ((x - x.mean(axis=0)) ** 2).sum(axis=0))
        for name in names:
            self._place(name)
        return self._standardised(x)

    def _best_looseness(self, x: Array, names: Sequence[str], cells: Array) -> float:
        """Which multiple of `item_std` foretells a held-out quarter of the rows best."""
        if len(x) < _FEW or not self.adapt:
            return 1.0
        order = np.random.default_rng(0).permutation(len(x))
        train, held = order[len(x) // 4 :], order[: len(x) // 4]
        seen, losses = np.isfinite(cells[held]), {}
        y = np.where(seen, cells[held], 0.0)
        here = np.asarray(np.isfinite(cells[train]).any(axis=0))
        for looser in _LOOSER:
            z = self._start(x[train], [name for name, any_ in zip(names, here, strict=True) if any_], looser)
            self._mean = self._most_probable(z, cells[train][:, here])
            ability = self._mean[self._first :].reshape(-1, self.rank)
            logit = self._items(self._standardised(x[held])).logits(ability)
            loss = np.where(seen[:, here], np.logaddexp(0.0, logit) - y[:, here] * logit, 0.0)
            losses[looser] = float(loss.sum())
        return min(losses, key=losses.__getitem__)

    def _item_prior(self, width: int) -> Array:
        """Prior variances of w_1, ..., w_r, w_b: that of an intercept is as large as of all columns together."""
        spread = 0.5 * self.item_std**2 * np.append(1.0, np.full(width, 1.0 / max(1, width)))
        # Slopes vary less than difficulties, but several abilities differ by nothing else. In the 1PL model, none.
        varies = 0.0 if not self.discriminating else 0.05 if self.rank == 1 else 0.25
        return np.concatenate([spread * varies] * self.rank + [spread])

    def _own(self, name: str) -> slice:
        start = self._first + self.rank * self._names.index(name)
        return slice(start, start + self.rank)

    def _place(self, name: str) -> slice:
        """Where the candidate's abilities stand among the parameters; a new one is appended with its prior."""
        if name not in self._names:
            mean, covariance = self.newcomer()
            size = len(self._mean)
            self._names.append(name)
            self._mean = np.append(self._mean, mean)
            self._covariance = np.pad(self._covariance, (0, self.rank))
            self._covariance[size:, size:] = covariance
        return self._own(name)

    def _standardised(self, x: Array) -> Array:
        """Columns z (n, d + 1); a vector without content stands for the average prompt."""
        assert self._moments is not None
        z = self._moments.standardise(x)
        z[~x.any(axis=1), 1:] = 0.0
        return z

    def _items(self, z: Array, mean: Array | None = None) -> Items:
        w = (self._mean if mean is None else mean)[: (self.rank + 1) * z.shape[1]].reshape(self.rank + 1, z.shape[1])
        raw = z @ w.T
        slope = np.logaddexp(0.0, raw[:, :-1])
        return Items(slope, 0.5 * (1.0 + np.tanh(0.5 * raw[:, :-1])), raw[:, -1])

    def _item_variance(self, z: Array) -> Array:
        """Covariance of (w_1'z, ..., w_r'z, w_b'z), (n, r + 1, r + 1)."""
        parts, d = self.rank + 1, z.shape[1]
        out = np.empty((len(z), parts, parts))
        for p in range(parts):
            for q in range(p, parts):
                block = self._covariance[p * d : (p + 1) * d, q * d : (q + 1) * d]
                out[:, p, q] = out[:, q, p] = ((z @ block) * z).sum(axis=1)
        return out

    def _abilities(self, candidates: Sequence[str], believed: Array) -> tuple[Array, Array, Array]:
        """Mean (k, r), covariance (k, r, r) of the abilities and their covariance with the items (k, items, r)."""
        mean, covariance = self.newcomer()
        shift = believed - self._default_ability
        ability = mean + np.repeat(shift[:, None], self.rank, axis=1)
        variance = np.tile(covariance, (len(candidates), 1, 1))
        cross = np.zeros((len(candidates), self._first, self.rank))
        for i, name in enumerate(candidates):
            if name in self._names:
                own = self._own(name)
                variance[i], cross[i] = self._covariance[own, own], self._covariance[: self._first, own]
                left = np.minimum(1.0, np.diagonal(variance[i]) / self.ability_std**2)  # of the prior
                ability[i] = self._mean[own] + left * shift[i]
        return ability, variance, cross

    def _most_probable(self, z: Array, cells: Array) -> Array:
        """The maximum a posteriori, found in units of the prior so that no direction is stiff."""
        from scipy.optimize import minimize

        seen = np.isfinite(cells)
        y, first = np.where(seen, cells, 0.0), self._first
        start, unit = self._mean.copy(), np.sqrt(np.diagonal(self._covariance))
        start[first:] = self._default_ability
        free = unit > 0.0
        ability = logits(np.nanmean(cells, axis=0)) - self._default_ability
        begin = np.zeros(len(start))
        begin[first:] = np.repeat(ability, self.rank) / self.ability_std

        def loss(u: Array) -> tuple[float, Array]:
            full = np.zeros(len(start))
            full[free] = u
            mean = start + unit * full
            items, theta = self._items(z, mean), mean[first:].reshape(-1, self.rank)
            logit = items.logits(theta)
            value = float(np.where(seen, np.logaddexp(0.0, logit) - y * logit, 0.0).sum()) + 0.5 * float(u @ u)
            wrong = np.where(seen, 0.5 * (1.0 + np.tanh(0.5 * logit)) - y, 0.0)
            to_raw = (wrong[:, None, :] @ items.gradient(theta))[:, 0, :]
            slope = np.concatenate([(to_raw.T @ z).ravel(), (wrong.T @ items.slope).ravel()])
            return value, (unit * slope)[free] + u

        best = minimize(loss, begin[free], jac=True, method="L-BFGS-B", options={"maxiter": 500, "maxfun": 600})
        mean = start.copy()
        mean[free] += unit[free] * best.x
        return np.asarray(mean)

    def _curvature(self, z: Array, seen: Array) -> Array:
        """Precision of the Laplace posterior at the mean: prior + Gauss-Newton Hessian of all cells."""
        items, theta = self._items(z), self._mean[self._first :].reshape(-1, self.rank)
        gradient, d = items.gradient(theta), z.shape[1]
        p = 0.5 * (1.0 + np.tanh(0.5 * items.logits(theta)))
        weight = np.where(seen, p * (1.0 - p), 0.0)
        precision = np.diag(1.0 / np.maximum(np.diagonal(self._covariance), 1e-12))
        of_raw = np.einsum("nk,nkp,nkq->npq", weight, gradient, gradient)
        for i in range(self.rank + 1):
            for j in range(self.rank + 1):
                precision[i * d : (i + 1) * d, j * d : (j + 1) * d] += z.T @ (of_raw[:, i, j, None] * z)
        for k, name in enumerate(self._names):
            own = self._own(name)
            precision[own, own] += (items.slope * weight[:, k, None]).T @ items.slope
            cross = np.einsum("n,np,nr,nd->pdr", weight[:, k], gradient[:, k], items.slope, z, optimize=True)
            precision[: self._first, own] = cross.reshape(-1, self.rank)
            precision[own, : self._first] = precision[: self._first, own].T
        return precision


def _absorb_partly(
    mean: Array, covariance: Array, gradient: Array, logit: float, target: float, weight: float, own: slice
) -> None:
    """As `bernoulli.absorb`, but only the parameters `own` move; how unsure the others are is taken into account."""
    probability = 0.5 * (1.0 + np.tanh(0.5 * logit))
    curvature = weight * max(probability * (1.0 - probability), 1e-3)
    if curvature == 0.0:
        return
    direction = covariance @ gradient
    total = float(gradient @ direction) + 1.0 / curvature
    gain = direction[own] / total
    mean[own] += gain * weight * (target - probability) / curvature
    # (I - KH) P (I - KH)' + K R K' with a gain K that is zero elsewhere: stays positive definite.
    covariance[own, :] -= np.outer(gain, direction)
    covariance[:, own] -= np.outer(direction, gain)
    covariance[own, own] += total * np.outer(gain, gain)
