"""Item response on whole tables, and placement, against simulated truth; what all promise is in test_checks.py."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import spearmanr

from interlock.estimators import ItemResponse
from interlock.estimators.placement import ability, information, place
from interlock.types import Array

NAMES = [f"c{i:02d}" for i in range(20)]


def simulated(n: int = 2000, k: int = 20, d: int = 8, seed: int = 0) -> tuple[Array, Array, Array, Array, Array]:
    """Vectors, scores (n, k), and the truth: abilities, difficulties, discriminations."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    theta = rng.permutation(np.linspace(-2.0, 2.0, k))
    hard = x @ rng.normal(0.0, 1.0 / np.sqrt(d), d)
    telling = np.logaddexp(0.0, 0.8 + x @ rng.normal(0.0, 0.8 / np.sqrt(d), d))
    p = 1.0 / (1.0 + np.exp(-telling[:, None] * (theta - hard[:, None])))
    return x, (rng.random((n, k)) < p).astype(np.float64), theta, hard, telling


@pytest.mark.parametrize("seed", [0, 1])
def test_known_parameters_are_recovered(seed: int) -> None:
    x, scores, theta, hard, telling = simulated(seed=seed)
    model = ItemResponse().fit_table(x, NAMES, scores)
    found = [model.abilities()[name][0] for name in NAMES]
    assert spearmanr(found, theta).statistic >= 0.97
    assert spearmanr(model.difficulty(x), hard).statistic >= 0.97
    assert spearmanr(model.discrimination(x)[:, 0], telling).statistic >= 0.97


def test_the_deviation_of_an_ability_is_honest() -> None:
    """Over many tables, abilities lie within their stated 95% about that often (relative to their mean, the origin)."""
    inside = []
    for seed in range(12):
        x, scores, theta, _, _ = simulated(300, 8, 3, seed)
        found = ItemResponse().fit_table(x, NAMES[:8], scores).abilities()
        mean, std = np.array([found[name] for name in NAMES[:8]]).T
        slope, start = np.polyfit(theta, mean, 1)
        inside += list(np.abs(mean - start - slope * theta) < 1.96 * std)
    assert np.mean(inside) > 0.85


def test_the_table_fit_is_the_maximum_a_posteriori_of_the_one_parameter_model() -> None:
    """With difficulties linear and slopes 1 the problem is convex: a generic optimiser must agree."""
    x, scores, *_ = simulated(60, 3, 2)
    model = ItemResponse(discriminating=False, adapt=False).fit_table(x, NAMES[:3], scores)
    z = np.hstack([np.ones((60, 1)), (x - x.mean(axis=0)) / x.std(axis=0)])
    variance = 0.5 * model.item_std**2 * np.array([1.0, 0.5, 0.5])

    def loss(u: Array) -> float:
        logit = u[3:][None, :] - (z @ u[:3])[:, None]
        prior = (u[:3] ** 2 / variance).sum() + (u[3:] ** 2).sum() / model.ability_std**2
        return float((np.logaddexp(0.0, logit) - scores * logit).sum() + 0.5 * prior)

    best = minimize(loss, np.zeros(6), method="BFGS").x
    assert np.allclose(model.difficulty(x), z @ best[:3], atol=1e-3)
    assert np.allclose([model.abilities()[n][0] for n in NAMES[:3]], best[3:], atol=1e-3)


def test_several_abilities_tell_specialists_apart() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(1500, 4))
    kind = x[:, 0] > 0
    right = np.stack([np.where(kind, 0.9, 0.2), np.where(kind, 0.2, 0.9), np.full(1500, 0.5)], axis=1)
    scores = (rng.random(right.shape) < right).astype(np.float64)
    asked = np.array([[1.5, 0.0, 0.0, 0.0], [-1.5, 0.0, 0.0, 0.0]])
    mean, _ = ItemResponse(rank=2).fit_table(x, NAMES[:3], scores).predict(asked, NAMES[:3])
    assert mean[0].argmax() == 0
    assert mean[1].argmax() == 1
    flat, _ = ItemResponse(rank=1).fit_table(x, NAMES[:3], scores).predict(asked, NAMES[:3])
    assert flat[0].argmax() == flat[1].argmax(), "one ability cannot"


@given(seed=st.integers(0, 1000), rank=st.integers(1, 3))
@settings(max_examples=10, deadline=None)
def test_more_ability_never_hurts(seed: int, rank: int) -> None:
    x, scores, *_ = simulated(120, 4, 3, seed)
    model = ItemResponse(rank=rank, adapt=False).fit_table(x, NAMES[:4], scores)
    model.know("weak", np.full(rank, -1.0), 1e-6 * np.eye(rank))
    model.know("strong", np.full(rank, 1.0), 1e-6 * np.eye(rank))
    mean, _ = model.predict(x, ("weak", "strong"))
    assert (mean[:, 1] >= mean[:, 0]).all()


def test_after_a_table_events_move_abilities_and_leave_items() -> None:
    x, scores, *_ = simulated(400, 5, 3)
    model = ItemResponse().fit_table(x, NAMES[:5], scores)
    before, hard = model.abilities(), model.difficulty(x)
    model.partial_fit(x[:50], ["c00"] * 50, np.ones(50)).partial_fit(x[:50], ["new"] * 50, np.zeros(50))
    assert np.array_equal(hard, model.difficulty(x))
    assert model.abilities()["c00"][0] > before["c00"][0]
    assert model.abilities()["c00"][1] < before["c00"][1]
    assert model.abilities()["c01"] == pytest.approx(before["c01"])
    assert model.abilities()["new"][0] < min(value for value, _ in before.values())
    spread = np.linalg.eigvalsh(model.state()["covariance"])
    assert spread.min() > 0, "a covariance stays one"


