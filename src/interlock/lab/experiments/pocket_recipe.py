"""A pocket model of 0.35M parameters, trained from nothing for ten CPU minutes, tracks, sorts and recalls.

`micro` is trained on cups, sorting and recall and asked test prompts of each. The scratchpad (t1) must beat the answer
at once (t0) by far. A scale below 1 trains `nano` instead, for about a minute and a half, against its own bounds.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from rich.progress import TaskID

from ...types import Array
from ..answers import showing
from ..metrics import over_seeds
from ..report import Figure, Report, Verdict
from . import Options

WANTED = {
    "micro": {"recall": 0.99, "cups_t1": 0.97, "cups_gain": 0.40, "sort": 0.95},
    "nano": {"recall": 0.98, "cups_gain": 0.15, "sort": 0.75},
}
CPU_SECONDS = 600


def run(options: Options) -> Report:
    """Train and measure once a seed. A run in OUT that was interrupted is continued."""
    from ...pocket.recipe_check import RECIPES, check_recipe

    size = "micro" if options.scale == 1.0 else "nano"
    measured = []
    with showing(options.console) as progress:
        for seed in options.seeds:
            bar = progress.add_task(f"seed {seed}: training {size}", total=RECIPES[size].steps)

            def report(step: int, loss: float, bar: TaskID = bar) -> None:
                progress.update(bar, completed=step)

            measured.append(asdict(check_recipe(size, options.out / f"{size}-{seed}", seed=seed, report=report)))
    columns = {name: np.array([row[name] for row in measured]) for name in measured[0]}
    columns["cups_gain"] = columns["cups_t1"] - columns["cups_t0"]
    return Report(
        name="pocket-recipe",
        claim=f"{size} learns three tasks in {CPU_SECONDS // 60} CPU minutes",
        figures=tuple(judge(name, values, WANTED[size].get(name)) for name, values in columns.items()),
        seeds=options.seeds,
        notes=("accuracies on compactly worded test prompts, 100 a level; cups_gain is cups_t1 - cups_t0",),
    )


def judge(name: str, values: Array, least: float | None) -> Figure:
    """A figure over seeds; CPU time has an upper bound, accuracies may have a lower one."""
    mean, low, high = over_seeds(values)
    verdict: Verdict = "info"
    wanted, unit = "", ""
    if name == "cpu_seconds":
        wanted, unit, verdict = f"<= {CPU_SECONDS}", " s", "pass" if mean <= CPU_SECONDS else "short"
    elif least is not None:
        wanted, verdict = f">= {least:.2f}", "pass" if mean >= least else "short"
    several = len(values) > 1
    return Figure(
        name=name,
        ours=mean,
        low=low if several else None,
        high=high if several else None,
        wanted=wanted,
        unit=unit,
        verdict=verdict,
    )
