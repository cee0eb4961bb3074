"""Choosing the bench's mix of (task, level) cells by a linear program over measured accuracies.

In the even mix all tasks weigh alike, and so do the levels within a task; a cell weighs between a quarter of that and
four times as much. The program maximises the smallest step of the ladder (each larger model over the next smaller, each
larger budget over the smaller) while the cheapest candidate stays in its band and the best one reaches its own; a
target that cannot be met is missed by as little as possible, and among equals the mix nearest to the even one is taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Cell = tuple[str, int]

_LOWEST, _HIGHEST = 0.25, 4.0
_PENALTY = 10.0
_EVENNESS = 0.02


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
    tasks = Counter(task for task, _ in cells)
    even = np.array([1 / (len(tasks) * tasks[task]) for task, _ in cells])
    rows = {name: np.array([of[cell] for cell in cells]) for name, of in accuracy.items()}
    # Variables: what each weight gains on the even mix, what it loses, the smallest gap, and how far the band's two
    # ends and the top are missed. A row over weights is a row over gains, its negative over losses, and a constant.
    bounds = [(0.0, (_HIGHEST - 1) * share) for share in even]
    bounds += [(0.0, (1 - _LOWEST) * share) for share in even]
    bounds += [(-1.0, targets.enough), (0.0, 1.0), (0.0, 1.0), (0.0, 1.0)]
    objective = np.concatenate([np.full(2 * count, _EVENNESS), [-1.0], np.full(3, _PENALTY)])

    def row(
        weights: NDArray[np.float64], limit: float, gap: float = 0.0, missed: Sequence[float] = (0, 0, 0)
    ) -> tuple[NDArray[np.float64], float]:
        return np.concatenate([weights, -weights, [gap], missed]), limit - float(weights @ even)

    upper = [
        row(-rows[targets.cheapest], -targets.band[0], missed=(-1, 0, 0)),
        row(rows[targets.cheapest], targets.band[1], missed=(0, -1, 0)),
        row(-rows[targets.best], -targets.top, missed=(0, 0, -1)),
        *(row(rows[low] - rows[high], 0.0, gap=1.0) for low, high in targets.steps),
    ]
    solved = linprog(
        objective,
        A_ub=np.array([left for left, _ in upper]),
        b_ub=np.array([right for _, right in upper]),
        A_eq=np.concatenate([np.ones(count), -np.ones(count), np.zeros(4)])[None],
        b_eq=np.zeros(1),
        bounds=bounds,
    )
    if not solved.success:
        raise RuntimeError(f"the level mix could not be solved: {solved.message}")
    weights = even + solved.x[:count] - solved.x[count : 2 * count]
    return {cell: float(weight) for cell, weight in zip(cells, weights, strict=True)}
