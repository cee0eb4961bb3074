"""Choosing the bench's mix of (task, level) cells by a linear program over measured accuracies.

Each cell weighs between a quarter and four times the uniform weight. The program maximises the smallest step of the
ladder (each larger model over the next smaller, each larger budget over the smaller) while the cheapest candidate stays
in its band and the best one reaches its own; a target that cannot be met is missed by as little as possible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Cell = tuple[str, int]

_LOWEST, _HIGHEST = 0.25, 4.0
_PENALTY = 10.0


@dataclass(frozen=True, slots=True)
class Targets:
    """What the mix should show: accuracies of ``cheapest`` within ``band`` and of ``best`` at least ``top``, and
    ``steps`` of (lower, higher) candidates, whose smallest gap is made as large as possible."""

    cheapest: str
    best: str
    steps: tuple[tuple[str, str], ...]
    band: tuple[float, float] = (0.42, 0.58)
    top: float = 0.91
    enough: float = 0.08
    """A gap beyond which a step need not grow."""


def choose(accuracy: Mapping[str, Mapping[Cell, float]], cells: Sequence[Cell], targets: Targets) -> dict[Cell, float]:
    """Weights of ``cells`` that sum to 1, from ``accuracy[candidate][cell]``.

    Raises RuntimeError if the solver fails; unreachable targets do not make it fail.
    """
    from scipy.optimize import linprog

    count = len(cells)
    rows = {name: np.array([of[cell] for cell in cells]) for name, of in accuracy.items()}
    # Variables: the weights, the smallest gap, and how far the band's two ends and the top are missed.
    bounds = [(_LOWEST / count, _HIGHEST / count)] * count + [(-1.0, targets.enough)] + [(0.0, None)] * 3
    objective = np.concatenate([np.zeros(count), [-1.0], np.full(3, _PENALTY)])

    def row(weights: NDArray[np.float64], gap: float = 0.0, missed: Sequence[float] = (0, 0, 0)) -> NDArray[np.float64]:
        return np.concatenate([weights, [gap], missed])

    upper = [
        (row(-rows[targets.cheapest], missed=(-1, 0, 0)), -targets.band[0]),
        (row(rows[targets.cheapest], missed=(0, -1, 0)), targets.band[1]),
        (row(-rows[targets.best], missed=(0, 0, -1)), -targets.top),
        *((row(rows[low] - rows[high], gap=1.0), 0.0) for low, high in targets.steps),
    ]
    solved = linprog(
        objective,
        A_ub=np.array([left for left, _ in upper]),
        b_ub=np.array([right for _, right in upper]),
        A_eq=np.concatenate([np.ones(count), np.zeros(4)])[None],
        b_eq=np.ones(1),
        bounds=bounds,
    )
    if not solved.success:
        raise RuntimeError(f"the level mix could not be solved: {solved.message}")
    return {cell: float(weight) for cell, weight in zip(cells, solved.x[:count], strict=True)}
