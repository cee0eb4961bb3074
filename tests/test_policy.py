"""The policy: who is forbidden or unknown is never chosen, and state is a value."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interlock.checks.explorations import AWKWARD
from interlock.errors import SnapshotError
from interlock.estimators import ESTIMATORS, Constant, ItemResponse, Ridge
from interlock.exploration import EXPLORATIONS, Exploration, Greedy, Thompson, sample
from interlock.objectives import OBJECTIVES, Objective, Weighted
from interlock.policy import Choice, Event, Policy
from interlock.types import Candidate, Context, Estimate, Limits, Mask, Profile, Request, Signal, Usage

NAMES = tuple("abcdefgh")
COMPOSITIONS = list(itertools.product(OBJECTIVES.values(), EXPLORATIONS.values()))
ROWS, EXAMPLES = 64, 25


def random_estimate(rng: np.random.Generator, n: int, k: int) -> Estimate:
    """Estimates with awkward values of every kind strewn in."""

    def strewn(scale: float) -> np.ndarray:
        values = rng.random((n, k)) * scale
        return np.where(rng.random((n, k)) < rng.choice([0.0, 0.2, 0.9]), rng.choice(AWKWARD, (n, k)), values)

    return Estimate(strewn(1.0), np.abs(strewn(0.5)), strewn(0.01), strewn(10.0), strewn(100.0))


def assert_sound(choice: Choice, permitted: Mask) -> None:
    assert not choice.probability[~permitted].any(), "a forbidden candidate has probability 0"
    assert np.isfinite(choice.probability).all()
    assert not choice.probability[~np.isfinite(choice.utility)].any(), "what is not finite is not chosen"
    assert not (choice.dropped & (choice.probability > 0)).any()
    assert not (choice.dropped & ~permitted).any(), "only the permitted can be dropped"
    left = (permitted & ~choice.dropped).any(axis=1)
    assert np.allclose(choice.probability.sum(axis=1), left, atol=1e-9), "nothing is lost silently"


def test_no_composition_ever_chooses_the_forbidden_or_the_unknown() -> None:
    cases = 0

    @given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.sampled_from(COMPOSITIONS), st.floats(0.0, 1.0))
    @settings(max_examples=EXAMPLES * len(COMPOSITIONS), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def run(seed: int, k: int, composition: tuple[type[Objective], type[Exploration]], share: float) -> None:
        nonlocal cases
        rng = np.random.default_rng(seed)
        objective, exploration = composition
        policy = Policy(Constant(), objective(), exploration())
        permitted = rng.random((ROWS, k)) < share
        limits = [
            Limits(max_cost=rng.choice([None, 0.0, 0.005]), min_quality=rng.choice([None, 0.5, 2.0]))
            for _ in range(ROWS)
        ]
        choice = policy.choose(random_estimate(rng, ROWS, k), permitted, limits)
        assert_sound(choice, permitted)
        for i, row in enumerate(choice.probability):
            pick = sample(row, seed, f"id-{i}")
            assert pick is None if not row.any() else permitted[i, pick]
        cases += ROWS

    run()
    assert cases >= 20_000, f"{cases} cases"


@pytest.mark.parametrize("kind", ESTIMATORS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=12, deadline=None)
def test_no_request_is_estimated_from_a_broken_vector(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    policy = Policy(ESTIMATORS[kind](), Weighted(cost=100.0), Thompson())
    learn(policy, rng, 40)
    pool = [
        candidate(name, price_in=rng.choice([None, 0.0, 1.0]), price_out=1.0) for name in NAMES[: rng.integers(1, 8)]
    ]
    vectors = rng.normal(size=(16, 4)).astype(np.float32)
    vectors[rng.random(vectors.shape) < 0.1] = rng.choice([np.nan, np.inf, -np.inf, 1e30])
    contexts = [Context(Request(), {"tokens": Signal("tokens", 9.0)}, vector) for vector in vectors]
    estimate = policy.estimate(contexts, pool)
    permitted = rng.random((16, len(pool))) < 0.7
    choice = policy.choose(estimate, permitted)
    assert_sound(choice, permitted)
    broken = ~np.isfinite(vectors).all(axis=1)
    assert np.isnan(estimate.quality[broken]).all(), "no estimate is made up for a broken vector"
    assert (choice.dropped[broken] == permitted[broken]).all()
    unpriced = np.array([who.profile.price_in is None for who in pool])
    assert not choice.probability[:, unpriced].any(), "without a price nobody is cheap"
    assert ((estimate.quality[~broken] >= 0) & (estimate.quality[~broken] <= 1)).all()


def candidate(name: str, **profile: float | None) -> Candidate:
    return Candidate(name=name, provider="p", model=name, profile=Profile(**profile))  # type: ignore[arg-type]


def learn(policy: Policy, rng: np.random.Generator, n: int) -> None:
    for _ in range(n):
        vector, name = rng.normal(size=4).astype(np.float32), str(rng.choice(list(NAMES[:3])))
        policy.learn(Event(kind="score", candidate=name, vector=vector, score=float(rng.random() < 0.5)))
        usage = Usage(input=10, output=int(rng.integers(1, 50)))
        policy.learn(Event(kind="outcome", candidate=name, vector=vector, usage=usage, prompt_tokens=9.0, latency=1.0))


def trained(kind: str = "ridge", n: int = 60) -> Policy:
    policy = Policy(ESTIMATORS[kind](), Weighted(), Thompson(), columns=tuple("wxyz"))
    learn(policy, np.random.default_rng(0), n)
    return policy


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_state_is_bytes_and_the_same_events_give_the_same_bytes(kind: str) -> None:
    policy = trained(kind)
    assert policy.state() == trained(kind).state()
    copy = Policy(ESTIMATORS[kind](), Weighted(cost=5.0), Greedy(), columns=tuple("wxyz")).restore(policy.state())
    assert copy.state() == policy.state()
    for one in (policy, copy):
        learn(one, np.random.default_rng(1), 20)
    assert copy.state() == policy.state()


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_clone_goes_its_own_way(kind: str) -> None:
    policy = trained(kind)
    clone, before = policy.clone().prepare(), policy.state()
    contexts, pool = [Context(Request(), {}, np.ones(4, np.float32))], [candidate(name) for name in NAMES[:3]]
    assert np.array_equal(clone.estimate(contexts, pool).quality, policy.estimate(contexts, pool).quality)
    learn(clone, np.random.default_rng(2), 10)
    assert policy.state() == before != clone.state()


def test_an_objective_may_change_without_learning_anew_and_an_estimator_may_not() -> None:
    state = trained().state()
    Policy(Ridge(), OBJECTIVES["chebyshev"](), Greedy(), columns=tuple("wxyz")).restore(state)
    for other, what in (
        (Policy(ItemResponse(), Weighted(), Greedy(), columns=tuple("wxyz")), "estimator"),
        (Policy(Ridge(noise=0.9), Weighted(), Greedy(), columns=tuple("wxyz")), "estimator"),
        (Policy(Ridge(), Weighted(), Greedy(), columns=tuple("wxyq")), "columns"),
    ):
        before = other.state()
        with pytest.raises(SnapshotError, match=what):
            other.restore(state)
        assert other.state() == before


def test_a_damaged_snapshot_is_refused() -> None:
    state, fresh = trained().state(), Policy(Ridge(), Weighted(), Greedy(), columns=tuple("wxyz"))
    for damaged in (
        b"",
        state[:-5],
        b"\x00" + state,
        msgspec.msgpack.encode({"composition": {}}),
        msgspec.msgpack.encode(3),
    ):
        with pytest.raises(SnapshotError):
            fresh.restore(damaged)


def test_what_cannot_be_learnt_is_counted_and_the_fold_goes_on() -> None:
    policy = trained("logistic")
    before = policy.state()
    good = np.zeros(4, np.float32)
    policy.learn(Event(kind="score", candidate="a", vector=good[:3], score=1.0))
    policy.learn(Event(kind="score", candidate="a", vector=good * np.float32("nan"), score=1.0))
    policy.learn(Event(kind="score", candidate="a", vector=good, score=float("inf")))
    policy.learn(Event(kind="score", candidate="a", vector=good, score=7.0))
    policy.learn(Event(kind="score", candidate="a", vector=good, score=1.0, weight=-1.0))
    assert sum(policy.skipped.values()) == 5
    assert set(policy.skipped) == {
        "vector of another width",
        "vector not finite",
        "score not finite",
        "score outside [0, 1]",
        "revocation not possible",
    }
    policy.skipped.clear()
    assert policy.state() == before


def test_the_profile_breaks_the_first_tie() -> None:
    pool = [candidate("a", quality=0.3), candidate("b", quality=0.9), candidate("c")]
    contexts = [Context(Request(), {}, np.zeros(2, np.float32))]
    policy = Policy(Ridge(), Weighted(), Greedy())
    assert policy.choose(policy.estimate(contexts, pool), np.ones((1, 3), np.bool_)).probability.tolist() == [[0, 1, 0]]


def test_a_policy_names_its_parts() -> None:
    assert trained().name == "ridge+weighted+thompson"
