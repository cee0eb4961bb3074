"""What learning step by step costs, against contextual-bandit and neighbour libraries, and fits against scikit-learn.

    step     LinUCB, 11 arms, 64 columns: decide on one context, learn its reward. interlock's `disjoint` with `ucb`,
             one request at a time and 16 at a time, as a busy gateway has them; river's LinUCBDisjoint and mabwiser's
             LinUCB, which keep the same statistics; Vowpal Wabbit's cb_explore_adf with a linear cost model of every
             arm (it has no LinUCB), given its contexts as text. All see the same stream; the regret of each is printed.
    knn      5,000 vectors of 128 columns, 64 queries at once: interlock's `knn`, 40 neighbours among each of 11
             candidates' own, with deviations; scikit-learn's brute force and faiss's flat index, 40 among all,
             and one mean. All three are exact.
    fit      every estimator fitted on one table (2,000 queries by 11 candidates, 128 columns) and asked for 500 more,
             beside the scikit-learn estimator that does the same job, one a candidate.

Rounds are interleaved; figures are medians of CPU time. A peer that is not installed is left out:
pip install river mabwiser vowpalwabbit faiss-cpu

    python benchmarks/bandits.py [--smoke]
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from interlock.estimators import ESTIMATORS, KNN, Disjoint
from interlock.exploration import UCB

ARMS, WIDTH = 11, 64
NAMES = [f"model-{i}" for i in range(ARMS)]
ALPHA = 0.3
Vectors = NDArray[np.float64]
Step = Callable[[Vectors, Callable[[int], float]], int]
"""Decide on a context, ask for the reward of the choice, learn it; which arm it was."""
Reward = Callable[[int, int], float]
Walk = Callable[[Vectors, Reward], list[int]]
"""Decide and learn along many contexts; `reward` is asked with the context's number and the arm."""


def ours(together: int) -> Walk:
    """As a gateway does: `together` requests are decided at once, and learnt when they are answered."""
    estimator, exploration = Disjoint(noise=1.0, intercept=False), UCB(ALPHA)
    permitted = np.ones((together, ARMS), dtype=np.bool_)

    def walk(contexts: Vectors, reward: Reward) -> list[int]:
        chosen: list[int] = []
        for start in range(0, len(contexts), together):
            x = contexts[start : start + together]
            mean, std = estimator.predict(x, NAMES)
            arms = exploration.probabilities(mean, std, permitted[: len(x)]).argmax(axis=1).tolist()
            rewards = [reward(start + i, arm) for i, arm in enumerate(arms)]
            estimator.partial_fit(x, [NAMES[arm] for arm in arms], rewards)
            chosen += arms
        return chosen

    return walk


def one_by_one(step: Step) -> Walk:
    def walk(contexts: Vectors, reward: Reward) -> list[int]:
        return [step(x, lambda arm, i=i: reward(i, arm)) for i, x in enumerate(contexts)]  # type: ignore[misc]

    return walk


def river() -> Step:
    from river import bandit

    policy, arms = bandit.LinUCBDisjoint(alpha=ALPHA, seed=0), list(range(ARMS))

    def step(x: Vectors, reward: Callable[[int], float]) -> int:
        row = dict(enumerate(x.tolist()))
        arm = int(policy.pull(arms, row))
        policy.update(arm, row, reward(arm))
        return arm

    return step


def mabwiser() -> Step:
    from mabwiser.mab import MAB, LearningPolicy

    policy = MAB(arms=NAMES, learning_policy=LearningPolicy.LinUCB(alpha=ALPHA))
    policy.fit(NAMES, [0.0] * ARMS, np.zeros((ARMS, WIDTH)))

    def step(x: Vectors, reward: Callable[[int], float]) -> int:
        name = policy.predict(x[None, :])
        arm = NAMES.index(name)
        policy.partial_fit([name], [reward(arm)], x[None, :])
        return arm

    return step


def vowpalwabbit() -> Step:
    import vowpalwabbit as vw

    learner = vw.Workspace("--cb_explore_adf -q ua --epsilon 0.05 --quiet --random_seed 0")
    actions = [f"|a {name}" for name in NAMES]

    def step(x: Vectors, reward: Callable[[int], float]) -> int:
        shared = "shared |u " + " ".join(f"{i}:{value:.6f}" for i, value in enumerate(x.tolist()))
        chances = learner.predict([shared, *actions])
        arm = int(np.argmax(chances))
        label = f"0:{1.0 - reward(arm):.6f}:{chances[arm]:.6f} "
        learner.learn([shared, *(label + a if i == arm else a for i, a in enumerate(actions))])
        return arm

    return step


def contestants() -> Iterator[tuple[str, Walk]]:
    yield "interlock, one at a time", ours(1)
    yield "interlock, 16 at a time", ours(16)
    for peer in vowpalwabbit, river, mabwiser:
        if importlib.util.find_spec(peer.__name__) is None:
            print(f"{peer.__name__} is not installed and left out")
        else:
            yield peer.__name__, one_by_one(peer())


