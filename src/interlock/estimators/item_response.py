"""Item response theory: one ability a candidate; how hard and how telling a prompt is, linear in its vector.

    P(candidate c solves prompt x) = sigmoid(a(x) (theta_c - b(x)))     b(x) = w_b'z     a(x) = softplus(w_a'z)

All parameters are filtered together with a full joint covariance, so a success of any candidate teaches how hard such
prompts are, and one number is enough to place a new candidate. Discrimination is positive, so more ability never hurts.
With `discriminating=False` a(x) = 1 (the 1PL, or Rasch, model). A scalar ability cannot express specialisation.

Source: RADAR (arXiv 2509.25426); Birnbaum (1968); filter: Ollivier, arXiv 1703.00209.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ..types import Array
from .base import Estimator, State, beliefs, events, query
from .bernoulli import Moments, absorb, checked_score, logits, moments_of_sigmoid

_ONE = float(np.log(np.expm1(1.0)))  # softplus(_ONE) = 1


@dataclass
class ItemResponse(Estimator):
    """`ability_std` is the prior's of theta, `item_std` that of b(x) and of a(x) before the softplus."""

    default: float = 0.5
    ability_std: float = 1.5
    item_std: float = 1.5
    discriminating: bool = True
    _moments: Moments | None = field(default=None, init=False, repr=False, compare=False)
    _names: list[str] = field(default_factory=list, init=False, repr=False, compare=False)
    _mean: Array = field(default_factory=lambda: np.zeros(0), init=False, repr=False, compare=False)
    _covariance: Array = field(default_factory=lambda: np.zeros((0, 0)), init=False, repr=False, compare=False)

    revocable = False

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
            moments.add(event.vector)
            z = moments.standardise(event.vector[None, :])
            place = self._place(event.name)
            logit, items, slope = self._items(z, self._mean[place : place + 1])
            gradient = np.zeros(len(self._mean))
            gradient[: items.shape[2]], gradient[place] = items[0, 0], slope[0]
            absorb(self._mean, self._covariance, gradient, float(logit[0, 0]), event.target, event.weight)
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
        logit, items, slope = self._items(self._moments.standardise(x), ability)
        of_items = self._covariance[: items.shape[2], : items.shape[2]]
        spread = (np.matmul(items, of_items) * items).sum(axis=2)
        spread += 2.0 * slope[:, None] * np.matmul(items.transpose(1, 0, 2), cross[:, :, None])[:, :, 0].T
        return moments_of_sigmoid(logit, spread + slope[:, None] ** 2 * variance)

    def abilities(self) -> dict[str, tuple[float, float]]:
        """Each candidate's ability and its standard deviation, on the scale of the prompts' difficulties."""
        first = len(self._mean) - len(self._names)
        std = np.sqrt(np.diagonal(self._covariance)[first:])
        return {n: (float(m), float(s)) for n, m, s in zip(self._names, self._mean[first:], std, strict=True)}

    def difficulty(self, vectors: ArrayLike) -> Array:
        """The difficulty b(x) of each prompt, (n,); 0 before the first event."""
        x = query(vectors, self.width)
        if self._moments is None:
            return np.zeros(len(x))
        z = self._moments.standardise(x)
        return np.asarray(z @ self._mean[z.shape[1] : 2 * z.shape[1]])

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
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        self._moments = Moments.restored(state["moments"]) if state else None
        self._names = list(state.get("names", ()))
        self._mean = np.array(state.get("mean", np.zeros(0)), copy=True)
        self._covariance = np.array(state.get("covariance", np.zeros((0, 0))), copy=True)
        return self

    def _begin(self, width: int) -> None:
        self._moments = Moments.of(width)
        spread = 0.5 * self.item_std**2 * np.append(1.0, np.full(width, 1.0 / max(1, width)))
        # Discrimination varies about 1 within a factor of about two; in the 1PL model it does not vary.
        self._mean = np.zeros(2 * (width + 1))
        self._mean[0] = _ONE
        self._covariance = np.diag(np.concatenate([spread * (0.25 if self.discriminating else 0.0), spread]))

    def _place(self, name: str) -> int:
        """Where the candidate's ability stands among the parameters; a new one is appended with its prior."""
        first = len(self._mean) - len(self._names)
        if name in self._names:
            return first + self._names.index(name)
        self._names.append(name)
        self._mean = np.append(self._mean, float(logits(np.array([self.default]))[0]))
        self._covariance = np.pad(self._covariance, (0, 1))
        self._covariance[-1, -1] = self.ability_std**2
        return len(self._mean) - 1

    def _items(self, z: Array, ability: Array) -> tuple[Array, Array, Array]:
        """Logits (n, k), their gradient in the item parameters (n, k, 2d), and a(x), that in the ability, (n,)."""
        d = z.shape[1]
        raw = z @ self._mean[:d]
        slope = np.logaddexp(0.0, raw)
        gap = ability - (z @ self._mean[d : 2 * d])[:, None]
        rises = 0.5 * (1.0 + np.tanh(0.5 * raw))
        to_slope = (gap * rises[:, None])[:, :, None] * z[:, None, :]
        to_difficulty = np.broadcast_to((-slope[:, None] * z)[:, None, :], to_slope.shape)
        return slope[:, None] * gap, np.concatenate([to_slope, to_difficulty], axis=2), slope

    def _abilities(self, candidates: Sequence[str], believed: Array) -> tuple[Array, Array, Array]:
        """Mean and variance (k,) of each ability and its covariance with the item parameters (k, 2d)."""
        first = len(self._mean) - len(self._names)
        place = {name: first + i for i, name in enumerate(self._names)}
        ability, variance = believed.copy(), np.full(len(candidates), self.ability_std**2)
        cross = np.zeros((len(candidates), first))
        for i, name in enumerate(candidates):
            if name in place:
                at = place[name]
                variance[i], cross[i] = self._covariance[at, at], self._covariance[at, :first]
                left = variance[i] / self.ability_std**2  # how much of the prior the events have left
                ability[i] = self._mean[at] + left * (believed[i] - float(logits(np.array([self.default]))[0]))
        return ability, variance, cross
