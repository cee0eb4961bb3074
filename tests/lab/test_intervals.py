from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from interlock.lab.intervals import bootstrap, interval, means, paired, resamples, tost


def test_the_first_resample_is_the_sample() -> None:
    weights = resamples(50, 20)
    assert weights.shape == (21, 50)
    assert (weights[0] == 1).all()
    assert (weights.sum(axis=1) == 50).all()


def test_groups_are_drawn_together() -> None:
    weights = resamples(4, 50, groups=["a", "b", "a", "b"])
    np.testing.assert_array_equal(weights[:, :2], weights[:, 2:])


def test_means_leave_missing_cells_out() -> None:
    values = np.array([[1.0, np.nan], [0.0, 0.5]])
    np.testing.assert_allclose(means(np.array([[1.0, 1.0], [2.0, 0.0]]), values), [[0.5, 0.5], [1.0, np.nan]])


def test_the_bootstrap_agrees_with_scipys() -> None:
    values = np.random.default_rng(3).exponential(size=400)
    ours = bootstrap(values, rounds=5000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=5000, method="percentile", rng=1).confidence_interval
    width = theirs.high - theirs.low
    assert ours.value == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.06 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.06 * width)


def test_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    covered = [
        (made := bootstrap(rng.normal(size=100), rounds=400, seed=i)).low <= 0.0 <= made.high for i in range(400)
    ]
    assert 0.91 <= np.mean(covered) <= 0.98


def test_an_undefined_figure_has_an_undefined_interval() -> None:
    made = interval(np.full(5, np.nan))
    assert np.isnan([made.value, made.low, made.high]).all()


def test_pairing_finds_a_small_difference_between_noisy_policies() -> None:
    rng = np.random.default_rng(0)
    a = rng.random(500)
    b = a - 0.01 + rng.normal(scale=0.01, size=500)
    found = paired(a, b)
    assert found.interval.low > 0
    assert found.p < 0.01
    assert paired(a, rng.permutation(a)).p > 0.05


@pytest.mark.parametrize("shift", [0.0, 0.03, 0.2])
def test_tost_is_that_of_statsmodels(shift: float) -> None:
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    rng = np.random.default_rng(1)
    a = rng.random(200)
    b = a + shift + rng.normal(scale=0.1, size=200)
    theirs = weightstats.ttost_paired(a, b, -0.05, 0.05)
    ours = tost(a, b, 0.05)
    assert ours.p == pytest.approx(theirs[0], rel=1e-9)
    assert (ours.p_low, ours.p_high) == pytest.approx((theirs[1][1], theirs[2][1]), rel=1e-9)


def test_tost_of_equal_policies_and_of_no_margin() -> None:
    assert tost(np.ones(5), np.ones(5), 0.1).p == 0.0
    with pytest.raises(ValueError, match="margin 0"):
        tost(np.ones(5), np.ones(5), 0.0)