def test_missing_cells_are_no_failures() -> None:
    x, scores, theta, *_ = simulated(800, 6, 3)
    gaps = np.where(np.random.default_rng(4).random(scores.shape) < 0.6, np.nan, scores)
    gaps[:, 5] = np.nan
    found = ItemResponse().fit_table(x, NAMES[:6], gaps).abilities()
    assert list(found) == NAMES[:5]
    assert spearmanr([found[name][0] for name in NAMES[:5]], theta[:5]).statistic > 0.9


def test_prompts_unlike_the_table_are_not_trusted() -> None:
    x, scores, *_ = simulated(500, 5, 4)
    model = ItemResponse().fit_table(x, NAMES[:5], scores)
    _, near = model.predict(x[:50], NAMES[:5])
    _, far = model.predict(8.0 * x[:50], NAMES[:5])
    _, empty = model.predict(np.zeros((1, 4)), NAMES[:5])
    assert far.mean() > 1.5 * near.mean()
    assert empty.mean() > near.mean(), "nor is one without content"


def test_bad_tables_are_refused_with_their_row() -> None:
    x = np.zeros((3, 2))
    with pytest.raises(ValueError, match=r"row 1: target 2"):
        ItemResponse().fit_table(x, ["a"], [[0.0], [2.0], [1.0]])
    with pytest.raises(ValueError, match=r"expected \(3, 2\)"):
        ItemResponse().fit_table(x, ["a", "b"], [[0.0], [1.0], [1.0]])
    x[2, 0] = np.nan
    with pytest.raises(ValueError, match="row 2"):
        ItemResponse().fit_table(x, ["a"], [[0.0], [1.0], [1.0]])
    with pytest.raises(ValueError, match="rank 5"):
        ItemResponse(rank=5)
    assert ItemResponse().fit_table(np.zeros((2, 2)), ["a"], [[np.nan], [np.nan]]).state() == {}


def test_a_newcomer_is_placed_by_few_telling_answers() -> None:
    x, scores, theta, hard, telling = simulated(1500, 12, 6, 5)
    model = ItemResponse().fit_table(x, NAMES[:12], scores)
    known = model.state()
    rng, errors = np.random.default_rng(6), {"information": [], "random": []}
    found = np.array([model.abilities()[name][0] for name in NAMES[:12]])
    slope, start = np.polyfit(theta[:12], found, 1)
    for truth in np.linspace(-1.5, 1.5, 8):
        right = rng.random(1500) < 1.0 / (1.0 + np.exp(-telling * (truth - hard)))
        for how, adaptive in (("information", 40), ("random", 0)):
            for seed in range(3):
                placed = place(
                    model.restore(known),
                    "new",
                    x,
                    lambda r, y=right: float(y[r]),
                    max_items=25,
                    adaptive=adaptive,
                    seed=seed,
                )
                errors[how].append(abs(placed.theta[0] - start - slope * truth))
                assert len(set(placed.asked)) == 25
    assert np.mean(errors["information"]) < np.mean(errors["random"])


def test_placing_stops_when_it_is_sure_enough_and_is_bounded_when_all_is_right() -> None:
    x, scores, *_ = simulated(600, 8, 4, 7)
    model = ItemResponse().fit_table(x, NAMES[:8], scores)
    placed = place(model, "new", x, lambda _: 1.0, max_items=200)
    assert np.isfinite(placed.theta).all()
    assert placed.theta[0] < 10.0, "the prior bounds one that is always right"
    rng = np.random.default_rng(8)
    early = place(model, "other", x, lambda _: float(rng.random() < 0.5), max_items=600, stop_se=0.35)
    assert len(early.asked) < 600
    assert early.se[0] <= 0.35
    with pytest.raises(ValueError, match="fit_table"):
        place(ItemResponse(), "new", x, lambda _: 1.0, max_items=3)
    with pytest.raises(ValueError, match="target 7"):
        place(model, "third", x, lambda _: 7.0, max_items=3)


def test_information_is_the_variance_of_the_score() -> None:
    """Fisher information of one ability is the expected squared derivative of the log-likelihood."""
    x, scores, *_ = simulated(100, 5, 3, 9)
    model = ItemResponse().fit_table(x, NAMES[:5], scores)
    items = model._items(model._standardised(x))
    theta, step = np.array([0.3]), 1e-5
    p, above, below = (
        1.0 / (1.0 + np.exp(-items.logits(theta[None, :] + delta)[:, 0])) for delta in (0.0, step, -step)
    )
    numeric = ((above - below) / (2 * step)) ** 2 / (p * (1 - p))
    assert np.allclose(information(items, theta, np.eye(1)), numeric, rtol=1e-4)
    mean, covariance = ability(items, [], np.zeros(0), np.array([0.5]), np.eye(1) * 2.0)
    assert mean == pytest.approx([0.5])
    assert covariance[0, 0] == pytest.approx(2.0), "without answers the prior is all there is"
