"""From estimates to one number a candidate: what is wanted, in units the caller chose.

A missing estimate (NaN) makes the utility NaN if, and only if, the objective looks at it; what is NaN is never chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from .calibration import NEVER, Calibration, assured
from .types import Array, Estimate, Limits, Mask

LimitRows = Sequence[Limits] | None


class Objective(Protocol):
    def utility(self, estimate: Estimate, limits: LimitRows = None) -> Array:
        """Utility of each candidate for each request, (n, k), higher is better. `limits` are the n callers' own."""
        ...

    def std(self, estimate: Estimate) -> Array:
        """Standard deviation of the utility that comes from not knowing the quality, (n, k)."""
        ...


@dataclass(frozen=True)
class Weighted:
    """quality x q - cost x USD - latency x seconds - energy x joules. A weight says what a unit of it is worth.

    With `quality` 1 and `cost` 3000, a tenth of a cent weighs as much as being wrong three times.
    Source: scalarisation; the reward of GreenServ (arXiv 2601.17551) and of most routers.
    """

    quality: float = 1.0
    cost: float = 0.0
    latency: float = 0.0
    energy: float = 0.0

    def utility(self, estimate: Estimate, limits: LimitRows = None) -> Array:
        utility = self.quality * estimate.quality
        if self.cost:
            utility = utility - self.cost * estimate.cost
        if self.latency:
            utility = utility - self.latency * estimate.latency
        if self.energy:
            utility = utility - self.energy * estimate.energy
        return utility

    def std(self, estimate: Estimate) -> Array:
        return abs(self.quality) * estimate.quality_std


@dataclass(frozen=True)
class Chebyshev:
    """-max(weight x (1 - q), (1 - weight) x cost / dearest in the pool): also reaches non-convex parts of the front.

    Source: RADAR (arXiv 2509.25426); Miettinen, Nonlinear Multiobjective Optimization (1999), section 3.4.
    """

    weight: float = 0.5

    def utility(self, estimate: Estimate, limits: LimitRows = None) -> Array:
        shortfall = self.weight * (1.0 - estimate.quality)
        return -np.maximum(shortfall, (1.0 - self.weight) * _relative(estimate.cost))

    def std(self, estimate: Estimate) -> Array:
        return self.weight * estimate.quality_std


@dataclass(frozen=True)
class CheapestAbove:
    """The cheapest whose quality reaches `quality` (a caller's `min_quality` goes first); if none does, the best.

    Those that reach it have utility -cost / dearest in the pool, in [-1, 0]; the others lie below -1 by what they lack.
    """

    quality: float = 0.7

    def utility(self, estimate: Estimate, limits: LimitRows = None) -> Array:
        threshold = _of_callers(limits, "min_quality", self.quality, len(estimate.quality))
        lacking = threshold - estimate.quality
        # Written so that a NaN quality or cost stays NaN in both branches.
        cost = _relative(estimate.cost)
        return np.where(lacking <= 0.0, -cost, -1.0 - lacking + 0.0 * cost)

    def std(self, estimate: Estimate) -> Array:
        return estimate.quality_std


@dataclass(frozen=True)
class BestWithin:
    """The best that costs at most `cost` USD (a caller's `max_cost` goes first); if none does, the cheapest.

    Those within have their quality as utility; the others lie below -1 by their cost relative to the dearest.
    """

    cost: float = 0.001

    def utility(self, estimate: Estimate, limits: LimitRows = None) -> Array:
        ceiling = _of_callers(limits, "max_cost", self.cost, len(estimate.quality))
        within = estimate.cost <= ceiling
        return np.where(within, estimate.quality, -1.0 - _relative(estimate.cost) + 0.0 * estimate.quality)

    def std(self, estimate: Estimate) -> Array:
        return estimate.quality_std


@dataclass(frozen=True)
class Promise:
    """P(accepted and wrong) <= `epsilon`: the cheapest candidate whose calibrated acceptor takes the request.

    An acceptor takes a request when the candidate's estimated quality, less its deviation, reaches a threshold,
    which `calibration.py` finds so that, with probability 1 - `delta` over the decisions counted, the promise holds on
    requests like them. Where no acceptor does, all abstain: the cheapest within `slack` of the best goes ahead, outside
    the promise, and the decision says so. The promise is a joint probability over all requests, not the share of wrong
    ones among those accepted, and does not speak of what is served outside it. Nothing is explored for its uncertainty;
    an exploration that has a rate of its own can break the promise by at most that rate.

    Source: Geifman & El-Yaniv, arXiv 1705.08500 (selective prediction with guarantee); Angelopoulos et al., arXiv
    2110.01052.
    """

    epsilon: float = 0.05
    delta: float = 0.01
    slack: float = 0.05
    threshold: float = field(default=NEVER, repr=False)

    def __post_init__(self) -> None:
        for name in ("epsilon", "delta"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ValueError(f"{name} is {getattr(self, name):g}: expected a probability in (0, 1)")
        if not 0.0 <= self.slack <= 1.0:
            raise ValueError(f"slack is {self.slack:g}: expected a difference of qualities in [0, 1]")

    def calibrated(self, calibration: Calibration) -> Promise:
        return replace(self, threshold=calibration.threshold(self.epsilon, self.delta))

    def accepts(self, estimate: Estimate) -> Mask:
        """Whose acceptor takes the request, (n, k)."""
        return np.asarray(assured(estimate.quality, estimate.quality_std) >= self.threshold)

    def utility(self, estimate: Estimate, limits: LimitRows = None) -> Array:
        cost = _relative(estimate.cost)
        quality = assured(estimate.quality, estimate.quality_std)
        known = np.where(np.isfinite(quality + cost), quality, -np.inf)
        near = quality >= known.max(axis=1, keepdims=True, initial=-np.inf) - self.slack
        outside = np.where(near, -2.0 - cost, -4.0 + quality)
        return np.where(self.accepts(estimate), -cost, outside + 0.0 * (cost + quality))

    def std(self, estimate: Estimate) -> Array:
        return 0.0 * estimate.quality_std


def _relative(cost: Array) -> Array:
    """Cost as a share of the dearest finite cost in the row; 0 where all are free. NaN stays NaN."""
    dearest = np.where(np.isfinite(cost), cost, 0.0).max(axis=1, keepdims=True, initial=0.0)
    return cost / np.where(dearest > 0.0, dearest, 1.0)


def _of_callers(limits: LimitRows, name: str, default: float, n: int) -> Array:
    """The callers' own value of a limit, or the objective's, as a column (n, 1)."""
    given = [None] * n if limits is None else [getattr(row, name) for row in limits]
    return np.array([default if value is None else value for value in given], dtype=np.float64)[:, None]


OBJECTIVES: dict[str, type[Objective]] = {
    "weighted": Weighted,
    "chebyshev": Chebyshev,
    "cheapest_above": CheapestAbove,
    "best_within": BestWithin,
    "promise": Promise,
}
