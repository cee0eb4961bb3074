"""Each estimator against what its formula or its paper says. What all of them promise is in test_checks.py."""

from __future__ import annotations

import numpy as np
import pytest

from interlock.checks.estimators import stream
from interlock.estimators import KNN, Clusters, Constant, ItemResponse, Kernel, Logistic, Ridge
from interlock.estimators.bernoulli import moments_of_sigmoid
from interlock.estimators.change import Cusum
from interlock.estimators.clusters import kmeans
from interlock.estimators.hierarchy import posterior
from interlock.types import Array


def test_constant_is_a_shrunk_mean() -> None:
    estimator = Constant(default=0.5, prior_strength=2.0).fit(np.zeros((3, 1)), ["a"] * 3, [1.0, 1.0, 0.0])
    mean, std = estimator.predict(np.zeros((1, 1)), ("a",))
    assert mean[0, 0] == pytest.approx((2.0 * 0.5 + 2.0) / 5.0)
    assert std[0, 0] == pytest.approx(0.5 / np.sqrt(5.0))


def by_one_large_solve(
    z: Array, who: Array, y: Array, spread: Array, noise: float, share: float, k: int
) -> tuple[Array, Array]:
    """The same model as one regression on (common, own) weights: mean (k, d) and covariance (k, d, d) of their sums."""
    d = z.shape[1]
    design = np.zeros((len(z), (k + 1) * d))
    design[:, :d] = z
    for row, c in enumerate(who):
        design[row, (c + 1) * d : (c + 2) * d] = z[row]
    prior = np.concatenate([share * spread, *([(1 - share) * spread] * k)])
    covariance = np.linalg.inv(design.T @ design / noise**2 + np.diag(1.0 / prior))
    mean = covariance @ design.T @ y / noise**2
    pick = [np.hstack([np.eye(d), *(np.eye(d) * (c == own) for own in range(k))]) for c in range(k)]
    return np.stack([p @ mean for p in pick]), np.stack([p @ covariance @ p.T for p in pick])


def test_the_hierarchical_posterior_is_that_of_one_large_regression() -> None:
    rng = np.random.default_rng(0)
    n, d, k, noise, share = 40, 4, 3, 0.4, 0.6
    z, who, y = rng.normal(size=(n, d)), rng.integers(0, k, n), rng.normal(size=n)
    spread = rng.uniform(0.1, 1.0, d)
    gram = np.stack([z[who == c].T @ z[who == c] for c in range(k)])
    moment = np.stack([z[who == c].T @ y[who == c] for c in range(k)])
    got = posterior(["a", "b", "c"], gram, moment, spread, noise, share)
    mean, covariance = by_one_large_solve(z, who, y, spread, noise, share, k)
    assert np.allclose(got.mean[:k], mean, atol=1e-10)
    assert np.allclose(got.covariance[:k], covariance, atol=1e-6)


def test_what_candidates_share_helps_one_never_seen() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(900, 3))
    easy = (vectors[:, 0] > 0).astype(np.float64)
    estimator = Ridge(share=0.6).fit(vectors, [f"c{i % 6}" for i in range(900)], easy)
    mean, std = estimator.predict([[1.5, 0.0, 0.0], [-1.5, 0.0, 0.0]], ("stranger", "c0"))
    assert mean[0, 0] > mean[1, 0] + 0.2, "where all succeed, a stranger is expected to"
    assert (std[:, 0] > 1.5 * std[:, 1]).all()
    alone, _ = Ridge(share=0.0).fit(vectors, ["a"] * 900, easy).predict([[1.5, 0.0, 0.0]], ("stranger",))
    assert alone[0, 0] == pytest.approx(0.5)


def test_ridge_does_not_mind_the_scale_of_a_column() -> None:
    events, scale = stream(300), np.array([1e4, 1.0, 0.1, 1.0, 50.0, 1.0])
    question = np.random.default_rng(2).normal(size=(5, 6))
    plain, _ = Ridge().fit(*events).predict(question, ("a", "b"))
    scaled, _ = Ridge().fit(events.vectors * scale, events.names, events.targets).predict(question * scale, ("a", "b"))
    assert np.allclose(plain, scaled, atol=0.02)


