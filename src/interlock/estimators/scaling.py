"""Standardise columns by the rows that are kept in memory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..types import Array

_CLIP = 6.0  # so that one outlying column of one request cannot command a distance


class Scaling(NamedTuple):
    centre: Array
    scale: Array

    def apply(self, rows: Array) -> Array:
        return np.clip((rows - self.centre) * self.scale, -_CLIP, _CLIP)


def scaling(rows: Array) -> Scaling:
    """Unit variance for each column of rows (m, d); a constant column is switched off.

    Columns that hardly vary are not blown up: the deviation has a floor at 3% of the median column's.
    """
    centre, deviation = rows.mean(axis=0), rows.std(axis=0)
    varies = deviation > 1e-5 * np.maximum(np.abs(rows).max(axis=0), 1e-6)
    floor = 0.03 * np.median(deviation[varies]) if varies.any() else 1.0
    return Scaling(centre, np.where(varies, 1.0 / np.maximum(deviation, floor), 0.0))


def square_distances(left: Array, right: Array) -> Array:
    """Squared Euclidean distances (n, m) between rows (n, d) and (m, d), never below 0."""
    square = (left * left).sum(axis=1)[:, None] + (right * right).sum(axis=1) - 2.0 * (left @ right.T)
    return np.asarray(np.maximum(square, 0.0))
