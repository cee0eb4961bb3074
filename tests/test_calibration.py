"""What a promise rests on: whom a threshold accepts, what a decision says of it, and a bound that holds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.calibration import NEVER, THRESHOLDS, Calibration, Rung, accepted, p_value
from interlock.estimators import Constant
from interlock.exploration import Epsilon, Greedy
from interlock.objectives import Promise
from interlock.policy import Event, Policy
from interlock.types import Estimate

NAMES = ("a", "b", "c")
COST = np.array([1.0, 2.0, 4.0])


def estimate(quality: np.ndarray) -> Estimate:
    none = np.zeros_like(quality)
    return Estimate(quality, none, np.tile(COST[: quality.shape[1]], (len(quality), 1)), none, none)


def world(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Estimated qualities and scores; the estimates are right on average for no candidate in particular."""
    ease = rng.normal(size=(n, 1))
    quality = 1 / (1 + np.exp(-(ease + np.array([-0.5, 0.5, 1.5]) + 0.5 * rng.normal(size=(n, 3)))))
    score = (rng.random((n, 3)) < 1 / (1 + np.exp(-(1.5 * ease + np.array([-0.5, 0.5, 1.5]))))).astype(np.float64)
    return quality, score


def test_the_cheapest_that_reaches_the_threshold_is_accepted() -> None:
    taken, rows = accepted(np.array([[0.5, 0.9, 0.95], [0.1, 0.2, 0.3], [0.8, 0.8, 0.1]]), np.tile(COST, (3, 1)), 0.8)
    assert taken.tolist() == [1, 0]
    assert rows.tolist() == [0, 2], "nobody is accepted for the second"
    assert accepted(np.array([[0.9, 0.9]]), np.array([[np.nan, 2.0]]), 0.5)[0].tolist() == [1], "unknown cost: not he"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_decision_that_asked_for_certain_says_what_a_table_says(seed: int) -> None:
    """Where everybody had probability 1 and the one each threshold accepts answered, both count the same."""
    rng = np.random.default_rng(seed)
    quality, score = world(rng, 1)
    table = Calibration().learn_table(estimate(quality), score)
    one = Calibration()
    for c, name in enumerate(NAMES):
        ladder = tuple(Rung(n, float(q), float(p), 1.0) for n, q, p in zip(NAMES, quality[0], COST, strict=True))
        one.learn(ladder, name, float(score[0, c]))
    np.testing.assert_array_equal(one._losses, table._losses)
    assert one.rows == 3 * table.rows


def test_logged_propensities_estimate_the_risk_of_every_threshold() -> None:
    rng = np.random.default_rng(0)
    quality, score = world(rng, 20_000)
    chance = np.array([0.5, 0.25, 0.25])
    whole, part = Calibration().learn_table(estimate(quality), score), Calibration()
    for q, s, c in zip(quality, score, rng.choice(3, size=len(quality), p=chance), strict=True):
        ladder = tuple(Rung(n, float(e), float(p), float(w)) for n, e, p, w in zip(NAMES, q, COST, chance, strict=True))
        part.learn(ladder, NAMES[c], float(s[c]))
    for threshold in (0.3, 0.6, 0.8, 0.9):
        assert part.risk(threshold) == pytest.approx(whole.risk(threshold), abs=0.012)


def test_what_was_never_tried_counts_as_wrong() -> None:
    ladder = (Rung("a", 0.9, 1.0, 0.0), Rung("b", 0.95, 2.0, 1.0))
    held = Calibration()
    held.learn(ladder, "b", 1.0)
    assert held.risk(0.9) == 1.0, "a would have been accepted, and nobody knows what it would have said"
    assert held.risk(0.95) == 0.0
    assert Calibration().threshold(0.1, 0.1) == NEVER


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_a_score_can_be_taken_back(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    held = Calibration()
    told = [
        (
            tuple(Rung(name, q, c, p) for name, q, c, p in zip(NAMES, *rng.random((3, 3)), strict=True)),
            str(rng.choice(NAMES)),
            float(rng.random() < 0.5),
        )
        for _ in range(n)
    ]
    for one in told:
        held.learn(*one)
    for one in told:
        held.learn(*one, weight=-1.0)
    assert np.abs(held._losses).max() < 1e-9
    assert held.rows == 0


@pytest.mark.parametrize(("n", "k", "p"), [(10, 3, 0.4), (200, 0, 0.05), (1000, 30, 0.05), (50, 50, 0.5)])
def test_the_exact_test_is_the_binomial_one(n: int, k: int, p: float) -> None:
    wanted = sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))
    assert p_value(n, k, p) == pytest.approx(wanted if k < n * p else 1.0, rel=1e-9)


