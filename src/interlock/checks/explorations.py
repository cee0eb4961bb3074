"""What every exploration promises. Each check takes a factory of explorations."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..exploration import Exploration
from ..types import Array, Mask

Factory = Callable[[], Exploration]

AWKWARD = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e300, -1e300, 1e-300, 0.5, 0.5, 1.0, -3.0])
"""Values that break naive arithmetic, among ordinary ones."""


def cases(seed: int = 0, rounds: int = 60) -> Iterator[tuple[Array, Array, Mask]]:
    """Batches of utilities, deviations and permissions of every size, ordinary and awkward."""
    rng = np.random.default_rng(seed)
    for turn in range(rounds):
        n, k = int(rng.integers(1, 20)), int(rng.integers(1, 9))
        utility, std = rng.normal(size=(n, k)), rng.exponential(0.3, (n, k))
        if turn % 2:
            utility = np.where(rng.random((n, k)) < 0.3, rng.choice(AWKWARD, (n, k)), utility)
            std = np.where(rng.random((n, k)) < 0.3, np.abs(rng.choice(AWKWARD, (n, k))), std)
        if turn % 3 == 0:
            std = std * 10.0 ** rng.integers(-9, 3, (n, k))
        yield utility, std, rng.random((n, k)) < 0.7


def rows_sum_to_one(factory: Factory) -> None:
    for utility, std, permitted in cases():
        probability = factory().probabilities(utility, std, permitted)
        some = (permitted & np.isfinite(utility) & np.isfinite(std)).any(axis=1)
        assert probability.shape == utility.shape, "one probability for each request and candidate"
        assert np.isfinite(probability).all(), "no probability is NaN or infinite"
        assert ((probability >= 0) & (probability <= 1 + 1e-12)).all(), "probabilities lie in [0, 1]"
        assert np.allclose(probability.sum(axis=1), some, atol=1e-9), "rows sum to 1, or to 0 when nobody takes part"


def the_forbidden_get_exactly_zero(factory: Factory) -> None:
    for utility, std, permitted in cases(1):
        assert not factory().probabilities(utility, std, permitted)[~permitted].any(), "forbidden means probability 0"


def what_is_not_finite_gets_exactly_zero(factory: Factory) -> None:
    for utility, std, permitted in cases(2):
        broken = ~(np.isfinite(utility) & np.isfinite(std))
        assert not factory().probabilities(utility, std, permitted)[broken].any(), "NaN and infinity are never chosen"


def candidates_have_no_order(factory: Factory) -> None:
    rng = np.random.default_rng(3)
    for utility, std, permitted in cases(3):
        order = rng.permutation(utility.shape[1])
        straight = factory().probabilities(utility, std, permitted)
        turned = factory().probabilities(utility[:, order], std[:, order], permitted[:, order])
        assert np.allclose(turned, straight[:, order], atol=1e-7), "a probability follows the candidate, not its place"


def requests_do_not_mix(factory: Factory) -> None:
    for utility, std, permitted in cases(4):
        whole = factory().probabilities(utility, std, permitted)
        rows = [
            factory().probabilities(utility[i : i + 1], std[i : i + 1], permitted[i : i + 1])
            for i in range(len(utility))
        ]
        assert np.allclose(np.concatenate(rows), whole, atol=1e-9), "a request's probabilities are its own"


def equals_are_treated_equally(factory: Factory) -> None:
    permitted = np.array([[True, True, False, True]])
    for spread in (0.0, 0.2):
        probability = factory().probabilities(np.full((1, 4), 0.3), np.full((1, 4), spread), permitted)
        assert np.allclose(probability, [[1 / 3, 1 / 3, 0, 1 / 3]], atol=1e-9), "equals share equally"


def the_better_is_no_less_likely(factory: Factory) -> None:
    rng = np.random.default_rng(5)
    utility = rng.normal(size=(50, 5))
    probability = factory().probabilities(utility, np.full((50, 5), 0.4), np.ones((50, 5), dtype=np.bool_))
    order = np.argsort(utility, axis=1)
    assert (np.diff(np.take_along_axis(probability, order, axis=1), axis=1) >= -1e-9).all(), (
        "with equal deviations, more utility never means less probability"
    )


def inputs_are_left_alone(factory: Factory) -> None:
    for utility, std, permitted in cases(6, 10):
        before = utility.copy(), std.copy(), permitted.copy()
        factory().probabilities(utility, std, permitted)
        after = utility, std, permitted
        assert all(a.tobytes() == b.tobytes() for a, b in zip(after, before, strict=True)), "nothing is changed"


CHECKS: tuple[Callable[[Factory], None], ...] = (
    rows_sum_to_one,
    the_forbidden_get_exactly_zero,
    what_is_not_finite_gets_exactly_zero,
    candidates_have_no_order,
    requests_do_not_mix,
    equals_are_treated_equally,
    the_better_is_no_less_likely,
    inputs_are_left_alone,
)
