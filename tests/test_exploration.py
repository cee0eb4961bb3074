"""Explorations against first principles, and the seeded draw. What all of them promise is in test_checks.py."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.exploration import UCB, Epsilon, Greedy, Softmax, Thompson, normal_cdf, sample
from interlock.types import Array

ALL = np.ones((1, 3), dtype=np.bool_)
UTILITY = np.array([[0.1, 0.5, 0.4]])
STD = np.array([[0.1, 0.1, 0.3]])


def test_greedy_takes_the_best() -> None:
    assert Greedy().probabilities(UTILITY, STD, ALL).tolist() == [[0, 1, 0]]
    assert Greedy().probabilities(UTILITY, STD, np.array([[True, False, True]])).tolist() == [[0, 0, 1]]


def test_epsilon_spares_nobody_who_is_permitted() -> None:
    got = Epsilon(0.3).probabilities(UTILITY, STD, np.array([[True, True, False]]))
    assert np.allclose(got, [[0.15, 0.85, 0.0]])


def test_ucb_is_optimistic() -> None:
    assert UCB(1.0).probabilities(UTILITY, STD, ALL).tolist() == [[0, 0, 1]]
    assert UCB(0.1).probabilities(UTILITY, STD, ALL).tolist() == [[0, 1, 0]]


def test_softmax_is_a_ratio_of_exponentials() -> None:
    got = Softmax(0.2).probabilities(UTILITY, STD, ALL)[0]
    assert np.allclose(got, np.exp(UTILITY[0] / 0.2) / np.exp(UTILITY[0] / 0.2).sum())
    assert Softmax(1e-9).probabilities(UTILITY, STD, ALL).tolist() == [[0, 1, 0]]


@pytest.mark.parametrize("parameters", [{"rate": 1.2}, {"rate": -0.1}])
def test_epsilon_is_a_probability(parameters: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="rate"):
        Epsilon(**parameters)


def by_integration(mean: Array, std: Array) -> Array:
    """P(each is the largest) on a grid of thousands of points a candidate: slow and plain."""
    grid = np.unique(np.concatenate([m + s * np.linspace(-8, 8, 3001) for m, s in zip(mean, std, strict=True)]))
    z = (grid[:, None] - mean) / std
    below, density = exact_cdf(z), np.exp(-0.5 * z * z) / (std * np.sqrt(2 * np.pi))
    others = np.stack([np.delete(below, c, axis=1).prod(axis=1) for c in range(len(mean))], axis=1)
    return np.asarray(np.trapezoid(density * others, grid, axis=0))


def exact_cdf(z: Array) -> Array:
    from math import erfc, sqrt

    return np.asarray(np.vectorize(lambda x: 0.5 * erfc(-x / sqrt(2)), otypes=[np.float64])(z))


def test_the_table_of_the_normal_distribution() -> None:
    z = np.linspace(-12, 12, 9999)
    assert np.abs(normal_cdf(z) - exact_cdf(z)).max() < 4e-8


def test_two_candidates_have_a_formula() -> None:
    mean, std = np.array([[0.3, 0.1]]), np.array([[0.2, 0.5]])
    expected = exact_cdf(np.array([0.2 / np.hypot(0.2, 0.5)]))[0]
    assert Thompson().probabilities(mean, std, ALL[:, :2])[0, 0] == pytest.approx(expected, abs=1e-6)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_thompson_is_exact_to_a_millionth(seed: int) -> None:
    rng = np.random.default_rng(seed)
    k = int(rng.integers(2, 7))
    mean = rng.normal(size=k) * rng.choice([0.0, 0.1, 1.0])
    std = 10.0 ** rng.uniform(-3.0, 0.3, k)
    got = Thompson().probabilities(mean[None], std[None], np.ones((1, k), dtype=np.bool_))[0]
    assert np.abs(got - by_integration(mean, std)).max() < 1e-6


def test_thompson_agrees_with_simulation() -> None:
    rng = np.random.default_rng(0)
    mean, std = np.array([0.2, 0.4, 0.35, 0.0]), np.array([0.3, 0.05, 0.1, 0.6])
    draws = (mean + std * rng.normal(size=(400_000, 4))).argmax(axis=1)
    simulated = np.bincount(draws, minlength=4) / len(draws)
    got = Thompson().probabilities(mean[None], std[None], np.ones((1, 4), dtype=np.bool_))[0]
    assert np.abs(got - simulated).max() < 0.004  # five standard errors of the simulation


def test_thompson_without_doubt_is_greedy() -> None:
    assert np.allclose(Thompson().probabilities(UTILITY, np.zeros((1, 3)), ALL), [[0, 1, 0]])


def test_a_draw_follows_the_probabilities() -> None:
    probability = np.array([0.0, 0.2, 0.0, 0.5, 0.3])
    draws = np.bincount([sample(probability, 7, f"id-{i}") or 0 for i in range(20_000)], minlength=5) / 20_000
    assert np.abs(draws - probability).max() < 0.02
    assert draws[0] == draws[2] == 0.0


def test_a_replayed_draw_is_the_same_and_another_seed_is_another_draw() -> None:
    probability = np.full(10, 0.1)
    first = [sample(probability, 1, f"id-{i}") for i in range(50)]
    assert first == [sample(probability, 1, f"id-{i}") for i in range(50)]
    assert first != [sample(probability, 2, f"id-{i}") for i in range(50)]


def test_nobody_is_drawn_from_nothing() -> None:
    assert sample(np.zeros(4), 0, "id") is None
