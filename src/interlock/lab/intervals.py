"""Intervals over queries by the bootstrap, paired comparisons, and equivalence tests.

A resample is a row of counts, so that a mean over queries is a matrix product and all resamples are done at once.

Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993); TOST: Schuirmann, J. Pharmacokin. Biopharm. 15
(1987).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from ..types import Array


class Interval(msgspec.Struct, frozen=True):
    """A figure and its 95% interval. NaN: not defined."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def resamples(n: int, rounds: int = 1000, seed: int = 0, groups: Sequence[object] | None = None) -> Array:
    """Counts (rounds + 1, n) float64; row 0 is the sample itself, all ones.

    With `groups`, whole groups of queries (equal prompts, say) are drawn together.
    """
    rng = np.random.default_rng(seed)
    if groups is None:
        drawn = rng.multinomial(n, np.full(n, 1.0 / n), size=rounds) if n else np.zeros((rounds, 0))
    else:
        place = {group: i for i, group in enumerate(dict.fromkeys(groups))}
        of_groups = rng.multinomial(len(place), np.full(len(place), 1.0 / len(place)), size=rounds)
        drawn = of_groups[:, [place[group] for group in groups]]
    return np.vstack([np.ones((1, n)), drawn.astype(np.float64)])


def means(weights: Array, values: Array) -> Array:
    """Mean over queries of values (n, ...) in each resample (r, n): (r, ...). Missing values (NaN) are left out."""
    there = np.isfinite(values)
    flat = np.where(there, values, 0.0).reshape(len(values), -1)
    total = weights @ flat
    count = weights.sum(axis=1)[:, None] if there.all() else weights @ there.reshape(flat.shape).astype(np.float64)
    mean: Array = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean.reshape(len(weights), *values.shape[1:])


def interval(figures: ArrayLike, level: float = 0.95) -> Interval:
    """Percentile interval from the figure of each resample (r,), the sample's own first."""
    values = np.asarray(figures, dtype=np.float64)
    drawn = values[1:][np.isfinite(values[1:])]
    tail = 0.5 * (1.0 - level)
    low, high = np.quantile(drawn, (tail, 1.0 - tail)) if len(drawn) else (np.nan, np.nan)
    return Interval(float(values[0]), float(low), float(high))


def bootstrap(values: ArrayLike, rounds: int = 1000, seed: int = 0, level: float = 0.95) -> Interval:
    """Mean of values (n,) with its percentile interval; NaN are left out."""
    cells = np.asarray(values, dtype=np.float64)
    cells = cells[np.isfinite(cells)]
    return interval(means(resamples(len(cells), rounds, seed), cells), level)


class Difference(NamedTuple):
    """Mean of a - b, its interval, and the two-sided p-value of no difference."""

    interval: Interval
    p: float


def paired(a: ArrayLike, b: ArrayLike, rounds: int = 1000, seed: int = 0) -> Difference:
    """Paired bootstrap of two policies' values (n,) on the same queries; those that either lacks are left out.

    The p-value is twice the share of resamples on the smaller side of 0, never below 2 / (rounds + 1).
    """
    gap = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    gap = gap[np.isfinite(gap)]
    drawn = means(resamples(len(gap), rounds, seed), gap)
    side = min(int((drawn[1:] <= 0).sum()), int((drawn[1:] >= 0).sum()))
    return Difference(interval(drawn), min(1.0, 2.0 * (side + 1) / (rounds + 1)))


class Equivalence(NamedTuple):
    """Two one-sided t-tests: `p` is the larger of `p_low` (not below -margin) and `p_high` (not above it).

    `p` < 0.05 says "as good as, within the margin"; `p_low` < 0.05 alone says "not worse by more than it".
    """

    p: float
    p_low: float
    p_high: float


def tost(a: ArrayLike, b: ArrayLike, margin: float) -> Equivalence:
    """Is the mean of a - b, paired (n,), within +-margin? Raises `ValueError` for a margin that is not above 0."""
    from scipy import stats

    if not margin > 0:
        raise ValueError(f"margin {margin:g}: expected more than 0, the largest difference that does not matter")
    gap = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    gap = gap[np.isfinite(gap)]
    n = len(gap)
    error = float(gap.std(ddof=1)) / np.sqrt(n) if n > 1 else np.inf
    if error == 0.0:
        low, high = float(gap.mean() <= -margin), float(gap.mean() >= margin)
    else:
        low = float(stats.t.sf((gap.mean() + margin) / error, n - 1))
        high = float(stats.t.cdf((gap.mean() - margin) / error, n - 1))
    return Equivalence(max(low, high), low, high)
