"""Who contradicts what the others confirm counts less; nobody else does. Poison and drift in a closed loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest

from interlock.estimators import Ridge
from interlock.learning.standing import OUTCOME, Score
from interlock.learning.trust import MEMORY, Agreement, Trust
from interlock.learning.verdicts import Verdict

K, D, BATCH = 4, 8, 25
NAMES = [f"c{i}" for i in range(K)]
Lie = Callable[[float, np.random.Generator], float]


def inverted(score: float, random: np.random.Generator) -> float:
    return 1.0 - score


def at_random(score: float, random: np.random.Generator) -> float:
    return float(random.random() < 0.5)


def always_bad(score: float, random: np.random.Generator) -> float:
    return 0.0


class Run(NamedTuple):
    """Of the honest tenants: mean quality in the last two thirds, and the best possible; at the end, who is doubted."""

    quality: float
    best: float
    doubted: dict[str, float]
    late: float


@cache
def stream(
    seed: int, lie: Lie | None = None, earned: bool = True, n: int = 2500, share: float = 0.2, swap: int = 0
) -> Run:
    """A router that learns online from scores of 0 or 1 by five tenants and, for a share of traffic, a liar called x.

    At request `swap` the best candidate becomes the worst. Decisions are made in batches, learning follows each.
    """
    random = np.random.default_rng(seed)
    slopes, levels = random.normal(size=(K, D)) * 4 / np.sqrt(D), random.normal(size=K)
    estimator, agreement = Ridge(forgetting=0.99 if swap else 1.0), Agreement(Trust(earned=earned))
    gained, possible = [], []
    for start in range(0, n, BATCH):
        if swap and start == swap:
            best = int(np.argmax(truth(slopes, levels, random.normal(size=(500, D))).mean(axis=0)))
            slopes[best], levels[best] = 0.0, -4.0
        vectors = random.normal(size=(BATCH, D)).astype(np.float32)
        quality = truth(slopes, levels, vectors)
        mean, _ = estimator.predict(vectors, NAMES)
        weights = np.exp((mean - mean.max(axis=1, keepdims=True)) / 0.05)
        odds = 0.95 * weights / weights.sum(axis=1, keepdims=True) + 0.05 / K
        for i in range(BATCH):
            liar = lie is not None and random.random() < share
            pick = int(random.choice(K, p=odds[i]))
            score = float(random.random() < quality[i, pick])
            if liar and lie is not None:
                score = lie(score, random)
            else:
                gained.append(quality[i, pick])
                possible.append(quality[i].max())
            given = Score("person", "x" if liar else f"t{random.integers(5)}", NAMES[pick], score, start + i + 1)
            weight = agreement.weight(given)
            agreement.observe(given, vectors[i])
            if weight:
                estimator.partial_fit(vectors[i : i + 1], [given.candidate], [score], [weight])
    third, late = len(gained) // 3, len(gained) * 4 // 5
    return Run(
        float(np.mean(gained[third:])),
        float(np.mean(possible[third:])),
        agreement.doubted(),
        float(np.mean(gained[late:]) / np.mean(possible[late:])),
    )


def truth(slopes: np.ndarray, levels: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-(vectors @ slopes.T + levels)))


def test_a_fifth_of_inverted_scores_costs_the_others_less_than_two_points() -> None:
    clean = [stream(seed) for seed in range(4)]
    poisoned = [stream(seed, inverted) for seed in range(4)]
    unprotected = [stream(seed, inverted, earned=False) for seed in range(4)]
    cost = np.mean([a.quality - b.quality for a, b in zip(clean, poisoned, strict=True)])
    unprotected_cost = np.mean([a.quality - b.quality for a, b in zip(clean, unprotected, strict=True)])
    assert cost < 0.02
    assert unprotected_cost > 0.02
    assert all(run.doubted.get("x", 1.0) <= 0.25 for run in poisoned)


@pytest.mark.parametrize("lie", [at_random, always_bad])
def test_other_lies_cost_little_too(lie: Lie) -> None:
    cost = [stream(seed).quality - stream(seed, lie).quality for seed in range(2)]
    assert np.mean(cost) < 0.02


def test_honest_tenants_are_not_doubted() -> None:
    for seed in range(4):
        assert min(stream(seed).doubted.values(), default=1.0) >= 0.5
        others = [weight for name, weight in stream(seed, inverted).doubted.items() if name != "x"]
        assert min(others, default=1.0) >= 0.5


def test_when_the_world_changes_everybody_is_still_believed() -> None:
    """A swapped candidate makes all scores contradict the predictions; learning must not stop for it."""
    for seed in range(3):
        with_trust = stream(seed, n=2000, swap=1000)
        without = stream(seed, n=2000, swap=1000, earned=False)
        assert with_trust.late > without.late - 0.02
        assert with_trust.late > 0.9


def scores(agreement: Agreement, tenant: str, sign: float, n: int, seq: int = 0) -> int:
    """n scores whose dependence on the first coordinate has this sign."""
    random = np.random.default_rng(n)
    for i in range(n):
        vector = random.choice([-1.0, 1.0], size=2).astype(np.float32)
        given = Score("person", tenant, "c", float(0.5 + 0.5 * sign * vector[0]), seq + i + 1)
        agreement.observe(given, vector)
    return seq + n


def test_one_tenant_alone_is_believed_whatever_it_says() -> None:
    agreement = Agreement(Trust())
    seq = scores(agreement, "only", 1.0, 200)
    scores(agreement, "only", -1.0, 200, seq)
    assert agreement.doubted() == {}


def test_a_majority_is_not_overruled() -> None:
    agreement = Agreement(Trust())
    seq = scores(agreement, "few", 1.0, 30)
    seq = scores(agreement, "many", -1.0, 300, seq)
    assert agreement.doubted().get("many", 1.0) > 0.5


def test_trust_is_regained() -> None:
    agreement = Agreement(Trust())
    seq = scores(agreement, "a", 1.0, 300)
    seq = scores(agreement, "x", -1.0, 100, seq)
    assert agreement.doubted() == {"x": 0.0}
    scores(agreement, "x", 1.0, 600, seq)
    assert agreement.doubted() == {}


def test_a_revocation_takes_back_the_weight_of_its_time() -> None:
    agreement = Agreement(Trust())
    seq = scores(agreement, "a", 1.0, 300)
    scores(agreement, "x", -1.0, 100, seq)
    assert agreement.weight(Score("person", "x", "c", 1.0, seq + 1)) == 1.0
    assert agreement.weight(Score("person", "x", "c", 1.0, seq + 101)) == 0.0


def test_who_is_found_out_is_judged_once_for_as_far_back_as_the_evidence_reaches() -> None:
    agreement = Agreement(Trust())
    seq = scores(agreement, "a", 1.0, 2 * MEMORY)
    assert agreement.verdict("a", seq) is None
    began, seq = seq + 1, scores(agreement, "x", -1.0, 60, seq)
    late, seq = seq + 1, scores(agreement, "y", -1.0, 60, seq)
    verdict = agreement.verdict("y", seq)
    assert verdict == Verdict(seq, seq, {"x": began, "y": late}), "with all who wait"
    agreement.verdicts = (verdict,)
    assert agreement.disregarded() == {"x": [began, seq], "y": [late, seq]}
    assert agreement.weight(Score("person", "x", "c", 1.0, began)) == 0.0
    assert agreement.weight(Score(OUTCOME, "x", "c", 1.0, began)) == 1.0
    seq = scores(agreement, "x", -1.0, 20, seq)
    assert agreement.verdict("x", seq) is None, "it counts nothing any more; there is nothing new to unlearn"
    began, seq = seq + 1, scores(agreement, "x", 1.0, 3 * MEMORY, seq)
    assert agreement.weight(Score("person", "x", "c", 1.0, seq + 1)) == 1.0, "it agrees again"
    while (verdict := agreement.verdict("x", seq)) is None:
        seq = scores(agreement, "a", 1.0, 24, seq)
        seq = scores(agreement, "x", -1.0, 8, seq)
    assert verdict.since["x"] > began + MEMORY, "what it said long before still counts"


def test_the_operator_has_the_last_word() -> None:
    agreement = Agreement(Trust(tenants={"x": 0.5}, sources={"judge": 0.5}))
    seq = scores(agreement, "a", 1.0, 300)
    seq = scores(agreement, "x", -1.0, 300, seq)
    assert agreement.weight(Score("person", "x", "c", 1.0, seq + 1)) == 0.5
    assert agreement.weight(Score("judge", "x", "c", 1.0, seq + 1)) == 0.25
    assert agreement.weight(Score(OUTCOME, "a", "c", 1.0, seq + 1)) == 1.0


def test_state_goes_round() -> None:
    agreement = Agreement(Trust())
    seq = scores(agreement, "a", 1.0, 50)
    scores(agreement, "x", -1.0, 50, seq)
    again = Agreement(Trust()).restore(agreement.state())
    for one in (agreement, again):
        scores(one, "x", 1.0, 20, 100)
    assert again.state() == agreement.state()


def test_weights_are_checked() -> None:
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="the weight of tenant 'x'"):
            Trust(tenants={"x": bad})
