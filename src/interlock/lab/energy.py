"""Energy on a scale on which it can be traded against accuracy: by task, between robust bounds, on the logarithm.

A minimum and a maximum would be set by one outlier (one task of GreenServ spans 1 to 6,000 J), and then everything else
counts as free. Bounds are the 1st and 99th percentile; what lies beyond is clipped. Missing stays missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from ..types import Array

JOULES_PER_FLOP = 2e-11
"""A model, not a measurement: about what a desktop core spends (1 W for 50 GFLOP/s)."""


@dataclass(frozen=True)
class TaskMinMax:
    """`bounds` of the logarithm of energy by task; the empty name holds those of all tasks, for tasks never seen."""

    bounds: dict[str, tuple[float, float]]

    @classmethod
    def fit(cls, tasks: Sequence[str], energy: Array) -> Self:
        """From energies (n, k) above 0, in any unit, NaN where unknown. Raises `ValueError` for others."""
        some = energy[np.isfinite(energy)]
        if not len(some) or (some <= 0.0).any():
            raise ValueError("energy must be above 0 where it is known, and known somewhere: leave out free candidates")
        logs, of = np.log(energy), np.array(tasks, dtype=object)
        bounds = {"": _bounds(logs)}
        for task in dict.fromkeys(tasks):
            rows = logs[of == task]
            if np.isfinite(rows).any():
                bounds[task] = _bounds(rows)
        return cls(bounds)

    def scale(self, tasks: Sequence[str], energy: Array) -> Array:
        """Energies (n, k) in [0, 1]; 0 where a task's candidates all take the same."""
        low, high = np.array([self.bounds.get(task, self.bounds[""]) for task in tasks]).T[:, :, None]
        with np.errstate(invalid="ignore"):
            share = (np.log(energy) - low) / np.where(high > low, high - low, np.inf)
        return np.asarray(np.clip(share, 0.0, 1.0))


def _bounds(logs: Array) -> tuple[float, float]:
    low, high = np.nanpercentile(logs, (1.0, 99.0))
    return float(low), float(high)


def pocket_joules(active_params: Array, tokens: Array) -> Array:
    """What pocket candidates spend by the model: 2 FLOP a weight and token that is read anew or written, (n, k)."""
    return np.asarray(2.0 * active_params * tokens * JOULES_PER_FLOP, dtype=np.float64)
