"""How each full model of the family is trained: one or more stages, each starting from what the one before left."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from interlock.pocket.config import PocketConfig
from interlock.pocket.mix import GENERALIST, Mix, Share
from interlock.pocket.model import PocketLM
from interlock.pocket.tasks import TASKS
from interlock.pocket.train import Recipe, Trained, fit


@dataclass(frozen=True, slots=True)
class Stage:
    """One leg of a model's training, in the folder ``name``. ``batches``, by default the same, is what with seed and
    step decides about its batches."""

    name: str
    recipe: Recipe
    mix: Mix = GENERALIST
    batches: str = ""

    def __str__(self) -> str:
        recipe = self.recipe
        rate = f"{recipe.optimiser} lr {recipe.lr:g}, decay from {recipe.decay_from:g}"
        rate += ", rounded" if recipe.rounded else ""
        return f"{self.name}: {rate}, {recipe.tokens:,} tokens"


def fit_stages(
    config: PocketConfig,
    stages: Sequence[Stage],
    runs: Path,
    *,
    seed: int = 0,
    device: str = "cpu",
    start: PocketLM | None = None,
    workers: int = 0,
    report: Callable[[int, float], None] | None = None,
) -> Trained:
    """Train through ``stages``, each in ``runs / stage.name``; what is there already is continued, not repeated.

    ``start`` is the model that the first stage trains, a new one by default; ``workers`` processes make the batches.
    ``report(step, loss)`` counts steps over all stages. Raises as ``fit``.
    """
    trained, logs, done, tokens = None, hashlib.sha256(), 0, 0
    for stage in stages:

        def passed(step: int, loss: float, before: int = done) -> None:
            if report:
                report(before + step, loss)

        trained = fit(
            config, stage.mix, stage.recipe, runs / stage.name, name=stage.batches or stage.name, seed=seed,
            device=device, start=trained.model if trained else start, workers=workers, report=passed,
        )  # fmt: skip
        logs.update((runs / stage.name / "log.jsonl").read_bytes())
        done += stage.recipe.steps
        tokens += int(trained.metadata["tokens_trained"])
    if trained is None:
        raise ValueError("a model is trained in at least one stage")
    more = {"tokens_trained": str(tokens), "train_log_sha256": logs.hexdigest()}
    if len(stages) > 1:
        more["stages"] = "; ".join(str(stage) for stage in stages)
    return Trained(trained.model, trained.metadata | more)


def _mix(ramp: float, **shares: float) -> Mix:
    return Mix(tuple(Share(TASKS[name], weight) for name, weight in shares.items()), ramp=ramp)


_SMALL_LAST = _mix(
    0.0, facts=0.20, cups=0.20, grid=0.15, rotate=0.09, dedupe=0.08, add=0.07, compose=0.07, brackets=0.05, bool=0.05,
    sort=0.04, caesar=0.03, reverse=0.02, recall=0.02,
)  # fmt: skip
_SMALL_END = _mix(
    0.0, facts=0.36, cups=0.12, grid=0.10, add=0.10, dedupe=0.06, rotate=0.06, compose=0.06, sort=0.05, caesar=0.05,
    brackets=0.05, reverse=0.04, bool=0.04, recall=0.03,
)  # fmt: skip
_BROAD = _mix(
    0.0, facts=0.20, add=0.10, grid=0.12, cups=0.08, dedupe=0.08, rotate=0.08, compose=0.08, sort=0.06, brackets=0.06,
    reverse=0.05, caesar=0.05, bool=0.05, recall=0.04,
)  # fmt: skip


def _long(*levels: int, budgets: tuple[float, float, float] | None = None) -> Mix:
    return Mix((Share(TASKS["recall_long"], 1.0, levels),), ramp=0.0, budgets=budgets)


FAMILY: dict[str, tuple[Stage, ...]] = {
    "nano": (Stage("nano", Recipe(8_000_000, lr=8e-3, rows=6, warmup=200)),),
    "micro": (Stage("micro", Recipe(12_000_000, lr=6e-3, rows=7, warmup=200)),),
    "small": (
        # The begin of a run of 18M tokens, whose curriculum it has: it ends with the level cap still below the top.
        Stage(
            "small-first",
            Recipe(4_352_000, "adamw", lr=2e-3, rows=8, warmup=200, decay_from=1.0),
            Mix(GENERALIST.shares, ramp=0.4 * 14_062 / 3_400),
            batches="small",
        ),
        Stage("small", Recipe(10_000_000, lr=4e-3, rows=8, warmup=200), Mix(GENERALIST.shares, ramp=0.15)),
        Stage("small-last", Recipe(2_500_000, lr=3e-3, rows=8, decay_from=0.3), _SMALL_LAST),
        Stage("small-end", Recipe(1_400_000, lr=2e-3, rows=8, decay_from=0.0), _SMALL_END),
    ),
    "base": (
        Stage("base", Recipe(100_000_000, lr=3e-3, rows=192, warmup=100), _BROAD),
        Stage("base-end", Recipe(10_000_000, lr=1e-3, rows=192, warmup=50, decay_from=0.0, rounded=True), _BROAD),
    ),
    "micro-long": (
        Stage(
            "micro-long-265", Recipe(1_300_000, rows=4, row_length=640, warmup=100, decay_from=1.0), _long(12, 25, 50)
        ),
        Stage("micro-long-2k", Recipe(500_000, lr=3e-3, rows=1, row_length=2560, decay_from=0.0), _long(200, 300, 400)),
        Stage(
            "micro-long-4k",
            Recipe(150_000, lr=2e-3, rows=1, row_length=4352, warmup=5, decay_from=0.0),
            _long(400, 600, budgets=(1.0, 0.0, 0.0)),
        ),
    ),
}
"""Every generalist from seed 0, and the long-context model, which knows recall alone.

The shipped nano, micro and micro-long are these runs. The shipped small went through these stages with its two last
mixes chosen after looking at validation tables; their curriculum and warm-up are not on record and are chosen here.
base is not shipped.
"""

GROWN = {"base": "small"}
"""Models that do not start at random but as a smaller member, grown without changing what it computes."""
