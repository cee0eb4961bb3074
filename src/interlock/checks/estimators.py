"""What every estimator promises. Each check takes a factory of fresh estimators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..estimators import Estimator
from ..types import Array

Factory = Callable[[], Estimator]

WIDTH = 6
POOL = ("a", "b", "c")


class Stream(NamedTuple):
    vectors: Array
    names: list[str]
    targets: Array

    def cut(self, start: int, stop: int) -> Stream:
        return Stream(self.vectors[start:stop], self.names[start:stop], self.targets[start:stop])


def stream(n: int, seed: int = 0, pool: Sequence[str] = POOL) -> Stream:
    """n events on which `a` is good where column 0 is positive, `b` where it is negative, and any other at random."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, WIDTH))
    names = [pool[i] for i in rng.integers(0, len(pool), n)]
    chance = {"a": vectors[:, 0] > 0, "b": vectors[:, 0] < 0}
    coin = rng.random(n) < 0.5
    targets = np.array([chance.get(name, coin)[i] for i, name in enumerate(names)], dtype=np.float64)
    return Stream(vectors, names, targets)


def same_state(left: Any, right: Any) -> bool:
    """Whether two states are equal bit for bit."""
    if isinstance(left, np.ndarray):
        return isinstance(right, np.ndarray) and left.dtype == right.dtype and left.tobytes() == right.tobytes()
    if isinstance(left, dict):
        return (
            isinstance(right, dict) and list(left) == list(right) and all(same_state(left[k], right[k]) for k in left)
        )
    if isinstance(left, list | tuple):
        return isinstance(right, list | tuple) and len(left) == len(right) and all(map(same_state, left, right))
    return bool(left == right)


def size_of(state: Any) -> int:
    """Bytes of all arrays, and one for everything else."""
    if isinstance(state, np.ndarray):
        return state.nbytes
    if isinstance(state, dict):
        return sum(map(size_of, state.values()))
    return sum(map(size_of, state)) if isinstance(state, list | tuple) else 1


def rejected(estimator: Estimator, *event: Any) -> str:
    """The message of the `ValueError` that learning these rows raises, or "" if they were learnt."""
    try:
        estimator.partial_fit(*event)
    except ValueError as error:
        return str(error)
    return ""


def predicts_before_any_event(factory: Factory) -> None:
    mean, std = factory().predict(np.ones((4, WIDTH)), POOL)
    assert mean.shape == std.shape == (4, len(POOL)), "one mean and one deviation for each request and candidate"
    assert np.isfinite(mean).all(), "a cold start has a finite mean"
    assert (std > 0).all(), "what was never tried is not certain"
    assert mean.dtype == std.dtype == np.float64, "estimates are float64"


def a_prior_is_believed_until_there_is_evidence(factory: Factory) -> None:
    prior = np.array([0.2, 0.8, np.nan])
    cold, _ = factory().predict(np.zeros((1, WIDTH)), POOL, prior)
    assert cold[0, 0] < cold[0, 2] < cold[0, 1], "candidates rank by their prior before any event"
    events = stream(600)
    learnt = factory().fit(*events)
    with_prior, _ = learnt.predict(events.vectors[:50], POOL, prior)
    without, _ = learnt.predict(events.vectors[:50], POOL)
    assert np.abs(with_prior - without).mean() < 0.1, "600 events outweigh a prior"


def predict_changes_nothing(factory: Factory) -> None:
    estimator = factory().fit(*stream(40))
    before, first = estimator.state(), estimator.predict(np.ones((3, WIDTH)), POOL)
    second = estimator.predict(np.ones((3, WIDTH)), POOL)
    assert same_state(before, estimator.state()), "predict leaves the state as it was"
    assert same_state(list(first), list(second)), "the same question gets the same answer"


def clones_are_independent(factory: Factory) -> None:
    original = factory().fit(*stream(40))
    before, clone = original.state(), factory().restore(original.state())
    clone.partial_fit(*stream(40, seed=1))
    assert same_state(before, original.state()), "what a restored copy learns, its origin does not"
    assert not same_state(before, clone.state()), "the copy did learn"


