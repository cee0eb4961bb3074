"""Outcome tables: what every candidate scored and cost on every query, so that any choice among them can be judged.

The canonical layout is a folder with two files, each Parquet or JSON lines:

    queries    query_id, dataset, task, prompt
    outcomes   query_id, model, score; cost_usd, input_tokens, output_tokens, latency_s, energy_wh where known

A folder may hold several data sets; each becomes one `Table`. What is missing is NaN and stays NaN, never zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InterlockError, nearest
from ..types import Array

MEASURES = ("score", "cost", "input_tokens", "output_tokens", "latency", "energy")
"""The numbers of a cell: score in [0, 1], USD, tokens, tokens, seconds, watt-hours."""


class TableError(InterlockError):
    """An outcome table cannot be read or makes no sense. Whoever made the table acts."""

    status, code = 422, "bad_table"


@dataclass(frozen=True)
class Table:
    """n queries by k candidates. Every measure is (n, k) float64, NaN where nothing was measured."""

    name: str
    ids: tuple[str, ...]
    prompts: tuple[str, ...]
    tasks: tuple[str, ...]
    candidates: tuple[str, ...]
    score: Array
    cost: Array
    input_tokens: Array
    output_tokens: Array
    latency: Array
    energy: Array

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Which cells have a score, (n, k)."""
        return np.isfinite(self.score)

    def mean(self, measure: str) -> Array:
        """Mean of what is known of each candidate, (k,); NaN where nothing is."""
        cells: Array = getattr(self, measure)
        there = np.isfinite(cells)
        count, total = there.sum(axis=0), np.where(there, cells, 0.0).sum(axis=0)
        mean: Array = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
        return mean

    def judgeable(self) -> Self:
        """The queries that at least one candidate answered with a score."""
        return self.take(self.answered.any(axis=1))

    def priced(self) -> Self:
        """The same queries with the candidates whose cost is known, on which a frontier means something."""
        return self.only(
            [name for name, cost in zip(self.candidates, self.cost.T, strict=True) if np.isfinite(cost).any()]
        )

    def with_cost(self) -> Self:
        """The same table without the cells whose cost is unknown."""
        there = np.isfinite(self.cost)
        left: dict[str, Any] = {name: np.where(there, getattr(self, name), np.nan) for name in MEASURES}
        return replace(self, **left)

    def take(self, rows: ArrayLike) -> Self:
        """The queries at `rows`: indices or a mask."""
        index = np.arange(len(self))[np.asarray(rows)]
        named: dict[str, Any] = {
            field: tuple(getattr(self, field)[i] for i in index) for field in ("ids", "prompts", "tasks")
        }
        return replace(self, **named, **{measure: getattr(self, measure)[index] for measure in MEASURES})

    def only(self, candidates: Sequence[str]) -> Self:
        """The same queries with these candidates, in this order. Raises `KeyError` for one that is not there."""
        absent = [name for name in candidates if name not in self.candidates]
        if absent:
            raise KeyError(f"{self.name} has no candidate {absent[0]!r}; it has {', '.join(self.candidates)}")
        columns = [self.candidates.index(name) for name in candidates]
        return replace(
            self,
            candidates=tuple(candidates),
            **{measure: getattr(self, measure)[:, columns] for measure in MEASURES},
        )

    def folds(self, count: int, seed: int = 0) -> Iterator[tuple[Self, Self]]:
        """(train, test) pairs of `count`-fold cross-validation; equal prompts stay on one side."""
        rng = np.random.default_rng(seed)
        distinct = {prompt: i for i, prompt in enumerate(dict.fromkeys(self.prompts))}
        fold_of = rng.permutation(len(distinct)) % count
        fold = fold_of[[distinct[prompt] for prompt in self.prompts]]
        for part in range(count):
            yield self.take(fold != part), self.take(fold == part)


