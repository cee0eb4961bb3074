"""Learning from one's own choices alone: how much of the per-prompt oracle, and how fast after a silent swap.

With 10 candidates on 3,000 prompts, learning every 50; share of the oracle's utility, mean of 2 or 3 worlds, between
which it varies by about 0.01. The best single candidate of these worlds has 0.65 to 0.74.

    estimator, exploration         first 1,000   last 2,000   greedy afterwards
    logistic, ucb(0.3)                    0.78         0.90                0.92
    logistic, thompson(0.3)               0.76         0.89                0.91
    logistic, epsilon(0.05)               0.75         0.89                0.92
    ridge, ucb(0.3)                       0.73         0.89                0.90
    ridge, thompson(0.4)                  0.76         0.89                0.91
    ridge, epsilon(0.05)                  0.74         0.86                0.90
    kernel, thompson(0.4)                 0.77         0.89                0.91
    clusters, thompson(0.4)               0.72         0.87                0.88
    knn, thompson(0.4)                    0.68         0.84                0.89
    knn, epsilon(0.05)                    0.68         0.82                0.86
    item_response, thompson(0.4)          0.64         0.71                0.73

After a silent swap of the most useful candidate for the weakest, before and then per 200 requests (thompson):

    logistic                       0.89 | 0.77 0.87 0.88 0.88 0.90
    logistic, threshold 1e9        0.90 | 0.69 0.76 0.75 0.81 0.86
    ridge, forgetting 0.998        0.89 | 0.61 0.69 0.77 0.81 0.82
    ridge, forgetting 1            0.90 | 0.59 0.65 0.65 0.68 0.69
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from interlock.estimators import Estimator, Logistic, Ridge
from interlock.exploration import Thompson
from interlock.objectives import Weighted
from interlock.policy import Policy


def _load() -> ModuleType:
    """`synthetic.py` stands beside this file, and test folders are no packages."""
    path = Path(__file__).with_name("synthetic.py")
    spec = importlib.util.spec_from_file_location("synthetic", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["synthetic"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


synthetic = _load()


def policy(estimator: Estimator, price: float) -> Policy:
    return Policy(estimator, Weighted(cost=price), Thompson(0.4))


@pytest.mark.parametrize("kind", [Logistic, Ridge])
def test_learning_from_its_own_choices_beats_every_fixed_candidate(kind: type[Estimator]) -> None:
    world = synthetic.make_world(0, 1500)
    chosen = synthetic.run_bandit(world, policy(kind(), world.price), tick=50)
    late = slice(1000, 1500)
    oracle = world.utility[late].max(axis=1).mean()
    fixed = world.utility[late].mean(axis=0).max() / oracle
    assert synthetic.share_of_oracle(world, chosen, late) > max(0.82, fixed + 0.05)


def test_a_silent_swap_is_noticed_and_forgotten() -> None:
    before, after = 1500, 600
    world = synthetic.make_world(1, before + after)
    favourite = int(world.utility[:before].mean(axis=0).argmax())
    quality = world.quality.copy()
    quality[before:, favourite] = quality[before:, 0]
    world = dataclasses.replace(world, quality=quality)
    chosen = synthetic.run_bandit(world, policy(Logistic(), world.price), tick=50)
    steady = synthetic.share_of_oracle(world, chosen, slice(before - 500, before))
    assert synthetic.share_of_oracle(world, chosen, slice(before + 400, before + 600)) > 0.9 * steady
    assert np.mean(chosen[before + 400 :] == favourite) < 0.05