def state_survives_a_round_trip(factory: Factory) -> None:
    for n in (1, 40, 400):
        original = factory().fit(*stream(n))
        copy = factory().restore(original.state())
        assert same_state(original.state(), copy.state()), f"restore(state()) is the same state after {n} events"
        question = np.random.default_rng(2).normal(size=(5, WIDTH))
        assert same_state(list(original.predict(question, POOL)), list(copy.predict(question, POOL))), (
            "and predicts alike"
        )
        later = stream(30, seed=3)
        original.partial_fit(*later)
        copy.partial_fit(*later)
        assert same_state(original.state(), copy.state()), "and learns on alike, bit for bit"


def batches_do_not_matter(factory: Factory) -> None:
    events = stream(350)
    whole = factory().fit(*events)
    for sizes in (1,), (7, 1, 64), (100, 3):
        pieces, start, turn = factory(), 0, 0
        while start < len(events.names):
            stop = start + sizes[turn % len(sizes)]
            pieces.partial_fit(*events.cut(start, stop))
            pieces.predict(events.vectors[:1], POOL)
            start, turn = stop, turn + 1
        assert same_state(whole.state(), pieces.state()), f"batches of {sizes} give the state of one batch, bit for bit"


def fit_forgets_what_was_before(factory: Factory) -> None:
    estimator = factory().fit(*stream(50, seed=1)).fit(*stream(50))
    assert same_state(estimator.state(), factory().fit(*stream(50)).state()), "fit starts anew"


def memory_is_bounded(factory: Factory) -> None:
    estimator = factory()
    sizes = []
    for part in range(8):
        estimator.partial_fit(*stream(600, seed=part))
        sizes.append(size_of(estimator.state()))
    assert sizes[-1] <= 1.25 * sizes[3], f"the state stops growing, but was {sizes} bytes"


def candidates_appear_and_vanish(factory: Factory) -> None:
    estimator = factory().fit(*stream(120))
    question = np.random.default_rng(1).normal(size=(6, WIDTH))
    mean, std = estimator.predict(question, ("a", "stranger"))
    assert np.isfinite([mean, std]).all(), "one never seen has an estimate"
    assert std[:, 1].mean() > std[:, 0].mean(), "one never seen is less certain than one often seen"
    alone, _ = estimator.predict(question, ("a",))
    assert np.allclose(alone[:, 0], mean[:, 0], atol=1e-9), "an estimate does not depend on who else is asked about"
    estimator.partial_fit(*stream(60, seed=4, pool=("b", "stranger")))
    back, _ = estimator.predict(question, ("a", "b", "c", "stranger"))
    assert np.isfinite(back).all(), "one that was away is still known"
    assert estimator.predict(question, ())[0].shape == (6, 0), "an empty pool has no estimates"


def candidates_have_no_order(factory: Factory) -> None:
    estimator = factory().fit(*stream(200))
    question = np.random.default_rng(5).normal(size=(6, WIDTH))
    mean, std = estimator.predict(question, POOL)
    turned_mean, turned_std = estimator.predict(question, POOL[::-1])
    assert np.allclose(turned_mean[:, ::-1], mean, atol=1e-7), "the mean follows the candidate, not its place"
    assert np.allclose(turned_std[:, ::-1], std, atol=1e-7), "so does the deviation"


def names_are_only_names(factory: Factory) -> None:
    events, other = stream(200), {"a": "z", "b": "m", "c": "b"}
    renamed = Stream(events.vectors, [other[name] for name in events.names], events.targets)
    question = np.random.default_rng(6).normal(size=(6, WIDTH))
    mean, std = factory().fit(*events).predict(question, POOL)
    new_mean, new_std = factory().fit(*renamed).predict(question, [other[name] for name in POOL])
    assert np.allclose([new_mean, new_std], [mean, std], atol=1e-5), "other names, same estimates"