def join(parts: Sequence[Table]) -> Table:
    """Tables of the same candidates, one below the other."""
    first = parts[0]
    named: dict[str, Any] = {
        field: sum((getattr(part, field) for part in parts), ()) for field in ("ids", "prompts", "tasks")
    }
    stacked: dict[str, Any] = {
        measure: np.concatenate([getattr(part, measure) for part in parts]) for measure in MEASURES
    }
    return replace(first, **named, **stacked)


def read_tables(folder: Path, names: Sequence[str] | None = None) -> dict[str, Table]:
    """The data sets of a folder in the canonical layout (only `names`, if given), by name.

    Raises `TableError` that says which file, column or row is wrong and what would be right.
    """
    queries, outcomes = _columns(folder, "queries", QUERIES), _columns(folder, "outcomes", OUTCOMES)
    of = {str(id): row for row, id in enumerate(queries["query_id"])}
    datasets = np.asarray(queries["dataset"], dtype=object)
    known = list(dict.fromkeys(datasets))
    for name in names or ():
        if name not in known:
            raise TableError(f"{folder} has no data set {name!r}; {nearest(name, known)}")
    row_of = np.array([of.get(str(id), -1) for id in outcomes["query_id"]])
    if (row_of < 0).any():
        stray = outcomes["query_id"][int(np.argmax(row_of < 0))]
        raise TableError(f"{folder}: outcomes name the query {stray!r}, which queries do not have")
    return {
        name: _table(name, np.flatnonzero(datasets == name), queries, outcomes, row_of)
        for name in known
        if names is None or name in names
    }


QUERIES = ("query_id", "dataset", "task", "prompt")
OUTCOMES = ("query_id", "model", "score")
_OPTIONAL = {"cost": "cost_usd", "latency": "latency_s", "energy": "energy_wh"}  # where the column has another name


def _columns(folder: Path, stem: str, required: Sequence[str]) -> dict[str, list[Any]]:
    """The columns of `stem`.parquet or `stem`.jsonl."""
    parquet, lines = folder / f"{stem}.parquet", folder / f"{stem}.jsonl"
    columns: dict[str, list[Any]]
    if parquet.exists():
        import pyarrow.parquet

        columns = pyarrow.parquet.read_table(parquet).to_pydict()
    elif lines.exists():
        rows = [msgspec.json.decode(line) for line in lines.read_bytes().splitlines() if line.strip()]
        columns = {key: [row.get(key) for row in rows] for key in dict.fromkeys(key for row in rows for key in row)}
    else:
        raise TableError(f"{folder} has neither {parquet.name} nor {lines.name}")
    for column in required:
        if column not in columns:
            raise TableError(f"{folder}: {stem} lacks the column {column!r}; it needs {', '.join(required)}")
    return columns


def _table(
    name: str,
    index: NDArray[np.intp],
    queries: Mapping[str, Sequence[Any]],
    outcomes: Mapping[str, Sequence[Any]],
    row_of: NDArray[np.intp],
) -> Table:
    place = np.full(len(queries["query_id"]), -1)
    place[index] = np.arange(len(index))
    mine = np.flatnonzero(place[row_of] >= 0).tolist()
    models = [str(outcomes["model"][i]) for i in mine]
    candidates = sorted(set(models))
    column = {model: i for i, model in enumerate(candidates)}
    rows, columns = place[row_of[mine]], np.array([column[model] for model in models], dtype=np.intp)
    measures: dict[str, Array] = {}
    for measure in MEASURES:
        values = outcomes.get(_OPTIONAL.get(measure, measure))
        cells = np.full((len(index), len(candidates)), np.nan)
        if values is not None:
            cells[rows, columns] = np.array([values[i] for i in mine], dtype=np.float64)
        measures[measure] = cells
    ids, prompts, tasks = (tuple(str(queries[key][i] or "") for i in index) for key in ("query_id", "prompt", "task"))
    return Table(name, ids, prompts, tasks, tuple(candidates), **measures)
