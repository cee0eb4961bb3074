"""A promise that at most a given share of requests is accepted and wrong is kept, below the strongest model's cost.

Real tables are split at random into thirds: an estimator is fitted on the first, the acceptor's threshold calibrated on
the second with a finite-sample bound, and the third counts. Violation is the share of the third's requests in which a
candidate was accepted and its answer is wrong. Where no acceptor takes a request the best estimate is served, outside
the promise; its cost counts all the same. Always-strongest is the single model with the best score on the first two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ConfigError
from ...estimators import Ridge
from ...exploration import Greedy
from ...objectives import Promise
from ...policy import Policy
from ...types import Array, Estimate
from ..answers import showing
from ..features import Features
from ..metrics import over_seeds
from ..report import Figure, Report, Verdict
from ..tables import Table, read_tables
from . import Options

TABLES = ("routerbench", "zeroeval", "bfcl")
FLAT = ("reasoning_gym",)
"""Where the strongest model is nearly the cheapest, so that whoever abstains to another pays more: the promise counts,
the cost is shown."""
EPSILONS = (0.05, 0.1)
SPLITS = 200
KEPT = 0.93  # of the splits
COVERED = 0.95  # of the queries, for a model to take part


@dataclass(frozen=True)
class Kept:
    """One split: share accepted and wrong, share accepted, quality and cost over always-strongest's."""

    violation: float
    accepted: float
    quality: float
    strongest: float
    cost: float


def run(options: Options) -> Report:
    """Split each table again and again. Raises `ConfigError` without a folder of tables."""
    if options.data is None:
        raise ConfigError("promise needs real outcome tables: give their folder with --data")
    count = max(len(options.seeds), round(SPLITS * options.scale))
    found: dict[tuple[str, float], list[Kept]] = {}
    tables = read_tables(options.data, (*TABLES, *FLAT))
    with showing(options.console) as progress:
        for name, table in tables.items():
            whole = complete(table)
            vectors = Features(terms=0).fit(whole.prompts).transform(whole.prompts)
            bar = progress.add_task(name, total=count)
            for split in range(count):
                seed = options.seeds[split % len(options.seeds)], split
                for epsilon, kept in try_split(whole, vectors, np.random.default_rng(seed)).items():
                    found.setdefault((name, epsilon), []).append(kept)
                progress.advance(bar)
    return judge(found, options)


def complete(table: Table) -> Table:
    """The priced models that answered nearly every query, and the queries that all of them answered."""
    priced = table.priced()
    known = np.isfinite(priced.score) & np.isfinite(priced.cost)
    kept = priced.only([n for n, share in zip(priced.candidates, known.mean(axis=0), strict=True) if share >= COVERED])
    return kept.take((np.isfinite(kept.score) & np.isfinite(kept.cost)).all(axis=1))


def try_split(table: Table, vectors: Array, rng: np.random.Generator) -> dict[float, Kept]:
    """Fit, calibrate and count, each on its third. Equal prompts stay together."""
    distinct = {prompt: i for i, prompt in enumerate(dict.fromkeys(table.prompts))}
    third = (rng.permutation(len(distinct)) % 3)[[distinct[prompt] for prompt in table.prompts]]
    fit, held, last = (np.flatnonzero(third == part) for part in range(3))
    estimator = Ridge(noise=0.45, prior_std=0.2, share=0.5).fit_table(vectors[fit], table.candidates, table.score[fit])
    price = table.cost[fit].mean(axis=0)
    strongest = int(table.score[third != 2].mean(axis=0).argmax())

    def estimate(rows: np.ndarray[Any, Any]) -> Estimate:
        quality, std = estimator.predict(vectors[rows], table.candidates)
        none = np.zeros_like(quality)
        return Estimate(np.clip(quality, 0.0, 1.0), std, np.tile(price, (len(rows), 1)), none, none)

    known, new = estimate(held), estimate(last)
    policy = Policy(estimator, Promise(), Greedy())
    policy.calibration.learn_table(known, table.score[held])
    score, cost = table.score[last], table.cost[last]
    results = {}
    for epsilon in EPSILONS:
        policy.objective = Promise(epsilon)
        choice = policy.choose(new, np.ones(score.shape, dtype=np.bool_))
        assert choice.promised is not None
        right = score >= policy.calibration.right
        results[epsilon] = Kept(
            violation=float((choice.probability * (choice.promised & ~right)).sum(axis=1).mean()),
            accepted=float((choice.probability * choice.promised).sum(axis=1).mean()),
            quality=float((choice.probability * score).sum(axis=1).mean()),
            strongest=float(score[:, strongest].mean()),
            cost=float((choice.probability * cost).sum(axis=1).mean() / cost[:, strongest].mean()),
        )
    return results


