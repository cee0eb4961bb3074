"""Accuracy of the shipped pocket models rises with size and budget, falls with level; specialists win only at home.

Every candidate answers the frozen bench's 2,000 test prompts through the engine that serves it: rungs with their steps,
and the room that the cheapest right answer of any candidate leaves to routing. Every specialist meets its base on 400
test prompts of what it studied, and on the bench's prompts about everything else. Correlation with level and best buys
are those of the shipped calibration, 200 validation prompts a task and level.

The bench is one frozen draw and the weights are one training run each: intervals are over prompts, seeds play no part.
The bench's level mix was chosen by a linear program so that such a ladder exists (docs/reference/training.md).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...pocket.family import SHIPPED, load_family
from ...pocket.mix import bench
from ...pocket.paired import paired_interval
from ...pocket.score import wilson
from ...pocket.tasks import TASKS, Example, Task
from ...pocket.tasks.facts import facts_about
from ..answers import Table, answer_all, showing
from ..report import Figure, Report, Verdict
from . import Options

PROMPTS, INSIDE = 2000, 400
Flags = NDArray[np.bool_]
SIZES, BUDGETS = ("nano", "micro", "small", "base"), ("t0", "t1")
STEP, GAIN, LOSS, FALLING, SAVING = 0.03, 0.15, 0.05, -0.8, 3.0
CHEAPEST, BEST = (0.40, 0.60), 0.90


def run(options: Options) -> Report:
    """Answer the bench with every generalist and specialist, and each speciality with its specialist and base."""
    calibration = json.loads((SHIPPED / "calibration.json").read_text("utf-8"))
    names = tuple(calibration["candidates"])
    cache = options.out.parent / "answers"
    examples = bench(0, max(50, round(PROMPTS * options.scale)))
    with showing(options.console) as progress:
        table = answer_all(examples, cache, progress, "the bench: every candidate", names)
        homes = {}
        for base, specialist in specialists():
            inside = speciality(specialist, max(20, round(INSIDE * options.scale)))
            home = answer_all(inside, cache, progress, f"{specialist} at home", (base, specialist))
            homes[specialist] = (base, inside[0].domain, home)
    figures = (
        *rungs(table),
        *steps(table),
        *room(table),
        *(figure for name, home in homes.items() for figure in gains(name, *home, table, examples)),
        *calibrated(calibration),
    )
    return Report(
        name="pocket-ladder",
        claim="size and budget buy accuracy, levels cost it, and specialists win at home only",
        figures=figures,
        seeds=(0,),
        plots=(draw(table, options.out / "pocket-ladder.png"),),
        notes=(f"{len(examples)} prompts of the frozen bench; 95% intervals over prompts, differences paired",),
    )


def specialists() -> list[tuple[str, str]]:
    """(base, specialist), each with a scratchpad: `("micro-t1", "micro-roman-t1")`."""
    known = load_family().candidates.values()
    return [(f"{one.model}-t1", one.name) for one in known if one.adapter and one.budget == "t1"]


def speciality(specialist: str, count: int) -> list[Example]:
    """Test prompts of what a specialist studied, levels as often as in its training."""
    name = specialist.removesuffix("-t1").partition("-")[2]
    task: Task = TASKS[name] if name in TASKS else facts_about(name)
    rng, found = Random(f"gain:{task.name}"), list[Example]()
    weights = task.level_weights() if task.level_weights else (1.0,) * len(task.levels)
    while len(found) < count:
        example = task.example(rng, rng.choices(task.levels, weights)[0], rng.randrange(len(task.forms)))
        if example.split == "test":
            found.append(example)
    return found


def rungs(table: Table) -> list[Figure]:
    """Accuracy of the generalists on the bench; bounds are wanted of the cheapest and of the best."""
    wanted: dict[str, tuple[str, Callable[[float], bool]]] = {
        f"{SIZES[0]}-t0": (f"{CHEAPEST[0]:.2f}-{CHEAPEST[1]:.2f}", lambda share: CHEAPEST[0] <= share <= CHEAPEST[1]),
        f"{SIZES[-1]}-t1": (f">= {BEST:.2f}", lambda share: share >= BEST),
    }
    figures = []
    for name in (f"{size}-{budget}" for size in SIZES for budget in BUDGETS):
        right = column(table, name)
        text, passes = wanted.get(name, ("", None))
        passed = passes(float(right.mean())) if passes else None
        figures.append(
            figure(f"accuracy of {name}", float(right.mean()), wilson(int(right.sum()), len(right)), text, passed)
        )
    return figures


def steps(table: Table) -> list[Figure]:
    """What each step in size and in budget adds, on the same prompts."""
    sizes = [(f"{a}-{budget}", f"{b}-{budget}") for budget in BUDGETS for a, b in pairwise(SIZES)]
    budgets = [(f"{size}-{a}", f"{size}-{b}") for size in SIZES for a, b in pairwise(BUDGETS)]
    return [
        difference(f"{upper} - {lower}", column(table, upper), column(table, lower), f">= {STEP:.2f}", at_least(STEP))
        for lower, upper in (*sizes, *budgets)
    ]


def room(table: Table) -> list[Figure]:
    """The cheapest right answer to each prompt against the best single candidate, every prompt token at full price."""
    cost = table.tokens.sum(axis=2) * table.prices[:, 0] / 1e6
    right = table.quality > 0
    solved: Flags = np.asarray(right.any(axis=1))
    best = int(right.mean(axis=0).argmax())
    oracle = float(np.where(solved, np.where(right, cost, np.inf).min(axis=1), cost.min(axis=1)).mean())
    saving = float(cost[:, best].mean() / oracle)
    return [
        difference(f"oracle - {table.names[best]}", solved, right[:, best], "> 0", lambda gain: gain > 0),
        figure(f"cost of {table.names[best]} / oracle's", saving, None, f">= {SAVING:g}", saving >= SAVING),
    ]


def gains(name: str, base: str, domain: str, home: Table, table: Table, examples: Sequence[Example]) -> list[Figure]:
    """A specialist minus its base: at home, and on the bench's prompts about everything else."""
    away = np.array([example.domain != domain for example in examples])
    outside = column(table, name)[away], column(table, base)[away]
    stem = name.removesuffix("-t1")
    return [
        difference(f"{stem} - base, at home", column(home, name), column(home, base), f">= {GAIN}", at_least(GAIN)),
        difference(f"{stem} - base, elsewhere", *outside, f"<= -{LOSS}", lambda gain: gain <= -LOSS),
    ]


