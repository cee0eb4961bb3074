from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from interlock.lab.tables import TableError, read_tables

QUERIES = [
    {"query_id": "a", "dataset": "x", "task": "sums", "prompt": "1+1"},
    {"query_id": "b", "dataset": "x", "task": "sums", "prompt": "1+2"},
    {"query_id": "c", "dataset": "y", "task": "", "prompt": "hello"},
]
OUTCOMES = [
    {"query_id": "a", "model": "m", "score": 1.0, "cost_usd": 0.5},
    {"query_id": "b", "model": "n", "score": 0.0, "cost_usd": None},
    {"query_id": "c", "model": "m", "score": 0.25},
]


def write(folder: Path, queries: list[dict[str, object]], outcomes: list[dict[str, object]], kind: str) -> Path:
    for stem, rows in (("queries", queries), ("outcomes", outcomes)):
        if kind == "jsonl":
            (folder / f"{stem}.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, rows)))
        else:
            pa = pytest.importorskip("pyarrow")
            import pyarrow.parquet

            pyarrow.parquet.write_table(pa.Table.from_pylist(rows), folder / f"{stem}.parquet")
    return folder


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_folder_gives_one_table_a_data_set_and_missing_stays_missing(tmp_path: Path, kind: str) -> None:
    tables = read_tables(write(tmp_path, QUERIES, OUTCOMES, kind))
    assert list(tables) == ["x", "y"]
    x = tables["x"]
    assert (x.ids, x.tasks, x.candidates) == (("a", "b"), ("sums", "sums"), ("m", "n"))
    np.testing.assert_array_equal(x.score, [[1.0, np.nan], [np.nan, 0.0]])
    np.testing.assert_array_equal(x.cost, [[0.5, np.nan], [np.nan, np.nan]])
    assert np.isnan(x.latency).all()
    assert x.priced().candidates == ("m",)


def test_an_outcome_of_an_unknown_query_is_named(tmp_path: Path) -> None:
    write(tmp_path, QUERIES, [*OUTCOMES, {"query_id": "z", "model": "m", "score": 1.0}], "jsonl")
    with pytest.raises(TableError, match="query 'z'"):
        read_tables(tmp_path)


def test_folds_part_the_queries_and_keep_equal_prompts_together(tmp_path: Path) -> None:
    queries = [{"query_id": str(i), "dataset": "x", "task": "", "prompt": str(i // 2)} for i in range(40)]
    outcomes = [{"query_id": str(i), "model": "m", "score": 1.0} for i in range(40)]
    table = read_tables(write(tmp_path, queries, outcomes, "jsonl"))["x"]
    tested = []
    for train, test in table.folds(4):
        assert not set(train.prompts) & set(test.prompts)
        tested += test.ids
    assert sorted(tested) == sorted(table.ids)
