"""An option that is added at run time with its card only: how soon does it get the traffic that it deserves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..estimators import Ridge
from ..exploration import UCB
from ..objectives import Weighted
from ..policy import Policy
from ..types import Array
from .bandit import Change, World, simulate

BEFORE, SETTLING, JUDGED = 1500, 100, 400
"""Queries before it comes, until it is judged, and on which."""


def shares(
    utility: Array, vectors: Array, options: Sequence[str], added: str, seeds: Sequence[int]
) -> tuple[Array, Array]:
    """The newcomer's share of the queries judged, of the policy that goes on and of one refitted on everything, (s,).

    `utility` (n, k) may have any scale. The one that goes on has been told only what it chose; the one refitted has
    seen every option on every query before those judged.
    """
    low, high = utility.min(), utility.max()
    rewards = (utility - low) / (high - low)
    before = min(BEFORE, len(rewards) // 2)
    steps = min(len(rewards), before + SETTLING + JUDGED)
    prior = np.full(len(options), np.nan)
    prior[list(options).index(added)] = float(rewards.mean())  # what its card says: an option like the others
    world = World(tuple(options), vectors, rewards, changes=(Change(before, add=(added,)),), prior=prior)
    policy = Policy(Ridge(share=0.3, noise=0.2, prior_std=0.3), Weighted(), UCB(1.0))
    course = simulate(policy, world, seeds, steps=steps)
    late = before + SETTLING
    own = course.shares(late)[:, list(options).index(added)]
    refitted = []
    for rows in course.rows:
        known, asked = rows[:late], rows[late:]
        estimator = Ridge(share=0.3, noise=0.2, prior_std=0.3).fit_table(vectors[known], options, rewards[known])
        chosen = estimator.predict(vectors[asked], options)[0].argmax(axis=1)
        refitted.append(float((chosen == list(options).index(added)).mean()))
    return own, np.array(refitted)
