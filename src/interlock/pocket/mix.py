"""What is drawn when: the training mix of tasks, levels, wordings and budgets, and the frozen bench mix."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from random import Random

from interlock.pocket.document import Document, document
from interlock.pocket.tasks import TASKS, Example, Split, Style, Task, draw

BENCH_FILE = Path(__file__).with_name("weights") / "bench.json"
"""Weights of the bench's (task, level) cells, frozen by ``calibrate``."""

_WORKED_BUDGETS = (0.42, 0.48, 0.10)
_PLAIN_BUDGETS = (0.70, 0.30, 0.0)


@dataclass(frozen=True, slots=True)
class Share:
    """A task's share of the documents; ``levels`` restricts it, None means all."""

    task: Task
    weight: float
    levels: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Mix:
    """A training distribution. The level cap rises to the hardest level during the first ``ramp`` of training.

    ``budgets`` are the shares of documents without, with one and with two scratchpads; None leaves them to the task.
    """

    shares: tuple[Share, ...]
    style: Style = "mixed"
    ramp: float = 0.4
    budgets: tuple[float, float, float] | None = None

    def documents(self, rng: Random, progress: float) -> Iterator[Document]:
        """Endless training documents; ``progress`` in [0, 1] sets the curriculum."""
        weights = [share.weight for share in self.shares]
        while True:
            share = rng.choices(self.shares, weights)[0]
            example = draw(share.task, rng, self._level(share, rng, progress), "train", self.style)
            budgets = self.budgets or (_WORKED_BUDGETS if example.scratch else _PLAIN_BUDGETS)
            yield document(example, rng.choices(range(3), budgets)[0])

    def _level(self, share: Share, rng: Random, progress: float) -> int:
        levels = share.levels or share.task.levels
        if share.task.level_weights:
            return rng.choices(share.task.levels, share.task.level_weights())[0]
        reached = ceil(len(levels) * min(1.0, progress / self.ramp)) if self.ramp else len(levels)
        return rng.choice(levels[: max(2, reached)])


RECIPE = Mix(
    (
        Share(TASKS["cups"], 0.5),
        Share(TASKS["sort"], 0.25, (3, 4, 5, 6, 8, 10)),
        Share(TASKS["recall"], 0.25, (2, 4, 6, 8, 10, 12)),
    ),
    style="compact",
)
"""Three tasks that show within minutes whether the training recipe still works."""

GENERALIST = Mix(
    (
        Share(TASKS["facts"], 0.40),
        Share(TASKS["add"], 0.10),
        Share(TASKS["cups"], 0.08),
        Share(TASKS["grid"], 0.07),
        Share(TASKS["sort"], 0.05),
        Share(TASKS["dedupe"], 0.04),
        Share(TASKS["reverse"], 0.04),
        Share(TASKS["rotate"], 0.04),
        Share(TASKS["caesar"], 0.04),
        Share(TASKS["compose"], 0.06),
        Share(TASKS["recall"], 0.05),
        Share(TASKS["bool"], 0.05),
        Share(TASKS["brackets"], 0.04),
    )
)
"""What nano, micro and small are trained on: every task but the unseen disciplines."""


@cache
def bench_weights() -> dict[tuple[str, int], float]:
    """The frozen weight of every (task, level) cell of the bench; sums to 1.

    Raises ValueError if the shipped file names a cell that no task has.
    """
    cells = {
        (task, int(level)): float(weight)
        for task, levels in json.loads(BENCH_FILE.read_text("utf-8"))["weights"].items()
        for level, weight in levels.items()
    }
    unknown = [cell for cell in cells if cell[0] not in TASKS or cell[1] not in TASKS[cell[0]].levels]
    if unknown:
        raise ValueError(f"{BENCH_FILE.name} names unknown cells {unknown}")
    total = sum(cells.values())
    return {cell: weight / total for cell, weight in cells.items()}


def bench(seed: int, n: int, split: Split = "test", style: Style = "mixed") -> list[Example]:
    """``n`` examples of the frozen bench mix; the same arguments always give the same examples."""
    rng = Random(f"bench:{seed}:{split}:{style}")
    cells = bench_weights()
    chosen = rng.choices(list(cells), list(cells.values()), k=n)
    return [draw(TASKS[task], rng, level, split, style) for task, level in chosen]
