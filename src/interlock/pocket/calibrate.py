"""Measuring the family: accuracy and tokens of every candidate by task and level, the bench mix, and the ladder.

The table comes from validation prompts, the mix is chosen on it and frozen, and the claims are checked on test prompts.
Models are measured as served, from their weight files.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from interlock.pocket import mix
from interlock.pocket.evaluate import Outcome, evaluate
from interlock.pocket.level_mix import Cell, Targets, choose
from interlock.pocket.model import PocketLM, restore
from interlock.pocket.specialise import restore_adapted
from interlock.pocket.tasks import TASKS, Example, Split, draw
from interlock.pocket.weights import load

CELLS: tuple[Cell, ...] = tuple(
    (task.name, level) for task in TASKS.values() if task.name != "recall_long" for level in task.levels
)
"""Everything the bench asks."""

_DRAWS_PER_EXAMPLE = 8


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model, with or without an adapter, under one reasoning budget."""

    name: str
    model: PocketLM
    budget: int
    active_params: int
    adapter: str = ""


@dataclass(frozen=True, slots=True)
class Measure:
    """One cell of the table: means over ``n`` distinct prompts."""

    n: int
    accuracy: float
    prompt_tokens: float
    completion_tokens: float


Table = dict[str, dict[Cell, Measure]]
"""Candidate name to cell to measure."""


def candidates(folder: Path, budgets: Sequence[int] = (0, 1, 2)) -> list[Candidate]:
    """Every model and adapter file of ``folder`` under every budget, cheapest first.

    Models that studied one task alone are no rungs of the ladder and left out.
    """
    files = [load(path) for path in sorted(folder.glob("*.safetensors"))]
    files = [file for file in files if file.base or "studied" not in file.metadata]
    bases = {file.name: file for file in files if not file.base}
    found = []
    for file in files:
        model = restore_adapted(bases[file.base], file) if file.base else restore(file)
        active = file.config.active_params + (file.params if file.base else 0)
        adapter = file.name if file.base else ""
        found += [Candidate(f"{file.name}-t{budget}", model, budget, active, adapter) for budget in budgets]
    return sorted(found, key=lambda candidate: (candidate.active_params, candidate.budget))


def cell_examples(cell: Cell, count: int, split: Split, seed: int) -> list[Example]:
    """Up to ``count`` examples with distinct prompts; fewer where the cell has fewer."""
    task, level = TASKS[cell[0]], cell[1]
    rng = Random(f"cell:{seed}:{cell}:{split}")
    found: dict[str, Example] = {}
    for _ in range(_DRAWS_PER_EXAMPLE * count):
        example = draw(task, rng, level, split)
        found.setdefault(example.prompt, example)
        if len(found) == count:
            break
    return list(found.values())


def measure(
    family: Iterable[Candidate],
    per_cell: int = 200,
    split: Split = "validation",
    seed: int = 0,
    report: Callable[[str], None] | None = None,
) -> Table:
    """The table of ``family``; specialists answer every fourth prompt, since most cells are outside their domain.

    ``report`` is called with each candidate's name when it is done.
    """
    every = [example for cell in CELLS for example in cell_examples(cell, per_cell, split, seed)]
    fourth = [example for cell in CELLS for example in cell_examples(cell, per_cell, split, seed)[::4]]
    table: Table = {}
    for candidate in family:
        examples = fourth if candidate.adapter else every
        by_cell: dict[Cell, list[Outcome]] = defaultdict(list)
        for outcome in evaluate(candidate.model, examples, candidate.budget):
            by_cell[outcome.example.task, outcome.example.level].append(outcome)
        table[candidate.name] = {cell: _mean(outcomes) for cell, outcomes in by_cell.items()}
        if report:
            report(candidate.name)
    return table


def freeze(table: Table, targets: Targets) -> dict[Cell, float]:
    """Choose the bench mix from the table and write it, with a hash of the test prompts that it gives."""
    path = mix.BENCH_FILE
    accuracy = {name: {cell: measured.accuracy for cell, measured in of.items()} for name, of in table.items()}
    weights = choose(accuracy, CELLS, targets)
    nested: dict[str, dict[str, float]] = defaultdict(dict)
    for (task, level), weight in weights.items():
        nested[task][str(level)] = round(weight, 6)
    path.write_text(json.dumps({"weights": nested}, indent=1) + "\n", "utf-8")
    mix.bench_weights.cache_clear()
    frozen = {"weights": nested, "targets": asdict(targets), "sha256_of_1000_test_prompts": bench_hash()}
    path.write_text(json.dumps(frozen, indent=1) + "\n", "utf-8")
    return weights


def bench_hash(seed: int = 0, n: int = 1000) -> str:
    """Hash of the bench's test prompts and answers: what "frozen" means."""
    lines = "\n".join(f"{example.prompt}\t{example.answer}" for example in mix.bench(seed, n))
    return hashlib.sha256(lines.encode()).hexdigest()


def overall(table: Table) -> dict[str, float]:
    """Each candidate's accuracy on the validation prompts, weighted like the bench."""
    weights = mix.bench_weights()
    return {
        name: round(sum(weights[cell] * measured.accuracy for cell, measured in cells.items()), 4)
        for name, cells in table.items()
    }


def write(table: Table, family: Iterable[Candidate], path: Path, **more: object) -> None:
    """Write ``calibration.json``: per candidate its parameters, its accuracy, and the cells of its table."""
    entries, accuracy = {}, overall(table)
    for candidate in family:
        tasks: dict[str, dict[str, object]] = defaultdict(dict)
        for (task, level), measured in table[candidate.name].items():
            tasks[task][str(level)] = {key: round(value, 4) for key, value in asdict(measured).items()}
        entries[candidate.name] = {
            "active_params": candidate.active_params,
            "budget": candidate.budget,
            "adapter": candidate.adapter,
            "accuracy": accuracy[candidate.name],
            "tasks": tasks,
        }
    path.write_text(json.dumps({"split": "validation", "candidates": entries, **more}, indent=1) + "\n", "utf-8")


def by_task(cells: Mapping[Cell, Measure]) -> dict[str, float]:
    """Mean accuracy of each task, levels alike."""
    levels: dict[str, list[float]] = defaultdict(list)
    for (task, _), measured in cells.items():
        levels[task].append(measured.accuracy)
    return {task: sum(values) / len(values) for task, values in levels.items()}


def _mean(outcomes: Sequence[Outcome]) -> Measure:
    n = len(outcomes)
    return Measure(
        n,
        sum(outcome.correct for outcome in outcomes) / n,
        sum(outcome.prompt_tokens for outcome in outcomes) / n,
        sum(outcome.completion_tokens for outcome in outcomes) / n,
    )
