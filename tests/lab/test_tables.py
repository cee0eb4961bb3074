from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from interlock.lab.tables import TableError, join, read_tables

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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": "good"}, "row 1 of score is 'good', expected a number"),
        ({"score": 85.0}, "above 1 .the most is 85.; it seems to be in percent: divide by 100"),
        ({"score": 4.0}, "grades from 1 to 5"),
        ({"score": 9.0}, "grades from 1 to 10"),
        ({"score": 900.0}, "no scale that is known"),
        ({"score": -0.5}, "negative .the least is -0.5.; log-probabilities"),
        ({"cost_usd": -1.0}, "row 1 of cost_usd is negative"),
        ({"cost_usd": 3000.0}, "in cents, in micro-dollars, or a price per million"),
        ({"latency_s": float("inf")}, "latency_s is infinite"),
    ],
)
def test_impossible_values_are_named_with_their_unit(tmp_path: Path, change: dict[str, object], message: str) -> None:
    outcomes = [{"query_id": "a", "model": "m", "score": 1.0, "cost_usd": 0.5, "latency_s": 1.0} | change]
    if change.get("latency_s"):  # JSON has no infinity
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet

        pyarrow.parquet.write_table(pa.Table.from_pylist(outcomes), tmp_path / "outcomes.parquet")
        write(tmp_path, QUERIES, [], "jsonl")
    else:
        write(tmp_path, QUERIES, outcomes, "jsonl")
    with pytest.raises(TableError, match=message):
        read_tables(tmp_path)


@pytest.mark.parametrize(
    ("queries", "outcomes", "message"),
    [
        ([], OUTCOMES, "lacks the column 'query_id'"),
        (QUERIES, [], "lacks the column 'query_id'"),
        ([*QUERIES, QUERIES[0]], OUTCOMES, "the id 'a' in rows 1 and 4"),
        (QUERIES, [*OUTCOMES, OUTCOMES[0]], "query 'a' has more than one outcome of 'm'"),
        (QUERIES, OUTCOMES[:2], "y: no outcome is about any of its 1 queries"),
    ],
)
def test_tables_that_make_no_sense_are_refused(
    tmp_path: Path, queries: list[dict[str, object]], outcomes: list[dict[str, object]], message: str
) -> None:
    with pytest.raises(TableError, match=message):
        read_tables(write(tmp_path, queries, outcomes, "jsonl"))


def test_a_line_that_is_no_json_is_named(tmp_path: Path) -> None:
    write(tmp_path, QUERIES, OUTCOMES, "jsonl")
    with (tmp_path / "outcomes.jsonl").open("a") as lines:
        lines.write("\nnot json\n")
    with pytest.raises(TableError, match="line 4: not a JSON object"):
        read_tables(tmp_path)


def test_an_unknown_data_set_offers_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no data set 'z'; known: x, y"):
        read_tables(write(tmp_path, QUERIES, OUTCOMES, "jsonl"), ["z"])


def test_joining_the_folds_gives_all_queries(tmp_path: Path) -> None:
    x = read_tables(write(tmp_path, QUERIES, OUTCOMES, "jsonl"))["x"]
    again = join([x.take([0]), x.take([1])])
    assert again.ids == x.ids
    np.testing.assert_array_equal(again.score, x.score)
