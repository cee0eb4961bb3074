"""Objectives: what they prefer, what they make of missing numbers."""

from __future__ import annotations

import numpy as np
import pytest

from interlock.objectives import OBJECTIVES, BestWithin, CheapestAbove, Chebyshev, Objective, Promise, Weighted
from interlock.types import Array, Estimate, Limits

NAN = float("nan")


def estimate(quality: list[float], cost: list[float], latency: float = 1.0, energy: float = 1.0) -> Estimate:
    q = np.array([quality])
    return Estimate(q, np.full_like(q, 0.1), np.array([cost]), np.full_like(q, latency), np.full_like(q, energy))


def order(utility: Array) -> list[int]:
    """Candidates from the best to the worst."""
    return np.argsort(-utility[0]).tolist()


def test_weighted_is_a_sum() -> None:
    own = estimate([0.9, 0.5], [0.001, 0.0001], latency=2.0, energy=4.0)
    got = Weighted(quality=2.0, cost=100.0, latency=0.1, energy=0.01).utility(own)
    assert np.allclose(got, [[1.8 - 0.1 - 0.2 - 0.04, 1.0 - 0.01 - 0.2 - 0.04]])


def test_weighted_does_not_look_at_what_has_no_weight() -> None:
    assert np.isfinite(Weighted().utility(estimate([0.9], [NAN], NAN, NAN))).all()
    assert np.isnan(Weighted(cost=1.0).utility(estimate([0.9], [NAN]))).all()


def test_chebyshev_reaches_what_a_sum_cannot() -> None:
    # The middle candidate lies above the line between the others, so no weighted sum ever picks it.
    own = estimate([0.2, 0.5, 1.0], [0.0, 0.55, 1.0])
    sums = {int(np.argmax(Weighted(quality=w, cost=1 - w).utility(own))) for w in np.linspace(0, 1, 101)}
    peaks = {int(np.argmax(Chebyshev(w).utility(own))) for w in np.linspace(0, 1, 101)}
    assert 1 not in sums
    assert 1 in peaks


def test_cheapest_above_takes_the_cheapest_that_is_good_enough() -> None:
    own = estimate([0.95, 0.8, 0.75, 0.3], [10.0, 3.0, 2.0, 1.0])
    assert order(CheapestAbove(0.7).utility(own)) == [2, 1, 0, 3]
    assert order(CheapestAbove(0.99).utility(own)) == [0, 1, 2, 3], "nobody is good enough: the best first"


def test_a_callers_quality_goes_first() -> None:
    own = estimate([0.95, 0.8, 0.75], [10.0, 3.0, 2.0])
    assert order(CheapestAbove(0.7).utility(own, [Limits(min_quality=0.9)]))[0] == 0
    assert order(CheapestAbove(0.7).utility(own, [Limits()]))[0] == 2


def test_best_within_takes_the_best_it_can_afford() -> None:
    own = estimate([0.95, 0.8, 0.75], [10.0, 3.0, 2.0])
    assert order(BestWithin(5.0).utility(own)) == [1, 2, 0]
    assert order(BestWithin(1.0).utility(own)) == [2, 1, 0], "nobody is affordable: the cheapest first"
    assert order(BestWithin(1.0).utility(own, [Limits(max_cost=20.0)]))[0] == 0


@pytest.mark.parametrize("kind", OBJECTIVES.values(), ids=OBJECTIVES)
def test_a_missing_quality_is_never_a_utility(kind: type[Objective]) -> None:
    got = kind().utility(estimate([NAN, 0.5], [1.0, 1.0]))
    assert np.isfinite(got).tolist() == [[False, True]]


@pytest.mark.parametrize("kind", [Chebyshev, CheapestAbove, BestWithin])
def test_a_missing_price_is_never_a_utility(kind: type[Objective]) -> None:
    got = kind().utility(estimate([0.9, 0.5], [NAN, 1.0]))
    assert np.isfinite(got).tolist() == [[False, True]]


@pytest.mark.parametrize("kind", OBJECTIVES.values(), ids=OBJECTIVES)
def test_free_candidates_differ_by_quality_only(kind: type[Objective]) -> None:
    got = kind().utility(estimate([0.2, 0.9], [0.0, 0.0]))
    assert got[0, 1] >= got[0, 0]
    assert np.isfinite(got).all()


@pytest.mark.parametrize("kind", [kind for kind in OBJECTIVES.values() if kind is not Promise])
def test_deviation_scales_with_what_quality_is_worth(kind: type[Objective]) -> None:
    own = estimate([0.2, 0.9], [1.0, 1.0])
    assert (kind().std(own) > 0).all()
    assert np.allclose(Weighted(quality=3.0).std(own), 0.3)
