"""Online routing on a known reward matrix: a policy chooses, sees the reward of what it chose alone, and learns.

The policy is the project's own (estimator x objective x exploration), asked for one request at a time. Since the whole
matrix is known, what was given away at every step is known too.

Source: the protocol of contextual bandits, Li et al. (arXiv 1003.0146); replay on logged decisions: Li et al. (arXiv
1003.5956), which keeps a logged step only when the policy would have chosen the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InterlockError
from ..exploration import sample
from ..policy import Event, Policy
from ..types import Array, Candidate, Context, Mask, Request, Vector
from .metrics import Bands, regret

Chosen = NDArray[np.intp]


class WorldError(InterlockError):
    """A reward matrix, its contexts or a change make no sense together. Whoever made them acts."""

    status, code = 422, "bad_world"


@dataclass(frozen=True)
class Change:
    """From step `at` on, `add` may be chosen and `remove` may not."""

    at: int
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True)
class World:
    """n requests by k arms: contexts (n, d), rewards (n, k) in [0, 1], all finite. Raises `WorldError`.

    `told` is what the policy is told instead of the reward; a NaN there is feedback that never comes. Arms that a
    change adds are absent before it. `prior` (k,) is what is believed of each arm beforehand, NaN for nothing.
    """

    arms: tuple[str, ...]
    vectors: Array
    rewards: Array
    told: Array | None = None
    changes: tuple[Change, ...] = ()
    prior: Array | None = None
    candidates: tuple[Candidate, ...] = field(init=False)

    def __post_init__(self) -> None:
        n, k = len(self.vectors), len(self.arms)
        for name in ("rewards", "told"):
            values = getattr(self, name)
            if values is not None and values.shape != (n, k):
                raise WorldError(
                    f"{name} has shape {values.shape}: expected ({n}, {k}), a row a context, a column an arm"
                )
        bad = np.argwhere(~((self.rewards >= 0.0) & (self.rewards <= 1.0)))
        if len(bad):
            row, column = bad[0]
            raise WorldError(
                f"the reward of {self.arms[column]!r} at row {row} is {self.rewards[row, column]:g}: expected [0, 1]"
            )
        for change in self.changes:
            unknown = [name for name in (*change.add, *change.remove) if name not in self.arms]
            if unknown:
                raise WorldError(f"the change at step {change.at} names {unknown[0]!r}; arms: {', '.join(self.arms)}")
        believed = [math.nan] * k if self.prior is None else self.prior.tolist()
        object.__setattr__(self, "candidates", tuple(map(_candidate, self.arms, believed)))

    def __len__(self) -> int:
        return len(self.vectors)

    def present(self, step: int) -> Mask:
        """Which arms (k,) may be chosen at a step. Raises `WorldError` when none may."""
        mask = np.ones(len(self.arms), dtype=np.bool_)
        for change in self.changes:  # what is added later is not there before
            mask[[self.arms.index(name) for name in change.add]] = False
        for change in sorted(self.changes, key=lambda change: change.at):
            if change.at <= step:
                mask[[self.arms.index(name) for name in change.add]] = True
                mask[[self.arms.index(name) for name in change.remove]] = False
        if not mask.any():
            raise WorldError(f"no arm is left at step {step}")
        return mask


def _candidate(name: str, quality: float) -> Candidate:
    from ..types import Profile

    return Candidate(
        name=name, provider="lab", model=name, profile=Profile(quality=None if math.isnan(quality) else quality)
    )


@dataclass(frozen=True)
class Course:
    """What happened in s runs of t steps: row of the world, arm, reward and regret at each step, all (s, t)."""

    arms: tuple[str, ...]
    rows: Chosen
    chosen: Chosen
    reward: Array
    regret: Array

    @property
    def total(self) -> Array:
        """Cumulative regret at the end, (s,)."""
        return np.asarray(self.regret.sum(axis=1))

    @property
    def bands(self) -> Bands:
        """Cumulative regret at every step, mean and quantiles over runs."""
        return regret(self.reward, self.reward + self.regret)

    def shares(self, first: int = 0, last: int | None = None) -> Array:
        """Share of the steps [first, last) that each arm got, (s, k)."""
        part = self.chosen[:, first:last]
        return np.stack([(part == arm).mean(axis=1) for arm in range(len(self.arms))], axis=1)

    def mean(self, of: Array) -> Array:
        """Mean over the steps of what the choices gave in another matrix (n, k) of the same world, (s,)."""
        return np.asarray(np.nanmean(of[self.rows, self.chosen], axis=1))


def simulate(
    policy: Policy,
    world: World,
    seeds: Sequence[int],
    *,
    steps: int | None = None,
    exploration: Callable[[int], Any] | None = None,
    done: Callable[[int], object] = lambda _: None,
) -> Course:
    """Run an untrained copy of `policy` through the world once a seed, in an order shuffled by the seed.

    `exploration` gives the exploration of each step, for rates that decay; otherwise the policy's own is kept. `done`
    is told of every finished run. The policy itself is left as it is.
    """
    steps = len(world) if steps is None else min(steps, len(world))
    rows, chosen = np.zeros((len(seeds), steps), dtype=np.intp), np.zeros((len(seeds), steps), dtype=np.intp)
    best = np.zeros((len(seeds), steps))
    contexts = contexts_of(world)
    presence = [world.present(step) for step in range(steps)]
    for run, seed in enumerate(seeds):
        rows[run] = np.random.default_rng(seed).permutation(len(world))[:steps]
        chosen[run] = walk(policy.clone(), world, rows[run], seed, contexts, presence, exploration)
        best[run] = [world.rewards[row, mask].max() for row, mask in zip(rows[run], presence, strict=True)]
        done(1)
    reward = world.rewards[rows, chosen]
    return Course(world.arms, rows, chosen, reward, best - reward)


_REQUEST = Request(id="lab")


def walk(
    policy: Policy,
    world: World,
    rows: Chosen,
    seed: int,
    contexts: Sequence[Context] | None = None,
    presence: Sequence[Mask] | None = None,
    exploration: Callable[[int], Any] | None = None,
) -> Chosen:
    """One run through these rows of the world: the arms chosen, (t,). The policy has learnt from it afterwards."""
    contexts = contexts_of(world) if contexts is None else contexts
    presence = [world.present(step) for step in range(len(rows))] if presence is None else presence
    said = world.rewards if world.told is None else world.told
    chosen = np.zeros(len(rows), dtype=np.intp)
    for step, row in enumerate(rows):
        if exploration is not None:
            policy.exploration = exploration(step)
        probability = choose(policy, contexts[row], world.candidates, presence[step])
        arm = sample(probability.tolist(), seed, f"{step}")
        assert arm is not None
        chosen[step] = arm
        if np.isfinite(said[row, arm]):
            learn(policy, world.arms[arm], contexts[row].vector, float(said[row, arm]))
    return chosen


def contexts_of(world: World) -> list[Context]:
    return [Context(_REQUEST, {}, vector) for vector in world.vectors.astype(np.float32)]


def choose(policy: Policy, context: Context, candidates: Sequence[Candidate], present: Mask) -> Array:
    """The probability of each arm, (k,)."""
    estimate = policy.estimate([context], candidates)
    return np.asarray(policy.choose(estimate, present[None, :]).probability[0])


def learn(policy: Policy, arm: str, vector: Vector, reward: float) -> None:
    policy.learn(Event(kind="score", candidate=arm, vector=vector, score=reward))


@dataclass(frozen=True)
class Log:
    """Decisions that were made uniformly at random, in order: row of the world, arm and reward, each (t,)."""

    rows: Chosen
    arms: Chosen
    rewards: Array


@dataclass(frozen=True)
class Replayed:
    """The rewards of the steps on which the policy agreed with the log: an unbiased sample of its online rewards."""

    rewards: Array
    offered: int

    @property
    def value(self) -> float:
        return float(self.rewards.mean())


def replay(
    policy: Policy, world: World, log: Log, seed: int, done: Callable[[int], object] = lambda _: None
) -> Replayed:
    """Rejection replay of a learning policy on a uniform log: only steps on which it agrees count and teach.

    Raises `WorldError` when it never agrees, for then nothing is known of it.
    """
    policy, kept = policy.clone(), []
    contexts = contexts_of(world)
    everyone = np.ones(len(world.arms), dtype=np.bool_)
    for step, (row, arm, reward) in enumerate(zip(log.rows, log.arms, log.rewards, strict=True)):
        probability = choose(policy, contexts[row], world.candidates, everyone)
        if sample(probability.tolist(), seed, f"{step}") == arm:
            kept.append(reward)
            learn(policy, world.arms[arm], contexts[row].vector, float(reward))
    done(1)
    if not kept:
        raise WorldError(f"the policy agreed with none of {len(log.rows)} logged decisions")
    return Replayed(np.array(kept), len(log.rows))


def one_hot(*labels: Sequence[Any], interact: bool = False) -> Array:
    """Indicator columns of each labelling's values, in sorted order; with `interact`, of every combination of them."""
    if interact:
        labels = ([tuple(row) for row in zip(*labels, strict=True)],)
    blocks = []
    for labelling in labels:
        values = sorted(set(labelling))
        blocks.append(np.array([[label == value for value in values] for label in labelling], dtype=np.float64))
    return np.hstack(blocks)


def fixed(world: World, arm: ArrayLike, rows: Chosen) -> Array:
    """Regret (s, t) of always choosing these arms, (k-index, or one for each row of the world), on the same rows."""
    arms = np.broadcast_to(np.asarray(arm), len(world))[rows]
    return np.asarray(world.rewards.max(axis=1)[rows] - world.rewards[rows, arms])