def test_the_guarantee_holds_over_repeated_calibrations() -> None:
    """The true risk of the threshold found exceeds epsilon in at most about delta of the calibrations."""
    delta, epsilon, broken = 0.1, 0.1, 0
    large = world(np.random.default_rng(99), 60_000)
    truth = Calibration().learn_table(estimate(large[0]), large[1])
    found = []
    for seed in range(200):
        quality, score = world(np.random.default_rng(seed), 300)
        found.append(Calibration().learn_table(estimate(quality), score).threshold(epsilon, delta))
        broken += math.isfinite(found[-1]) and truth.risk(found[-1]) > epsilon
    assert broken <= 200 * delta + 2 * math.sqrt(200 * delta * (1 - delta))
    assert np.isfinite(found).mean() > 0.9, "and it is worth something"


def test_state_comes_back() -> None:
    quality, score = world(np.random.default_rng(5), 50)
    held = Calibration().learn_table(estimate(quality), score)
    again = Calibration().restore(held.state())
    assert again.threshold(0.2, 0.1) == held.threshold(0.2, 0.1)
    np.testing.assert_array_equal(again._classes, held._classes)


def test_scores_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"scores have shape \(2, 3\): expected that of the estimates, \(4, 3\)"):
        Calibration().learn_table(estimate(np.full((4, 3), 0.5)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="right is 0"):
        Calibration(right=0.0)


@pytest.mark.parametrize("bad", [{"epsilon": 0.0}, {"epsilon": 1.0}, {"delta": 0.0}, {"slack": 2.0}])
def test_a_promise_that_means_nothing_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Promise(**bad)


def policy(exploration: object, epsilon: float = 0.1) -> Policy:
    return Policy(Constant(), Promise(epsilon), exploration)  # type: ignore[arg-type]


def test_the_policy_keeps_the_promise_and_says_where_it_does_not_reach() -> None:
    rng = np.random.default_rng(1)
    own = policy(Greedy())
    quality, score = world(rng, 2000)
    permitted = np.ones((500, 3), dtype=np.bool_)
    later, real = world(rng, 500)
    before = own.choose(estimate(later), permitted)
    assert before.promised is not None
    assert not before.promised.any(), "nothing is promised before anything is known"
    own.calibration.learn_table(estimate(quality), score)
    choice = own.choose(estimate(later), permitted)
    assert choice.promised is not None
    wrong = (choice.probability * (choice.promised & (real < 0.5))).sum(axis=1).mean()
    assert wrong <= 0.1 + 0.02
    assert 0.2 < (choice.probability * choice.promised).sum(axis=1).mean() < 1.0
    abstained = ~choice.promised.any(axis=1)
    best = later.max(axis=1) - (later * choice.probability).sum(axis=1)
    assert (best[abstained] <= Promise().slack + 1e-9).all(), "outside the promise, nearly the best"


def test_a_model_too_bad_for_the_promise_is_not_accepted() -> None:
    rng = np.random.default_rng(2)
    own = policy(Greedy(), epsilon=0.05)
    own.calibration.learn_table(estimate(np.full((500, 3), 0.9)), (rng.random((500, 3)) < 0.7).astype(np.float64))
    choice = own.choose(estimate(np.full((4, 3), 0.9)), np.ones((4, 3), dtype=np.bool_))
    assert choice.promised is not None
    assert not choice.promised.any()
    assert np.allclose(choice.probability.sum(axis=1), 1.0), "served all the same, outside the promise"


def test_the_fold_calibrates_and_takes_back() -> None:
    own = policy(Epsilon(0.1))
    ladder = tuple(Rung(n, q, float(c), 1.0) for n, q, c in zip(NAMES, (0.5, 0.7, 0.9), COST, strict=True))
    told = Event(kind="score", candidate="a", vector=np.zeros(2, np.float32), score=0.0, ladder=ladder)
    own.learn(told)
    assert own.calibration.risk(0.4) == 1.0
    assert own.calibration.risk(0.6) == 0.0
    stored = policy(Epsilon(0.1)).restore(own.state())
    assert stored.state() == own.state() == own.clone().state()
    assert stored.calibration.risk(0.4) == 1.0
    assert (THRESHOLDS >= 0).all()
