"""The gateway learns over HTTP to route nearly as well as a per-prompt oracle, and better than any single model.

Thousands of mixed pocket prompts (paraphrased, task names hidden, all levels) go through a running `interlock serve`
with `model: "auto"`; a verifier scores every answer through /v1/feedback. Every candidate also answers every prompt, so
the oracle, the fixed candidates, random and cheapest are measured on the same prompts and not estimated.

Utility = quality - WORTH x cost in USD; the learning phase is the first third of the stream, figures are on the rest.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from ...offered import WORTH
from ...pocket.mix import bench
from ...pocket.tasks import Example
from ...types import Array
from ..answers import PROMPTS, Table, answer_all, showing
from ..metrics import over_seeds, rolling
from ..process import gateway
from ..report import Figure, Report
from . import Options

CONCURRENT = 16


@dataclass(frozen=True)
class Stream:
    """One seed's run. `served` indexes candidates (-1: no answer); quality and cost of what was served, shape (n,)."""

    served: Array
    quality: Array
    cost: Array


def run(options: Options) -> Report:
    """Send the streams, answer every prompt with every candidate, compare."""
    n = max(90, int(PROMPTS * options.scale))
    with showing(options.console) as progress:
        streams, tables = [], []
        for seed in options.seeds:
            examples = bench(seed, n, split="test", style="mixed")
            table = answer_all(examples, options.out.parent / "answers", progress, f"seed {seed}: every candidate")
            streams.append(
                asyncio.run(serve_and_score(examples, table.names, options.out / f"seed-{seed}", progress, seed))
            )
            tables.append(table)
    return judge(streams, tables, options)


async def serve_and_score(
    examples: Sequence[Example], names: Sequence[str], folder: Path, progress: Progress, seed: int
) -> Stream:
    """Send the prompts in order to a fresh gateway, `CONCURRENT` at a time, and score each answer as it arrives."""
    import httpx

    n = len(examples)
    served, quality, cost = np.full(n, -1.0), np.zeros(n), np.zeros(n)
    bar = progress.add_task(f"seed {seed}: through the gateway", total=n)
    todo = iter(range(n))
    (folder / "ledger.db").unlink(missing_ok=True)
    for leftover in folder.glob("ledger.db-*"):
        leftover.unlink()
    with gateway(folder) as running:
        limits = httpx.Limits(max_connections=CONCURRENT)
        async with httpx.AsyncClient(base_url=running.url, timeout=60, limits=limits) as client:

            async def worker() -> None:
                for i in todo:
                    body = {
                        "model": "auto",
                        "messages": [{"role": "user", "content": examples[i].prompt}],
                        "seed": seed * n + i,
                    }
                    answer = await client.post("/v1/chat/completions", json=body)
                    answer.raise_for_status()
                    text = answer.json()["choices"][0]["message"]["content"] or ""
                    served[i] = names.index(answer.headers["x-interlock-model"])
                    quality[i], cost[i] = examples[i].verify(text), float(answer.headers["x-interlock-cost"])
                    scored = {"id": answer.headers["x-interlock-id"], "score": quality[i], "source": "verifier"}
                    (await client.post("/v1/feedback", json=scored)).raise_for_status()
                    progress.advance(bar)

            await asyncio.gather(*(worker() for _ in range(CONCURRENT)))
    return Stream(served, quality, cost)


def judge(streams: Sequence[Stream], tables: Sequence[Table], options: Options) -> Report:
    """Figures over seeds on everything after the first third, the plot, and the verdicts."""
    rows = [compare(stream, table) for stream, table in zip(streams, tables, strict=True)]
    column = {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def figure(name: str, values: Array, wanted: str = "", passed: bool | None = None) -> Figure:
        mean, low, high = over_seeds(values)
        verdict: Any = "info" if passed is None else "pass" if passed else "short"
        return Figure(name=name, ours=mean, low=low, high=high, wanted=wanted, verdict=verdict)

    share, gain = column["router"] / column["oracle"], column["router"] - column["best single"]
    enough = len(options.seeds) > 1
    figures = (
        figure("utility / oracle, last two thirds", share, ">= 0.90", bool(share.mean() >= 0.90)),
        figure("utility - best single", gain, "> 0, 95%", bool(enough and over_seeds(gain)[1] > 0)),
        *(
            figure(f"utility: {name}", column[name])
            for name in ("router", "oracle", "best single", "random", "cheapest")
        ),
        figure("accuracy: router", column["accuracy"]),
        figure("accuracy: best single", column["best accuracy"]),
        figure("cost / best single's cost", column["cost"] / column["best cost"]),
    )
    plots = (draw_curve(streams, tables, options.out / "first-light.png"),)
    return Report(
        name="first-light",
        claim="routing learned over HTTP reaches 90% of the per-prompt oracle and beats every single model",
        figures=figures,
        seeds=options.seeds,
        plots=plots,
        notes=(f"utility = quality - {WORTH:g} x cost in USD; the first third of the stream is for learning",),
        details={"per_seed": [{name: float(value) for name, value in row.items()} for row in rows]},
    )


def compare(stream: Stream, table: Table) -> dict[str, float]:
    """One seed's means after the first third."""
    late = slice(len(stream.quality) // 3, None)
    utility, fixed = table.utility[late], table.utility[late].mean(axis=0)
    best, cheap = int(fixed.argmax()), int(table.cost.mean(axis=0).argmin())
    return {
        "router": float((stream.quality[late] - WORTH * stream.cost[late]).mean()),
        "oracle": float(utility.max(axis=1).mean()),
        "best single": float(fixed[best]),
        "random": float(utility.mean()),
        "cheapest": float(fixed[cheap]),
        "accuracy": float(stream.quality[late].mean()),
        "best accuracy": float(table.quality[late, best].mean()),
        "cost": float(stream.cost[late].mean()),
        "best cost": float(table.cost[late, best].mean()),
    }


def draw_curve(streams: Sequence[Stream], tables: Sequence[Table], path: Path) -> str:
    """Rolling utility of router, oracle and every fixed candidate, mean over seeds; the router's also as JSON."""
    import matplotlib.pyplot as plt

    window = max(30, len(streams[0].quality) // 15)
    router = np.mean([rolling(s.quality - WORTH * s.cost, window) for s in streams], axis=0)
    oracle = np.mean([rolling(t.utility.max(axis=1), window) for t in tables], axis=0)
    figure, axes = plt.subplots(figsize=(9, 5))
    for column, name in enumerate(tables[0].names):
        axes.plot(
            np.mean([rolling(t.utility[:, column], window) for t in tables], axis=0), lw=0.8, alpha=0.7, label=name
        )
    axes.plot(oracle, "k--", lw=1.2, label="per-prompt oracle")
    axes.plot(router, color="crimson", lw=2.4, label="interlock")
    axes.axvline(len(router) / 3, color="grey", lw=0.6)
    axes.set(
        xlabel="requests",
        ylabel=f"utility, mean of the last {window}",
        title="first light: learning to route over HTTP",
    )
    axes.legend(fontsize=7, ncols=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140, bbox_inches="tight")
    plt.close(figure)
    path.with_suffix(".json").write_text(
        json.dumps({"window": window, "router": router.tolist(), "oracle": oracle.tolist()})
    )
    return str(path)
