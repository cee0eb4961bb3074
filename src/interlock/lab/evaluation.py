"""What an evaluation says: every figure of every arm with its interval, and whether to route on this data at all."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table as Grid

from ..types import Array
from .intervals import Interval, interval, means, resamples
from .metrics import Curve, deferral, entropy, hull, hypervolume, pareto_distance, rank_correlation, shares
from .panel import Played, complementarity
from .tables import Table

SUPERFLUOUS = 0.002
"""A candidate without which the oracle loses less than this (0.2 points) adds nothing."""

POINTLESS = 0.02
"""Below this margin of the oracle over the best single candidate, routing for quality has nothing to gain."""

AS_GOOD = 0.01
"""Quality that is not worse by more than this counts as kept."""

LEAST_OF_FAMILY = 100
BINS = 15
FEW = 41  # resamples behind the intervals of figures that are slow to compute
HALVINGS = 10


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """One arm. `cost` and `quality` are its operating points; `shares` are at its best predicted quality.

    `route_microseconds` is the time to read, featurise and predict one query, in a batch.
    """

    name: str
    kind: str
    figures: dict[str, Interval]
    cost: list[float]
    quality: list[float]
    shares: dict[str, float]
    fit_seconds: float
    route_microseconds: float


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether to route. The router and its setting are chosen on one half of the queries and judged on the other.

    `gain` is quality over the best single candidate at no more than its cost. `saving` is the share of its cost that
    the cheapest setting saves that kept its quality, `kept` is by what that setting's quality differs, `over_mixture`
    by how much it beats the mixture of fixed candidates at the same cost. `route` needs an interval above 0.
    """

    route: bool
    text: str
    gain: Interval
    saving: Interval
    kept: Interval
    over_mixture: Interval


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """One data set. `missing` is the share of cells without a score; `margin` the oracle's over the best single.

    Where tasks are named FAMILY:TASK, `families` has the figures of each large family alone: family, arm, figure.
    """

    dataset: str
    trained_on: int
    judged_on: int
    candidates: tuple[str, ...]
    tasks: int
    missing: float
    priced: bool
    best_single: str
    margin: Interval
    complementarity: dict[str, float]
    arms: tuple[Arm, ...]
    verdict: Verdict
    families: dict[str, dict[str, dict[str, Interval]]]

    def arm(self, name: str) -> Arm:
        return next(arm for arm in self.arms if arm.name == name)

    @property
    def figure(self) -> str:
        """The figure that arms are ordered by."""
        return "aiq" if self.priced else "apgr" if len(self.candidates) == 2 else "accuracy"

    def show(self, console: Console) -> None:
        """Print the table, the notes and the verdict."""
        names = [name for name in SHOWN if any(name in arm.figures for arm in self.arms)]
        grid = Grid(
            title=f"{self.dataset}: {self.trained_on} training, {self.judged_on} test queries", title_justify="left"
        )
        for column in ("arm", *(SHOWN[name] for name in names), "fit s", "us/query"):
            grid.add_column(column, no_wrap=True, justify="left" if column == "arm" else "right")
        for kind in ("panel", "router"):
            arms = [arm for arm in self.arms if arm.kind == kind]
            for arm in sorted(
                arms, key=lambda arm: -arm.figures[self.figure].value if self.figure in arm.figures else 9.0
            ):
                cells = [_short(arm.figures.get(name)) for name in names]
                spent = (f"{arm.fit_seconds:.1f}", f"{arm.route_microseconds:.0f}") if kind == "router" else ("", "")
                grid.add_row(arm.name, *cells, *spent, style="dim" if kind == "panel" else "")
            grid.add_section()
        console.print(grid)
        for family, figures in self.families.items():
            routers = [arm.name for arm in self.arms if arm.kind == "router" and self.figure in figures[arm.name]]
            for name in sorted(routers, key=lambda name: -figures[name][self.figure].value)[:1]:
                figure = figures[name][self.figure]
                console.print(f"  on {family} alone the best router, {name}, has {SHOWN[self.figure]} {figure}")
        console.print(
            f"  {self.missing:.1%} of the cells are missing; what did not answer a query was not on offer there"
        )
        console.print(f"  margin of the oracle over the best single ({self.best_single}): {self.margin}")
        if self.margin.value < POINTLESS:
            console.print("  routing for quality is pointless here: the oracle itself gains less than 2 points")
        spare = [name for name, loss in self.complementarity.items() if loss < SUPERFLUOUS]
        if spare:
            console.print(f"  superfluous (the oracle loses < 0.2 points without): {', '.join(spare)}")
        console.print(f"  [bold]{self.verdict.text}[/bold]")


