"""What the logistic estimators share: running standardisation, the filter for one 0/1 event, sigmoid moments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ..types import Array

_CLIP = 6.0


@dataclass
class Moments:
    """Running mean and variance of columns, learnt row by row. Source: Welford, Technometrics 4 (1962)."""

    count: float
    mean: Array
    squares: Array

    @classmethod
    def of(cls, width: int) -> Self:
        return cls(0.0, np.zeros(width), np.zeros(width))

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Self:
        return cls(float(state["count"]), state["mean"].copy(), state["squares"].copy())

    def state(self) -> dict[str, Any]:
        return {"count": self.count, "mean": self.mean, "squares": self.squares}

    def add(self, row: Array) -> None:
        self.count += 1.0
        change = row - self.mean
        self.mean = self.mean + change / self.count
        self.squares = self.squares + change * (row - self.mean)

    def scale(self) -> Array:
        """Reciprocal deviation of each column; 0 where it does not vary."""
        variance = self.squares / max(self.count, 1.0)
        varies = variance > 1e-10 * np.maximum(self.mean**2, 1e-12)
        floor = 1e-3 * np.median(variance[varies]) if varies.any() else 1.0
        return np.where(varies, 1.0 / np.sqrt(np.maximum(variance, floor) + 1e-300), 0.0)

    def standardise(self, rows: Array, scale: Array | None = None) -> Array:
        """Rows (n, d) as (n, d + 1): a leading 1, then standardised columns. `scale` saves computing it again."""
        scale = self.scale() if scale is None else scale
        z = np.ones((len(rows), rows.shape[1] + 1))
        np.clip((rows - self.mean) * scale, -_CLIP, _CLIP, out=z[:, 1:])
        return z


def absorb(mean: Array, covariance: Array, gradient: Array, logit: float, target: float, weight: float) -> None:
    """Update N(mean, covariance) of the parameters in place by one target in [0, 1].

    `gradient` is that of the logit. The step is Newton's on the log posterior with this event alone, which is the
    extended Kalman filter of a Bernoulli observation.
    Source: Ollivier, arXiv 1703.00209; online Laplace for bandits: Chapelle & Li (2011).
    """
    probability = sigmoid(logit)
    curvature = weight * max(probability * (1.0 - probability), 1e-3)
    direction = covariance @ gradient
    gain = 1.0 / (1.0 + curvature * float(gradient @ direction))
    covariance -= (curvature * gain) * np.outer(direction, direction)
    mean += (weight * gain * (target - probability)) * direction


def moments_of_sigmoid(logit: Array, variance: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of sigmoid(N(logit, variance)). Source: Daunizeau, arXiv 1703.00091."""
    shrink = 1.0 / np.sqrt(1.0 + 0.368 * np.maximum(variance, 0.0))
    mean = 0.5 * (1.0 + np.tanh(0.5 * logit * shrink))
    return mean, np.sqrt(mean * (1.0 - mean) * (1.0 - shrink))


def sigmoid(logit: float) -> float:
    return 0.5 * (1.0 + math.tanh(0.5 * logit))


def logits(probabilities: Array) -> Array:
    clipped = np.clip(probabilities, 0.01, 0.99)
    return np.asarray(np.log(clipped / (1.0 - clipped)))


def checked_score(target: float, row: int) -> None:
    """Raise `ValueError` for a target that is no probability."""
    if not 0.0 <= target <= 1.0:
        raise ValueError(f"row {row}: target {target:g}, expected a score in [0, 1]")
