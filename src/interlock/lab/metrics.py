"""Figures with honest intervals."""

from __future__ import annotations

import math

import numpy as np

from ..types import Array

# Two-sided 97.5% quantiles of Student's t for 1..10 degrees of freedom (Student 1908; any statistics table).
_T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def over_seeds(values: Array) -> tuple[float, float, float]:
    """Mean and 95% t-interval of one figure per seed, shape (seeds,). A single seed has an infinite interval."""
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return mean, -math.inf, math.inf
    half = _T975[min(n - 1, len(_T975)) - 1] * float(np.std(values, ddof=1)) / math.sqrt(n)
    return mean, mean - half, mean + half


def rolling(values: Array, window: int) -> Array:
    """Mean of the last `window` values at each position, shape (n,); shorter at the start."""
    sums = np.cumsum(np.insert(values.astype(np.float64), 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts), dtype=np.float64)
