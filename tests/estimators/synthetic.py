"""A pool with step-shaped abilities on tasks with levels: the smallest world in which routing pays.

Whether a candidate solves a prompt is decided by the prompt, not by a coin: a prompt's own hardness is shared by all
candidates, so the per-prompt oracle is the same kind of bound as on real answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interlock.policy import Event, Policy
from interlock.types import Candidate, Context, Profile, Request, Signal, Usage

TASKS, LEVELS, TEMPLATES = 12, 8, 5
PRICES = {"nano": 0.05, "micro": 0.3, "small": 1.3}
"""USD per million tokens."""


@dataclass(frozen=True)
class World:
    """n prompts: vectors (n, d), and per candidate quality (n, k), output tokens (n, k). Prompts have 40 tokens."""

    candidates: tuple[Candidate, ...]
    vectors: NDArray[np.float32]
    quality: NDArray[np.float64]
    tokens: NDArray[np.float64]
    price: float

    @property
    def cost(self) -> NDArray[np.float64]:
        prices = np.array([candidate.profile.price_out for candidate in self.candidates], dtype=np.float64)
        return (40.0 + self.tokens) * prices / 1e6

    @property
    def utility(self) -> NDArray[np.float64]:
        return self.quality - self.price * self.cost

    def contexts(self, rows: slice) -> list[Context]:
        tokens = {"tokens": Signal("tokens", 40.0)}
        return [Context(Request(id=f"r{rows.start + i}"), tokens, v) for i, v in enumerate(self.vectors[rows])]


def make_world(seed: int, n: int, price: float = 3000.0, blur: float = 1.0) -> World:
    """Three sizes at two budgets and four specialists on `n` prompts. `blur` scales the noise of the vectors."""
    rng = np.random.default_rng(seed)
    ability, thinks, names = [], [], []
    talent = rng.normal(0.0, 1.2, TASKS)
    for size, base in (("nano", 1.5), ("micro", 3.5), ("small", 5.5)):
        own = base + talent + rng.normal(0.0, 0.8, TASKS)
        for budget in (0, 1):
            names.append((size, f"{size}-t{budget}"))
            ability.append(own + budget * rng.choice([0.0, 2.0, 4.0], TASKS))
            thinks.append(budget)
    for special in range(4):
        mine = np.isin(np.arange(TASKS), range(3 * special, 3 * special + 3))
        names.append(("nano", f"nano-special{special}-t0"))
        ability.append(np.where(mine, 7.0, 0.5) + rng.normal(0.0, 0.5, TASKS))
        thinks.append(0)
    task, level = rng.integers(0, TASKS, n), rng.integers(1, LEVELS + 1, n)
    hardness = level[:, None] + rng.normal(0.0, 0.4, (n, 1)) + rng.normal(0.0, 0.3, (n, len(names)))
    quality = (hardness < np.array(ability)[:, task].T).astype(np.float64)
    scratch = rng.uniform(2.0, 12.0, TASKS)[task] * level
    tokens = np.round(2.0 + level[:, None] + np.array(thinks) * scratch[:, None] + rng.uniform(0, 2, quality.shape))
    candidates = tuple(
        Candidate(
            name=name, provider="test", model=size, profile=Profile(price_in=PRICES[size], price_out=PRICES[size])
        )
        for size, name in names
    )
    return World(candidates, _vectors(rng, task, level, blur), quality, tokens, price)


def _vectors(
    rng: np.random.Generator, task: NDArray[np.int64], level: NDArray[np.int64], blur: float
) -> NDArray[np.float32]:
    """A 64-column embedding (task, template, level along a direction of the task, noise), structure, a task head."""
    n, d = len(task), 64
    centres, drifts = rng.normal(size=(TASKS, d)), rng.normal(size=(TASKS, d))
    templates = rng.normal(size=(TASKS, TEMPLATES, d))
    height = (level - 4.5) / 2.3
    embedding = (
        centres[task] + 0.4 * height[:, None] * drifts[task] + 0.7 * templates[task, rng.integers(0, TEMPLATES, n)]
    )
    embedding += 0.7 * blur * rng.normal(size=(n, d))
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    slopes, offsets = rng.uniform(0.0, 0.3, (TASKS, 8)), rng.normal(0.0, 0.5, (TASKS, 8))
    structure = offsets[task] + slopes[task] * level[:, None] + 0.2 * blur * rng.normal(size=(n, 8))
    logits = 4.0 * np.eye(TASKS)[task] + 1.0 * blur * rng.normal(size=(n, TASKS))
    head = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    difficulty = height[:, None] + 0.8 * blur * rng.normal(size=(n, 1))
    return np.concatenate([embedding, structure, head, difficulty], axis=1).astype(np.float32)


def run_bandit(world: World, policy: Policy, seed: int = 0, tick: int = 16) -> NDArray[np.int64]:
    """What the policy chose for each prompt, learning from its own choices every `tick` prompts, as a gateway would."""
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(world.vectors), dtype=np.int64)
    permitted = np.ones((tick, len(world.candidates)), dtype=np.bool_)
    for start in range(0, len(chosen), tick):
        rows = slice(start, min(start + tick, len(chosen)))
        contexts = world.contexts(rows)
        estimate = policy.estimate(contexts, world.candidates)
        probability = policy.choose(estimate, permitted[: len(contexts)]).probability
        for i, row in enumerate(probability, start=start):
            chosen[i] = pick = int(rng.choice(len(row), p=row))
            name, vector = world.candidates[pick].name, world.vectors[i]
            usage = Usage(40, int(world.tokens[i, pick]))
            policy.learn(Event(kind="outcome", candidate=name, vector=vector, usage=usage, prompt_tokens=40.0))
            policy.learn(Event(kind="score", candidate=name, vector=vector, score=world.quality[i, pick]))
    return chosen


def share_of_oracle(world: World, chosen: NDArray[np.int64], rows: slice) -> float:
    """Mean utility of what was chosen on these prompts over the mean of the per-prompt best."""
    got = world.utility[np.arange(len(chosen)), chosen]
    return float(got[rows].mean() / world.utility[rows].max(axis=1).mean())
