"""`disjoint` with `ucb` is LinUCB: the same numbers and the same choices as the textbook, step by step."""

from __future__ import annotations

import numpy as np
import pytest

from interlock.estimators import Disjoint
from interlock.estimators.disjoint import PENDING, REFRESH
from interlock.exploration import UCB
from interlock.presets import build

ARMS = tuple(f"arm-{i}" for i in range(5))
D = 8


class Textbook:
    """Algorithm 1 of arXiv 1003.0146 in float64: A = penalty I + sum x x', b = sum r x, every inverse from scratch."""

    def __init__(self, penalty: float, d: int) -> None:
        self.a = {arm: penalty * np.eye(d) for arm in ARMS}
        self.b = {arm: np.zeros(d) for arm in ARMS}

    def bounds(self, x: np.ndarray, alpha: float) -> np.ndarray:
        inverse = [np.linalg.inv(self.a[arm]) for arm in ARMS]
        return np.array(
            [x @ i @ self.b[arm] + alpha * np.sqrt(x @ i @ x) for i, arm in zip(inverse, ARMS, strict=True)]
        )

    def update(self, arm: str, x: np.ndarray, reward: float) -> None:
        self.a[arm] += np.outer(x, x)
        self.b[arm] += reward * x


@pytest.mark.parametrize(("alpha", "penalty"), [(0.1, 0.05), (1.0, 1.0), (2.5, 10.0)])
@pytest.mark.parametrize("intercept", [True, False])
def test_it_is_the_textbooks_linucb(alpha: float, penalty: float, intercept: bool) -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(len(ARMS), D))
    ours = Disjoint(default=0.0, noise=1.0, penalty=penalty, intercept=intercept)
    book, exploration = Textbook(penalty, D + intercept), UCB(alpha)
    for step in range(3 * PENDING * len(ARMS)):
        x = rng.normal(size=D)
        wide = np.append(1.0, x) if intercept else x
        mean, std = ours.predict(x[None], ARMS)
        wanted = book.bounds(wide, alpha)
        assert mean[0] + alpha * std[0] == pytest.approx(wanted, rel=1e-9, abs=1e-9), step
        probability = exploration.probabilities(mean, std, np.ones((1, len(ARMS)), dtype=np.bool_))[0]
        arm = int(wanted.argmax())
        tied = np.count_nonzero(wanted > wanted[arm] - 1e-9)  # at first, those never tried
        assert probability[arm] == pytest.approx(1.0 / tied), step
        reward = float(truth[arm] @ x) / 3 + rng.normal()
        ours.partial_fit(x[None], [ARMS[arm]], [reward])
        book.update(ARMS[arm], wide, reward)


def test_rounding_does_not_build_up() -> None:
    rng = np.random.default_rng(0)
    ours, n = Disjoint(intercept=False, penalty=1e-3, noise=1.0), REFRESH + 200
    x = rng.normal(size=(n, D)) * np.logspace(-3, 3, D)
    y = rng.random(n)
    ours.partial_fit(x, ["arm-0"] * n, y)
    inverse = np.linalg.inv(1e-3 * np.eye(D) + x.T @ x)
    mean, std = ours.predict(x[:50], ["arm-0"])
    assert std[:, 0] == pytest.approx(np.sqrt(np.einsum("nd,de,ne->n", x[:50], inverse, x[:50])), rel=1e-5)
    assert mean[:, 0] == pytest.approx(0.5 + x[:50] @ inverse @ x.T @ (y - 0.5), rel=1e-5, abs=1e-6)


def test_state_is_the_same_however_the_events_are_batched_and_wherever_it_is_stored() -> None:
    rng = np.random.default_rng(1)
    n = PENDING * 3 + 7
    x, y, names = rng.normal(size=(n, D)), rng.random(n), [ARMS[i] for i in rng.integers(0, 2, n)]
    whole = Disjoint().partial_fit(x, names, y)
    parts = Disjoint()
    for i in range(n):
        parts.partial_fit(x[i : i + 1], [names[i]], [y[i]])
        if i % 50 == 0:
            parts = Disjoint().restore(parts.state())
    for (name, one), (other, two) in zip(whole.state().items(), parts.state().items(), strict=True):
        assert name == other
        for part in one:
            np.testing.assert_array_equal(one[part], two[part])


def test_what_is_taken_back_is_forgotten() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(30, D)), rng.random(30)
    kept = Disjoint().partial_fit(x[:29], ["arm-0"] * 29, y[:29])
    undone = Disjoint().partial_fit(x, ["arm-0"] * 30, y).partial_fit(x[29:], ["arm-0"], y[29:], [-1.0])
    for ours, theirs in zip(undone.predict(x, ARMS[:1]), kept.predict(x, ARMS[:1]), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-10)


@pytest.mark.parametrize("bad", [{"noise": 0.0}, {"penalty": -1.0}, {"penalty": np.inf}])
def test_what_cannot_be_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Disjoint(**bad)


def test_the_preset_is_made_of_it() -> None:
    assert isinstance(build("linucb").estimator, Disjoint)
