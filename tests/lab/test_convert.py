from __future__ import annotations

import csv
import pickle
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from interlock.lab.convert import KINDS, convert
from interlock.lab.tables import TableError, read_tables, write_tables
from interlock.ledger import SqliteLedger
from interlock.types import Considered, Decision, Feedback, Message, Outcome, Request, Usage


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\n".join(map(msgspec.json.encode, rows)))
    return path


WIDE = [
    {
        "sample_id": "mbpp.1",
        "prompt": "['write a loop']",
        "eval_name": "mbpp",
        "gpt-4": "1.0",
        "mistral": "0.0",
        "gpt-4|model_response": "x",
        "gpt-4|total_cost": "0.01",
        "mistral|total_cost": "",
        "oracle_model_to_route_to": "gpt-4",
    }
]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_routerbench(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"wide.{kind}"
    if kind == "csv":
        write_csv(path, WIDE)
    else:
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet

        pyarrow.parquet.write_table(pa.Table.from_pylist(WIDE), path)
    table = convert("routerbench", path)
    assert (table.ids, table.tasks, table.prompts) == (("mbpp.1",), ("mbpp",), ("write a loop",))
    assert table.candidates == ("gpt-4", "mistral")
    np.testing.assert_array_equal(table.score, [[1.0, 0.0]])
    np.testing.assert_array_equal(table.cost, [[0.01, np.nan]])


def test_routellm(tmp_path: Path) -> None:
    rows = [
        {"prompt": "2+2", "gpt": True, "mixtral": False, "note": "n"},
        {"prompt": "3", "gpt": True, "mixtral": True, "note": ""},
    ]
    write_csv(tmp_path / "mmlu_anatomy.csv", rows)
    write_csv(tmp_path / "gsm8k_responses.csv", rows[:1])
    table = convert("routellm", tmp_path)
    assert table.candidates == ("gpt", "mixtral")
    assert table.tasks == ("gsm8k", "mmlu_anatomy", "mmlu_anatomy")
    np.testing.assert_array_equal(table.score, [[1, 0], [1, 0], [1, 1]])


def test_llmrouter_averages_runs(tmp_path: Path) -> None:
    row = {
        "task_name": "gsm8k",
        "query": "q",
        "model_name": "a",
        "performance": 1.0,
        "output_tokens": 4,
        "response_time": 2.0,
    }
    path = write_lines(tmp_path / "x.jsonl", [row, row | {"performance": 0.0}, row | {"model_name": "b"}])
    table = convert("llmrouter", path)
    np.testing.assert_array_equal(table.score, [[0.5, 1.0]])
    assert table.latency[0, 0] == 2.0
    assert np.isnan(table.cost).all()


def test_routerarena(tmp_path: Path) -> None:
    row = {
        "global index": "AIME_7",
        "prompt": "p",
        "prediction": "m",
        "generated_result": {"token_usage": {"input_tokens": 5, "output_tokens": 6}},
        "cost": 0.5,
        "accuracy": 1.0,
    }
    for name in "mn":
        (tmp_path / f"{name}.json").write_bytes(msgspec.json.encode([row | {"prediction": name}]))
    table = convert("routerarena", tmp_path)
    assert (table.ids, table.tasks, table.candidates) == (("AIME_7",), ("AIME",), ("m", "n"))
    assert (table.output_tokens == 6).all()
    (tmp_path / "m.json").write_text("{}")
    with pytest.raises(TableError, match="not a JSON array"):
        convert("routerarena", tmp_path)


def test_lm_eval(tmp_path: Path) -> None:
    row = {"doc_id": 0, "arguments": [["the prompt", {"until": []}]], "metrics": ["acc"], "acc": 1.0}
    for model, score in (("a", 1.0), ("b", 0.0)):
        write_lines(tmp_path / model / "samples_arc_easy_2025-01-01T00-00-00.jsonl", [row | {"acc": score}])
    table = convert("lm-eval", tmp_path)
    assert (table.ids, table.tasks, table.prompts) == (("arc_easy-0",), ("arc_easy",), ("the prompt",))
    np.testing.assert_array_equal(table.score, [[1.0, 0.0]])
    write_lines(tmp_path / "a" / "samples_bad_x.jsonl", [row | {"acc": [1, 2]}])
    with pytest.raises(TableError, match="metric 'acc'"):
        convert("lm-eval", tmp_path)


def test_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with SqliteLedger(path, payload=True, linger=0.0) as ledger:
        for i, chosen in enumerate(("small", "large", "small")):
            nan = float("nan")
            decision = Decision(
                id=f"d{i}",
                at=float(i),
                tenant="",
                session="",
                model="auto",
                considered=(Considered(chosen, (), nan, nan, nan, nan, nan, nan, 1.0),),
                chosen=chosen,
                policy="p",
                snapshot="s",
                config="c",
                seed=0,
                signals={},
                vector=np.zeros(2, dtype=np.float32),
            )
            ledger.put(decision, Request(messages=(Message("user", f"prompt {i}"),)))
            spent = {"usage": Usage(3, 4), "cost": 0.5, "latency": 0.1}
            ledger.put(Outcome(decision=f"d{i}", at=1.0, candidate=chosen, steps=(), **spent))
            if i < 2:
                ledger.put(Feedback(decision=f"d{i}", at=2.0, score=0.25, source="verifier", tenant=""))
        ledger.flush().wait()
    table = convert("ledger", path)
    assert (table.ids, table.prompts, table.candidates) == (("d0", "d1"), ("prompt 0", "prompt 1"), ("large", "small"))
    np.testing.assert_array_equal(table.score, [[np.nan, 0.25], [0.25, np.nan]])
    assert np.nanmax(table.cost) == 0.5


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "routerbench_0shot.pkl"
    path.write_bytes(pickle.dumps({}))
    with pytest.raises(TableError, match="runs code"):
        convert("routerbench", path)


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"ledger"}))
def test_what_is_not_of_the_kind_is_said(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "samples_x_y.jsonl"
    path.write_text('{"a": 1}\n')
    with pytest.raises(TableError):
        convert(kind, path)
    with pytest.raises(TableError, match="does not exist"):
        convert(kind, tmp_path / "none")


def test_an_unknown_kind_offers_the_nearest() -> None:
    with pytest.raises(TableError, match="did you mean 'routerbench'"):
        convert("routerbensh", Path())


def test_text_in_a_number_column_is_found(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "wide.csv", [WIDE[0] | {"gpt-4": "good"}])
    with pytest.raises(TableError, match="row 1 of gpt-4 is 'good'"):
        convert("routerbench", path)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_what_is_written_is_read_back(tmp_path: Path, kind: Any) -> None:
    table = convert("routerbench", write_csv(tmp_path / "wide.csv", WIDE))
    write_tables(tmp_path / "out", [table], kind)
    again = read_tables(tmp_path / "out")["routerbench"]
    assert (again.ids, again.prompts, again.tasks, again.candidates) == (
        table.ids,
        table.prompts,
        table.tasks,
        table.candidates,
    )
    np.testing.assert_array_equal(again.score, table.score)
    np.testing.assert_array_equal(again.cost, table.cost)
