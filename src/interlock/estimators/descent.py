"""Minibatch gradient descent with Adam, decoupled weight decay and early stopping on held-out rows.

Source: Kingma & Ba (arXiv 1412.6980); Loshchilov & Hutter (arXiv 1711.05101); Prechelt, Early Stopping (1998).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..types import Array

Rows = NDArray[np.intp]
Gradient = Callable[[Sequence[Array], Rows], Sequence[Array]]
"""The gradient of the mean loss over some rows, in each parameter."""
Loss = Callable[[Sequence[Array], Rows], float]


@dataclass(frozen=True)
class Descent:
    rate: float = 0.003
    decay: float = 0.01
    batch: int = 64
    epochs: int = 60
    patience: int = 6

    def run(
        self, start: Sequence[Array], gradient: Gradient, loss: Loss, fit: Rows, held: Rows, rng: np.random.Generator
    ) -> list[Array]:
        """The parameters with the least loss on `held`, looked at after each pass over `fit`."""
        now, best = [part.copy() for part in start], [part.copy() for part in start]
        first, second = [np.zeros_like(p) for p in now], [np.zeros_like(p) for p in now]
        least, since, step = loss(now, held), 0, 0
        for _ in range(self.epochs):
            order = rng.permutation(fit)
            for at in range(0, len(order), self.batch):
                step += 1
                turned = self.rate * np.sqrt(1.0 - 0.999**step) / (1.0 - 0.9**step)
                for part, m, v, g in zip(now, first, second, gradient(now, order[at : at + self.batch]), strict=True):
                    m += 0.1 * (g - m)
                    v += 0.001 * (g * g - v)
                    part -= turned * m / (np.sqrt(v) + 1e-8) + self.rate * self.decay * part
            reached = loss(now, held)
            since += 1
            if reached < least:
                least, since, best = reached, 0, [part.copy() for part in now]
            if since >= self.patience:
                break
        return best


def split(count: int, rng: np.random.Generator, share: float = 0.15) -> tuple[Rows, Rows]:
    """Rows to fit on and rows to hold out, at least one each (of a single row: both)."""
    order = rng.permutation(count)
    held = max(1, round(share * count))
    return (order[held:] if count > held else order), order[:held]


def cross_entropy(logit: Array, scores: Array, weights: Array) -> float:
    """Mean over cells; scores are in [0, 1], weights 0 where there is none."""
    return float((weights * (np.logaddexp(0.0, logit) - scores * logit)).sum() / max(float(weights.sum()), 1e-12))


def residual(logit: Array, scores: Array, weights: Array) -> Array:
    """The gradient of `cross_entropy` in the logits."""
    chance = 0.5 * (1.0 + np.tanh(0.5 * logit))
    return np.asarray(weights * (chance - scores) / max(float(weights.sum()), 1e-12))
