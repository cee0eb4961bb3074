"""From utilities to the probability of choosing each candidate. Choosing itself is `sample`, separate and seeded.

Every rule gives the whole probability vector, so that a decision can store it and any other policy can be judged on the
same log later. A candidate takes part when it is permitted and its utility and deviation are finite; all others get
exactly 0, and a row in which none takes part is all zeros. Ties (within a relative 1e-12) are split equally, so no rule
depends on the order of the candidates.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Protocol

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


def best(utility: Array, among: Mask) -> Array:
    """Probability 1 shared equally by the best candidates `among` those that take part."""
    clipped = np.where(among, np.clip(utility, -_FAR, _FAR), -np.inf)
    top = clipped.max(axis=1, keepdims=True, initial=-np.inf)
    slack = TIE * np.maximum(1.0, np.abs(np.where(np.isfinite(top), top, 0.0)))
    return _normalised(np.where(among & (clipped >= top - slack), 1.0, 0.0))


def sample(probability: Array, seed: int, key: str) -> int | None:
    """The index drawn from one row of probabilities, or `None` if the row is all zeros.

    Counter-based: the draw depends on `(seed, key)` alone (the key is the decision's id), so a replay chooses the same.
    """
    digest = hashlib.blake2b(key.encode(), digest_size=8, key=f"{seed}".encode()[:64]).digest()
    uniform = (int.from_bytes(digest, "big") >> 11) / (1 << 53)
    positive = np.flatnonzero(probability > 0)
    if not len(positive):
        return None
    cumulative = np.cumsum(probability[positive])
    return int(positive[min(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"), len(positive) - 1)])


@dataclass(frozen=True)
class Greedy:
    """The best candidate."""

    def probabilities(self, utility: Array, std: Array, permitted: Mask) -> Array:
        return best(utility, usable(utility, std, permitted))


@dataclass(frozen=True)
class Epsilon:
    """The best, or with probability `rate` any that takes part. Source: Sutton & Barto (2018), section 2.2."""

    rate: float = 0.05

    def probabilities(self, utility: Array, std: Array, permitted: Mask) -> Array:
        among = usable(utility, std, permitted)
        return (1.0 - self.rate) * best(utility, among) + self.rate * _normalised(among.astype(np.float64))


@dataclass(frozen=True)
class UCB:
    """The highest utility + `width` x std. Source: Auer (2002); LinUCB: Li et al., arXiv 1003.0146."""

    width: float = 1.0

    def probabilities(self, utility: Array, std: Array, permitted: Mask) -> Array:
        among = usable(utility, std, permitted)
        bound = np.clip(utility, -_FAR, _FAR) + self.width * np.clip(std, 0.0, _FAR)
        return best(bound, among)


@dataclass(frozen=True)
class Softmax:
    """Probability proportional to exp(utility / temperature). Source: Sutton & Barto (2018), section 2.8."""

    temperature: float = 0.1

    def probabilities(self, utility: Array, std: Array, permitted: Mask) -> Array:
        among = usable(utility, std, permitted)
        clipped = np.where(among, np.clip(utility, -_FAR, _FAR), -np.inf)
        top = clipped.max(axis=1, keepdims=True, initial=-np.inf)
        gap = np.where(among, clipped, top) - np.where(np.isfinite(top), top, 0.0)
        return _normalised(np.where(among, np.exp(np.where(among, gap, 0.0) / self.temperature), 0.0))


@dataclass(frozen=True)
class Thompson:
    """The probability that the candidate is best when utilities are independent, N(utility, (scale x std)^2).

    P(c best) is the integral of its density times the others' distribution functions. It is computed, not simulated:
    Gauss-Legendre panels between break points at fixed quantiles of every candidate in question, so sharp and wide
    beliefs are resolved alike; the absolute error stays below 1e-6. Those more than 6 deviations behind get 0.

    Source: Thompson (1933); Agrawal & Goyal, arXiv 1209.3352.
    """

    scale: float = 1.0

    def probabilities(self, utility: Array, std: Array, permitted: Mask) -> Array:
        among = usable(utility, std, permitted)
        mean = np.where(among, np.clip(utility, -_FAR, _FAR), 0.0)
        spread = self.scale * np.where(among, np.clip(std, 0.0, _FAR), 0.0)
        # A deviation far below the resolution of the utilities is a tie-breaker only.
        magnitude = np.maximum(np.abs(mean), spread).max(axis=1, keepdims=True, initial=0.0)
        spread = np.maximum(spread, np.maximum(TIE * magnitude, 1e-200))
        floor = np.where(among, mean - _REACH * spread, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
        question = among & (mean + _REACH * spread >= floor)
        m = int(question.sum(axis=1).max(initial=0))
        if m <= 1:
            return _normalised(question.astype(np.float64))
        front = np.argsort(~question, axis=1, kind="stable")[:, :m]
        asked = np.take_along_axis(question, front, axis=1)
        mean, spread = np.take_along_axis(mean, front, axis=1), np.take_along_axis(spread, front, axis=1)
        floor = np.where(asked.any(axis=1, keepdims=True), floor, 0.0)
        result = np.zeros(among.shape)
        np.put_along_axis(result, front, _probability_of_best(mean, spread, asked, floor), axis=1)
        return _normalised(result)


_REACH = 6.0
_BREAKS = np.array([-6.0, -4.2, -2.8, -1.5, 0.0, 1.5, 2.8, 4.2, 6.0])
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(5)


def _probability_of_best(mean: Array, spread: Array, asked: Mask, floor: Array) -> Array:
    """Shapes (n, m); `floor` (n, 1) is a value below which the maximum never lies."""
    n, low = len(mean), floor[:, :, None]
    breaks = mean[:, :, None] + spread[:, :, None] * _BREAKS
    breaks = np.sort(np.where(asked[:, :, None], np.maximum(breaks, low), low).reshape(n, -1))
    half = 0.5 * np.diff(breaks, axis=1)[:, :, None]
    points = (breaks[:, :-1, None] + half + half * _NODES).reshape(n, 1, -1)
    weights = (half * _WEIGHTS).reshape(n, 1, -1)
    z = (points - mean[:, :, None]) / spread[:, :, None]
    below = np.where(asked[:, :, None], normal_cdf(z), 1.0)
    others = _product_of_others(below)
    density = np.exp(-0.5 * np.minimum(z * z, 1400.0)) / (spread[:, :, None] * np.sqrt(2.0 * np.pi))
    return np.where(asked, (density * others * weights).sum(axis=2), 0.0)


def _product_of_others(factors: Array) -> Array:
    """For each index of axis 1 the product of all other factors, without dividing (a factor may be 0)."""
    ones = np.ones_like(factors[:, :1])
    before = np.cumprod(np.concatenate([ones, factors[:, :-1]], axis=1), axis=1)
    after = np.cumprod(np.concatenate([ones, factors[:, :0:-1]], axis=1), axis=1)[:, ::-1]
    return np.asarray(before * after)


@cache
def _cdf_table() -> tuple[Array, Array]:
    """Normal distribution function and its slope per step at 1/64 spacing on [-9, 9]."""
    from math import erfc, exp, pi, sqrt

    grid = np.arange(-9 * 64, 9 * 64 + 2) / 64.0
    values = np.array([0.5 * erfc(-x / sqrt(2.0)) for x in grid])
    slopes = np.array([exp(-0.5 * x * x) / sqrt(2.0 * pi) / 64.0 for x in grid])
    return values, slopes


def normal_cdf(z: Array) -> Array:
    """The standard normal distribution function, absolute error below 1e-9: cubic Hermite interpolation of a table."""
    values, slopes = _cdf_table()
    position = (np.clip(z, -9.0, 9.0) + 9.0) * 64.0
    cell = position.astype(np.intp)
    t = position - cell
    v0, v1, s0, s1 = values[cell], values[cell + 1], slopes[cell], slopes[cell + 1]
    rise = v1 - v0
    return np.asarray(v0 + t * (s0 + t * (3.0 * rise - 2.0 * s0 - s1 + t * (s0 + s1 - 2.0 * rise))))


def _normalised(weights: Array) -> Array:
    total = weights.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(weights, total, out=np.zeros_like(weights), where=total > 0))


EXPLORATIONS: dict[str, type[Exploration]] = {
    "greedy": Greedy,
    "epsilon": Epsilon,
    "ucb": UCB,
    "thompson": Thompson,
    "softmax": Softmax,
}
