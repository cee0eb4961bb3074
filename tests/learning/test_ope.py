"""Off-policy values: what each estimator is, on logs whose truth is known, and what bad logs are told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.lab.experiments.ope_coverage import log_of, simulate, truth
from interlock.learning.ope import INTERVALS, METHODS, Logged, Value, cross_fit, gain, value
from interlock.learning.overlap import effective, overlap

TRUE = truth()


def small(**changes: Any) -> Logged:
    """Three rows, two candidates, the first tried with 3/4."""
    fields: dict[str, Any] = {
        "chosen": np.array([0, 1, 0]),
        "reward": np.array([1.0, 0.0, 0.5]),
        "propensity": np.array([0.75, 0.25, 0.75]),
        "target": np.array([[0.5, 0.5]] * 3),
        "model": np.array([[0.8, 0.2]] * 3),
        "logging": np.array([[0.75, 0.25]] * 3),
    }
    return Logged(**(fields | changes))


def test_each_is_its_formula() -> None:
    log = small()
    weight = np.array([2 / 3, 2.0, 2 / 3])
    assert log.weight == pytest.approx(weight)
    assert METHODS["ips"](log).mean() == pytest.approx((weight * log.reward).sum() / 3)
    assert METHODS["snips"](log).mean() == pytest.approx((weight * log.reward).sum() / weight.sum())
    assert METHODS["direct"](log).mean() == pytest.approx(0.5)
    surprise = log.reward - np.array([0.8, 0.2, 0.8])
    assert METHODS["doubly_robust"](log).mean() == pytest.approx(0.5 + (weight * surprise).mean())


@pytest.mark.parametrize("method", METHODS)
def test_a_log_of_the_policys_own_gives_its_mean(method: str) -> None:
    world = simulate(np.random.default_rng(0), 500)
    log = replace(log_of(world), target=np.eye(4)[world.chosen], propensity=np.ones(500), logging=None)
    if method != "direct":
        assert value(log, method).mean == pytest.approx(world.reward.mean(), abs=0.02)


@pytest.mark.parametrize("method", ["ips", "snips", "doubly_robust", "switch"])
@pytest.mark.parametrize(("interval", "count", "least"), [("student", 250, 0.91), ("bootstrap", 60, 0.85)])
def test_intervals_cover_about_as_often_as_they_say(method: str, interval: str, count: int, least: float) -> None:
    """A few logs: the experiment `ope-coverage` counts a thousand."""
    hits = [(found := value(log, method, interval)).low <= TRUE <= found.high for log in _logs()[:count]]
    assert least <= np.mean(hits) <= (0.985 if count > 200 else 1.0)


def _logs() -> list[Logged]:
    if not _CACHE:
        _CACHE.extend(log_of(simulate(np.random.default_rng([1, i]), 400)) for i in range(250))
    return _CACHE


_CACHE: list[Logged] = []


def test_doubly_robust_is_sharper_than_ips_and_bernstein_is_safe() -> None:
    widths = {m: np.mean([(v := value(log, m)).high - v.low for log in _logs()[:40]]) for m in METHODS}
    assert widths["doubly_robust"] < 0.75 * widths["ips"]
    safe = [value(log, "doubly_robust", "bernstein") for log in _logs()[:40]]
    assert all(found.low <= TRUE <= found.high for found in safe)


def test_what_was_never_tried_widens_the_interval_to_what_it_could_be() -> None:
    log = small(
        chosen=np.zeros(400, dtype=np.intp),
        reward=np.ones(400),
        propensity=np.ones(400),
        target=np.tile([0.8, 0.2], (400, 1)),
        model=np.tile([1.0, 0.6], (400, 1)),
        logging=np.tile([1.0, 0.0], (400, 1)),
    )
    found = value(log)
    assert found.mean == pytest.approx(0.92)
    assert (found.low, found.high) == (pytest.approx(0.8), pytest.approx(1.0))
    assert found.unknown == pytest.approx(0.2)
    assert overlap(log).unsupported == pytest.approx(0.2)
    assert value(log, "ips").low == pytest.approx(0.8)


@given(st.floats(-0.5, 1.5), st.floats(0, 1), st.floats(0, 1))
def test_within_what_rewards_can_be_an_interval_holds_its_mean(mean: float, below: float, above: float) -> None:
    found = Value(method="doubly_robust", mean=mean, low=mean - below, high=mean + above).within(0.0, 1.0)
    assert 0.0 <= found.low <= found.mean <= found.high <= 1.0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-3, 3), st.floats(0.1, 10))
def test_values_follow_the_unit_of_the_rewards(seed: int, shift: float, scale: float) -> None:
    log = log_of(simulate(np.random.default_rng(seed), 60))
    moved = replace(log, reward=shift + scale * log.reward, model=shift + scale * log.predicted)
    for method in ("snips", "direct", "doubly_robust"):
        assert value(moved, method).mean == pytest.approx(shift + scale * value(log, method).mean, abs=1e-6)


def test_predictions_come_from_a_model_that_has_not_seen_the_row() -> None:
    world = simulate(np.random.default_rng(3), 300)
    told = cross_fit(world.context, world.chosen, world.reward, "abcd")
    other = world.reward.copy()
    other[17] = 1.0 - other[17]
    again = cross_fit(world.context, world.chosen, other, "abcd")
    assert again[17] == pytest.approx(told[17]), "its own reward plays no part"
    assert np.abs(again - told).max() > 0
    assert np.corrcoef(told.ravel(), world.right.ravel())[0, 1] > 0.5


def test_effective_sample_size() -> None:
    assert effective([1.0] * 10) == pytest.approx(10)
    assert effective([10.0] + [0.0] * 9) == pytest.approx(1)
    assert effective([0.0]) == 0.0


def test_overlap_names_the_trouble() -> None:
    n = 200
    hard = np.arange(n) >= 150
    logging = np.where(hard[:, None], [1.0, 0.0], [0.5, 0.5])
    log = Logged(
        chosen=np.zeros(n, dtype=np.intp),
        reward=np.ones(n),
        propensity=logging[:, 0],
        target=np.tile([0.0, 1.0], (n, 1)),
        logging=logging,
        names=("small", "large"),
    )
    found = overlap(log, np.where(hard, "maths", "chat").tolist(), [f"il-{i}" for i in range(n)])
    assert found.unsupported == pytest.approx(0.25)
    (trouble,) = found.trouble
    assert (trouble.group, trouble.candidate, trouble.requests, trouble.tried) == ("maths", "large", 50, 0.0)
    assert trouble.examples[0] == "il-150"
    assert str(trouble) == "maths: large for 50 requests (25.0% of all), never tried"
    assert "25.0%" in found.too_thin(10, 0.05)
    assert "0 of the policy" in found.too_thin(10, 0.5)


def test_weights_far_from_one_are_too_thin() -> None:
    log = small(target=np.array([[0.05, 0.95]] * 3), chosen=np.zeros(3, dtype=np.intp), propensity=np.full(3, 0.75))
    assert "where they should 1" in overlap(log).too_thin(1.0, 1.0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"propensity": np.array([0.75, 0.0, 0.75])}, "row 1: the propensity is not in"),
        ({"propensity": np.array([0.75, 0.25, 1.5])}, "row 2: the propensity is not in"),
        ({"reward": np.array([np.nan, 0.0, 0.0])}, "row 0: the reward is not finite"),
        ({"chosen": np.array([0, 2, 0])}, "row 1: the choice is none of the 2 candidates"),
        ({"target": np.array([[0.5, 0.5], [0.5, 0.4], [0.5, 0.5]])}, "row 1: the other policy's probabilities"),
        ({"target": np.array([[0.5, 0.5]] * 2)}, "probabilities of shape"),
        ({"model": np.array([[0.5, 0.5], [np.inf, 0.5], [0.5, 0.5]])}, "row 1: its predictions are not finite"),
        ({"model": np.zeros((3, 3))}, "predictions have shape"),
        ({"logging": np.array([[0.5, np.nan]] * 3)}, "row 0: its logged probabilities are not finite"),
    ],
)
def test_a_log_that_makes_no_sense_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        small(**changes)


def test_an_empty_log_and_unknown_methods_are_refused() -> None:
    none = np.zeros(0)
    with pytest.raises(ValueError, match="no rows"):
        Logged(none.astype(np.intp), none, none, np.zeros((0, 2)))
    with pytest.raises(ValueError, match="no method 'dr'; one of ips"):
        value(small(), "dr")
    with pytest.raises(ValueError, match="no interval 'normal'; one of student"):
        value(small(), interval="normal")
    with pytest.raises(ValueError, match="level is 95"):
        value(small(), level=95)
    with pytest.raises(ValueError, match="needs predictions"):
        value(small(model=None))
    with pytest.raises(ValueError, match="never makes a logged choice"):
        value(small(target=np.array([[0.0, 1.0]] * 3), chosen=np.zeros(3, dtype=np.intp)), "snips")
    with pytest.raises(ValueError, match="3 rows in 5 folds"):
        cross_fit(np.zeros((3, 2)), [0, 1, 0], [0.0, 1.0, 0.5], "ab")
    with pytest.raises(ValueError, match="row 2: its vector is not finite"):
        cross_fit(np.array([[0.0], [1.0], [np.nan]]), [0, 1, 0], [0.0, 1.0, 0.5], "ab", folds=2)


@pytest.mark.parametrize("interval", INTERVALS)
def test_few_rows_and_equal_rewards_are_no_exception(interval: str) -> None:
    found = value(small(), interval=interval)
    assert found.low <= found.mean <= found.high
    alike = value(replace(log_of(simulate(np.random.default_rng(0), 50)), reward=np.ones(50), model=np.ones((50, 4))))
    assert alike.low == pytest.approx(1.0)
    assert alike.high == pytest.approx(1.0)


def test_a_gain_is_what_is_more_than_the_log_got() -> None:
    log = small()
    assert gain(log).mean == pytest.approx(value(log).mean - log.reward.mean())
    world = simulate(np.random.default_rng(0), 500)
    itself = replace(log_of(world), target=np.eye(4)[world.chosen], propensity=np.ones(500), logging=None)
    found = gain(itself)
    assert (found.mean, found.low, found.high) == pytest.approx((0.0, 0.0, 0.0), abs=1e-9)


def test_a_gain_knows_more_than_the_two_values_apart() -> None:
    """What the requests have in common cancels row by row."""
    log = log_of(simulate(np.random.default_rng(1), 2000))
    found = gain(log, "snips")
    assert found.low <= TRUE - log.reward.mean() <= found.high
    with pytest.raises(ValueError, match="no method"):
        gain(log, "guess")
