"""95% intervals of off-policy values cover the truth in 93 to 97% of simulated logs.

A world of 400 requests, 4 candidates and 4 columns: a logging policy that follows other preferences than the policy in
question, right and wrong answers drawn afresh for every log. The truth is the policy's expectation over a very large
log. The direct method stands beside the others to show what a model alone is worth: its interval is not expected to
cover. So does the empirical Bernstein bound, which covers always and is wide.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...learning.ope import METHODS, Logged, cross_fit, value
from ...types import Array
from ..answers import showing
from ..report import Figure, Report, Verdict
from . import Options
from .promise import wilson

LOGS = 1000
ROWS, ARMS, COLUMNS = 400, ("a", "b", "c", "d"), 4
LOW, HIGH = 0.93, 0.97
ASKED = [(method, interval) for method in METHODS for interval in ("student", "bootstrap", "bernstein")]
JUDGED = ("ips", "snips", "doubly_robust", "switch")


class Simulated(NamedTuple):
    """Contexts (n, d), chance of being right (n, k), probabilities of the log and of the policy, and one log's draw."""

    context: Array
    right: Array
    logging: Array
    target: Array
    chosen: NDArray[np.intp]
    reward: Array


def simulate(rng: np.random.Generator, n: int) -> Simulated:
    preferences = np.random.default_rng(7)
    merit, habit = preferences.normal(size=(2, COLUMNS, len(ARMS)))
    context = rng.normal(size=(n, COLUMNS))
    right = 1.0 / (1.0 + np.exp(-(context @ merit)))
    logging = 0.8 * softmax(0.7 * context @ habit) + 0.2 / len(ARMS)
    chosen = (rng.random((n, 1)) > logging.cumsum(axis=1)).sum(axis=1).clip(max=len(ARMS) - 1)
    reward = (rng.random(n) < right[np.arange(n), chosen]).astype(np.float64)
    return Simulated(context, right, logging, softmax(2.0 * context @ merit), chosen, reward)


def softmax(scores: Array) -> Array:
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def truth() -> float:
    world = simulate(np.random.default_rng(10_000_019), 400_000)
    return float((world.target * world.right).sum(axis=1).mean())


def log_of(world: Simulated) -> Logged:
    model = cross_fit(world.context, world.chosen, world.reward, ARMS)
    propensity = world.logging[np.arange(len(world.reward)), world.chosen]
    return Logged(world.chosen, world.reward, propensity, world.target, model, world.logging)


def run(options: Options) -> Report:
    """Draw logs, count how often each interval covers."""
    count, real = max(20, round(LOGS * options.scale)), truth()
    hits = dict.fromkeys(ASKED, 0)
    width = dict.fromkeys(ASKED, 0.0)
    with showing(options.console) as progress:
        bar = progress.add_task("logs", total=count)
        for i in range(count):
            log = log_of(simulate(np.random.default_rng([options.seeds[i % len(options.seeds)], i]), ROWS))
            for asked in ASKED:
                found = value(log, *asked)
                hits[asked] += found.low <= real <= found.high
                width[asked] += (found.high - found.low) / count
            progress.advance(bar)
    return judge(hits, width, count, real, options)


def judge(
    hits: Mapping[tuple[str, str], int],
    width: Mapping[tuple[str, str], float],
    count: int,
    real: float,
    options: Options,
) -> Report:
    figures = []
    for (method, interval), hit in hits.items():
        share, low, high = wilson(hit, count)
        judged = interval == "student" and method in JUDGED
        verdict: Verdict = "info" if not judged else "pass" if LOW <= share <= HIGH else "short"
        wanted = f"{LOW} to {HIGH}" if judged else ""
        name = f"{method}, {interval}"
        figures.append(Figure(name=name, ours=share, low=low, high=high, wanted=wanted, verdict=verdict))
    return Report(
        name="ope-coverage",
        claim=f"95% intervals of off-policy values cover the truth in {LOW:.0%} to {HIGH:.0%} of {count} logs",
        figures=tuple(figures),
        seeds=options.seeds,
        plots=(draw(hits, width, count, options.out / "ope-coverage.png"),),
        notes=(f"true value {real:.4f}; {ROWS} rows a log",),
        details={"width": {f"{method}, {interval}": w for (method, interval), w in width.items()}},
    )


def draw(hits: Mapping[tuple[str, str], int], width: Mapping[tuple[str, str], float], count: int, path: Path) -> str:
    """Coverage against width: what an interval costs and what it gives."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5))
    for (method, interval), hit in hits.items():
        axes.plot(width[method, interval], hit / count, "os^"[["student", "bootstrap", "bernstein"].index(interval)])
        axes.annotate(f"{method}, {interval}", (width[method, interval], hit / count), fontsize=6)
    axes.axhspan(LOW, HIGH, color="C2", alpha=0.2)
    axes.set(xlabel="mean width of the 95% interval", ylabel="share of logs in which it covers", xscale="log")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140, bbox_inches="tight")
    plt.close(figure)
    return str(path)