def test_ridge_forgets() -> None:
    vectors = np.random.default_rng(3).normal(size=(800, 3))
    targets = np.repeat([1.0, 0.0], 400)
    remembers, _ = Ridge().fit(vectors, ["a"] * 800, targets).predict(np.zeros((1, 3)), ("a",))
    forgets, _ = Ridge(forgetting=0.98).fit(vectors, ["a"] * 800, targets).predict(np.zeros((1, 3)), ("a",))
    assert remembers[0, 0] == pytest.approx(0.5, abs=0.05)
    assert forgets[0, 0] < 0.1


def test_ridge_knows_how_far_targets_scatter() -> None:
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(2000, 3))
    targets = vectors[:, 0] + rng.normal(0.0, 0.7, 2000)
    assert Ridge(prior_std=2.0).fit(vectors, ["a"] * 2000, targets).residual_variance(("a",))[0] == pytest.approx(
        0.49, rel=0.1
    )


def exclusive_or(n: int, seed: int = 0) -> tuple[Array, Array]:
    vectors = np.random.default_rng(seed).normal(size=(n, 2))
    return vectors, (vectors[:, 0] * vectors[:, 1] > 0).astype(np.float64)


@pytest.mark.parametrize("estimator", [Kernel(landmarks=100), KNN(), Clusters(groups=32)])
def test_some_see_what_a_linear_model_cannot(estimator: Kernel | KNN | Clusters) -> None:
    vectors, targets = exclusive_or(900)
    question, answer = exclusive_or(300, seed=1)
    right = [
        np.mean((one.fit(vectors, ["a"] * 900, targets).predict(question, ("a",))[0][:, 0] > 0.5) == answer)
        for one in (estimator, Ridge())
    ]
    assert right[0] > 0.85 > 0.65 > right[1]


def test_kernel_is_exact_before_its_landmarks_are_fixed_and_close_after() -> None:
    vectors, targets = exclusive_or(150)
    exact = Kernel(landmarks=151).fit(vectors, ["a"] * 150, targets)
    sparse = Kernel(landmarks=150).fit(vectors, ["a"] * 150, targets)
    question, _ = exclusive_or(50, seed=1)
    for left, right in zip(exact.predict(question, ("a",)), sparse.predict(question, ("a",)), strict=True):
        assert np.allclose(left, right, atol=1e-6)


def test_kernel_is_not_sure_of_the_unfamiliar() -> None:
    vectors, targets = exclusive_or(400)
    _, std = Kernel(landmarks=100).fit(vectors, ["a"] * 400, targets).predict([[0.5, 0.5], [5.0, -5.0]], ("a",))
    assert std[1, 0] > 2 * std[0, 0]


def test_logistic_recovers_a_probability() -> None:
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(4000, 3))
    truth = 1.0 / (1.0 + np.exp(-(0.5 + 1.5 * vectors[:, 0] - vectors[:, 1])))
    estimator = Logistic(forgetting=1.0).fit(vectors, ["a"] * 4000, (rng.random(4000) < truth).astype(np.float64))
    mean, std = estimator.predict(vectors[:200], ("a",))
    assert np.abs(mean[:, 0] - truth[:200]).mean() < 0.03
    assert np.abs(mean[:, 0] - truth[:200]).mean() < 2 * std.mean()


def test_logistic_starts_anew_with_a_candidate_that_was_swapped() -> None:
    rng = np.random.default_rng(6)
    vectors = rng.normal(size=(425, 4))
    targets = (np.where(np.arange(425) < 400, vectors[:, 0], -2.0) > -1.0).astype(np.float64)
    swapped = Logistic().fit(vectors, ["a"] * 425, targets)
    deaf = Logistic(threshold=1e9).fit(vectors, ["a"] * 425, targets)
    question = rng.normal(size=(50, 4))
    assert swapped.predict(question, ("a",))[0].mean() < deaf.predict(question, ("a",))[0].mean() - 0.1


def test_the_alarm_is_silent_while_nothing_changes() -> None:
    rng = np.random.default_rng(7)
    change = Cusum()
    residuals = (rng.random(20_000) < 0.8) - 0.8
    assert not any(change.alarmed(float(residual), 0.1, 10.0) for residual in residuals)