def steps(rounds: int, each: int) -> None:
    """Every contestant walks through the same contexts, `each` at a time in turn."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(ARMS, WIDTH)) / np.sqrt(WIDTH)
    field = list(contestants())
    seconds: dict[str, list[float]] = {name: [] for name, _ in field}
    regret = dict.fromkeys(seconds, 0.0)
    for _ in range(rounds):
        contexts, noise = rng.normal(size=(each, WIDTH)), rng.normal(scale=0.1, size=each)
        worth = 0.2 * contexts @ truth.T
        rewards = (0.5 + worth + noise[:, None]).tolist()
        for name, walk in field:
            began = time.process_time()
            chosen = walk(contexts, lambda i, arm, rewards=rewards: rewards[i][arm])  # type: ignore[misc]
            seconds[name].append((time.process_time() - began) / each)
            regret[name] += float((worth.max(axis=1) - worth[np.arange(each), chosen]).sum())
    base = statistics.median(seconds[field[0][0]])
    print(f"step: {ARMS} arms, {WIDTH} columns, {rounds * each} steps; CPU microseconds a step (x ours), regret a step")
    for name, _ in field:
        own = statistics.median(seconds[name])
        print(f"  {name:28}{own * 1e6:>10.0f} ({own / base:.1f}x){regret[name] / (rounds * each):>12.4f}")


def interleaved(field: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in field}
    for _ in range(rounds):
        for name, work in field.items():
            began = time.process_time()
            work()
            seconds[name].append(time.process_time() - began)
    return {name: statistics.median(of) for name, of in seconds.items()}


def neighbours(rounds: int) -> None:
    rng = np.random.default_rng(0)
    stored, asked = rng.normal(size=(5000, 128)), rng.normal(size=(64, 128))
    scores = (stored[:, :1] + rng.normal(size=(5000, ARMS)) > 0).astype(np.float64)
    knn = KNN(neighbours=40).fit(stored, [NAMES[i % ARMS] for i in range(5000)], scores[:, 0])
    knn.prepare()
    field: dict[str, Callable[[], object]] = {"interlock knn": lambda: knn.predict(asked, NAMES)}
    if importlib.util.find_spec("sklearn"):
        from sklearn.neighbors import NearestNeighbors

        exact = NearestNeighbors(n_neighbors=40, algorithm="brute").fit(stored)
        field["scikit-learn brute"] = lambda: scores[exact.kneighbors(asked)[1]].mean(axis=1)
    if importlib.util.find_spec("faiss"):
        import faiss

        faiss.omp_set_num_threads(1)
        flat = faiss.IndexFlatL2(128)
        flat.add(stored.astype(np.float32))
        narrow = asked.astype(np.float32)
        field["faiss flat"] = lambda: scores[flat.search(narrow, 40)[1]].mean(axis=1)
    else:
        print("faiss is not installed and left out")
    found = interleaved(field, rounds)
    base = found["interlock knn"]
    print("knn: 5,000 vectors of 128 columns, 64 queries; CPU microseconds a query (x ours)")
    for name, seconds in found.items():
        print(f"  {name:28}{seconds / 64 * 1e6:>10.0f} ({seconds / base:.1f}x)")


def fits(rounds: int, n: int) -> None:
    from sklearn.cluster import KMeans
    from sklearn.dummy import DummyRegressor
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.linear_model import BayesianRidge, LogisticRegression
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.tree import DecisionTreeRegressor

    rng = np.random.default_rng(0)
    x, new = rng.normal(size=(n, 128)), rng.normal(size=(500, 128))
    ability = rng.normal(size=ARMS)
    scores = (x[:, :1] + ability + rng.normal(size=(n, ARMS)) > 0).astype(np.float64)
    alike: dict[str, Callable[[], object]] = {
        "constant": DummyRegressor,
        "ridge": BayesianRidge,
        "disjoint": BayesianRidge,
        "logistic": lambda: LogisticRegression(max_iter=300),
        "knn": lambda: KNeighborsRegressor(40, algorithm="brute"),
        "clusters": lambda: make_pipeline(KMeans(16, n_init=1, random_state=0), DecisionTreeRegressor(max_depth=4)),
        "kernel": lambda: GaussianProcessRegressor(optimizer=None, alpha=0.1),
    }

    def theirs(make: Callable[[], object]) -> None:
        for column in scores.T:
            model = make().fit(x, column)  # type: ignore[attr-defined]
            (model.predict_proba if hasattr(model, "predict_proba") else model.predict)(new)

    print(f"fit and ask: {n} queries by {ARMS} candidates, then 500 queries; CPU milliseconds (scikit-learn's x ours)")
    for kind, estimator in ESTIMATORS.items():
        field: dict[str, Callable[[], object]] = {
            "ours": lambda e=estimator: e().fit_table(x, NAMES, scores).predict(new, NAMES)  # type: ignore[misc]
        }
        if kind in alike:
            field["theirs"] = lambda kind=kind: theirs(alike[kind])  # type: ignore[misc]
        found = interleaved(field, rounds)
        ratio = f"{found['theirs'] / found['ours']:.1f}x" if "theirs" in found else "no equivalent"
        print(f"  {kind:28}{found['ours'] * 1e3:>10.0f} ({ratio})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a few rounds, to see that it runs")
    smoke = parser.parse_args().smoke
    warnings.filterwarnings("ignore")
    steps(*((3, 20) if smoke else (15, 100)))
    neighbours(2 if smoke else 15)
    fits(1 if smoke else 3, 200 if smoke else 2000)


if __name__ == "__main__":
    main()
