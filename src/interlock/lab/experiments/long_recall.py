"""A pocket model of 0.35M parameters looks up one pair among hundreds at 2k to 4k tokens, and needs all of them to.

`micro-long` answers test prompts of the long recall task (pairs of a two-letter key and a digit between sentences of
filler, one key asked for) through the engine that serves it, at every length it was built for; then again with its
attention cut to the last 256 tokens. A pair inside can still be read; any other answer is a guess among ten digits.
What attention that is routed, chosen or compressed can win lies between the two curves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from rich.progress import Progress, TaskID

from ...pocket.pool import Pool
from ...pocket.requests import PocketRequest
from ...pocket.score import wilson
from ...pocket.tasks import TASKS, Example, draw
from ...pocket.tokenizer import encode
from ..answers import showing
from ..report import Figure, Report, Verdict
from . import Options

MODEL = "micro-long"
WINDOW = 256
PROMPTS = 20  # a length and seed
CLAIMED = (400, 600)  # pairs: 2k and 4k tokens
WANTED, CUT = 0.90, 0.60
GUESS = 0.1


@dataclass(frozen=True)
class Point:
    """One length: `tokens` of a prompt on average, right answers of `n` whole and cut, and pairs inside the window."""

    pairs: int
    tokens: float
    n: int
    whole: int
    cut: int
    inside: int

    @property
    def expected(self) -> float:
        """Accuracy of a reader who finds every pair inside the window and guesses the others."""
        return (self.inside + GUESS * (self.n - self.inside)) / self.n


def run(options: Options) -> Report:
    """Ask every length, whole and cut, and compare."""
    task, count = TASKS["recall_long"], max(2, round(PROMPTS * options.scale))
    points = []
    with showing(options.console) as progress, Pool.load([MODEL]) as whole, Pool.load([MODEL], window=WINDOW) as cut:
        bar = progress.add_task("prompts", total=2 * count * len(options.seeds) * len(task.levels))
        for pairs in task.levels:
            examples = [
                draw(task, rng, pairs, "test")
                for rng in (Random(f"long-recall:{seed}:{pairs}") for seed in options.seeds)
                for _ in range(count)
            ]
            points.append(
                Point(
                    pairs=pairs,
                    tokens=sum(len(encode(example.prompt)) for example in examples) / len(examples),
                    n=len(examples),
                    whole=right(whole, examples, progress, bar),
                    cut=right(cut, examples, progress, bar),
                    inside=sum(distance(example) < WINDOW for example in examples),
                )
            )
    return judge(points, options)


def right(pool: Pool, examples: Sequence[Example], progress: Progress, bar: TaskID) -> int:
    """How many of `examples` the pool's model answers rightly, at once and greedily."""
    requests = [PocketRequest(candidate=f"{MODEL}-t0", prompt=each.prompt, max_tokens=8) for each in examples]
    results = pool.generate_many(requests, lambda *_: progress.advance(bar))
    return sum(example.verify(result.text) for example, result in zip(examples, results, strict=True))


def distance(example: Example) -> int:
    """Tokens from the digit that is asked for to the end of the prompt, where the answer begins."""
    pair = f"{example.prompt[-2:]}{example.answer}"  # every wording ends with the key
    return len(encode(example.prompt[example.prompt.index(pair) + len(pair) :])) + 1


def judge(points: Sequence[Point], options: Options) -> Report:
    """Figures with 95% Wilson intervals over prompts, the plot, and the verdicts."""
    figures = []
    for point in points:
        claimed = point.pairs in CLAIMED
        for name, right_, wanted, passed in (
            ("", point.whole, f">= {WANTED:.2f}", point.whole / point.n >= WANTED),
            (f", last {WINDOW} tokens only", point.cut, f"< {CUT:.2f}", point.cut / point.n < CUT),
        ):
            low, high = wilson(right_, point.n)
            verdict: Verdict = "info" if not claimed else "pass" if passed else "short"
            figures.append(
                Figure(
                    name=f"{point.pairs} pairs, {point.tokens:.0f} tokens{name}",
                    ours=right_ / point.n,
                    low=low,
                    high=high,
                    wanted=wanted if claimed else "",
                    verdict=verdict,
                )
            )
    return Report(
        name="long-recall",
        claim=f"{MODEL} recalls >= {WANTED:.0%} at 2k and 4k tokens, and < {CUT:.0%} from the last {WINDOW} alone",
        figures=tuple(figures),
        seeds=options.seeds,
        plots=(plot(points, options.out / "long-recall.png"),),
        notes=(f"{points[0].n} test prompts a length; intervals are over prompts, the model is one training run",),
        details={"expected_inside_window": {str(point.pairs): point.expected for point in points}},
    )


def plot(points: Sequence[Point], path: Path) -> str:
    """Accuracy over length, whole and cut, with intervals."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5))
    tokens = [point.tokens for point in points]
    for label, counts, colour in (
        ("all of the prompt", [point.whole for point in points], "C0"),
        (f"the last {WINDOW} tokens", [point.cut for point in points], "C3"),
    ):
        shares = [count / point.n for count, point in zip(counts, points, strict=True)]
        bounds = [wilson(count, point.n) for count, point in zip(counts, points, strict=True)]
        error = [
            [max(0.0, share - low) for share, (low, _) in zip(shares, bounds, strict=True)],
            [max(0.0, high - share) for share, (_, high) in zip(shares, bounds, strict=True)],
        ]
        axes.errorbar(tokens, shares, yerr=error, fmt="o-", color=colour, capsize=3, label=label)
    axes.plot(tokens, [point.expected for point in points], "k:", label="what lies in the window, else a guess")
    axes.set(xscale="log", xlabel="tokens of the prompt", ylabel="right answers", ylim=(0, 1.02), title=MODEL)
    axes.set_xticks(tokens, [f"{count:.0f}" for count in tokens])
    axes.minorticks_off()
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140, bbox_inches="tight")
    plt.close(figure)
    return str(path)
