"""Two sets of weights of one model on the same prompts: what quantisation costs, say, task by task.

Only prompts on which the two differ carry information, so a paired interval is far narrower than that of either share.

Source: Agresti & Min, "Simple improved confidence intervals for comparing matched proportions", Stat. Med. 2005.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

from interlock.pocket.pool import Pool
from interlock.pocket.score import ask
from interlock.pocket.tasks import TASKS, Split


@dataclass(frozen=True, slots=True)
class Difference:
    """A candidate on ``n`` prompts of a task. ``right`` and ``other_right`` count both weights' right answers;
    ``only`` and ``other_only`` those that one alone has."""

    candidate: str
    task: str
    n: int
    right: int
    other_right: int
    only: int
    other_only: int

    @property
    def points(self) -> float:
        """Accuracy minus that of the other weights, in percentage points."""
        return 100 * (self.right - self.other_right) / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95%, in percentage points."""
        low, high = paired_interval(self.only, self.other_only, self.n)
        return 100 * low, 100 * high


def paired_interval(only: int, other_only: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """95% interval of a difference of two shares of ``n`` pairs, of which ``only`` and ``other_only`` disagree.

    Half an observation is added to each cell of the paired table.
    """
    middle = (only - other_only) / (n + 2)
    half = z * sqrt((only + other_only + 1) / (n + 2) - middle * middle) / sqrt(n + 2)
    return max(-1.0, middle - half), min(1.0, middle + half)


def compare(
    pool: Pool,
    other: Pool,
    candidates: Sequence[str],
    tasks: Sequence[str],
    *,
    n: int,
    seed: int = 0,
    split: Split = "test",
    progress: Callable[[int, int], None] | None = None,
) -> list[Difference]:
    """Ask both pools the same prompts: about ``n`` of each task, levels alike. ``progress`` gets prompts done and all.

    Raises NotFound if either pool lacks a candidate.
    """
    rows, done = [], 0
    counts = {task: max(1, round(n / len(TASKS[task].levels))) for task in tasks}
    total = len(candidates) * sum(count * len(TASKS[task].levels) for task, count in counts.items())
    for candidate in candidates:
        for task, count in counts.items():
            pairs: list[tuple[bool, bool]] = []
            for level in TASKS[task].levels:
                answers = [
                    ask(where, candidate, task, level, n=count, seed=seed, split=split) for where in (pool, other)
                ]
                pairs += [
                    (example.verify(ours.text), example.verify(theirs.text))
                    for (example, ours), (_, theirs) in zip(*answers, strict=True)
                ]
                done += count
                if progress:
                    progress(done, total)
            rows.append(
                Difference(
                    candidate,
                    task,
                    len(pairs),
                    right=sum(ours for ours, _ in pairs),
                    other_right=sum(theirs for _, theirs in pairs),
                    only=sum(ours and not theirs for ours, theirs in pairs),
                    other_only=sum(theirs and not ours for ours, theirs in pairs),
                )
            )
    return rows