@pytest.mark.parametrize("now", [0.2, 1.0])
def test_the_alarm_rings_soon_after_a_change(now: float) -> None:
    rng = np.random.default_rng(8)
    change, delays = Cusum(), []
    for _ in range(20):
        delay = next(i for i in range(1000) if change.alarmed(float(rng.random() < now) - 0.6, 0.1, 10.0))
        delays.append(delay)
    assert np.mean(delays) < 50


def test_moments_of_a_sigmoid_agree_with_simulation() -> None:
    draws = np.random.default_rng(9).normal(size=200_000)
    for logit, variance in ((0.0, 1.0), (2.0, 4.0), (-1.0, 0.2), (3.0, 9.0)):
        simulated = 1.0 / (1.0 + np.exp(-(logit + np.sqrt(variance) * draws)))
        mean, std = moments_of_sigmoid(np.array(logit), np.array(variance))
        assert mean == pytest.approx(simulated.mean(), abs=0.02)
        assert std == pytest.approx(simulated.std(), abs=0.03)


@pytest.mark.parametrize("discriminating", [False, True])
def test_item_response_finds_abilities_and_difficulties(discriminating: bool) -> None:
    rng = np.random.default_rng(10)
    n, abilities = 4000, {"low": -1.0, "mid": 0.0, "high": 1.5}
    vectors = rng.normal(size=(n, 4))
    difficulty = vectors @ np.array([1.0, -0.5, 0.0, 0.0])
    names = [list(abilities)[i] for i in rng.integers(0, 3, n)]
    chance = 1.0 / (1.0 + np.exp(-(np.array([abilities[name] for name in names]) - difficulty)))
    estimator = ItemResponse(discriminating=discriminating)
    estimator.fit(vectors, names, (rng.random(n) < chance).astype(np.float64))
    found = {name: mean for name, (mean, _) in estimator.abilities().items()}
    assert found["low"] < found["mid"] < found["high"]
    assert np.corrcoef(estimator.difficulty(vectors[:500]), difficulty[:500])[0, 1] > 0.95
    mean, _ = estimator.predict(vectors[:200], tuple(abilities))
    assert (np.diff(mean, axis=1) > 0).all(), "discrimination is positive: more ability never hurts"


def test_item_response_places_a_new_candidate_with_few_answers() -> None:
    rng = np.random.default_rng(11)
    vectors = rng.normal(size=(1500, 4))
    estimator = ItemResponse()
    estimator.fit(vectors, ["old"] * 1500, (rng.normal(size=1500) > vectors[:, 0]).astype(np.float64))
    estimator.partial_fit(vectors[:25], ["new"] * 25, (rng.normal(1.5, 1.0, 25) > vectors[:25, 0]).astype(np.float64))
    mean, _ = estimator.predict(vectors[:200], ("old", "new"))
    assert (mean[:, 1] > mean[:, 0]).mean() > 0.95
    assert np.corrcoef(mean.T)[0, 1] > 0.9, "it is weighed on the same scale of difficulty"


def test_knn_repeats_what_its_neighbours_got() -> None:
    vectors = np.array([[0.0, 0.0], [0.1, 0.0], [10.0, 0.0], [10.1, 0.0]] * 8)
    targets = np.array([1.0, 1.0, 0.0, 0.0] * 8)
    mean, _ = KNN(neighbours=4).fit(vectors, ["a"] * 32, targets).predict([[0.05, 0.0], [10.05, 0.0]], ("a",))
    assert mean[0, 0] > 0.85
    assert mean[1, 0] < 0.15


def test_knn_forgets_the_oldest() -> None:
    vectors = np.random.default_rng(12).normal(size=(60, 2))
    estimator = KNN(memory=20).fit(vectors, ["a"] * 60, np.repeat([1.0, 0.0], [40, 20]))
    assert estimator.predict(np.zeros((1, 2)), ("a",))[0][0, 0] < 0.05


def test_kmeans_finds_what_is_apart() -> None:
    rng = np.random.default_rng(13)
    truth = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    centres = kmeans(np.concatenate([c + rng.normal(0.0, 0.3, (50, 2)) for c in truth]), 3)
    assert all(np.linalg.norm(centres - c, axis=1).min() < 0.3 for c in truth)
    assert len(kmeans(np.ones((10, 2)), 4)) == 1, "equal rows are one group"
