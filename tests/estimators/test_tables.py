"""`fit_table`: what it learns from a whole table at once is what the events teach, or better."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.errors import ConfigError
from interlock.estimators import KNN, Boosted, Clusters, Ensemble, Estimator, Kernel, Logistic, Ridge
from interlock.estimators.base import Estimator as Base
from interlock.estimators.ensemble import pool
from interlock.estimators.newton import logistic
from interlock.types import Array


def world(n: int, seed: int = 0, missing: float = 0.3) -> tuple[Array, tuple[str, ...], Array]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5))
    chance = 1.0 / (1.0 + np.exp(-np.stack([1.5 * x[:, 0], 1.0 - x[:, 0], x[:, 1]], axis=1)))
    scores = (rng.random((n, 3)) < chance).astype(np.float64)
    scores[rng.random((n, 3)) < missing] = np.nan
    return x, ("a", "b", "c"), scores


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), n=st.integers(20, 80))
@pytest.mark.parametrize("factory", [Ridge, KNN])
def test_a_table_teaches_what_its_cells_teach(factory: type[Estimator], seed: int, n: int) -> None:
    x, names, scores = world(n, seed)
    for told, said in zip(
        factory().fit_table(x, names, scores).predict(x, names),
        Base.fit_table(factory(), x, names, scores).predict(x, names),
        strict=True,
    ):
        assert np.allclose(told, said, atol=1e-6)


@pytest.mark.parametrize("factory", [Ridge, Kernel, Logistic, Clusters, KNN])
def test_a_table_beats_the_means(factory: type[Estimator]) -> None:
    x, names, scores = world(900)
    asked, _, truth = world(600, seed=1, missing=0.0)
    mean, std = factory().fit_table(x, names, scores).predict(asked, names)
    plain = ((np.nanmean(scores, axis=0) - truth) ** 2).mean()
    assert ((mean - truth) ** 2).mean() < 0.95 * plain
    assert (std > 0.0).all()


@pytest.mark.parametrize("factory", [Ridge, Kernel, Logistic, Clusters, KNN])
def test_learning_goes_on_after_a_table(factory: type[Estimator]) -> None:
    x, names, scores = world(300)
    estimator = factory().fit_table(x, names, scores)
    before = estimator.predict(x[:1], ("new",))[1][0, 0]
    estimator.partial_fit(x[:80], ["new"] * 80, np.ones(80))
    mean, std = factory().restore(estimator.state()).predict(x[:1], ("new",))
    assert mean[0, 0] > 0.8
    assert std[0, 0] < before


@pytest.mark.parametrize("factory", [Ridge, Kernel, Logistic, Clusters, KNN])
def test_a_table_without_any_score_teaches_nothing(factory: type[Estimator]) -> None:
    mean, _ = factory().fit_table(np.zeros((3, 2)), ("a", "b"), np.full((3, 2), np.nan)).predict([[0.0, 0.0]], ("a",))
    assert mean[0, 0] == pytest.approx(0.5)


def test_logistic_learns_at_once_what_the_filter_learns_slowly() -> None:
    x, names, scores = world(900)
    asked, _, truth = world(600, seed=1, missing=0.0)
    losses = []
    for learnt in (Logistic().fit_table(x, names, scores), Base.fit_table(Logistic(), x, names, scores)):
        chance = np.clip(learnt.predict(asked, names)[0], 0.01, 0.99)
        losses.append(-(truth * np.log(chance) + (1.0 - truth) * np.log(1.0 - chance)).mean())
    assert losses[0] <= losses[1] + 1e-3


def test_newton_finds_the_mode() -> None:
    rng = np.random.default_rng(4)
    z, y = rng.normal(size=(200, 3)), (rng.random(200) < 0.4).astype(np.float64)
    mode, covariance = logistic(z, y, np.ones(200), np.zeros(3), np.full(3, 0.5))
    chance = 1.0 / (1.0 + np.exp(-z @ mode))
    assert np.allclose(z.T @ (y - chance) - 0.5 * mode, 0.0, atol=1e-3)
    assert (np.linalg.eigvalsh(covariance) > 0.0).all()


def test_a_pool_gives_weight_to_what_predicts() -> None:
    rng = np.random.default_rng(5)
    truth = rng.uniform(0.1, 0.9, 3000)
    scores = (rng.random(3000) < truth).astype(np.float64)
    weights = pool(np.stack([truth, rng.uniform(0.1, 0.9, 3000), np.full(3000, 0.5)]), scores, np.ones(3000))
    assert weights[0] > 0.8
    assert weights.sum() == pytest.approx(1.0)


def test_boosted_without_lightgbm_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def without(name: str, *rest: Any) -> Any:
        return None if name == "lightgbm" else found(name, *rest)

    monkeypatch.setattr("interlock.estimators.boosted.find_spec", without)
    with pytest.raises(ConfigError, match=r"pip install 'interlock\[lab\]'"):
        Boosted()


@pytest.mark.parametrize(
    ("members", "message"), [(("mlq",), "did you mean 'mlp'"), ((), "at least one"), (("ensemble",), "ensemble")]
)
def test_an_ensemble_of_unknown_members_is_refused(members: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Ensemble(members=members)
