from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from interlock.lab.answers import Table
from interlock.lab.experiments import names, pocket_ladder, pocket_recipe
from interlock.pocket.family import SHIPPED
from interlock.pocket.mix import bench
from interlock.pocket.tasks import Example

RIGHT = {
    "nano-t0": 45,
    "nano-t1": 55,
    "micro-t0": 65,
    "micro-t1": 80,
    "small-t0": 75,
    "small-t1": 88,
    "base-t0": 85,
    "base-t1": 94,
}


def table(right: dict[str, int], more: dict[str, list[float]] | None = None) -> Table:
    """A hundred prompts; each candidate is right on the first `right` of them. Larger ones cost more."""
    columns = [np.arange(100) < count for count in right.values()]
    columns += [np.array(values) > 0 for values in (more or {}).values()]
    prices = np.array([[1.0 + i, 0.1, 1.0 + i] for i in range(len(columns))])
    return Table((*right, *(more or {})), prices, np.stack(columns, 1) * 1.0, np.full((100, len(columns), 3), 1.0))


def verdicts(figures: list) -> dict[str, str]:
    return {figure.name: figure.verdict for figure in figures}


def test_a_ladder_passes_and_a_missing_step_falls_short() -> None:
    assert set(verdicts(pocket_ladder.steps(table(RIGHT))).values()) == {"pass"}
    flat = verdicts(pocket_ladder.steps(table(RIGHT | {"micro-t1": 90})))
    assert flat["small-t1 - micro-t1"] == "short"
    assert flat["micro-t1 - nano-t1"] == "pass"
    assert len(flat) == 10


def test_bounds_are_wanted_of_the_cheapest_and_of_the_best_alone() -> None:
    judged = verdicts(pocket_ladder.rungs(table(RIGHT | {"nano-t0": 39})))
    assert judged["accuracy of nano-t0"] == "short"
    assert judged["accuracy of base-t1"] == "pass"
    assert judged["accuracy of micro-t0"] == "info"


def test_the_oracle_pays_for_the_cheapest_right_answer() -> None:
    better, saving = pocket_ladder.room(table(RIGHT))
    # Nobody is right on the last six, where it takes the cheapest: 45 and 6 at 1, then 10, 10, 15 (micro-t1) ...
    assert better.ours == 0
    assert better.verdict == "short", "no candidate adds to the best one here"
    expected = (45 * 1 + 10 * 2 + 10 * 3 + 15 * 4 + 8 * 6 + 6 * 8 + 6 * 1) / 100
    assert saving.ours == pytest.approx(8 / expected)
    lonely = [0.0] * 95 + [1.0] * 5
    assert pocket_ladder.room(table(RIGHT, {"micro-x-t1": lonely}))[0].ours == pytest.approx(0.05)


def test_a_specialist_must_win_at_home_and_lose_elsewhere() -> None:
    examples = bench(0, 100)
    domain = examples[0].domain
    away = [example.domain != domain for example in examples]
    answers = table(RIGHT, {"micro-x-t1": [0.0] * 100})
    home = table({"micro-t1": 10}, {"micro-x-t1": [1.0] * 100})
    won, lost = pocket_ladder.gains("micro-x-t1", "micro-t1", domain, home, answers, examples)
    assert (won.ours, won.verdict) == (pytest.approx(0.9), "pass")
    assert lost.verdict == "pass"
    assert lost.ours == pytest.approx(-np.mean(answers.quality[away, list(RIGHT).index("micro-t1")]))


def test_every_shipped_specialist_is_asked_what_it_studied() -> None:
    pairs = pocket_ladder.specialists()
    assert len(pairs) >= 4
    for base, name in pairs:
        examples: list[Example] = pocket_ladder.speciality(name, 5)
        assert base.startswith(name.split("-")[0])
        assert {example.split for example in examples} == {"test"}
        assert all(name.split("-")[1] in (example.task, example.domain.removeprefix("facts-")) for example in examples)


def test_the_shipped_calibration_falls_with_level_and_uses_every_generalist() -> None:
    calibration = json.loads((SHIPPED / "calibration.json").read_text("utf-8"))
    assert {figure.verdict for figure in pocket_ladder.calibrated(calibration)} == {"pass"}
    calibration["level_correlation"]["cups"] = -0.5
    calibration["best_buys"]["small-t0"] = []
    assert {figure.verdict for figure in pocket_ladder.calibrated(calibration)} == {"short"}


def test_the_plot_shows_every_candidate(tmp_path: Path) -> None:
    assert Path(pocket_ladder.draw(table(RIGHT), tmp_path / "x.png")).stat().st_size > 0
    assert {"pocket-ladder", "pocket-recipe"} <= set(names())


@pytest.mark.parametrize(("name", "value"), list(product(["recall", "cpu_seconds"], [0.5, 700.0])))
def test_the_recipe_is_judged_by_its_bounds(name: str, value: float) -> None:
    figure = pocket_recipe.judge(name, np.array([value]), 0.99 if name == "recall" else None)
    passes = value >= 0.99 if name == "recall" else value <= 600
    assert figure.verdict == ("pass" if passes else "short")
    assert figure.low is None, "one seed has no interval"
