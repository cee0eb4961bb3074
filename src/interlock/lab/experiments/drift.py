"""When a strong model is silently swapped for a weaker one in mid-stream, routing recovers within 600 requests.

The bench's prompts stream through decide, ledger, fold and publish on recorded real answers (lab/stream.py). Half way,
`small` begins to answer as `nano` does, at the price of `small` and with every budget; nothing is said about it.

What is achievable afterwards is what the same composition gets on the same prompts when it has lived in the swapped
world from the first request on. The per-prompt oracle and a policy that stops learning at the swap stand beside it.
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

STRONG, WEAK = "small", "nano"
WITHIN = 600  # requests in which to recover
WINDOW = 150  # requests over which utility is averaged
ENOUGH = 0.9  # of what is achievable


@dataclass(frozen=True)
class Swap:
    """One seed: the expected utility of each request, shape (n,); the swap is in the middle."""

    ours: Array
    achievable: Array
    stopped: Array
    oracle: Array

    @property
    def at(self) -> int:
        return len(self.ours) // 2

    def share(self, of: Array, by: Array, first: int, last: int | None = None) -> float:
        """`by`'s utility as a share of `of`'s, over the requests from `first` to `last` after the swap."""
        span = slice(self.at + first, None if last is None else self.at + last)
        return float(by[span].sum() / of[span].sum())

    @property
    def recovered(self) -> int:
        """Requests after the swap from which on any `WINDOW` of them have `ENOUGH` of what is achievable on them."""
        share = rolling(self.ours[self.at :], WINDOW) / rolling(self.achievable[self.at :], WINDOW)
        lacking = np.flatnonzero(share[WINDOW - 1 :] < ENOUGH)
        return min(WINDOW + int(lacking[-1]) + 1, len(share)) if len(lacking) else WINDOW


def run(options: Options) -> Report:
    """Stream each seed through the world with the swap and through the swapped world, and compare."""
    with showing(options.console) as progress, Stream() as stream:
        swaps = [live_through(stream, seed, options, progress) for seed in options.seeds]
    return judge(swaps, options)


def live_through(stream: Stream, seed: int, options: Options, progress: Progress) -> Swap:
    n = max(4 * WINDOW, int(PROMPTS * options.scale))
    examples = bench(seed, n, split="test", style="mixed")
    table = answer_all(examples, options.out.parent / "answers", progress, f"seed {seed}: every candidate")
    swap = {name: name.replace(STRONG, WEAK) for name in table.names if name.startswith(f"{STRONG}-")}
    drifting, swapped = table.swapped(swap, since=n // 2), table.swapped(swap)
    requests, bar = requests_of(examples, seed), progress.add_task(f"seed {seed}: three streams", total=3 * n)

    def done(count: int) -> None:
        progress.advance(bar, count)

    ours = stream.run(requests, drifting, done=done)
    achievable = stream.run(requests, swapped, done=done)
    stopped = stream.run(requests, drifting, learn=n // 2, done=done)
    return Swap(
        ours=(ours * drifting.utility).sum(axis=1),
        achievable=(achievable * swapped.utility).sum(axis=1),
        stopped=(stopped * drifting.utility).sum(axis=1),
        oracle=drifting.utility.max(axis=1),
    )


def judge(swaps: Sequence[Swap], options: Options) -> Report:
    """Figures over seeds, the plot, and the verdicts."""

    def figure(name: str, values: Sequence[float], wanted: str = "", passed: bool | None = None) -> Figure:
        mean, low, high = over_seeds(np.array(values, dtype=np.float64))
        verdict: Verdict = "info" if passed is None else "pass" if passed else "short"
        return Figure(name=name, ours=mean, low=low, high=high, wanted=wanted, verdict=verdict)

    recovered = [float(swap.recovered) for swap in swaps]
    later = [s.share(s.achievable, s.ours, WITHIN) for s in swaps]
    kept = over_seeds(np.array(later))[0] >= ENOUGH
    figures = (
        figure("requests until 90% of achievable, for good", recovered, f"<= {WITHIN}", max(recovered) <= WITHIN),
        figure(f"share of achievable after {WITHIN}", later, f">= {ENOUGH:g}", kept),
        *(
            figure(
                f"... {begin} to {begin + WINDOW}",
                [s.share(s.achievable, s.ours, begin, begin + WINDOW) for s in swaps],
            )
            for begin in range(0, WITHIN, WINDOW)
        ),
        figure(f"... after {WITHIN}, not learning", [s.share(s.achievable, s.stopped, WITHIN) for s in swaps]),
        figure("share of the oracle before", [s.share(s.oracle, s.ours, -2 * WINDOW, 0) for s in swaps]),
        figure(f"... after {WITHIN}", [s.share(s.oracle, s.ours, WITHIN) for s in swaps]),
        figure(f"... after {WITHIN}, achievable", [s.share(s.oracle, s.achievable, WITHIN) for s in swaps]),
    )
    return Report(
        name="drift",
        claim=f"90% of the achievable utility is back within {WITHIN} requests of a silent swap, {STRONG} to {WEAK}",
        figures=figures,
        seeds=options.seeds,
        plots=(draw(swaps, options.out / "drift.png"),),
        notes=(
            "achievable: the same composition on the same prompts, in the swapped world from its first request on",
            f"utility in expectation over each decision's probabilities, means over {WINDOW} requests",
            "the slowest seed decides about the requests needed",
        ),
        details={"recovered": recovered},
    )


def draw(swaps: Sequence[Swap], path: Path) -> str:
    """Rolling utility around the swap, mean over seeds."""
    import matplotlib.pyplot as plt

    at = swaps[0].at
    figure, axes = plt.subplots(figsize=(9, 5))
    lines = (
        ("oracle", "per-prompt oracle", "k--", 1.2),
        ("achievable", "in the swapped world from the start", "C0-", 1.6),
        ("stopped", "stops learning at the swap", "C7-", 1.2),
        ("ours", "interlock", "r-", 2.4),
    )
    for name, label, style, width in lines:
        values = np.mean([rolling(getattr(swap, name), WINDOW) for swap in swaps], axis=0)
        axes.plot(np.arange(len(values))[WINDOW:] - at, values[WINDOW:], style, lw=width, label=label)
    axes.axvline(0, color="grey", lw=0.8)
    axes.axvline(WITHIN, color="grey", lw=0.8, ls=":")
    axes.set(xlabel=f"requests since `{STRONG}` answers as `{WEAK}`", ylabel=f"utility, mean of the last {WINDOW}")
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140, bbox_inches="tight")
    plt.close(figure)
    return str(path)
