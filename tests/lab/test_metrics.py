from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from interlock.lab.metrics import (
    aiq,
    cost_save,
    deferral,
    entropy,
    hull,
    hypervolume,
    log_loss,
    pareto_distance,
    perf_gain,
    rank_correlation,
    regret,
    reliability,
    shares,
)

POINTS = arrays(np.float64, (2, 12), elements=st.integers(0, 50).map(float))


def envelope(cost: np.ndarray, quality: np.ndarray, at: float) -> float:
    """The best mixture of any two points, tried one by one."""
    best = max((q for c, q in zip(cost, quality, strict=True) if c <= at), default=-math.inf)
    for c0, q0 in zip(cost, quality, strict=True):
        for c1, q1 in zip(cost, quality, strict=True):
            if c0 <= at <= c1 and c0 < c1:
                best = max(best, q0 + (q1 - q0) * (at - c0) / (c1 - c0))
    return best


@given(POINTS, st.floats(0, 60))
def test_the_hull_is_the_best_mixture_of_two_points(points: np.ndarray, at: float) -> None:
    cost, quality = points
    if at >= cost.min():
        assert hull(cost, quality).at(at) == pytest.approx(envelope(cost, quality, at), abs=1e-9)
    else:
        assert np.isnan(hull(cost, quality).at(at))


@given(POINTS)
def test_the_hull_rises_and_flattens(points: np.ndarray) -> None:
    curve = hull(*points)
    assert (np.diff(curve.cost) >= 0).all()
    assert (np.diff(curve.quality) >= 0).all()
    moved = np.diff(curve.cost) > 0
    slopes = np.diff(curve.quality)[moved] / np.diff(curve.cost)[moved]
    assert (np.diff(slopes) <= 1e-9).all()


@given(POINTS, st.floats(0, 60))
def test_reaching_inverts_at(points: np.ndarray, quality: float) -> None:
    curve = hull(*points)
    cost = curve.reaching(quality)
    if np.isnan(cost):
        assert quality > points[1].max()
    else:
        assert curve.at(cost) >= quality - 1e-9


def test_many_hulls_at_once_are_the_hulls_one_by_one() -> None:
    rng = np.random.default_rng(0)
    cost, quality = rng.random((2, 20, 30))
    together = hull(cost, quality)
    for row in range(20):
        alone = hull(cost[row], quality[row])
        assert together.mean(0.1, 1.2)[row] == pytest.approx(alone.mean(0.1, 1.2))
        assert together.at(0.7)[row] == pytest.approx(alone.at(0.7))


def test_points_that_are_missing_are_left_out() -> None:
    assert hull([0, 1, 2], [0.1, np.nan, 0.5]).at(1.0) == pytest.approx(0.3)


def test_aiq_is_the_area_over_the_range() -> None:
    # From (1, .2) straight up to (3, .6), then flat to 5; the dearer, worse point does not count.
    assert aiq([1, 3, 5], [0.2, 0.6, 0.5], 1, 5) == pytest.approx((0.4 * 2 + 0.6 * 2) / 4)
    grid = np.linspace(1, 5, 100_001)
    assert aiq([1, 3, 5], [0.2, 0.6, 0.5], 1, 5) == pytest.approx(hull([1, 3], [0.2, 0.6]).at(grid).mean(), abs=1e-5)


def test_hypervolume_is_a_staircase() -> None:
    assert hypervolume([0.0, 2.0, 3.0], [0.25, 0.5, 0.1], 4.0) == pytest.approx(0.25 * 0.5 + 0.5 * 0.5)


def test_gain_and_saving_are_relative_to_the_best_single() -> None:
    assert perf_gain([0.5, 0.88], 0.8) == pytest.approx(0.1)
    assert cost_save(hull([1, 2], [0.4, 0.8]), 0.6, 6.0) == pytest.approx(0.75)
    assert np.isnan(cost_save(hull([1, 2], [0.4, 0.8]), 0.9, 6.0))


def test_distance_to_the_front_is_zero_on_it() -> None:
    cost, quality = np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 0.5])
    assert pareto_distance(cost[:2], quality[:2], cost, quality) == 0.0
    assert pareto_distance(cost[2:], quality[2:], cost, quality) == pytest.approx(math.hypot(0.5, 0.5))


def test_deferral_by_the_true_gap_is_the_oracle_and_by_noise_is_half() -> None:
    rng = np.random.default_rng(0)
    weak, strong = (rng.random(20_000) < 0.5) * 1.0, (rng.random(20_000) < 0.7) * 1.0
    assert deferral(strong - weak, weak, strong).apgr > 1.2
    assert deferral(rng.random(20_000), weak, strong).apgr == pytest.approx(0.5, abs=0.03)


def test_cpt_is_the_share_that_recovers_a_level() -> None:
    weak, strong = np.zeros(10), np.array([1.0] * 5 + [0.0] * 5)
    curve = deferral(strong, weak, strong)
    assert curve.cpt(0.8) == pytest.approx(0.4)
    assert curve.pgr[-1] == 1.0
    assert np.isnan(deferral(strong, strong, strong).cpt(0.5))


def test_resampled_deferral_is_deferral_of_the_resample() -> None:
    rng = np.random.default_rng(1)
    margin, weak, strong = rng.random((3, 40))
    counts = rng.multinomial(40, np.full(40, 1 / 40), size=5).astype(float)
    together = deferral(margin, weak, strong, counts)
    for row in range(5):
        rows = np.repeat(np.arange(40), counts[row].astype(int))
        alone = deferral(margin[rows], weak[rows], strong[rows])
        assert together.quality[row, -1] == pytest.approx(alone.quality[-1])
        assert together.area[row] == pytest.approx(alone.area, abs=1e-12)


def test_shares_and_entropy() -> None:
    share = shares(np.array([0, 0, 2, -1, 2]), 3)
    np.testing.assert_allclose(share, [0.5, 0, 0.5])
    assert entropy(share) == pytest.approx(1.0)
    assert entropy(np.array([1.0, 0.0])) == 0.0


def test_a_calibrated_prediction_has_no_error_and_a_shifted_one_its_shift() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.1, 0.8, 100_000)
    y = (rng.random(100_000) < p) * 1.0
    assert reliability(p, y).ece < 0.01
    assert reliability(p + 0.1, y).ece == pytest.approx(0.1, abs=0.01)
    y[:50] = np.nan
    assert reliability(p, y).weight.sum() == 99_950


def test_log_loss_leaves_missing_scores_out() -> None:
    assert log_loss([[0.5, 0.9]], [[1.0, np.nan]]) == pytest.approx(math.log(2))


def test_regret_has_bands() -> None:
    bands = regret(np.array([[0.0, 1.0], [1.0, 1.0]]), np.ones(2))
    np.testing.assert_allclose(bands.mean, [0.5, 0.5])
    assert bands.low[0] < bands.mean[0] < bands.high[0]


def test_rank_correlation_is_scipys_and_undefined_for_a_constant() -> None:
    x, y = np.random.default_rng(0).random((2, 30))
    assert rank_correlation(x, y) == stats.spearmanr(x, y).statistic
    assert rank_correlation(x, y, "kendall") == stats.kendalltau(x, y).statistic
    assert math.isnan(rank_correlation(x, np.ones(30)))
