from __future__ import annotations

import numpy as np

from interlock.lab.costs import Costs

RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(600, 3))


def test_what_depends_on_the_query_is_predicted_and_what_does_not_is_its_mean() -> None:
    depends = np.exp(0.8 * VECTORS[:, 0] + 0.1 * RNG.normal(size=600)) * 1e-3
    flat = np.exp(RNG.normal(size=600)) * 1e-3
    cost = np.stack([depends, flat, np.full(600, np.nan)], axis=1)
    predicted = Costs().fit(VECTORS[:400], cost[:400]).predict(VECTORS[400:])
    assert np.corrcoef(predicted[:, 0], depends[400:])[0, 1] > 0.9
    np.testing.assert_allclose(predicted[:, 0].mean(), depends[400:].mean(), rtol=0.15)
    np.testing.assert_allclose(predicted[:, 1], flat[:400].mean(), rtol=0.1)
    assert np.isnan(predicted[:, 2]).all()


def test_a_free_candidate_stays_free_and_few_rows_are_a_mean() -> None:
    cost = np.zeros((600, 2))
    cost[:, 1], cost[3:, 1] = 0.5, np.nan
    predicted = Costs().fit(VECTORS, cost).predict(VECTORS)
    np.testing.assert_allclose(predicted[:, 0], 0.0, atol=1e-9)
    np.testing.assert_allclose(predicted[:, 1], 0.5)
