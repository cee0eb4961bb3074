"""Comparisons: Bradley-Terry, Elo and the mixture of tastes. What all estimators promise is in test_checks.py."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from interlock.estimators import Elo, MixturePreference, Preference
from interlock.estimators.mixture_preference import (
    Mixture,
    Taste,
    choose_k,
    drifted,
    effective_heads,
    fit_mixture,
    matched,
)
from interlock.estimators.preference import PAR, Pair, bradley_terry, pairs_of_table
from interlock.types import Array

ZERO = np.zeros(2)


def sigmoid(logit: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-logit))


def test_bradley_terry_is_the_maximum_a_posteriori() -> None:
    rng = np.random.default_rng(0)
    wins = rng.integers(0, 9, (3, 4, 4)).astype(np.float64) * (1 - np.eye(4))
    found, variance = bradley_terry(wins, 0.4, 1.5)
    for problem, strengths, spread in zip(wins, found, variance, strict=True):

        def loss(r: Array, problem: Array = problem) -> float:
            full = np.append(0.0, r)
            lost = np.logaddexp(0.0, -(full[:, None] - full[None, :]))
            return float((problem * lost).sum() + 0.5 * ((r - 0.4) ** 2).sum() / 1.5**2)

        best = minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-8})
        assert np.allclose(strengths, best.x, atol=1e-4)
        p = sigmoid(np.subtract.outer(np.append(0.0, best.x), np.append(0.0, best.x)))
        information = (problem + problem.T) * p * (1.0 - p)
        hessian = np.diag(information.sum(axis=1)) - information
        assert np.allclose(spread, np.diag(np.linalg.inv(hessian[1:, 1:] + np.eye(3) / 1.5**2)), rtol=1e-3)


def test_comparisons_alone_rank_the_candidates() -> None:
    rng = np.random.default_rng(1)
    strength = {"a": 1.5, "b": 0.0, "c": -1.5}
    names = list(strength)
    pairs = []
    for _ in range(400):
        left, right = rng.choice(3, 2, replace=False)
        kept = rng.random() < sigmoid(np.array(strength[names[left]] - strength[names[right]]))
        pairs.append(Pair(rng.normal(size=2), names[left], names[right], float(kept)))
    for estimator in (Preference(), Elo()):
        mean, _ = estimator.compare(pairs).predict(np.zeros((1, 2)), names)
        assert mean[0, 0] > 0.7 > 0.6 > mean[0, 1] > 0.4 > 0.3 > mean[0, 2], "par is as strong as the average"


def test_matches_on_similar_prompts_count_more() -> None:
    rng = np.random.default_rng(2)
    side = rng.choice([-1.0, 1.0], 300)
    vectors = np.stack([3.0 * side, rng.normal(size=300)], axis=1)
    pairs = [Pair(x, "a", "b", float(s > 0)) for x, s in zip(vectors, side, strict=True)]
    mean, _ = Preference(sharpness=6.0).compare(pairs).predict([[3.0, 0.0], [-3.0, 0.0]], ("a", "b"))
    assert mean[0, 0] > mean[0, 1] + 0.3
    assert mean[1, 0] < mean[1, 1] - 0.3


@given(
    scores=st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, np.nan]), min_size=3, max_size=3), min_size=1, max_size=6),
    paired=st.floats(0.0, 1.0),
)
@settings(max_examples=40, deadline=None)
def test_every_score_of_a_table_counts_once(scores: list[list[float]], paired: float) -> None:
    cells = np.array(scores)
    total = dict.fromkeys("abc", 0.0)
    for pair in pairs_of_table(np.zeros((len(cells), 1)), "abc", cells, paired):
        total[pair.left] += pair.weight
        if pair.right != PAR:
            total[pair.right] += pair.weight
    for column, name in enumerate("abc"):
        assert total[name] == pytest.approx(np.isfinite(cells[:, column]).sum())


def test_a_table_gives_the_better_candidate_per_prompt() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(500, 3))
    good = x[:, 0] > 0
    scores = (rng.random((500, 2)) < np.where(np.stack([good, ~good], axis=1), 0.9, 0.3)).astype(np.float64)
    for estimator in (Preference(sharpness=6.0), MixturePreference(k=3)):
        mean, _ = estimator.fit_table(x, ("a", "b"), scores).predict([[2.0, 0.0, 0.0], [-2.0, 0.0, 0.0]], ("a", "b"))
        assert mean[0, 0] > mean[0, 1] + 0.2
        assert mean[1, 0] < mean[1, 1] - 0.2


def test_a_bad_comparison_is_refused_whole() -> None:
    good = Pair(ZERO, "a", "b", 1.0)
    for estimator in (Preference(), Elo()):
        for bad, message in (
            (Pair(ZERO, "a", "b", 1.5), "row 1: target 1.5"),
            (Pair(np.array([np.nan, 0.0]), "a", "b", 1.0), "pair 1"),
            (Pair(np.zeros(3), "a", "b", 1.0), "3 columns"),
            (Pair(ZERO, "a", "b", 1.0, -1.0), "cannot revoke"),
        ):
            with pytest.raises(ValueError, match=message):
                estimator.compare([good, bad])
    assert Preference().state() == {}


def test_elo_is_one_step_towards_the_result_and_knows_its_noise() -> None:
    moved = Elo(step=0.2).compare([Pair(ZERO, "a", "b", 1.0)])
    assert moved.state()["ratings"]["a"][0] == pytest.approx(0.1)
    assert moved.state()["ratings"]["b"][0] == pytest.approx(-0.1)
    rng = np.random.default_rng(4)
    ends = []
    for _ in range(300):
        run = Elo(step=0.2).partial_fit(np.zeros((150, 1)), ["a"] * 150, (rng.random(150) < 0.6) * 1.0)
        ends.append(run.state()["ratings"]["a"])
    assert np.std([rating for rating, _, _ in ends]) == pytest.approx(
        np.sqrt(np.mean([v for _, v, _ in ends])), rel=0.15
    )


def crowd(n: int, seed: int = 0) -> tuple[Array, Array, Array, Array]:
    """Differences (kept minus not), contexts that tell the taste apart, who, and the two tastes."""
    rng = np.random.default_rng(seed)
    tastes = np.array([[4.0, 0.0, 0.0], [-4.0, 2.0, 0.0]])
    who, x = rng.integers(0, 2, n), rng.normal(size=(n, 3))
    kept = rng.random(n) < sigmoid((x * tastes[who]).sum(axis=1))
    context = np.where(rng.random(n) < 0.8, who, 1 - who)[:, None] + rng.normal(0.0, 0.2, (n, 1))
    return np.where(kept[:, None], x, -x), context, who, tastes


def test_a_mixture_finds_the_tastes_that_one_model_averages_away() -> None:
    x, context, _, tastes = crowd(4000)
    mixture = fit_mixture(x, context, k=2, rounds=500, precision=0.01)
    order = np.argsort(-mixture.heads[:, 0])
    assert np.allclose(mixture.heads[order], tastes, atol=0.8)
    held, shown, *_ = crowd(2000, seed=1)
    assert mixture.log_likelihood(held, shown) > fit_mixture(held, shown, k=1).log_likelihood(held, shown) + 0.1


def test_em_never_lowers_the_likelihood() -> None:
    x, context, *_ = crowd(400)
    likelihoods = [
        fit_mixture(x, context, k=3, restarts=1, rounds=rounds, precision=1e-6).log_likelihood(x, context)
        for rounds in (2, 4, 8, 16, 60)
    ]
    assert np.all(np.diff(likelihoods) > -1e-4)


def test_the_number_of_heads_is_chosen_on_held_out_pairs() -> None:
    x, context, *_ = crowd(1500)
    assert choose_k(x, context, (1, 2, 4)) == 2
    rng = np.random.default_rng(5)
    plain = rng.normal(size=(1500, 3))
    plain = np.where((rng.random(1500) < sigmoid(2.0 * plain[:, 0]))[:, None], plain, -plain)
    assert choose_k(plain, rng.normal(size=(1500, 1)), (1, 2)) == 1


def test_a_new_user_is_known_after_few_comparisons_and_forgotten_slowly() -> None:
    x, context, *_ = crowd(3000)
    mixture = fit_mixture(x, context, k=2)
    first = int(mixture.heads[:, 0].argmax())
    new = Taste.from_context(mixture, np.array([1.0]))
    assert new.comparisons == 0
    assert new.weights[first] < 0.5, "the context says the other one"
    rng = np.random.default_rng(6)
    shown = rng.normal(size=(15, 3))
    taste = new
    for row in shown:
        taste = taste.after(mixture, row, float(row[0] > 0))
    assert taste.weights[first] > 0.95
    assert taste.comparisons == 15
    assert taste.weights.min() >= 0.5e-3, "no taste is lost for good"
    assert 0.5 < taste.aged(days=300).weights[first] < taste.weights[first]
    assert taste.after(mixture, np.zeros(3)) == taste, "equal answers say nothing"
    assert taste.stable(mixture, np.where(shown[:, :1] > 0, shown, -shown))
    assert not taste.stable(mixture, 0.01 * shown)


def test_comparing_pairs_ranks_answers_whatever_the_offsets_of_the_heads() -> None:
    mixture = Mixture(np.array([[2.0, 0.0], [0.0, 2.0]]), np.zeros((2, 1)))
    answers = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    terse = mixture.rank(answers, np.array([0.9, 0.1]))
    assert terse.argmax() == 0
    assert terse.argmin() == 2
    assert np.allclose(terse, mixture.rank(answers + 7.0, np.array([0.9, 0.1])))
    assert terse.mean() == pytest.approx(0.5)


def test_heads_keep_their_places_between_snapshots() -> None:
    rng = np.random.default_rng(7)
    old = Mixture(rng.normal(size=(3, 5)), rng.normal(size=(3, 2)))
    shuffled = Mixture(old.heads[[2, 0, 1]] + 0.01, old.gate[[2, 0, 1]])
    again = matched(shuffled, old)
    assert np.allclose(again.heads, old.heads, atol=0.02)
    assert np.allclose(again.gate, old.gate)
    assert drifted(again, old) == []
    assert drifted(Mixture(again.heads * np.array([[1.0], [-1.0], [1.0]]), again.gate), old) == [1]
    more = Mixture(np.vstack([rng.normal(size=(1, 5)), shuffled.heads]), np.vstack([np.zeros((1, 2)), shuffled.gate]))
    assert np.allclose(matched(more, old).heads[:3], old.heads, atol=0.02), "new heads come last"


def test_bad_pairs_are_named() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        fit_mixture(np.zeros((0, 2)), np.zeros((0, 1)))
    with pytest.raises(ValueError, match="pair 1: its context"):
        fit_mixture(np.ones((2, 2)), np.array([[0.0], [np.nan]]))
    with pytest.raises(ValueError, match="2 differences, 1 contexts"):
        fit_mixture(np.ones((2, 2)), np.zeros((1, 1)))


def test_effective_heads() -> None:
    assert effective_heads(np.array([[1.0, 0.0], [0.0, 1.0]])) == pytest.approx(2.0)
    assert effective_heads(np.array([[1.0, 0.0]])) == pytest.approx(1.0)
