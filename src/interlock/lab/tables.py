"""Outcome tables: what every candidate scored and cost on every query, so that any choice among them can be judged.

The canonical layout is a folder with two files, each Parquet or JSON lines:

    queries    query_id, dataset, task, prompt
    outcomes   query_id, model, score; cost_usd, input_tokens, output_tokens, latency_s, energy_wh where known

A folder may hold several data sets; each becomes one `Table`. What is missing is NaN and stays NaN, never zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import RequestError, nearest
from ..types import Array

MEASURES = ("score", "cost", "input_tokens", "output_tokens", "latency", "energy")
"""The numbers of a cell: score in [0, 1], USD, tokens, tokens, seconds, watt-hours."""


class TableError(RequestError):
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
    queries, outcomes = read_table_columns(folder, "queries", QUERIES), read_table_columns(folder, "outcomes", OUTCOMES)
    of: dict[str, int] = {}
    for row, id in enumerate(map(str, queries["query_id"])):
        if of.setdefault(id, row) != row:
            raise TableError(f"{folder}: queries have the id {id!r} in rows {of[id] + 1} and {row + 1}; ids are unique")
    if not of:
        raise TableError(f"{folder}: queries are empty; one row a query is expected")
    datasets = np.asarray(queries["dataset"], dtype=object)
    known = list(dict.fromkeys(datasets))
    for name in names or ():
        if name not in known:
            raise TableError(f"{folder} has no data set {name!r}; {nearest(name, known)}")
    row_of = np.array([of.get(str(id), -1) for id in outcomes["query_id"]], dtype=np.intp)
    if (row_of < 0).any():
        stray = outcomes["query_id"][int(np.argmax(row_of < 0))]
        raise TableError(f"{folder}: outcomes name the query {stray!r}, which queries do not have")
    numbers = {
        measure: numbers_of(folder, column, outcomes[column])
        for measure, column in COLUMN.items()
        if column in outcomes
    }
    for measure, values in numbers.items():
        check(str(folder), measure, values)
    return {
        name: _table(name, np.flatnonzero(datasets == name), queries, outcomes, numbers, row_of)
        for name in known
        if names is None or name in names
    }


def write_tables(folder: Path, tables: Iterable[Table], kind: Literal["parquet", "jsonl"] = "parquet") -> None:
    """Write tables in the canonical layout, replacing what is there. Cells without any measure are left out."""
    queries: dict[str, list[Any]] = {column: [] for column in QUERIES}
    outcomes: dict[str, list[Any]] = {column: [] for column in ("query_id", "model", *COLUMN.values())}
    for table in tables:
        queries["query_id"] += table.ids
        queries["dataset"] += [table.name] * len(table)
        queries["task"] += table.tasks
        queries["prompt"] += table.prompts
        cells = np.stack([getattr(table, measure) for measure in MEASURES], axis=2)
        rows, columns = np.nonzero(np.isfinite(cells).any(axis=2))
        outcomes["query_id"] += [table.ids[row] for row in rows]
        outcomes["model"] += [table.candidates[column] for column in columns]
        for place, measure in enumerate(MEASURES):
            values = cells[rows, columns, place]
            outcomes[COLUMN[measure]] += [
                value if known else None for value, known in zip(values.tolist(), np.isfinite(values), strict=True)
            ]
    folder.mkdir(parents=True, exist_ok=True)
    for stem, columns_of in (("queries", queries), ("outcomes", outcomes)):
        if kind == "parquet":
            import pyarrow
            import pyarrow.parquet

            pyarrow.parquet.write_table(pyarrow.table(columns_of), folder / f"{stem}.parquet", compression="zstd")
        else:
            lines = (
                {key: values[row] for key, values in columns_of.items()} for row in range(len(columns_of["query_id"]))
            )
            (folder / f"{stem}.jsonl").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


QUERIES = ("query_id", "dataset", "task", "prompt")
OUTCOMES = ("query_id", "model", "score")
COLUMN = {
    "score": "score",
    "cost": "cost_usd",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "latency": "latency_s",
    "energy": "energy_wh",
}
"""Measure -> its column in the canonical layout."""


def read_table_columns(folder: Path, stem: str, required: Sequence[str]) -> dict[str, list[Any]]:
    """The columns of `stem`.parquet or `stem`.jsonl."""
    parquet, lines = folder / f"{stem}.parquet", folder / f"{stem}.jsonl"
    columns: dict[str, list[Any]]
    if parquet.exists():
        import pyarrow.parquet

        columns = pyarrow.parquet.read_table(parquet).to_pydict()
    elif lines.exists():
        columns = by_column(read_lines(lines))
    else:
        raise TableError(f"{folder} has neither {parquet.name} nor {lines.name}")
    for column in required:
        if column not in columns:
            raise TableError(f"{folder}: {stem} lacks the column {column!r}; it needs {', '.join(required)}")
    return columns


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON lines file. Raises `TableError` with the line that is none."""
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip():
            try:
                rows.append(msgspec.json.decode(line, type=dict[str, Any]))
            except msgspec.DecodeError as error:
                raise TableError(f"{path}, line {number}: not a JSON object ({error})") from error
    return rows