def judge(found: dict[tuple[str, float], list[Kept]], options: Options) -> Report:
    """Figures over splits, the plot, and the verdicts."""
    figures = []
    for (name, epsilon), splits in found.items():
        where = f"{name}, epsilon {epsilon:g}"
        share, low, high = wilson(sum(s.violation <= epsilon for s in splits), len(splits))
        verdict: Verdict = "pass" if share >= KEPT else "short"
        figures.append(
            Figure(
                name=f"{where}: splits that keep it",
                ours=share,
                low=low,
                high=high,
                wanted=f">= {KEPT}",
                verdict=verdict,
            )
        )
        mean, low, high = over_seeds(np.array([s.cost for s in splits]))
        verdict = "info" if name in FLAT else "pass" if mean < 1.0 else "short"
        wanted = "" if name in FLAT else "< 1"
        figures.append(
            Figure(name="... cost / strongest's", ours=mean, low=low, high=high, wanted=wanted, verdict=verdict)
        )
        for label, values in (
            ("... accepted and wrong", [s.violation for s in splits]),
            ("... accepted", [s.accepted for s in splits]),
            ("... quality - strongest's", [s.quality - s.strongest for s in splits]),
        ):
            mean, low, high = over_seeds(np.array(values))
            figures.append(Figure(name=label, ours=mean, low=low, high=high))
    return Report(
        name="promise",
        claim=f"accepted and wrong stays within epsilon in {KEPT:.0%} of random splits, below always-strongest's cost",
        figures=tuple(figures),
        seeds=options.seeds,
        plots=(draw(found, options.out / "promise.png"),),
        notes=(
            "the promise is P(accepted and wrong) over all requests; what is served outside it is marked, and counts in"
            " cost and quality only",
            f"{', '.join(FLAT)}: the strongest is six times cheaper than its near equal, so no cost is asked there",
            f"calibrated at delta {Promise().delta:g}; intervals of means are over splits, which share their queries",
        ),
        details={"splits": {f"{n} {e:g}": [s.violation for s in splits] for (n, e), splits in found.items()}},
    )


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float, float]:
    """A share with its 95% score interval. Source: Wilson, JASA 22 (1927)."""
    p, spread = hits / n, z * z / n
    centre = (p + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(p * (1 - p) / n + spread / (4 * n))
    return p, max(centre - half, 0.0), min(centre + half, 1.0)


def draw(found: dict[tuple[str, float], list[Kept]], path: Path) -> str:
    """The violations of all splits, beside what was promised."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5))
    axes.boxplot([[s.violation for s in splits] for splits in found.values()], whis=(5, 95))
    for i, (_, epsilon) in enumerate(found, 1):
        axes.hlines(epsilon, i - 0.35, i + 0.35, color="crimson", lw=1.4)
    axes.set_xticks(range(1, len(found) + 1), [f"{name}\n{epsilon:g}" for name, epsilon in found], fontsize=8)
    axes.set(ylabel="accepted and wrong", title="what was promised (red) and what came, random splits")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140, bbox_inches="tight")
    plt.close(figure)
    return str(path)