def what_is_not_finite_is_rejected_whole(factory: Factory) -> None:
    estimator = factory().fit(*stream(30))
    before = estimator.state()
    for bad in (np.nan, np.inf, -np.inf):
        vectors, targets = np.zeros((3, WIDTH)), np.ones(3)
        vectors[1, 2] = bad
        message = rejected(estimator, vectors, ["a", "b", "c"], targets)
        assert "row 1" in message, f"a vector with {bad} is refused, naming its row; got {message!r}"
        targets[2] = bad
        message = rejected(estimator, np.zeros((3, WIDTH)), ["a", "b", "c"], targets)
        assert "row 2" in message, f"a target of {bad} is refused, naming its row; got {message!r}"
        assert rejected(estimator, np.zeros((1, WIDTH)), ["a"], [1.0], [bad]), f"a weight of {bad} is refused"
    assert rejected(estimator, np.zeros((1, WIDTH)), ["a", "b"], [1.0]), "unequal lengths are refused"
    assert same_state(before, estimator.state()), "a refused batch teaches nothing"


def zero_and_huge_vectors_do_no_harm(factory: Factory) -> None:
    estimator = factory().fit(np.zeros((20, WIDTH)), ["a", "b"] * 10, np.tile([1.0, 0.0], 10))
    mean, std = estimator.predict(np.zeros((1, WIDTH)), ("a", "b"))
    assert np.isfinite([mean, std]).all(), "vectors without content are an ordinary case"
    assert mean[0, 0] > mean[0, 1], "and what was learnt on them counts"
    estimator.partial_fit(*stream(50))
    mean, std = estimator.predict(np.full((2, WIDTH), 1e9), POOL)
    assert np.isfinite([mean, std]).all(), "a request unlike any other has an estimate"


def weight_zero_teaches_nothing(factory: Factory) -> None:
    events = stream(200)
    silent = factory().fit(*events).partial_fit(np.ones((20, WIDTH)), ["a"] * 20, np.zeros(20), np.zeros(20))
    mean, _ = silent.predict(np.ones((1, WIDTH)), ("a",))
    plain, _ = factory().fit(*events).predict(np.ones((1, WIDTH)), ("a",))
    assert abs(mean[0, 0] - plain[0, 0]) < 0.1, "events of weight 0 hardly move an estimate"


def evidence_counts(factory: Factory) -> None:
    rng = np.random.default_rng(7)
    vectors = rng.normal(size=(300, WIDTH))
    names = ["good", "bad"] * 150
    estimator = factory().fit(vectors, names, (rng.random(300) < np.tile([0.9, 0.1], 150)).astype(np.float64))
    mean, std = estimator.predict(rng.normal(size=(50, WIDTH)), ("good", "bad", "unseen"))
    assert (mean[:, 0] > mean[:, 1]).mean() > 0.9, "one that succeeds is expected to succeed"
    assert std[:, :2].mean() < std[:, 2].mean(), "evidence narrows the deviation"


def revocation_undoes(factory: Factory) -> None:
    estimator = factory()
    once, extra = stream(300), stream(5, seed=9)
    if not estimator.revocable:
        message = rejected(estimator.fit(*once), extra.vectors, extra.names, extra.targets, -np.ones(5))
        assert "revoke" in message, f"who cannot revoke says so; got {message!r}"
        return
    estimator.fit(*once).partial_fit(*extra).partial_fit(*extra, -np.ones(5))
    question = np.random.default_rng(8).normal(size=(10, WIDTH))
    for after, before in zip(
        estimator.predict(question, POOL), factory().fit(*once).predict(question, POOL), strict=True
    ):
        assert np.allclose(after, before, atol=1e-4), "a withdrawn event leaves no trace"


CHECKS: tuple[Callable[[Factory], None], ...] = (
    predicts_before_any_event,
    a_prior_is_believed_until_there_is_evidence,
    predict_changes_nothing,
    clones_are_independent,
    state_survives_a_round_trip,
    batches_do_not_matter,
    fit_forgets_what_was_before,
    memory_is_bounded,
    candidates_appear_and_vanish,
    candidates_have_no_order,
    names_are_only_names,
    what_is_not_finite_is_rejected_whole,
    zero_and_huge_vectors_do_no_harm,
    weight_zero_teaches_nothing,
    evidence_counts,
    revocation_undoes,
)
