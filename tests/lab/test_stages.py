"""A cascade pays for what it asked, the search keeps its promise on its own rows, the certificate on fresh ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.lab.stages import REFUSE, cascade, certify, search


def answers(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Acceptors that are calibrated, stages that are right in 60, 80 and 90%, costs 1, 4 and 16."""
    rng = np.random.default_rng(seed)
    probability = np.clip(rng.beta([3, 8], [2, 2], (n, 2)), 0.01, 0.99)
    right = np.hstack([rng.random((n, 2)) < probability, rng.random((n, 1)) < 0.9]).astype(float)
    return probability, right, np.tile([1.0, 4.0, 16.0], (n, 1))


@given(st.floats(0.0, 1.1), st.floats(0.0, 1.1), st.integers(0, 9))
def test_every_stage_asked_is_paid_for(first: float, second: float, seed: int) -> None:
    probability, right, cost = answers(50, seed)
    ran = cascade(probability, right, cost, np.array([first, second]))
    np.testing.assert_allclose(ran.cost, np.array([1.0, 5.0, 21.0])[ran.stage])
    np.testing.assert_array_equal(ran.quality, right[np.arange(50), ran.stage])
    assert not ran.wrong[ran.stage == 2].any(), "the last stage accepts nothing"


def test_a_stage_that_is_not_tried_costs_nothing() -> None:
    probability, right, cost = answers(50, 0)
    assert (cascade(probability, right, cost, np.array([REFUSE, REFUSE])).cost == 16.0).all()
    tried = np.zeros((50, 2), dtype=bool)
    assert (cascade(probability, right, cost, np.array([0.0, 0.0]), tried).cost == 16.0).all()


def test_the_search_is_cheapest_among_what_keeps_quality() -> None:
    probability, right, cost = answers(2000, 1)
    least = right[:, -1].mean() - 0.005
    ran = cascade(probability, right, cost, search(probability, right, cost, least=least))
    assert ran.quality.mean() >= least
    assert ran.cost.mean() < 16.0
    loose = cascade(probability, right, cost, search(probability, right, cost, least=0.7))
    assert loose.cost.mean() < ran.cost.mean()
    assert np.isinf(search(probability, right, cost, least=1.01)).all(), "nothing qualifies: the last stage alone"


@pytest.mark.parametrize("epsilon", [0.02, 0.1])
def test_what_is_certified_holds_on_fresh_rows(epsilon: float) -> None:
    thresholds = np.array([0.3, 0.3])  # far too loose
    probability, right, cost = answers(20_000, 99)
    assert cascade(probability, right, cost, thresholds).wrong.mean() > epsilon
    broken = 0
    for seed in range(60):
        kept = certify(*answers(800, seed), thresholds, epsilon=epsilon)
        broken += cascade(probability, right, cost, kept).wrong.mean() > epsilon
    assert broken <= 7, "at level 0.05, 3 of 60 are expected; 7 or fewer with probability 0.98"
