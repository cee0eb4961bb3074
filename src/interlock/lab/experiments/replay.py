"""Replaying a ledger gives what other policies would really have cost and scored, or says that it cannot.

The bench's prompts stream through decide, ledger and fold on recorded real answers, once for each exploration. Each
ledger is then replayed: under its own configuration, and under every policy that always takes one candidate. What these
would really have given is known, since every candidate has answered every prompt. Deterministic exploration (ucb) tries
one candidate a request, so its ledger can answer for hardly anything else; the share it covers is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ...assembly import build_policy, trust_of
from ...learning.ope import Value
from ...learning.verdict import Contender, compare
from ...ledger import Reading
from ...pocket.mix import bench
from ..answers import PROMPTS, Table, answer_all, showing
from ..metrics import over_seeds
from ..report import Figure, Report, Verdict
from ..stream import Stream, requests_of
from . import Options

EXPLORATIONS: dict[str, dict[str, object]] = {
    "thompson 0.3": {"kind": "thompson", "scale": 0.3},
    "thompson 1": {"kind": "thompson", "scale": 1.0},
    "softmax 0.3": {"kind": "softmax", "temperature": 0.3},
    "epsilon 0.3": {"kind": "epsilon", "rate": 0.3},
    "ucb 1": {"kind": "ucb", "width": 1.0},
}
MEASURES = ("quality", "cost", "utility")
HELD = 0.9  # of 95% intervals, over few seeds


@dataclass(frozen=True)
class Case:
    """One ledger replayed: the log's own values, the same policy's, each fixed policy's, and the real ones of these."""

    logged: Mapping[str, Value]
    same: Contender
    fixed: Sequence[Contender]
    real: Sequence[Mapping[str, float]]
    best: int

    def holds(self, which: int) -> list[bool]:
        """Whether each measure's interval holds the real value, where the ledger answered."""
        values = self.fixed[which].values
        return [values[m].low <= self.real[which][m] <= values[m].high for m in MEASURES if m in values]


def run(options: Options) -> Report:
    found: dict[str, list[Case]] = {name: [] for name in EXPLORATIONS}
    n = max(100, int(PROMPTS * options.scale))
    with showing(options.console) as progress:
        for seed in options.seeds:
            examples = bench(seed, n, split="test", style="mixed")
            table = answer_all(examples, options.out.parent / "answers", progress, f"seed {seed}: every candidate")
            requests = requests_of(examples, seed)
            for name, block in EXPLORATIONS.items():
                path = options.out / f"seed-{seed}-{name.replace(' ', '-')}.db"
                for old in path.parent.glob(f"{path.name}*"):
                    old.unlink()
                path.parent.mkdir(parents=True, exist_ok=True)
                with Stream(policy={"exploration": block}) as stream:
                    bar = progress.add_task(f"seed {seed}, {name}", total=2 * n)
                    advance = partial(progress.advance, bar)
                    stream.run(requests, table, keep=path, done=advance)
                    found[name].append(replayed(stream, path, table, advance))
    return judge(found, options)


def replayed(stream: Stream, path: Path, table: Table, advance: Callable[[int], object]) -> Case:
    """Replay one ledger under its own configuration and under every fixed policy."""
    reading = Reading(path)
    try:
        answer = compare(
            reading,
            build_policy(stream.settings, stream.plan.reader),
            stream.plan.candidates,
            trust=trust_of(stream.settings),
            fixed=table.names,
            progress=advance,
        )
    finally:
        reading.close()
    logged, same, *fixed = answer.contenders
    measured = {"quality": table.quality, "cost": table.cost, "utility": table.utility}
    real = [{m: float(of[:, c].mean()) for m, of in measured.items()} for c in range(len(table.names))]
    return Case(logged.values, same, fixed, real, int(table.utility.mean(axis=0).argmax()))


def judge(found: Mapping[str, Sequence[Case]], options: Options) -> Report:
    """Figures an exploration; only what a ledger answered for is judged."""
    figures = []
    for name, cases in found.items():
        same = [
            (v := case.same.values.get(m)) is not None and case.logged[m].low <= v.mean <= case.logged[m].high
            for case in cases
            for m in MEASURES
        ]
        answered = [case for case in cases if case.fixed[case.best].values]
        best = [held for case in answered for held in case.holds(case.best)]
        every = [held for case in cases for c in range(len(case.fixed)) for held in case.holds(c)]
        verdict: Verdict = "pass" if np.mean(same) >= HELD else "short"
        share = float(np.mean(same))
        figures.append(
            Figure(name=f"{name}: itself, within the logged interval", ours=share, wanted=f">= {HELD}", verdict=verdict)
        )
        if best:
            verdict = "pass" if np.mean(best) >= HELD else "short"
            figures.append(
                Figure(
                    name="... best fixed, measured value held",
                    ours=float(np.mean(best)),
                    wanted=f">= {HELD}",
                    verdict=verdict,
                )
            )
        if every:
            figures.append(Figure(name="... all fixed answered for, held", ours=float(np.mean(every))))
        for label, values in (
            ("... fixed policies answered for", [np.mean([bool(f.values) for f in case.fixed]) for case in cases]),
            ("... effective decisions, best fixed", [case.fixed[case.best].overlap.effective for case in cases]),
            ("... of it never tried", [case.fixed[case.best].overlap.unsupported for case in cases]),
        ):
            mean, low, high = over_seeds(np.array(values, dtype=np.float64))
            figures.append(Figure(name=label, ours=mean, low=low, high=high))
    return Report(
        name="replay",
        claim="replaying a ledger gives what other policies really cost and score, or says that it cannot",
        figures=tuple(figures),
        seeds=options.seeds,
        plots=(draw(found, options.out / "replay.png"),),
        notes=(
            "measures: quality, cost, utility; each seed and measure counts once",
            "a ledger's own mean is one draw of its policy's choices, the replayed value their expectation: so the"
            " latter is looked for in the former's interval",
        ),
        details={
            name: [
                {
                    "best": case.fixed[case.best].name,
                    "real": dict(case.real[case.best]),
                    "values": {m: [v.mean, v.low, v.high] for m, v in case.fixed[case.best].values.items()},
                    "refused": case.fixed[case.best].refused,
                }
                for case in cases
            ]
            for name, cases in found.items()
        },
    )


def draw(found: Mapping[str, Sequence[Case]], path: Path) -> str:
    """Replayed quality against the real one, one point a fixed policy that was answered for."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.5, 6))
    for i, (name, cases) in enumerate(found.items()):
        points = [
            (r["quality"], f.values["quality"]) for c in cases for f, r in zip(c.fixed, c.real, strict=True) if f.values
        ]
        for real, v in points:
            axes.errorbar(real, v.mean, yerr=[[v.mean - v.low], [v.high - v.mean]], fmt="o", color=f"C{i}", capsize=2)
        axes.plot([], [], "o", color=f"C{i}", label=f"{name} ({len(points)})")
    axes.plot([0, 1], [0, 1], "k--", lw=0.8)
    axes.set(xlabel="quality, measured", ylabel="quality, replayed, 95%", title="always one candidate")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=140, bbox_inches="tight")
    plt.close(figure)
    return str(path)