SHOWN = {
    "aiq": "AIQ",
    "quarter": "at 1/4 cost",
    "matched": "at its cost",
    "apgr": "APGR",
    "cpt80": "CPT(80%)",
    "accuracy": "accuracy",
    "macro": "macro",
    "cost_save": "CostSave",
    "hypervolume": "hypervol.",
    "ece": "ECE",
    "entropy": "entropy",
}
"""The figures that a terminal has room for, with their headings; the others are in the JSON."""


def _short(figure: Interval | None) -> str:
    return (
        ""
        if figure is None or np.isnan(figure.value)
        else f"{figure.value:.4f} ±{0.5 * (figure.high - figure.low):.4f}"
    )


def judge(test: Table, arms: Sequence[Played], *, trained_on: int, rounds: int = 500, seed: int = 0) -> Evaluation:
    """Figures of every arm on the queries of `test`, with intervals over resamples of distinct prompts."""
    weights = resamples(len(test), rounds, seed, test.prompts)
    by_name = {arm.name: arm for arm in arms}
    single = by_name["best single"]
    ground = _Ground(test, weights, single, by_name.get("cheapest"))
    front = by_name["oracle"]
    curves = {arm.name: ground.curve(arm) for arm in arms} if ground.priced else {}
    known = [curve for name, curve in curves.items() if name != front.name]
    everything = [np.concatenate(parts, axis=1)[:FEW] for parts in zip(*known, strict=True)]
    judged = []
    for arm in arms:
        figures = ground.figures(arm)
        if ground.priced:
            figures["pareto_distance"] = interval(_distances(curves[arm.name], everything))
        share = _shares(arm, len(test.candidates))
        judged.append(
            Arm(
                name=arm.name,
                kind=arm.kind,
                figures=figures,
                cost=means(weights[:1], arm.cost)[0].tolist(),
                quality=means(weights[:1], arm.quality)[0].tolist(),
                shares={} if share is None else dict(zip(test.candidates, share.tolist(), strict=True)),
                fit_seconds=arm.fit_seconds,
                route_microseconds=1e6 * arm.route_seconds,
            )
        )
    best = np.bincount(single.chosen[:, 0]).argmax() if single.chosen is not None else 0
    return Evaluation(
        dataset=test.name,
        trained_on=trained_on,
        judged_on=len(test),
        candidates=test.candidates,
        tasks=len(set(test.tasks)),
        missing=float(1.0 - test.answered.mean()),
        priced=ground.priced,
        best_single=test.candidates[best],
        margin=interval(means(weights, front.quality[:, 0] - single.quality[:, 0])),
        complementarity=complementarity(test),
        arms=tuple(judged),
        verdict=verdict(test, arms, weights, ground.priced, seed),
        families=_families(test, arms, rounds, seed),
    )


def _families(test: Table, arms: Sequence[Played], rounds: int, seed: int) -> dict[str, dict[str, dict[str, Interval]]]:
    """Every arm's figures on each family of tasks that has enough queries; none where tasks have no families."""
    if not any(":" in task for task in test.tasks):
        return {}
    family = np.array([task.split(":")[0] for task in test.tasks], dtype=object)
    found = {}
    for name in dict.fromkeys(family):
        rows = family == name
        if LEAST_OF_FAMILY <= rows.sum() < len(test):
            part, played = test.take(rows), {arm.name: arm.take(rows) for arm in arms}
            weights = resamples(len(part), rounds, seed, part.prompts)
            ground = _Ground(part, weights, played["best single"], played.get("cheapest"))
            found[name] = {label: ground.figures(arm) for label, arm in played.items()}
    return found


def _distances(curve: tuple[Array, Array], everything: Sequence[Array]) -> list[float]:
    """ParetoDist of an arm to the front of all arms but the oracle, in the first few resamples."""
    rows = range(len(everything[0]))
    return [pareto_distance(curve[0][r], curve[1][r], everything[0][r], everything[1][r]) for r in rows]


def _plain(value: float) -> Interval:
    return Interval(value, float("nan"), float("nan"))


def _shares(arm: Played, candidates: int) -> Array | None:
    return None if arm.chosen is None else shares(arm.chosen[:, 0], candidates)


