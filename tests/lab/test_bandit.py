"""Worlds are checked, regret is what was given away, learning lowers it, and replay on a uniform log is unbiased."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.estimators import Constant, Ridge
from interlock.exploration import UCB, Epsilon, Greedy
from interlock.lab.bandit import Change, Log, World, WorldError, fixed, one_hot, replay, simulate, walk
from interlock.objectives import Weighted
from interlock.policy import Policy

ARMS = ("a", "b", "c")


def world(n: int = 400, seed: int = 0, **fields: object) -> World:
    """Which of the first two arms is good depends on the context; the third never is."""
    rng = np.random.default_rng(seed)
    side = rng.integers(0, 2, n)
    means = np.where(side[:, None] == 0, [0.8, 0.3, 0.2], [0.3, 0.8, 0.2])
    return World(ARMS, one_hot(side.tolist()), np.clip(means + rng.normal(0, 0.1, means.shape), 0, 1), **fields)  # type: ignore[arg-type]


def linucb() -> Policy:
    return Policy(Ridge(), Weighted(), UCB(1.0))


def test_a_contextual_policy_gives_away_less_than_one_without_and_than_any_fixed_arm() -> None:
    place = world()
    ours = simulate(linucb(), place, range(3))
    bare = World(ARMS, np.zeros((400, 1)), place.rewards)
    blind = simulate(Policy(Constant(), Weighted(), Epsilon(0.1)), bare, range(3))
    best_fixed = min(fixed(place, arm, ours.rows).sum(axis=1).mean() for arm in range(3))
    assert ours.total.mean() < 0.5 * blind.total.mean()
    assert ours.total.mean() < 0.5 * best_fixed
    assert ours.regret.min() >= 0.0
    np.testing.assert_allclose(ours.shares().sum(axis=1), 1.0)
    np.testing.assert_allclose(ours.bands.mean[-1], ours.total.mean())


def test_the_same_seed_gives_the_same_course_and_the_policy_stays_untrained() -> None:
    policy, place = linucb(), world(100)
    before = policy.state()
    one, two = (simulate(policy, place, [3], steps=60) for _ in range(2))
    np.testing.assert_array_equal(one.chosen, two.chosen)
    assert policy.state() == before
    walk(policy, place, one.rows[0], 3)
    assert policy.state() != before, "walking teaches"


def test_an_arm_is_chosen_only_while_it_is_there() -> None:
    place = world(changes=(Change(150, add=("a",), remove=("b",)),))
    course = simulate(linucb(), place, range(2))
    assert not (course.chosen[:, :150] == 0).any()
    assert not (course.chosen[:, 150:] == 1).any()
    assert (course.chosen[:, 150:] == 0).mean() > 0.5
    assert course.regret.min() >= 0.0, "the optimum is over those that are there"


def test_feedback_that_never_comes_teaches_nothing() -> None:
    place = world(100)
    silent = World(ARMS, place.vectors, place.rewards, told=np.full(place.rewards.shape, np.nan))
    policy = linucb()
    before = policy.state()
    walk(policy, silent, np.arange(100), 0)
    assert policy.state() == before


def test_what_is_told_and_not_what_is_true_is_learnt() -> None:
    place = world()
    lied = World(ARMS, place.vectors, place.rewards, told=1.0 - place.rewards)
    course = simulate(linucb(), lied, [0])
    assert course.shares(200)[0, 2] > 0.8, "the worst arm is praised"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"rewards": np.full((4, 3), 1.5)}, r"reward of 'a' at row 0 is 1\.5"),
        ({"rewards": np.full((4, 3), np.nan)}, "is nan: expected"),
        ({"rewards": np.zeros((4, 2))}, r"shape \(4, 2\): expected \(4, 3\)"),
        ({"told": np.zeros((3, 3))}, "told has shape"),
        ({"changes": (Change(1, add=("z",)),)}, "step 1 names 'z'; arms: a, b, c"),
    ],
)
def test_a_world_that_makes_no_sense_is_refused(fields: dict[str, object], says: str) -> None:
    with pytest.raises(WorldError, match=says):
        World(**{"arms": ARMS, "vectors": np.zeros((4, 1)), "rewards": np.zeros((4, 3))} | fields)  # type: ignore[arg-type]


def test_no_arm_left_is_an_error() -> None:
    with pytest.raises(WorldError, match="no arm is left at step 5"):
        simulate(linucb(), world(20, changes=(Change(5, remove=ARMS),)), [0])


def test_replay_estimates_what_a_fixed_policy_would_have_got() -> None:
    place = world(2000)
    rng = np.random.default_rng(1)
    arms = rng.integers(0, 3, 2000)
    log = Log(np.arange(2000), arms, place.rewards[np.arange(2000), arms])
    always = Policy(Constant(prior_strength=1e9), Weighted(), Greedy())
    first = World(ARMS, place.vectors, place.rewards, prior=np.array([0.9, 0.1, 0.1]))
    got = replay(always, first, log, 0)
    truth = place.rewards[:, 0]
    assert 550 < len(got.rewards) < 790
    assert abs(got.value - truth.mean()) < 4 * truth.std() / np.sqrt(len(got.rewards))


def test_a_policy_that_never_agrees_is_said_to_be_unknown() -> None:
    always = Policy(Constant(prior_strength=1e9), Weighted(), Greedy())
    place = World(ARMS, np.zeros((5, 1)), np.zeros((5, 3)), prior=np.array([0.9, 0.1, 0.1]))
    with pytest.raises(WorldError, match="agreed with none of 5"):
        replay(always, place, Log(np.arange(5), np.full(5, 2), np.zeros(5)), 0)


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 2)), min_size=1, max_size=20))
def test_one_hot_has_a_one_in_each_block(rows: list[tuple[str, int]]) -> None:
    left, right = zip(*rows, strict=True)
    np.testing.assert_array_equal(one_hot(left, right).sum(axis=1), 2.0)
    np.testing.assert_array_equal(one_hot(left, right, interact=True).sum(axis=1), 1.0)
