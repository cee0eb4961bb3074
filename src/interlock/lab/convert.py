"""Other projects' outcome files as tables in the canonical layout.

Pickles are never opened: reading one runs whatever code its author put there. What a source does not say stays missing.

Source: RouterBench (arXiv 2403.12031); RouteLLM (arXiv 2406.18665); LLMRouter; RouterArena (arXiv 2510.00202);
lm-evaluation-harness, `--log_samples`.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ..errors import nearest
from .tables import COLUMN, MEASURES, Table, TableError, by_column, check, numbers_of, read_lines


@dataclass(frozen=True)
class Cell:
    """One answer. `measures` are by the names of `MEASURES`; several runs of one candidate on a query are averaged."""

    query: str
    task: str
    prompt: str
    candidate: str
    measures: Mapping[str, float | None]


def routerbench(source: Path) -> Table:
    """RouterBench's wide CSV or Parquet: prompt, eval_name, and for each model a score and `MODEL|total_cost`."""
    columns = _wide(source)
    models = [name for name in columns if f"{name}|total_cost" in columns]
    if not models:
        raise TableError(f"{source}: no column pair MODEL and MODEL|total_cost; is it RouterBench's wide table?")
    ids = columns.get("sample_id") or [str(row) for row in range(len(columns["prompt"]))]
    cells = []
    for model in models:
        score, cost = (_floats(source, name, columns[name]) for name in (model, f"{model}|total_cost"))
        for row, prompt in enumerate(columns["prompt"]):
            measures = {"score": score[row], "cost": cost[row]}
            cells.append(Cell(str(ids[row]), str(columns["eval_name"][row]), _prompt(prompt), model, measures))
    return gather("routerbench", cells)


def routellm(source: Path) -> Table:
    """RouteLLM's CSV (one file or a folder of them): prompt, and for each model a column of True and False.

    The task is the file's name, without `_responses`.
    """
    cells = []
    for path in _files(source, "*.csv"):
        columns, task = _wide(path), path.stem.removesuffix("_responses")
        models = [name for name, values in columns.items() if values and set(map(str, values)) <= {"True", "False"}]
        if "prompt" not in columns or not models:
            raise TableError(f"{path}: expected a column `prompt` and a column of True and False for each model")
        for model in models:
            for prompt, right in zip(columns["prompt"], columns[model], strict=True):
                cells.append(
                    Cell(f"{task}-{_digest(prompt)}", task, prompt, model, {"score": float(str(right) == "True")})
                )
    return gather("routellm", cells)


def llmrouter(source: Path) -> Table:
    """LLMRouter's routing data, JSON lines: query, task_name, model_name, performance; tokens and response_time too."""
    cells = []
    for path in _files(source, "*.jsonl"):
        for number, row in enumerate(read_lines(path), 1):
            _needs(path, number, row, ("query", "model_name", "performance"))
            measures = {
                "score": row["performance"],
                "cost": row.get("cost"),
                "input_tokens": row.get("input_tokens"),
                "output_tokens": row.get("output_tokens"),
                "latency": row.get("response_time"),
            }
            task, prompt = str(row.get("task_name") or ""), str(row["query"])
            cells.append(Cell(f"{task}-{_digest(prompt)}", task, prompt, str(row["model_name"]), measures))
    return gather("llmrouter", cells)


def routerarena(source: Path) -> Table:
    """RouterArena's predictions, a JSON array: `global index`, prompt, prediction (the model), accuracy, cost, tokens.

    Several files (of several routers) give several models to a query. Robustness variants are left out.
    """
    cells = []
    for path in _files(source, "*.json"):
        try:
            rows = msgspec.json.decode(path.read_bytes(), type=list[dict[str, Any]])
        except msgspec.DecodeError as error:
            raise TableError(f"{path}: not a JSON array of objects ({error})") from error
        for number, row in enumerate(rows, 1):
            if row.get("for_optimality") is False and "robust" in path.stem:
                continue
            _needs(path, number, row, ("global index", "prediction", "accuracy"))
            index, usage = str(row["global index"]), (row.get("generated_result") or {}).get("token_usage") or {}
            measures = {
                "score": row["accuracy"],
                "cost": row.get("cost"),
                "input_tokens": usage.get("input_tokens"),
                "output_tokens": usage.get("output_tokens"),
            }
            task = index.rsplit("_", 1)[0]
            cells.append(Cell(index, task, str(row.get("prompt") or ""), str(row["prediction"]), measures))
    return gather("routerarena", cells)


def lm_eval(source: Path) -> Table:
    """Samples of lm-evaluation-harness: a folder a model, `samples_TASK_DATE.jsonl`; the first metric is the score."""
    cells = []
    for path in _files(source, "samples_*.jsonl"):
        task = path.stem.removeprefix("samples_").rsplit("_", 1)[0]
        for number, row in enumerate(read_lines(path), 1):
            _needs(path, number, row, ("doc_id", "metrics"))
            name = str(row["metrics"][0]) if row["metrics"] else ""
            if not isinstance(row.get(name), (int, float)):
                raise TableError(
                    f"{path}, line {number}: its metric {name!r} is no number; choose tasks scored per sample"
                )
            prompt = _prompt(_argument(row.get("arguments")))
            cells.append(Cell(f"{task}-{row['doc_id']}", task, prompt, path.parent.name, {"score": row[name]}))
    return gather("lm_eval", cells)