class _Ground:
    """What all arms of a data set are measured against, in every resample."""

    def __init__(self, test: Table, weights: Array, single: Played, cheapest: Played | None) -> None:
        self.test, self.weights = test, weights
        self.priced = bool(np.isfinite(test.cost).any())
        self.single_quality, self.single_cost = (means(weights, of[:, 0]) for of in (single.quality, single.cost))
        labels = {task: i for i, task in enumerate(dict.fromkeys(test.tasks))}
        member = np.zeros((len(test), len(labels)))
        member[np.arange(len(test)), [labels[task] for task in test.tasks]] = 1.0
        self.member, self.of_task = member, weights @ member
        if self.priced and cheapest is not None:
            self.start = tuple(means(weights, of) for of in (cheapest.cost, cheapest.quality))
            of_candidates = means(weights, test.cost)
            self.low, self.high = np.nanmin(of_candidates, axis=1), np.nanmax(of_candidates, axis=1)

    def curve(self, arm: Played) -> tuple[Array, Array]:
        """Mean cost and quality of the operating points in each resample (r, p), the cheapest candidate's first.

        Any policy can fall back to the cheapest candidate, so every frontier starts there or further left.
        """
        cost, quality = means(self.weights, arm.cost), means(self.weights, arm.quality)
        return np.hstack([self.start[0], cost]), np.hstack([self.start[1], quality])

    def figures(self, arm: Played) -> dict[str, Interval]:
        accuracy = means(self.weights, arm.quality[:, :1])[:, 0]
        figures = {"accuracy": interval(accuracy), "macro": interval(self._macro(arm.quality[:, 0]))}
        if self.priced:
            figures |= self._of_cost(arm)
        if arm.predicted is not None:
            figures |= self._of_predictions(arm.predicted)
        if arm.chosen is not None:
            picked = np.zeros(self.test.score.shape)
            np.put_along_axis(picked, arm.chosen[:, :1], 1.0, axis=1)
            figures["entropy"] = interval([entropy(row / row.sum()) for row in self.weights @ picked])
        return figures

    def _macro(self, quality: Array) -> Array:
        """Mean over tasks of the mean over queries (r,); a task that a resample lacks is left out of it."""
        total = self.weights @ (self.member * quality[:, None])
        each = np.divide(total, self.of_task, out=np.full(total.shape, np.nan), where=self.of_task > 0)
        return np.asarray(np.nanmean(each, axis=1))

    def _of_cost(self, arm: Played) -> dict[str, Interval]:
        cost, quality = self.curve(arm)
        frontier = hull(cost, quality)
        reached = frontier.reaching(self.single_quality)
        figures = {
            "aiq": frontier.mean(self.low, self.high),
            "quarter": frontier.at(0.25 * self.single_cost),
            "matched": frontier.at(self.single_cost),
            "cost_at_quality": reached,
            "cost_save": 1.0 - reached / self.single_cost,
            "perf_gain": quality.max(axis=1) / self.single_quality - 1.0,
            "hypervolume": hypervolume(cost, quality, self.high),
            "cost": cost[:, 1],
        }
        return {name: interval(values) for name, values in figures.items()}

    def _of_predictions(self, predicted: Array) -> dict[str, Interval]:
        """Calibration, log loss and ranking of candidates; with two candidates, also the deferral curve."""
        score, there = self.test.score, self.test.answered
        p = np.clip(predicted, 1e-3, 1.0 - 1e-3)
        loss = -(score * np.log(p) + (1.0 - score) * np.log1p(-p))
        order = np.argsort(np.where(there, predicted, np.inf), axis=None, kind="stable")
        bin_of = np.empty(order.size, dtype=np.intp)
        bin_of[order] = np.minimum(np.arange(order.size) * BINS // max(int(there.sum()), 1), BINS - 1)
        gap = np.where(there, predicted - score, 0.0)
        by_bin = np.zeros((len(score), BINS))
        np.add.at(by_bin, (np.repeat(np.arange(len(score)), score.shape[1]), bin_of), gap.ravel())
        count = self.weights @ there.sum(axis=1)
        figures = {
            "ece": interval(np.abs(self.weights @ by_bin).sum(axis=1) / count),
            "log_loss": interval(self.weights @ np.where(there, loss, 0.0).sum(axis=1) / count),
        }
        guess, truth = means(self.weights, np.where(there, predicted, np.nan)), means(self.weights, score)
        figures["rank_correlation"] = interval(
            [
                rank_correlation(*row) if np.isfinite(row).all() else np.nan
                for row in np.stack([guess, truth], axis=1)[:FEW]
            ]
        )
        if score.shape[1] == 2 and there.all():
            figures |= self._of_deferral(predicted)
        return figures

    def _of_deferral(self, predicted: Array) -> dict[str, Interval]:
        strong = int(self.test.score.mean(axis=0).argmax())
        weak = 1 - strong
        score = self.test.score
        parts = [
            deferral(predicted[:, strong] - predicted[:, weak], score[:, weak], score[:, strong], some)
            for some in np.array_split(self.weights, max(1, self.weights.size // 2_000_000))
        ]
        measured = {
            "apgr": [part.apgr for part in parts],
            "deferral_area": [part.area for part in parts],
            **{f"cpt{round(100 * level)}": [part.cpt(level) for part in parts] for level in (0.2, 0.5, 0.8)},
        }
        return {name: interval(np.concatenate(values)) for name, values in measured.items()}


def verdict(test: Table, arms: Sequence[Played], weights: Array, priced: bool, seed: int = 0) -> Verdict:
    """Choose router and setting on one half of the queries, judge on the other; the mean over several such halvings.

    So no figure profits from having been the best of many on the queries it is judged on.
    """
    routers = [arm for arm in arms if arm.kind == "router"]
    single = next(arm for arm in arms if arm.name == "best single")
    nothing = _plain(float("nan"))
    if not routers:
        return Verdict(
            route=False, text="no router was asked", gain=nothing, saving=nothing, kept=nothing, over_mixture=nothing
        )
    quality, cost = np.hstack([arm.quality for arm in routers]), np.hstack([arm.cost for arm in routers])
    chosen = np.hstack([arm.chosen for arm in routers if arm.chosen is not None])
    usual = np.nan_to_num(test.mean("cost"))[chosen]  # what its candidates cost on average, whatever the query
    best_quality, best_cost = single.quality[:, 0], single.cost[:, 0]
    gaining, keeping = (np.zeros((3, len(test))) for _ in range(2))
    for half in _halves(test, seed):
        q, c = quality[half].mean(axis=0), cost[half].mean(axis=0)
        within = c <= best_cost[half].mean() if priced else np.ones(len(q), dtype=bool)
        first = int(np.where(within, q, -np.inf).argmax())
        keeps = q >= best_quality[half].mean() - 0.5 * AS_GOOD
        second = int(np.where(keeps, c, np.inf).argmin()) if priced and keeps.any() else first
        for policy, point in ((gaining, first), (keeping, second)):
            policy[:, ~half] += np.stack([quality[~half, point], cost[~half, point], usual[~half, point]]) / HALVINGS
    gain = interval(means(weights, gaining[0] - best_quality))
    kept = interval(means(weights, keeping[0] - best_quality))
    saving = over = nothing
    if priced:
        saving = interval(1.0 - means(weights, keeping[1]) / means(weights, best_cost))
        mixtures = hull(
            means(weights, np.broadcast_to(np.nan_to_num(test.mean("cost")), test.score.shape)),
            means(weights, test.score),
        )
        over = interval(means(weights, keeping[0]) - _at(mixtures, means(weights, keeping[2])))
    name = "the best single candidate"
    if gain.low > 0.0:
        text = f"route: {100 * gain.value:.1f} points over {name}" + (" at its cost" if priced else "")
    elif priced and saving.low > 0.0 and kept.low > -AS_GOOD and over.low > 0.0:
        text = (
            f"route to save: {saving.value:.0%} of the cost of {name} at its quality within {100 * AS_GOOD:.0f} point"
        )
    else:
        text = f"do not route here: no router beats {name}" + (" at matched cost" if priced else "")
    route = not text.startswith("do not")
    return Verdict(route=route, text=text, gain=gain, saving=saving, kept=kept, over_mixture=over)


def _at(curve: Curve, cost: Array) -> Array:
    """Quality at `cost`, that of the first vertex left of it."""
    return curve.at(np.maximum(cost, curve.cost[..., 0]))


def _halves(test: Table, seed: int) -> list[np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    """Both sides of several random halvings; equal prompts stay on one side."""
    rng = np.random.default_rng(seed)
    distinct = {prompt: i for i, prompt in enumerate(dict.fromkeys(test.prompts))}
    place = np.array([distinct[prompt] for prompt in test.prompts])
    halves = []
    for _ in range(HALVINGS):
        side = (rng.permutation(len(distinct)) < len(distinct) // 2)[place]
        halves += [side, ~side]
    return halves
