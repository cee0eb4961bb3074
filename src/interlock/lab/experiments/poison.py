"""A tenant that sends inverted feedback for 20% of the traffic costs the other tenants less than 2 points.

The bench's prompts stream through decide, ledger, fold and publish on recorded real answers (lab/stream.py). Five
tenants take turns; one says of every answer the opposite of what is true. The same stream without the poison (that
tenant tells the truth) is subtracted: as configured, with every tenant's word counting fully, and with that tenant's
not counting at all, which is what the best defence would leave.

A point is a hundredth: of utility, or of accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import Progress

from ...pocket.mix import bench
from ...types import Array
from ..answers import PROMPTS, answer_all, showing
from ..metrics import over_seeds, rolling
from ..report import Figure, Report, Verdict
from ..stream import Stream, requests_of
from . import Options

HONEST = ("ash", "birch", "cedar", "elm")
LIAR = "hemlock"
MOST = 2.0  # points
WINDOW = 200  # requests of the honest over which the plot averages


@dataclass(frozen=True)
class Told:
    """One seed: expected utility and accuracy of each of the honest tenants' requests, (2, n), in four streams."""

    clean: Array
    poisoned: Array
    trusting: Array
    ignoring: Array

    def cost(self, of: Array, first: float = 0.0) -> Array:
        """Points (utility, accuracy) that the honest lose, after the `first` part of the stream."""
        begin = int(first * of.shape[1])
        return np.asarray(100.0 * (self.clean - of)[:, begin:].mean(axis=1), dtype=np.float64)


def run(options: Options) -> Report:
    """Stream each seed without poison, and with it under three degrees of trust."""
    trusting, ignoring = Stream(learner={"robust": False}), Stream(learner={"tenant_weights": {LIAR: 0.0}})
    with showing(options.console) as progress, Stream() as stream, trusting, ignoring:
        told = [live_through((stream, trusting, ignoring), seed, options, progress) for seed in options.seeds]
    return judge(told, options)


def live_through(streams: tuple[Stream, Stream, Stream], seed: int, options: Options, progress: Progress) -> Told:
    n = max(100, int(PROMPTS * options.scale))
    examples = bench(seed, n, split="test", style="mixed")
    table = answer_all(examples, options.out.parent / "answers", progress, f"seed {seed}: every candidate")
    requests = requests_of(examples, seed, (*HONEST, LIAR))
    lies = np.array([request.tenant == LIAR for request in requests])
    said = np.where(lies[:, None], 1.0 - table.quality, table.quality)
    bar = progress.add_task(f"seed {seed}: four streams", total=4 * n)

    def got(by: Stream, scores: Array) -> Array:
        chances = by.run(requests, table, scores, done=lambda count: progress.advance(bar, count))
        return np.stack([(chances * values)[~lies].sum(axis=1) for values in (table.utility, table.quality)])

    return Told(got(streams[0], table.quality), *(got(stream, said) for stream in streams))


def judge(told: Sequence[Told], options: Options) -> Report:
    """Figures over seeds, the plot, and the verdict."""

    def figure(name: str, values: Array, wanted: str = "", passed: bool | None = None) -> Figure:
        mean, low, high = over_seeds(values)
        verdict: Verdict = "info" if passed is None else "pass" if passed else "short"
        return Figure(name=name, ours=mean, low=low, high=high, wanted=wanted, verdict=verdict, unit=" points")

    whole, late = (np.array([t.cost(t.poisoned, first) for t in told]) for first in (0.0, 1 / 3))
    blind, late_blind = (np.array([t.cost(t.trusting, first) for t in told]) for first in (0.0, 1 / 3))
    ignored = np.array([t.cost(t.ignoring) for t in told])
    figures = (
        figure("utility the honest lose", whole[:, 0], f"< {MOST:g}", bool(whole[:, 0].mean() < MOST)),
        figure("... in the last two thirds", late[:, 0]),
        figure("accuracy the honest lose", whole[:, 1]),
        figure("utility they lose, nobody doubted", blind[:, 0]),
        figure("... in the last two thirds", late_blind[:, 0]),
        figure("accuracy they lose, nobody doubted", blind[:, 1]),
        figure("utility they lose, the liar ignored", ignored[:, 0]),
        figure("their utility without poison", np.array([100 * t.clean[0].mean() for t in told])),
    )
    return Report(
        name="poison",
        claim=f"inverted feedback on 20% of the traffic costs the other tenants less than {MOST:g} points",
        figures=figures,
        seeds=options.seeds,
        plots=(draw(told, options.out / "poison.png"),),
        notes=(
            "utility in expectation over each decision's probabilities; the whole stream counts, learning included",
            "what is lost beyond a liar ignored was decided before it was found out; what it had taught is unlearnt",
        ),
        details={
            "per_seed": {"as configured": whole.tolist(), "nobody doubted": blind.tolist(), "ignored": ignored.tolist()}
        },
    )


def draw(told: Sequence[Told], path: Path) -> str:
    """Rolling utility of the honest tenants, mean over seeds."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5))
    lines = (
        ("clean", "no poison", "k--"),
        ("trusting", "poison, nobody doubted", "C7-"),
        ("ignoring", "poison, the liar ignored", "C0-"),
        ("poisoned", "poison, as configured", "r-"),
    )
    for name, label, style in lines:
        axes.plot(np.mean([rolling(getattr(t, name)[0], WINDOW) for t in told], axis=0)[20:], style, label=label)
    axes.set(xlabel="requests of the honest tenants", ylabel=f"utility, mean of the last {WINDOW}")
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140, bbox_inches="tight")
    plt.close(figure)
    return str(path)
