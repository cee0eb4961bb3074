"""Off-policy values from uniformly logged decisions rank bandits and fixed models as the completed matrix does.

GreenServ's random policy chose uniformly among 16 models, 12,500 times, so every policy can be judged on its log. Each
learner folds the log step by step and decides on each request before its reward is learnt; a fixed policy always takes
one model. Doubly robust values from the logged rewards alone stand against the same probabilities applied to the full
matrix, of which 47% is imputed: it can rank, and is no ground truth for a model.

Beside it, what a learner would have earned online, by rejection: a step counts, and is learnt, only when the learner
draws the logged choice; against the same learner run on the matrix for as many steps.

Source: GreenServ, arXiv 2601.17551; rejection: Li, Chu, Langford & Wang, arXiv 1003.5956.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, nearest
from ...estimators import Ridge
from ...exploration import UCB, Exploration, Greedy, Thompson
from ...learning.ope import METHODS, Logged, Value, cross_fit, value
from ...learning.overlap import effective
from ...types import Array
from ..answers import showing
from ..metrics import over_seeds
from ..report import Figure, Report
from . import Options

LEARNERS: dict[str, Exploration] = {"LinUCB": UCB(0.3), "Thompson": Thompson(1.0), "greedy": Greedy()}
TOGETHER = 25  # steps decided on one state
AGREE = 0.8  # Kendall's tau


@dataclass(frozen=True)
class World:
    """The random policy's steps in their order: context (n, d), who was chosen, reward; and the completed matrix.

    `row` (n,) is each step's query; `matrix` (queries, k) their rewards; `context` (queries, d) their contexts.
    """

    models: tuple[str, ...]
    row: NDArray[np.intp]
    chosen: NDArray[np.intp]
    reward: Array
    context: Array
    matrix: Array

    @property
    def steps(self) -> Array:
        return np.asarray(self.context[self.row])


def run(options: Options) -> Report:
    """Judge every policy from the log and on the matrix. Raises `ConfigError` without the log."""
    world = read(options.data)
    if options.scale < 1.0:
        kept = max(400, int(len(world.row) * options.scale))
        world = replace(world, row=world.row[:kept], chosen=world.chosen[:kept], reward=world.reward[:kept])
    with showing(options.console) as progress:
        bar = progress.add_task("deciding", total=len(LEARNERS) * (1 + len(options.seeds)))
        policies = {f"always {m}": one_hot(np.full(len(world.row), i), world) for i, m in enumerate(world.models)}
        policies["random"] = np.full((len(world.row), len(world.models)), 1.0 / len(world.models))
        online: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in LEARNERS}
        for name, exploration in LEARNERS.items():
            policies[name] = fold_along(world, exploration)
            progress.advance(bar)
            for seed in options.seeds:
                earned, steps = rejected(world, exploration, seed)
                online[name][0].append(earned)
                online[name][1].append(simulated(world, exploration, seed, steps))
                progress.advance(bar)
    return judge(world, policies, online, options)


def read(folder: Path | None) -> World:
    """From the parquet files of the log, the matrix and the queries. Raises `ConfigError` naming what is missing."""
    if folder is None:
        raise ConfigError("off-policy needs GreenServ's log: give the folder of outcome tables with --data")
    log = columns(folder / "greenserv_log.parquet", "policy", "run", "step", "query_id", "model", "reward")
    full = columns(folder / "greenserv_completed.parquet", "query_id", "model", "reward_lambda_0_5")
    asked = columns(folder / "queries.parquet", "query_id", "dataset", "task")
    models, queries = sorted(set(full["model"])), sorted(set(full["query_id"]))
    of, at = {m: i for i, m in enumerate(models)}, {q: i for i, q in enumerate(queries)}
    matrix = np.full((len(queries), len(models)), np.nan)
    for query, model, reward in zip(full["query_id"], full["model"], full["reward_lambda_0_5"], strict=True):
        matrix[at[query], of[model]] = reward
    task = {
        q: t for q, t, d in zip(asked["query_id"], asked["task"], asked["dataset"], strict=True) if d == "greenserv"
    }
    kinds = sorted(set(task.values()))
    context = np.array([[task[q] == kind for kind in kinds] for q in queries], dtype=np.float64)
    steps = sorted(
        (r, s, at[q], of[m], reward) for p, r, s, q, m, reward in zip(*log.values(), strict=True) if p == "X0_random"
    )
    _, _, row, chosen, reward = zip(*steps, strict=True)
    return World(tuple(models), np.array(row), np.array(chosen), np.array(reward), context, matrix)


def columns(path: Path, *names: str) -> dict[str, Sequence[Any]]:
    import pyarrow.parquet

    if not path.exists():
        raise ConfigError(f"{path} does not exist: --data names the folder it is in")
    table = pyarrow.parquet.read_table(path)
    for name in names:
        if name not in table.column_names:
            raise ConfigError(f"{path} has no column {name!r}; {nearest(name, table.column_names)}")
    return {name: table.column(name).to_pylist() for name in names}


def fresh() -> Ridge:
    """One ridge regression a model, as in the paper."""
    return Ridge(share=0.0)


def one_hot(chosen: NDArray[np.intp], world: World) -> Array:
    return np.asarray(np.eye(len(world.models))[chosen])


def probabilities(estimator: Ridge, exploration: Exploration, context: Array, world: World) -> Array:
    mean, std = estimator.predict(context, world.models)
    return exploration.probabilities(mean, std, np.ones(mean.shape, dtype=np.bool_))


def fold_along(world: World, exploration: Exploration) -> Array:
    """The learner's probabilities at every step (n, k), having learnt the logged steps before it."""
    estimator, steps, found = fresh(), world.steps, []
    for start in range(0, len(world.row), TOGETHER):
        part = slice(start, start + TOGETHER)
        found.append(probabilities(estimator, exploration, steps[part], world))
        estimator.partial_fit(steps[part], [world.models[c] for c in world.chosen[part]], world.reward[part])
    return np.concatenate(found)


