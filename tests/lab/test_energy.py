from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.lab.energy import TaskMinMax, pocket_joules


@given(st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=30))
def test_scaled_energy_lies_in_0_1_and_keeps_the_order(values: list[float]) -> None:
    energy, tasks = np.array(values)[:, None], ["t"] * len(values)
    scaled = TaskMinMax.fit(tasks, energy).scale(tasks, energy)[:, 0]
    assert ((scaled >= 0.0) & (scaled <= 1.0)).all()
    assert (np.diff(scaled[np.argsort(values, kind="stable")]) >= 0.0).all()


def test_one_outlier_does_not_squash_the_others() -> None:
    energy = np.append(np.geomspace(1.0, 10.0, 400), 6000.0)[:, None]
    tasks = ["t"] * 401
    scaled = TaskMinMax.fit(tasks, energy).scale(tasks, energy)[:400, 0]
    assert scaled.std() > 0.25


def test_each_task_has_its_own_bounds_and_an_unseen_one_those_of_all() -> None:
    tasks, energy = ["cheap"] * 50 + ["dear"] * 50, np.append(np.linspace(1, 2, 50), np.linspace(100, 200, 50))[:, None]
    scaler = TaskMinMax.fit(tasks, energy)
    assert scaler.scale(["cheap"], np.array([[2.0]]))[0, 0] == pytest.approx(1.0, abs=0.02)
    assert scaler.scale(["dear"], np.array([[100.0]]))[0, 0] == pytest.approx(0.0, abs=0.02)
    assert 0.4 < scaler.scale(["new"], np.array([[14.0]]))[0, 0] < 0.6


def test_missing_stays_missing_and_equal_costs_nothing() -> None:
    scaler = TaskMinMax.fit(["a", "a"], np.array([[3.0, np.nan], [3.0, 3.0]]))
    scaled = scaler.scale(["a"], np.array([[3.0, np.nan]]))
    assert scaled[0, 0] == 0.0
    assert np.isnan(scaled[0, 1])


@pytest.mark.parametrize("bad", [[[0.0]], [[-1.0]], [[np.nan]]])
def test_energy_that_has_no_logarithm_is_refused(bad: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        TaskMinMax.fit(["t"], np.array(bad))


def test_modelled_joules_grow_with_weights_and_tokens() -> None:
    joules = pocket_joules(np.array([1e5, 1e6]), np.array([[10.0, 10.0], [20.0, 20.0]]))
    np.testing.assert_allclose(joules[1], 2 * joules[0])
    np.testing.assert_allclose(joules[:, 1], 10 * joules[:, 0])
