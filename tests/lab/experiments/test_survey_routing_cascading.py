"""Parts of the survey experiment on tables whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from interlock.lab.experiments import Options
from interlock.lab.experiments import survey_routing_cascading as survey
from interlock.lab.locate import NoData
from interlock.lab.tables import Table

pytest.importorskip("sklearn")
pytest.importorskip("lightgbm")


def outcomes(tasks: list[str], score: np.ndarray, cost: np.ndarray | None = None) -> Table:
    n, k = score.shape
    words = {"mmlu": "which capital lies north", "gsm8k": "how many apples 12 34", "mbpp": "def function return list"}
    prompts = tuple(f"{words[task]} {i % 97} item{i}" for i, task in enumerate(tasks))
    empty = np.full((n, k), np.nan)
    names = tuple(f"m{i}" for i in range(k))
    return Table(
        "made up",
        tuple(map(str, range(n))),
        prompts,
        tuple(tasks),
        names,
        score,
        empty if cost is None else cost,
        empty,
        empty,
        empty,
        empty,
    )


def specialists(n: int, tasks: tuple[str, ...] = ("mmlu", "gsm8k")) -> Table:
    """The first candidate is right on the first task, the second on the second; the third on a half of everything."""
    rng = np.random.default_rng(0)
    of = [tasks[i % len(tasks)] for i in range(n)]
    chance = np.array([[0.95, 0.1, 0.5] if task == tasks[0] else [0.1, 0.95, 0.5] for task in of])
    return outcomes(of, (rng.random(chance.shape) < chance).astype(float))


def figure(figures: list[object], name: str) -> object:
    return next(f for f in figures if f.name == name)  # type: ignore[attr-defined]


def test_margins_beat_difficulty_alone_where_models_differ_by_task() -> None:
    table = specialists(400).only(["m2", "m0"])
    found = survey.preference(table, 0)
    assert figure(found, "RouteLLM joint, APGR, logistic").ours > 0.8  # type: ignore[attr-defined]
    assert figure(found, "RouteLLM joint, APGR, margin - difficulty alone, logistic").verdict == "pass"  # type: ignore[attr-defined]


def test_clusters_find_specialists_and_the_bandit_finds_them_too() -> None:
    table = specialists(600, ("mmlu", "gsm8k", "mbpp"))
    found = survey.clustering(table, 0)
    assert figure(found, "RouterDC inside, clusters - best single").verdict == "pass"  # type: ignore[attr-defined]
    bridged = survey.bridge(specialists(600), [0, 1])
    assert bridged[-1].verdict == "pass"
    assert bridged[1].ours > bridged[2].ours + 0.2, "better than the best single"


def test_prompts_of_the_fields_take_turns_and_are_seeded() -> None:
    examples = survey.fields(0, 40, "test")
    assert [e.prompt for e in examples] == [e.prompt for e in survey.fields(0, 40, "test")]
    assert {e.domain for e in examples} >= {"facts-comet", "facts-painter", "facts-mineral"}
    assert all(e.split == "test" for e in examples)


def test_without_data_it_says_what_to_pass(tmp_path: Path) -> None:
    with pytest.raises(NoData, match="--data FOLDER"):
        survey.run(Options(seeds=(0,), out=tmp_path, data=tmp_path))