def by_column(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows as columns; what a row lacks is None."""
    return {key: [row.get(key) for row in rows] for key in dict.fromkeys(key for row in rows for key in row)}


def numbers_of(where: object, column: str, values: Sequence[Any]) -> Array:
    """A column as float64, None as NaN. Raises `TableError` naming the first row that holds no number."""
    for row, value in enumerate(values):
        if value is not None and not isinstance(value, (int, float)):
            raise TableError(f"{where}: row {row + 1} of {column} is {str(value)[:40]!r}, expected a number")
    return np.array(values, dtype=np.float64)


def check(where: str, measure: str, values: Array) -> None:
    """Raise `TableError` if a known value is impossible, naming its row and the unit it seems to be in."""
    column = COLUMN[measure]
    if np.isinf(values).any():
        raise TableError(f"{where}: row {_first(np.isinf(values))} of {column} is infinite; leave unknown ones empty")
    if (values < 0).any():
        row, least = _first(values < 0), np.nanmin(values)
        hint = "; log-probabilities and signed margins are no scores, and a failure is 0" if measure == "score" else ""
        raise TableError(f"{where}: row {row} of {column} is negative (the least is {least:g}){hint}")
    if measure == "score" and (values > 1).any():
        most = float(np.nanmax(values))
        unit = next(
            (f"in {name}: divide by {top}" for top, name in _SCALES if most <= top), "in no scale that is known"
        )
        raise TableError(
            f"{where}: row {_first(values > 1)} of score is above 1 (the most is {most:g}); it seems to be {unit}"
        )
    if measure == "cost" and np.isfinite(values).any() and np.nanmedian(values) > DEAREST:
        raise TableError(
            f"{where}: half of cost_usd is above {DEAREST:g} USD an answer (median {np.nanmedian(values):g}); "
            "it seems to be in cents, in micro-dollars, or a price per million tokens"
        )


_SCALES = ((5, "grades from 1 to 5"), (10, "grades from 1 to 10"), (100, "percent"))
DEAREST = 20.0
"""USD. A table in which the usual answer costs more than this has its costs in another unit."""


def _first(bad: NDArray[np.bool_]) -> int:
    return int(np.argmax(bad)) + 1


def _table(
    name: str,
    index: NDArray[np.intp],
    queries: Mapping[str, Sequence[Any]],
    outcomes: Mapping[str, Sequence[Any]],
    numbers: Mapping[str, Array],
    row_of: NDArray[np.intp],
) -> Table:
    place = np.full(len(queries["query_id"]), -1)
    place[index] = np.arange(len(index))
    mine = np.flatnonzero(place[row_of] >= 0)
    if not len(mine):
        raise TableError(f"{name}: no outcome is about any of its {len(index)} queries")
    models = [str(outcomes["model"][i]) for i in mine.tolist()]
    candidates = sorted(set(models))
    column = {model: i for i, model in enumerate(candidates)}
    rows, columns = place[row_of[mine]], np.array([column[model] for model in models], dtype=np.intp)
    cell, first = np.unique(rows * len(candidates) + columns, return_index=True)
    if len(cell) < len(mine):
        again = np.setdiff1d(np.arange(len(mine)), first)[0]
        raise TableError(
            f"{name}: query {outcomes['query_id'][mine[again]]!r} has more than one outcome of {models[again]!r} "
            f"(row {mine[again] + 1}); average the runs of one model, or name them apart"
        )
    measures: dict[str, Array] = {measure: np.full((len(index), len(candidates)), np.nan) for measure in MEASURES}
    for measure, values in numbers.items():
        measures[measure][rows, columns] = values[mine]
    ids, prompts, tasks = (tuple(str(queries[key][i] or "") for i in index) for key in ("query_id", "prompt", "task"))
    return Table(name, ids, prompts, tasks, tuple(candidates), **measures)
