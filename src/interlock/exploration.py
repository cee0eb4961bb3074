"""From utilities to the probability of choosing each candidate. Choosing itself is `sample`, separate and seeded.

Every rule gives the whole probability vector, so that a decision can store it and any other policy can be judged on the
same log later. A candidate takes part when it is permitted and its utility and deviation are finite; all others get
exactly 0, and a row in which none takes part is all zeros. Ties (within a relative 1e-12) are split equally, so no rule
depends on the order of the candidates.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import NamedTuple, Protocol

import numpy as np

from .types import Array, Mask

TIE = 1e-12
_FAR = 1e100  # utilities are clipped here, so that their differences stay finite


class Exploration(Protocol):
    def probabilities(self, utility: Array, std: Array, permitted: Mask) -> Array:
        """Shapes (n, k). Rows sum to 1 over those that take part, or to 0 when none does."""
        ...


def usable(utility: Array, std: Array, permitted: Mask) -> Mask:
    """Who takes part: permitted, with a finite utility and a finite deviation. A NaN never wins silently."""
    return permitted & np.isfinite(utility) & np.isfinite(std)


def within(values: Array, low: float, high: float) -> Array:
    """`np.clip`, at a fraction of its cost for small arrays."""
    return np.minimum(np.maximum(values, low), high)


def best(utility: Array, among: Mask) -> Array:
    """Probability 1 shared equally by the best candidates `among` those that take part."""
    clipped = np.where(among, within(utility, -_FAR, _FAR), -np.inf)
    top = np.maximum.reduce(clipped, axis=1, keepdims=True, initial=-np.inf)
    # Where nobody takes part the top is -inf, and so is whatever is subtracted from it.
    slack = TIE * np.maximum(1.0, np.minimum(np.abs(top), _FAR))
    return _normalised((among & (clipped >= top - slack)).astype(np.float64))


def sample(probability: Sequence[float], seed: int, key: str) -> int | None:
    """The index drawn from one row of probabilities, or `None` if the row is all zeros.

    Counter-based: the draw depends on `(seed, key)` alone (the key is the decision's id), so a replay chooses the same.
    """
    digest = hashlib.blake2b(key.encode(), digest_size=8, key=f"{seed}".encode()[:64]).digest()
    uniform = (int.from_bytes(digest, "big") >> 11) / (1 << 53)
    positive = [index for index, share in enumerate(probability) if share > 0]
    if not positive:
        return None
    cumulative = list(accumulate(probability[index] for index in positive))
    return positive[min(bisect_right(cumulative, uniform * cumulative[-1]), len(positive) - 1)]


@dataclass(frozen=True)
class Greedy:
    """The best candidate."""

    def probabilities(self, utility: Array, std: Array, permitted: Mask) -> Array:
        return best(utility, usable(utility, std, permitted))


@dataclass(frozen=True)
class Epsilon:
    """The best, or with probability `rate` any that takes part. Source: Sutton & Barto (2018), section 2.2."""

    rate: float = 0.05

    def __post_init__(self) -> None:
        if not 0.0 <= self.rate <= 1.0:
            raise ValueError(f"rate is {self.rate:g}: expected a probability in [0, 1]")

    def probabilities(self, utility: Array, std: Array, permitted: Mask) -> Array:
        among = usable(utility, std, permitted)
        return (1.0 - self.rate) * best(utility, among) + self.rate * _normalised(among.astype(np.float64))


@dataclass(frozen=True)
class UCB:
    """The highest utility + `width` x std. Source: Auer (2002); LinUCB: Li et al., arXiv 1003.0146."""

    width: float = 1.0

    def __post_init__(self) -> None:
        _not_negative("width", self.width)

    def probabilities(self, utility: Array, std: Array, permitted: Mask) -> Array:
        among = usable(utility, std, permitted)
        bound = within(utility, -_FAR, _FAR) + self.width * within(std, 0.0, _FAR)
        return best(bound, among)


@dataclass(frozen=True)
class Softmax:
    """Probability proportional to exp(utility / temperature). Source: Sutton & Barto (2018), section 2.8."""

    temperature: float = 0.1

    def __post_init__(self) -> None:
        if not 0.0 < self.temperature < np.inf:
            raise ValueError(f"temperature is {self.temperature:g}: expected a number above 0")

    def probabilities(self, utility: Array, std: Array, permitted: Mask) -> Array:
        among = usable(utility, std, permitted)
        clipped = np.where(among, np.clip(utility, -_FAR, _FAR), -np.inf)
        top = clipped.max(axis=1, keepdims=True, initial=-np.inf)
        gap = np.where(among, clipped, top) - np.where(np.isfinite(top), top, 0.0)
        return _normalised(np.where(among, np.exp(np.where(among, gap, 0.0) / self.temperature), 0.0))


@dataclass(frozen=True)
class Thompson:
    """The probability that the candidate is best when utilities are independent, N(utility, (scale x std)^2).

    P(c best) is the integral of its density times the others' distribution functions. It is computed, not simulated, by
    Gauss-Legendre panels, with an absolute error below 1e-6. Where the beliefs are about as wide as each other, equal
    panels do; else they lie between break points at fixed quantiles of every candidate in question, so that sharp and
    wide beliefs are resolved alike. Who is out of the others' reach gets 0.

    Source: Thompson (1933); Agrawal & Goyal, arXiv 1209.3352.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        _not_negative("scale", self.scale)

    def probabilities(self, utility: Array, std: Array, permitted: Mask) -> Array:
        among = usable(utility, std, permitted)
        mean = np.where(among, within(utility, -_FAR, _FAR), 0.0)
        spread = self.scale * np.where(among, within(std, 0.0, _FAR), 0.0)
        # A deviation far below the resolution of the utilities is a tie-breaker only.
        magnitude = np.maximum.reduce(np.maximum(np.abs(mean), spread), axis=1, keepdims=True, initial=0.0)
        spread = np.maximum(spread, np.maximum(TIE * magnitude, 1e-200))
        reach = _REACH * spread
        floor = np.maximum.reduce(np.where(among, mean - reach, -np.inf), axis=1, keepdims=True, initial=-np.inf)
        question = among & (mean + reach >= floor)
        if np.count_nonzero(question) <= len(question) and (np.add.reduce(question, axis=1, dtype=np.intp) <= 1).all():
            return _normalised(question.astype(np.float64))
        floor = np.where(np.isfinite(floor), floor, 0.0)
        top = np.maximum.reduce(np.where(question, mean + reach, floor), axis=1, keepdims=True, initial=-np.inf)
        return _normalised(_probability_of_best(Beliefs(mean, spread, question, floor, top)))


_REACH = 5.6
_BREAKS = np.array([-5.6, -3.4, -1.7, 0.0, 1.7, 3.4, 5.6])
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(5)
_PANELS, _WIDEST = 12, 1.7  # equal panels, and how wide one may be for the narrowest belief, in its deviations
_PLACES = (2.0 * np.arange(_PANELS)[:, None] + 1.0 + _NODES).ravel()  # of the nodes, in half panels
_SHARES = np.tile(_WEIGHTS, _PANELS)
_FAR_ABOVE = 37.0  # deviations: as good as certain, and its density is still a normal number
_ROOT = float(np.sqrt(2.0 * np.pi))
_CELLS = 1024  # of the distribution function's table, per unit
_AT_ONCE = 1 << 13  # numbers in one temporary array, so that all of them stay in the processor's nearer caches


class Beliefs(NamedTuple):
    """Normal ones, `mean` and `spread` (n, m), of those `asked` (n, m); the best lies in `floor` to `top`, (n, 1)."""

    mean: Array
    spread: Array
    asked: Mask
    floor: Array
    top: Array

    def rows(self, which: slice | Mask) -> Beliefs:
        return Beliefs(self.mean[which], self.spread[which], self.asked[which], self.floor[which], self.top[which])


def _probability_of_best(beliefs: Beliefs) -> Array:
    """Shape (n, m). How a row is integrated depends on that row alone."""
    narrowest = np.minimum.reduce(np.where(beliefs.asked, beliefs.spread, np.inf), axis=1, initial=np.inf)
    n, k = beliefs.mean.shape
    alike = (beliefs.top - beliefs.floor)[:, 0] <= _PANELS * _WIDEST * narrowest
    if alike.all():
        return _in_parts(_evenly, beliefs, len(_PLACES))
    result = np.empty((n, k))
    result[alike] = _in_parts(_evenly, beliefs.rows(alike), len(_PLACES))
    result[~alike] = _in_parts(_between_breaks, beliefs.rows(~alike), k * len(_BREAKS) * len(_NODES))
    return result


def _in_parts(rule: Callable[[Beliefs], Array], beliefs: Beliefs, points: int) -> Array:
    """`rule` on as many rows at a time as stay near."""
    n, m = beliefs.mean.shape
    rows = max(1, _AT_ONCE // max(1, m * points))
    if n <= rows:
        return rule(beliefs)
    return np.concatenate([rule(beliefs.rows(slice(start, start + rows))) for start in range(0, n, rows)])


def _evenly(beliefs: Beliefs) -> Array:
    """Equal panels from `floor` to `top`."""
    mean, spread, asked, floor, top = beliefs
    half = (top - floor) * (0.5 / _PANELS)
    points = floor + half * _PLACES
    z = np.where(asked[:, :, None], (points[:, None, :] - mean[:, :, None]) / spread[:, :, None], _FAR_ABOVE)
    return _integrated(z, half * _SHARES, spread, asked)


def _between_breaks(beliefs: Beliefs) -> Array:
    """Panels between the quantiles of all who are asked; they are moved to the front, so that others cost nothing."""
    most = int(beliefs.asked.sum(axis=1).max(initial=0))
    front = np.argsort(~beliefs.asked, axis=1, kind="stable")[:, :most]
    mean, spread = np.take_along_axis(beliefs.mean, front, axis=1), np.take_along_axis(beliefs.spread, front, axis=1)
    asked = np.take_along_axis(beliefs.asked, front, axis=1)
    low = beliefs.floor[:, :, None]
    breaks = np.where(asked[:, :, None], np.maximum(mean[:, :, None] + spread[:, :, None] * _BREAKS, low), low)
    breaks = np.sort(breaks.reshape(len(mean), -1), axis=1)
    half = 0.5 * np.diff(breaks, axis=1)[:, :, None]
    points = (breaks[:, :-1, None] + half + half * _NODES).reshape(len(mean), 1, -1)
    z = within((points - mean[:, :, None]) / spread[:, :, None], -_FAR_ABOVE, _FAR_ABOVE)
    z = np.where(asked[:, :, None], z, _FAR_ABOVE)
    result = np.zeros(beliefs.mean.shape)
    np.put_along_axis(result, front, _integrated(z, (half * _WEIGHTS).reshape(len(mean), -1), spread, asked), axis=1)
    return result


def _integrated(z: Array, weights: Array, spread: Array, asked: Mask) -> Array:
    """The integrals (n, m) over points at `z` (n, m, p) deviations from each candidate's mean, weighing `weights`."""
    below = normal_cdf(z)
    best_is_below = np.multiply.reduce(below, axis=1) * weights
    # Density over distribution function, times the product of all of those, leaves the product of the others'.
    hazard = np.exp(-0.5 * (z * z))
    hazard /= np.maximum(below, 1e-12)
    area = np.matmul(hazard, best_is_below[:, :, None])[:, :, 0]
    return np.where(asked, area / (spread * _ROOT), 0.0)


@cache
def _cdf_table() -> tuple[Array, Array]:
    """The normal distribution function on [-9, 9], and its rise in each cell."""
    from math import erfc, sqrt

    values = np.array([0.5 * erfc(-i / _CELLS / sqrt(2.0)) for i in range(-9 * _CELLS, 9 * _CELLS + 2)])
    return values[:-1], np.diff(values)


def normal_cdf(z: Array) -> Array:
    """The standard normal distribution function, absolute error below 4e-8: linear interpolation of a table."""
    values, rises = _cdf_table()
    position = within(z, -9.0, 9.0)
    position += 9.0
    position *= _CELLS
    cell = position.astype(np.intp)
    position -= cell
    position *= rises.take(cell)
    position += values.take(cell)
    return position


def _not_negative(name: str, value: float) -> None:
    if not 0.0 <= value < np.inf:
        raise ValueError(f"{name} is {value:g}: expected a number of at least 0")


def _normalised(weights: Array) -> Array:
    total = np.add.reduce(weights, axis=1, keepdims=True)
    return np.asarray(weights / np.where(total > 0, total, 1.0))


EXPLORATIONS: dict[str, type[Exploration]] = {
    "greedy": Greedy,
    "epsilon": Epsilon,
    "ucb": UCB,
    "thompson": Thompson,
    "softmax": Softmax,
}
