"""Exact accuracy of candidates on fresh test prompts, through the engine that serves them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from interlock.errors import NotFound, RequestError, nearest
from interlock.pocket.pool import Pool
from interlock.pocket.requests import PocketRequest, PocketResult
from interlock.pocket.tasks import TASKS, Example, Split, draw

MAX_COMPLETION = 192
"""Token cap of a scored completion, well above the longest correct one."""


@dataclass(frozen=True, slots=True)
class Cell:
    """How often a candidate was right on one task and level, and what a completion took on average."""

    candidate: str
    task: str
    level: int
    right: int
    n: int
    tokens: float
    cost_usd: float

    @property
    def accuracy(self) -> float:
        return self.right / self.n

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.right, self.n)


def wilson(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """95% interval of a share. Source: Wilson, JASA 1927."""
    share = right / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def choose_cells(tasks: Sequence[str] = (), levels: Sequence[int] = ()) -> list[tuple[str, int]]:
    """The (task, level) pairs meant by names and levels; all where none are given, long recall left out.

    Raises: NotFound for an unknown task, RequestError if no pair is left.
    """
    for task in tasks:
        if task not in TASKS:
            raise NotFound(f"no task {task!r}; {nearest(task, list(TASKS))}", param="task")
    # The long form needs more context than the generalists have: it is scored when asked for by name.
    names = tasks or [name for name in TASKS if name != "recall_long"]
    cells = [(name, level) for name in names for level in TASKS[name].levels if not levels or level in levels]
    if not cells:
        raise RequestError(f"none of the tasks {', '.join(names)} has a level in {list(levels)}", param="level")
    return cells


def score(
    pool: Pool,
    candidates: Sequence[str],
    cells: Sequence[tuple[str, int]],
    *,
    n: int,
    seed: int = 0,
    split: Split = "test",
    progress: Callable[[int, int], None] | None = None,
) -> list[Cell]:
    """Ask every candidate the same ``n`` prompts of each cell, greedily (``tN`` draws its votes from ``seed``).

    ``progress`` gets prompts done and all prompts.
    """
    rows, total = [], n * len(cells) * len(candidates)
    for candidate in candidates:
        for task, level in cells:
            answers = ask(pool, candidate, task, level, n=n, seed=seed, split=split)
            right = sum(example.verify(result.text) for example, result in answers)
            tokens = sum(result.usage.completion for _, result in answers) / n
            cost = sum(result.cost_usd for _, result in answers) / n
            rows.append(Cell(candidate, task, level, right, n, tokens, cost))
            if progress:
                progress(len(rows) * n, total)
    return rows


def ask(
    pool: Pool, candidate: str, task: str, level: int, *, n: int, seed: int = 0, split: Split = "test"
) -> list[tuple[Example, PocketResult]]:
    """``n`` examples of a cell and what the candidate made of each; the same seed always draws the same examples.

    Raises NotFound for an unknown candidate, RequestError for prompts longer than its context.
    """
    rng = Random(_seed(task, level, seed))
    examples = [draw(TASKS[task], rng, level, split) for _ in range(n)]
    requests = [
        PocketRequest(candidate=candidate, prompt=example.prompt, seed=seed + i, max_tokens=MAX_COMPLETION)
        for i, example in enumerate(examples)
    ]
    return list(zip(examples, pool.generate_many(requests), strict=True))


def by_candidate(cells: Sequence[Cell]) -> Iterator[tuple[str, Mapping[tuple[str, int], Cell]]]:
    """Each candidate's cells, in the order they were scored."""
    for name in dict.fromkeys(cell.candidate for cell in cells):
        yield name, {(cell.task, cell.level): cell for cell in cells if cell.candidate == name}


def _seed(task: str, level: int, seed: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{task}:{level}:{seed}".encode(), digest_size=8).digest(), "big")