def ledger(source: Path) -> Table:
    """A ledger of `interlock serve`: a row a decision whose answer was scored, by the candidate that gave it.

    Each decision has one candidate, so most cells are missing, and which ones is the policy's doing: learn from such a
    table, but judge a policy on it by off-policy estimates (`interlock replay`). Prompts are there if they were kept.
    """
    from ..ledger import Reading
    from ..types import Decision

    reading = Reading(source)
    try:
        cells = []
        for row in reading.rows("decision"):
            record = row.record
            if not isinstance(record, Decision):
                continue
            case = reading.decision(record.id)
            scores = [given.score for given in case.feedback if not given.revoked]
            if case.outcome is None or case.outcome.candidate is None or not scores:
                continue
            outcome = case.outcome
            measures = {
                "score": scores[-1],
                "cost": outcome.cost,
                "input_tokens": outcome.usage.input,
                "output_tokens": outcome.usage.output,
                "latency": outcome.latency,
            }
            task = record.signals["task"].value if "task" in record.signals else ""
            cells.append(Cell(record.id, str(task), _text(case.prompt), str(outcome.candidate), measures))
    finally:
        reading.close()
    return gather("ledger", cells)


KINDS: dict[str, Callable[[Path], Table]] = {
    "routerbench": routerbench,
    "routellm": routellm,
    "llmrouter": llmrouter,
    "routerarena": routerarena,
    "lm-eval": lm_eval,
    "ledger": ledger,
}


def convert(kind: str, source: Path) -> Table:
    """The table that `source` holds. Raises `TableError` for an unknown kind, no such file, a pickle, bad content."""
    if kind not in KINDS:
        raise TableError(f"no converter {kind!r}; {nearest(kind, list(KINDS))}")
    if not source.exists():
        raise TableError(f"{source} does not exist")
    if source.suffix in (".pkl", ".pickle", ".pt"):
        raise TableError(f"{source} is a pickle; opening one runs code. Write it as CSV or Parquet where it was made")
    return KINDS[kind](source)


def gather(name: str, cells: Sequence[Cell]) -> Table:
    """One table of these answers: queries in order of appearance, candidates sorted, several runs averaged."""
    if not cells:
        raise TableError(f"{name}: no answer with a score was found")
    first = {cell.query: cell for cell in reversed(cells)}
    rows = {query: row for row, query in enumerate(dict.fromkeys(cell.query for cell in cells))}
    candidates = sorted({cell.candidate for cell in cells})
    columns = {candidate: column for column, candidate in enumerate(candidates)}
    place = [rows[cell.query] for cell in cells], [columns[cell.candidate] for cell in cells]
    measures: dict[str, Any] = {}
    for measure in MEASURES:
        values = numbers_of(name, COLUMN[measure], [cell.measures.get(measure) for cell in cells])
        check(name, measure, values)
        there = np.isfinite(values)
        total, count = np.zeros((2, len(rows), len(candidates)))
        np.add.at(total, place, np.where(there, values, 0.0))
        np.add.at(count, place, there)
        measures[measure] = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    ids = tuple(rows)
    prompts, tasks = tuple(first[id].prompt for id in ids), tuple(first[id].task for id in ids)
    return Table(name, ids, prompts, tasks, tuple(candidates), **measures)


def _files(source: Path, pattern: str) -> list[Path]:
    """The file itself, or every file of the folder and its sub-folders that fits."""
    found = sorted(source.rglob(pattern)) if source.is_dir() else [source]
    if not found:
        raise TableError(f"{source} holds no {pattern}")
    return found


def _wide(path: Path) -> dict[str, list[Any]]:
    """The columns of a CSV or Parquet file."""
    if path.suffix == ".parquet":
        import pyarrow.parquet

        columns: dict[str, list[Any]] = pyarrow.parquet.read_table(path).to_pydict()
        return columns
    csv.field_size_limit(2**31 - 1)  # answers are longer than the 128 KiB a field may have by default
    with path.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    if not rows:
        raise TableError(f"{path} has no rows")
    return by_column(rows)


def _floats(path: Path, column: str, values: Iterable[Any]) -> list[float | None]:
    """Numbers from CSV text; empty is missing, True and False are 1 and 0."""
    numbers: list[float | None] = []
    for row, value in enumerate(values, 1):
        text = str(value if value is not None else "").strip()
        try:
            numbers.append(
                {"": None, "True": 1.0, "False": 0.0}[text] if text in ("", "True", "False") else float(text)
            )
        except ValueError:
            raise TableError(f"{path}: row {row} of {column} is {text[:40]!r}, expected a number") from None
    return numbers


def _needs(path: Path, number: int, row: Mapping[str, Any], fields: Sequence[str]) -> None:
    for field in fields:
        if row.get(field) is None:
            raise TableError(f"{path}, row {number}: lacks {field!r}; it needs {', '.join(fields)}")


def _digest(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()[:12]


def _prompt(value: Any) -> str:
    """A prompt that may be a list of one (as RouterBench writes it) or its printed form."""
    if isinstance(value, list):
        return "\n".join(map(str, value))
    text = str(value or "")
    if text.startswith(("['", '["')) and text.endswith("]"):
        import ast

        try:
            return "\n".join(map(str, ast.literal_eval(text)))
        except (ValueError, SyntaxError):
            return text
    return text


def _argument(arguments: Any) -> str:
    """The prompt among a sample's arguments: a list of lists, or by name in later versions."""
    if isinstance(arguments, dict):
        arguments = list(arguments.values())
    while isinstance(arguments, (list, dict)) and arguments:
        arguments = arguments[0] if isinstance(arguments, list) else next(iter(arguments.values()))
    return str(arguments or "")


def _text(prompt: str | None) -> str:
    """The last user message of a prompt kept as JSON."""
    if not prompt:
        return ""
    messages = msgspec.json.decode(prompt)
    mine = [message.get("content") for message in messages if message.get("role") == "user"]
    return str(mine[-1] or "") if mine else ""