def calibrated(calibration: dict[str, Any]) -> list[Figure]:
    """What the shipped calibration says about levels, and about every generalist's use."""
    falls = calibration["level_correlation"]
    worst = max(falls, key=falls.__getitem__)
    idle = [
        name
        for name in calibration["best_buys"]
        if name.partition("-")[2] in BUDGETS and not calibration["best_buys"][name]
    ]
    return [
        figure(
            f"Spearman of accuracy and level, worst task ({worst})",
            falls[worst],
            None,
            f"<= {FALLING}",
            falls[worst] <= FALLING,
        ),
        figure("generalists that are the best buy nowhere", len(idle), None, "0", not idle),
    ]


def at_least(bound: float) -> Callable[[float], bool]:
    return lambda value: value >= bound


def column(table: Table, name: str) -> Flags:
    """Whether a candidate was right, by prompt."""
    return np.asarray(table.quality[:, table.names.index(name)] > 0)


def difference(name: str, ours: Flags, others: Flags, wanted: str, passes: Callable[[float], bool]) -> Figure:
    only, other_only, n = int((ours & ~others).sum()), int((others & ~ours).sum()), len(ours)
    gap = (only - other_only) / n
    return figure(name, gap, paired_interval(only, other_only, n), wanted, passes(gap))


def figure(
    name: str, ours: float, interval: tuple[float, float] | None, wanted: str = "", passed: bool | None = None
) -> Figure:
    low, high = interval or (None, None)
    verdict: Verdict = "info" if passed is None else "pass" if passed else "short"
    return Figure(name=name, ours=ours, low=low, high=high, wanted=wanted, verdict=verdict)


def draw(table: Table, path: Path) -> str:
    """Accuracy over cost of every candidate, with intervals."""
    import matplotlib.pyplot as plt

    chart, axes = plt.subplots(figsize=(8, 5))
    cost = (table.tokens.sum(axis=2) * table.prices[:, 0]).mean(axis=0)
    for name, usd in zip(table.names, cost, strict=True):
        right = column(table, name)
        low, high = wilson(int(right.sum()), len(right))
        share = float(right.mean())
        axes.errorbar(usd, share, yerr=[[max(0.0, share - low)], [max(0.0, high - share)]], fmt="o", ms=4)
        axes.annotate(name, (usd, share), xytext=(4, 4), textcoords="offset points", fontsize=7)
    axes.set(xscale="log", xlabel="USD per million prompts", ylabel="accuracy on the bench", ylim=(0, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    chart.savefig(path, dpi=140, bbox_inches="tight")
    plt.close(chart)
    return str(path)
