"""Logistic regression with a normal prior, by Newton's method: the mode, and the covariance there (Laplace).

Source: Bishop, Pattern Recognition and Machine Learning (2006), sections 4.3.3 and 4.4.
"""

from __future__ import annotations

import numpy as np

from ..types import Array

_STEPS, _ENOUGH = 25, 1e-6


def logistic(
    z: Array, targets: Array, weights: Array, mean: Array, precision: Array, offset: Array | float = 0.0
) -> tuple[Array, Array]:
    """Mode (d,) and covariance (d, d) of w in sigmoid(z w + offset).

    z (n, d), targets (n,) in [0, 1], weights (n,) not below 0; the prior is N(mean, 1 / precision) a column, (d,) each.
    A step that would not lower the loss is halved, so the search cannot diverge.
    """
    w: Array = mean.copy()
    best = np.inf
    step, inverse = np.zeros_like(w), np.asarray(np.diag(1.0 / precision))
    for _ in range(_STEPS):
        logit = z @ w + offset
        loss = _loss(logit, targets, weights) + 0.5 * float(precision @ (w - mean) ** 2)
        if loss > best + 1e-12:
            step *= 0.5
            w = w - step
            continue
        if best - loss < _ENOUGH * (1.0 + abs(loss)):
            break
        best = loss
        chance = 0.5 * (1.0 + np.tanh(0.5 * logit))
        curvature = weights * np.maximum(chance * (1.0 - chance), 1e-6)
        inverse = np.asarray(np.linalg.inv((z * curvature[:, None]).T @ z + np.diag(precision)), dtype=np.float64)
        step = inverse @ (z.T @ (weights * (targets - chance)) - precision * (w - mean))
        w = w + step
    return w, 0.5 * (inverse + inverse.T)


def _loss(logit: Array, targets: Array, weights: Array) -> float:
    return float(weights @ (np.logaddexp(0.0, logit) - targets * logit))