def rejected(world: World, exploration: Exploration, seed: int) -> tuple[float, int]:
    """Mean reward of the steps at which the learner, learning from those alone, drew the logged choice; how many."""
    rng = np.random.default_rng(seed)
    estimator, table, earned = fresh(), None, []
    kinds = world.context.argmax(axis=1)[world.row]
    for i in rng.permutation(len(world.row)).tolist():
        if table is None:  # contexts are few: decide on all of them once a state
            table = probabilities(estimator, exploration, np.eye(world.context.shape[1]), world)
        if rng.choice(len(world.models), p=table[kinds[i]]) == world.chosen[i]:
            earned.append(float(world.reward[i]))
            estimator.partial_fit(world.steps[i : i + 1], [world.models[world.chosen[i]]], [world.reward[i]])
            table = None
    return float(np.mean(earned)), len(earned)


def simulated(world: World, exploration: Exploration, seed: int, steps: int) -> float:
    """Mean expected reward of the learner run on the completed matrix."""
    rng, estimator, earned = np.random.default_rng([1, seed]), fresh(), []
    for q in rng.integers(0, len(world.matrix), steps).tolist():
        chances = probabilities(estimator, exploration, world.context[q : q + 1], world)[0]
        earned.append(float(chances @ world.matrix[q]))
        arm = int(rng.choice(len(chances), p=chances))
        estimator.partial_fit(world.context[q : q + 1], [world.models[arm]], [world.matrix[q, arm]])
    return float(np.mean(earned))


def estimated(world: World, target: Array) -> dict[str, Value]:
    """The value of these probabilities by every method, from the logged rewards."""
    n, k = target.shape
    model = cross_fit(world.steps, world.chosen, world.reward, world.models)
    uniform = np.full((n, k), 1.0 / k)
    log = Logged(world.chosen, world.reward, uniform[:, 0], target, model, uniform)
    return {method: value(log, method) for method in METHODS}


