"""Calibration: the level mix meets reachable targets, misses others least, and the ladder's arithmetic is right."""

from __future__ import annotations

import numpy as np
import pytest

from interlock.pocket.level_mix import Targets, choose

CELLS = [("easy", 1), ("middle", 1), ("hard", 1), ("hard", 2)]
ACCURACY = {
    "small": dict(zip(CELLS, (0.9, 0.5, 0.1, 0.0), strict=True)),
    "large": dict(zip(CELLS, (1.0, 0.95, 0.9, 0.3), strict=True)),
}
TARGETS = Targets("small", "large", (("small", "large"),), band=(0.4, 0.6), top=0.9)


def mean(name: str, weights: dict[tuple[str, int], float]) -> float:
    return sum(weights[cell] * ACCURACY[name][cell] for cell in CELLS)


def test_reachable_targets_are_met_within_the_bounds() -> None:
    weights = choose(ACCURACY, CELLS, TARGETS)
    assert sum(weights.values()) == pytest.approx(1)
    for cell, weight in weights.items():
        even = 1 / 6 if cell[0] == "hard" else 1 / 3
        assert 0.25 * even - 1e-9 <= weight <= 4 * even + 1e-9
    assert 0.4 - 1e-6 <= mean("small", weights) <= 0.6 + 1e-6
    assert mean("large", weights) >= 0.9 - 1e-6
    assert mean("large", weights) - mean("small", weights) >= TARGETS.enough - 1e-6


def test_an_unreachable_top_is_missed_by_as_little_as_possible() -> None:
    weights = choose(ACCURACY, CELLS, Targets("small", "large", (), band=(0.0, 1.0), top=1.0))
    middle, hard = 0.25 / 3, 0.25 / 6
    best = (1 - middle - 2 * hard) * 1.0 + middle * 0.95 + hard * (0.9 + 0.3)
    assert mean("large", weights) == pytest.approx(best)


def test_the_even_mix_is_kept_where_it_meets_the_targets() -> None:
    weights = choose(ACCURACY, CELLS, Targets("small", "large", (("small", "large"),), band=(0.0, 1.0), top=0.5))
    assert weights == pytest.approx({("easy", 1): 1 / 3, ("middle", 1): 1 / 3, ("hard", 1): 1 / 6, ("hard", 2): 1 / 6})


def test_wilson_interval_against_published_values() -> None:
    ladder = pytest.importorskip("interlock.pocket.ladder")
    # Newcombe, Statistics in Medicine 1998, table I: 81 of 263 gives 0.2553 to 0.3662, 0 of 20 gives 0 to 0.1611.
    assert ladder.wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert ladder.wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_the_oracle_takes_the_cheapest_correct_candidate() -> None:
    pytest.importorskip("torch")
    from interlock.pocket.calibrate import Candidate
    from interlock.pocket.ladder import _room

    family = [
        Candidate("a-t0", None, 0, 1),
        Candidate("a-special-t0", None, 0, 2, "a-special"),
        Candidate("b-t0", None, 0, 9),
    ]
    correct = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 1, 0]], bool)
    usd = np.array([[1.0] * 4, [2.0] * 4, [9.0] * 4])
    room = _room(family, correct, usd)
    assert room.oracle_accuracy == 0.75
    assert room.oracle_usd == pytest.approx((1 + 2 + 9 + 1) / 4)
    assert (room.best_single, room.best_single_accuracy, room.best_single_usd) == ("b-t0", 0.75, 9.0)
    assert room.only_specialists == 0.25
