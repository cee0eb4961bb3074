"""What a decision costs, against contextual-bandit libraries: 10 candidates, 128 columns, 500 events learnt by each.

The peers choose one arm a context, as their interfaces have it: river's LinUCBDisjoint and Vowpal Wabbit's
cb_explore_adf one context at a time (the latter gets it as text), mabwiser's LinUCB n at a time. interlock estimates
quality, cost, latency and energy, weighs them, and gives every candidate's probability, for n requests at once. Rounds
are interleaved; figures are medians of the CPU time a request. A peer that is not installed is left out:
pip install river mabwiser vowpalwabbit

    python benchmarks/decision.py [--smoke]
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from interlock.estimators import Kernel, Logistic, Ridge
from interlock.exploration import UCB, Thompson
from interlock.objectives import Weighted
from interlock.policy import Event, Policy
from interlock.types import Candidate, Context, Profile, Request, Signal, Usage

CANDIDATES, WIDTH, LEARNT = 10, 128, 500
BATCHES = (1, 16, 64)
NAMES = [f"model-{i}" for i in range(CANDIDATES)]

Vectors = NDArray[np.float32]
Decide = Callable[[int], object]


def history(seed: int = 0) -> tuple[Vectors, NDArray[np.int64], NDArray[np.float64]]:
    """Vectors, which candidate answered, and its score."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(LEARNT, WIDTH)).astype(np.float32)
    chosen = rng.integers(0, CANDIDATES, LEARNT)
    return vectors, chosen, (vectors[:, 0] + 0.1 * chosen + rng.normal(size=LEARNT) > 0).astype(np.float64)


def ours(policy: Policy) -> Decide:
    vectors, chosen, scores = history()
    for vector, arm, score in zip(vectors, chosen, scores, strict=True):
        usage = Usage(input=60, output=40)
        policy.learn(Event(kind="outcome", candidate=NAMES[arm], vector=vector, usage=usage, latency=1.0))
        policy.learn(Event(kind="score", candidate=NAMES[arm], vector=vector, score=float(score)))
    policy.prepare()
    profile = Profile(price_in=1.0, price_out=3.0, ttft=0.1, tokens_per_second=50.0)
    pool = tuple(Candidate(name=name, provider="p", model=name, profile=profile) for name in NAMES)
    contexts = [Context(Request(), {"tokens": Signal("tokens", 60.0)}, vector) for vector in vectors[: max(BATCHES)]]
    permitted = np.ones((max(BATCHES), CANDIDATES), dtype=np.bool_)
    return lambda n: policy.choose(policy.estimate(contexts[:n], pool), permitted[:n])


def river() -> Decide:
    from river import bandit

    vectors, chosen, scores = history()
    policy = bandit.LinUCBDisjoint(alpha=1.0, seed=0)
    rows = [{f"x{i}": float(x) for i, x in enumerate(vector)} for vector in vectors]
    for row, arm, score in zip(rows, chosen, scores, strict=True):
        policy.update(int(arm), row, float(score))
    arms = list(range(CANDIDATES))
    return lambda n: [policy.pull(arms, row) for row in rows[:n]]


def mabwiser() -> Decide:
    from mabwiser.mab import MAB, LearningPolicy

    vectors, chosen, scores = history()
    policy = MAB(arms=NAMES, learning_policy=LearningPolicy.LinUCB(alpha=1.0))
    policy.fit([NAMES[arm] for arm in chosen], scores.tolist(), vectors.astype(np.float64))
    rows = vectors.astype(np.float64)
    return lambda n: policy.predict(rows[:n])


def vowpalwabbit() -> Decide:
    import vowpalwabbit as vw

    vectors, chosen, scores = history()
    learner = vw.Workspace("--cb_explore_adf -q ua --epsilon 0.1 --quiet")

    def example(vector: Vectors, arm: int = -1, score: float = 0.0) -> list[str]:
        shared = "shared |u " + " ".join(f"x{i}:{x:.5f}" for i, x in enumerate(vector))
        labels = [f"0:{1 - score}:{1 / CANDIDATES} " if i == arm else "" for i in range(CANDIDATES)]
        return [shared, *(f"{label}|a {name}" for label, name in zip(labels, NAMES, strict=True))]

    for vector, arm, score in zip(vectors, chosen, scores, strict=True):
        learner.learn(example(vector, int(arm), float(score)))
    rows = list(vectors[: max(BATCHES)])
    return lambda n: [learner.predict(example(row)) for row in rows[:n]]


def contestants() -> Iterator[tuple[str, Decide]]:
    yield "interlock ridge + ucb", ours(Policy(Ridge(), Weighted(cost=100.0), UCB()))
    yield "interlock logistic + thompson", ours(Policy(Logistic(), Weighted(cost=100.0), Thompson(0.4)))
    yield "interlock kernel + thompson", ours(Policy(Kernel(), Weighted(cost=100.0), Thompson(0.4)))
    for peer in river, mabwiser, vowpalwabbit:
        if importlib.util.find_spec(peer.__name__) is None:
            print(f"{peer.__name__} is not installed and left out")
        else:
            yield f"{peer.__name__}", peer()


def measure(decide: Decide, n: int, repeats: int) -> float:
    """CPU seconds a request."""
    began = time.process_time()
    for _ in range(repeats):
        decide(n)
    return (time.process_time() - began) / (repeats * n)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a few rounds, to see that it runs")
    rounds = 2 if parser.parse_args().smoke else 15
    field = list(contestants())
    seconds: dict[tuple[str, int], list[float]] = {(name, n): [] for name, _ in field for n in BATCHES}
    for _ in range(rounds):
        for n in BATCHES:
            for name, decide in field:
                seconds[name, n].append(measure(decide, n, max(1, 64 // n)))
    base = field[0][0]
    print(f"CPU microseconds a request (ratio to {base} at the same n)")
    print(f"{'':32}" + "".join(f"{f'n = {n}':>20}" for n in BATCHES))
    for name, _ in field:
        cells = []
        for n in BATCHES:
            own, reference = statistics.median(seconds[name, n]), statistics.median(seconds[base, n])
            cells.append(f"{own * 1e6:>12.0f} ({own / reference:.1f}x)")
        print(f"{name:32}" + "".join(f"{cell:>20}" for cell in cells))


if __name__ == "__main__":
    main()