def kendall(a: Sequence[float], b: Sequence[float]) -> float:
    """Kendall's tau (a): agreeing less disagreeing pairs, as a share of all. Source: Kendall, Biometrika 30 (1938)."""
    x, y = np.sign(np.subtract.outer(a, a)), np.sign(np.subtract.outer(b, b))
    return float((x * y).sum() / (len(a) * (len(a) - 1)))


def judge(
    world: World,
    policies: Mapping[str, Array],
    online: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    options: Options,
) -> Report:
    truth = {name: float((target * world.matrix[world.row]).sum(axis=1).mean()) for name, target in policies.items()}
    ours = {name: estimated(world, target) for name, target in policies.items()}
    robust = {name: of["doubly_robust"] for name, of in ours.items()}
    order = list(policies)
    rng = np.random.default_rng(0)
    errors = np.array([(robust[name].high - robust[name].low) / 3.92 for name in order])
    means, real = np.array([robust[name].mean for name in order]), [truth[name] for name in order]
    tau = kendall(means.tolist(), real)
    spread = np.quantile([kendall(rng.normal(means, errors).tolist(), real) for _ in range(400)], (0.025, 0.975))
    figures = [
        Figure(
            name="Kendall's tau, doubly robust against the matrix",
            ours=tau,
            low=float(spread[0]),
            high=float(spread[1]),
            wanted=f">= {AGREE}",
            verdict="pass" if tau >= AGREE else "short",
        ),
        *(
            Figure(name=f"... {method}", ours=kendall([ours[name][method].mean for name in order], real))
            for method in METHODS
            if method != "doubly_robust"
        ),
        Figure(
            name="intervals that hold the matrix's value",
            ours=float(np.mean([v.low <= truth[n] <= v.high for n, v in robust.items()])),
        ),
    ]
    for name in sorted(order, key=lambda name: -truth[name]):
        v = robust[name]
        figures.append(Figure(name=name, ours=v.mean, low=v.low, high=v.high, paper=f"matrix {truth[name]:.3f}"))
    for name, (earned, simulation) in online.items():
        mean, low, high = over_seeds(np.array(earned))
        figures.append(
            Figure(
                name=f"{name} online, by rejection",
                ours=mean,
                low=low,
                high=high,
                paper=f"matrix {np.mean(simulation):.3f}",
            )
        )
    sizes = {name: effective(target[np.arange(len(target)), world.chosen]) for name, target in policies.items()}
    return Report(
        name="off-policy",
        claim=f"values estimated from uniform logs rank policies as the completed matrix does (tau >= {AGREE})",
        figures=tuple(figures),
        seeds=options.seeds,
        plots=(draw(robust, truth, options.out / "off-policy.png"),),
        notes=(
            f"{len(world.row)} logged steps, propensity 1/{len(world.models)}; effective ones"
            f" {min(sizes.values()):.0f} to {max(sizes.values()):.0f}; reward at lambda 0.5",
            "47% of the matrix is imputed: a fixed model's value there may miss its own interval from real rewards",
        ),
        details={
            "truth": truth,
            "values": {n: {m: [v.mean, v.low, v.high] for m, v in of.items()} for n, of in ours.items()},
        },
    )


def draw(values: Mapping[str, Value], truth: Mapping[str, float], path: Path) -> str:
    """Estimates with intervals against the matrix."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.5, 6))
    for name, v in values.items():
        colour = "crimson" if name in LEARNERS else "grey" if name == "random" else "C0"
        axes.errorbar(truth[name], v.mean, yerr=[[v.mean - v.low], [v.high - v.mean]], fmt="o", color=colour, capsize=2)
        if not name.startswith("always"):
            axes.annotate(name, (truth[name], v.mean), xytext=(5, -8), textcoords="offset points", fontsize=8)
    ends = [min(truth.values()), max(truth.values())]
    axes.plot(ends, ends, "k--", lw=0.8)
    axes.set(xlabel="mean reward on the completed matrix", ylabel="from the log, doubly robust, 95%")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140, bbox_inches="tight")
    plt.close(figure)
    return str(path)
