"""What the family shows on the frozen bench: accuracy and cost of every candidate and of the oracle, and their plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from interlock.pocket.calibrate import CELLS, Candidate, Table
from interlock.pocket.evaluate import evaluate
from interlock.pocket.tasks import TASKS, Example, Task

USD_PER_PARAMETER_TOKEN = 1e-12


@dataclass(frozen=True, slots=True)
class Rung:
    """A candidate on the bench: accuracy with its 95% Wilson interval, mean tokens and mean cost in USD a prompt."""

    accuracy: float
    low: float
    high: float
    prompt_tokens: float
    completion_tokens: float
    usd: float


@dataclass(frozen=True, slots=True)
class Room:
    """What perfect routing would gain: the cheapest correct candidate per prompt against the best single one."""

    oracle_accuracy: float
    oracle_usd: float
    best_single: str
    best_single_accuracy: float
    best_single_usd: float
    only_specialists: float
    """Share of prompts that among candidates cheaper than the best single one only an adapter solves."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """Every candidate's rung and the room between them."""

    rungs: Mapping[str, Rung]
    room: Room

    def as_json(self) -> dict[str, object]:
        return {"rungs": {name: asdict(rung) for name, rung in self.rungs.items()}, "room": asdict(self.room)}


def climb(family: Sequence[Candidate], examples: Sequence[Example]) -> Ladder:
    """Answer ``examples`` with every candidate."""
    correct: NDArray[np.bool_] = np.zeros((len(family), len(examples)), bool)
    usd: NDArray[np.float64] = np.zeros((len(family), len(examples)))
    rungs = {}
    for row, candidate in enumerate(family):
        outcomes = evaluate(candidate.model, examples, candidate.budget)
        prompt = np.array([outcome.prompt_tokens for outcome in outcomes])
        completion = np.array([outcome.completion_tokens for outcome in outcomes])
        correct[row] = [outcome.correct for outcome in outcomes]
        usd[row] = (prompt + completion) * candidate.active_params * USD_PER_PARAMETER_TOKEN
        accuracy = float(correct[row].mean())
        low, high = wilson(accuracy, len(examples))
        rungs[candidate.name] = Rung(
            accuracy, low, high, float(prompt.mean()), float(completion.mean()), float(usd[row].mean())
        )
    return Ladder(rungs, _room(family, correct, usd))


def _room(family: Sequence[Candidate], correct: NDArray[np.bool_], usd: NDArray[np.float64]) -> Room:
    best = int(correct.mean(1).argmax())
    # Where nobody is right the oracle pays for the cheapest answer.
    price = np.where(correct, usd, np.inf)
    solved = correct.any(0)
    oracle_usd = np.where(solved, price.min(0), usd.min(0))
    cheaper = usd.mean(1) < usd[best].mean()
    adapted = np.array([bool(candidate.adapter) for candidate in family])
    special = correct[cheaper & adapted].any(0) & ~correct[cheaper & ~adapted].any(0)
    return Room(
        oracle_accuracy=float(solved.mean()),
        oracle_usd=float(oracle_usd.mean()),
        best_single=family[best].name,
        best_single_accuracy=float(correct[best].mean()),
        best_single_usd=float(usd[best].mean()),
        only_specialists=float(special.mean()),
    )


@dataclass(frozen=True, slots=True)
class Gain:
    """A specialist against its base: accuracy on test prompts of its own domain and on those of all others."""

    base_inside: float
    inside: float
    base_outside: float
    outside: float


def gain(base: Candidate, specialist: Candidate, own: Task, examples: Sequence[Example], count: int = 400) -> Gain:
    """Compare ``specialist`` with ``base`` on ``count`` prompts of its ``own`` task, levels as often as in training,
    and on those of ``examples`` that are of another task and, for facts, about another domain."""
    rng = Random(f"gain:{own.name}")
    weights = own.level_weights() if own.level_weights else (1.0,) * len(own.levels)
    inside: list[Example] = []
    while len(inside) < count:
        example = own.example(rng, rng.choices(own.levels, weights)[0], rng.randrange(len(own.forms)))
        if example.split == "test":
            inside.append(example)
    domain = inside[0].domain
    outside = [example for example in examples if example.domain != domain]
    scores = [
        sum(outcome.correct for outcome in evaluate(candidate.model, where, candidate.budget)) / len(where)
        for where in (inside, outside)
        for candidate in (base, specialist)
    ]
    return Gain(*scores)


def wilson(accuracy: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95% interval of a share. Source: Wilson, JASA 1927."""
    centre = (accuracy + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (accuracy * (1 - accuracy) / n + z * z / (4 * n * n)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def falls_with_level(table: Table, names: Sequence[str]) -> dict[str, float]:
    """Spearman's correlation of level with the mean accuracy of ``names``, for each task that they were taught."""
    from scipy.stats import spearmanr

    result = {}
    for task in dict.fromkeys(task for task, _ in CELLS if not TASKS[task].unseen):
        levels = TASKS[task].levels
        means = [np.mean([table[name][task, level].accuracy for name in names]) for level in levels]
        result[task] = float(spearmanr(levels, means).statistic)
    return result


def best_buys(table: Table, family: Sequence[Candidate], within: float = 0.9) -> dict[str, list[str]]:
    """For each candidate the cells where it is the cheapest with at least ``within`` of the cell's best accuracy."""
    buys: dict[str, list[str]] = {candidate.name: [] for candidate in family}
    for cell in CELLS:
        measured = {candidate.name: table[candidate.name][cell] for candidate in family}
        enough = within * max(measure.accuracy for measure in measured.values())
        cost = {
            candidate.name: candidate.active_params
            * (measured[candidate.name].prompt_tokens + measured[candidate.name].completion_tokens)
            for candidate in family
            if measured[candidate.name].accuracy >= enough > 0
        }
        if cost:
            buys[min(cost, key=cost.__getitem__)].append(f"{cell[0]} {cell[1]}")
    return buys


def plot(ladder: Ladder, path: Path) -> None:
    """Accuracy over cost of every candidate and of the oracle, with 95% intervals. Needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, rung in ladder.rungs.items():
        error = [[rung.accuracy - rung.low], [rung.high - rung.accuracy]]
        axes.errorbar(rung.usd * 1e6, rung.accuracy, yerr=error, fmt="o")
        axes.annotate(name, (rung.usd * 1e6, rung.accuracy), xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.plot(ladder.room.oracle_usd * 1e6, ladder.room.oracle_accuracy, "k*", markersize=14, label="oracle")
    axes.set(xscale="log", xlabel="USD per million prompts", ylabel="accuracy on the bench", ylim=(0, 1))
    axes.legend()
    figure.savefig(path, dpi=120)
