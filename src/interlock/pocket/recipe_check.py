"""Does the training recipe still work? Three tasks, a few minutes, and figures that fall when anything in it breaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from interlock.pocket.config import SIZES
from interlock.pocket.evaluate import evaluate
from interlock.pocket.mix import RECIPE
from interlock.pocket.model import PocketLM
from interlock.pocket.tasks import draw
from interlock.pocket.train import Recipe, fit, read_log

RECIPES = {
    "nano": Recipe(2_500_000, lr=1e-2, rows=6),
    "micro": Recipe(7_000_000, lr=8e-3, rows=6),
}
"""Runs of about one and of nine minutes of CPU time."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Accuracies on compactly worded test prompts, levels alike, and the CPU seconds of training."""

    recall: float
    sort: float
    cups_t0: float
    cups_t1: float
    cpu_seconds: float


def check_recipe(
    size: str, out: Path, *, seed: int = 0, per_level: int = 100, report: Callable[[int, float], None] | None = None
) -> Checked:
    """Train ``size`` ("nano" or "micro") on the three-task mix and measure it."""
    trained = fit(SIZES[size], RECIPE, RECIPES[size], out, name=f"recipe-{size}", seed=seed, report=report)
    return Checked(
        recall=_accuracy(trained.model, "recall", 0, per_level),
        sort=_accuracy(trained.model, "sort", 0, per_level),
        cups_t0=_accuracy(trained.model, "cups", 0, per_level),
        cups_t1=_accuracy(trained.model, "cups", 1, per_level),
        cpu_seconds=read_log(out)[-1]["cpu_s"],
    )


def _accuracy(model: PocketLM, task: str, budget: int, per_level: int) -> float:
    share = next(share for share in RECIPE.shares if share.task.name == task)
    rng = Random(f"recipe:{task}")
    levels = share.levels or share.task.levels
    examples = [draw(share.task, rng, level, "test", RECIPE.style) for level in levels for _ in range(per_level)]
    outcomes = evaluate(model, examples, budget)
    return sum(outcome.correct for outcome in outcomes) / len(outcomes)
