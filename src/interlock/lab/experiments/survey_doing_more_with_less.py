"""Choosing how to retrieve, for each query, keeps the hit rate of always retrieving much and drops half of the context.

"Doing More with Less", arXiv 2502.00409: routing is not only which model, and every result needs the same protocol.
Four parts: sixteen retrieval strategies on docstrings of the installed libraries; the protocol on outcome tables, a
table of clones and a dominated one; a pipeline of retrieval and pocket model on one budget; an index added at run time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.progress import Progress

from ...types import Array
from ..answers import showing
from ..intervals import Interval, interval, means, resamples
from ..locate import data_folder
from ..metrics import hull, over_seeds
from ..newcomer import shares
from ..panel import complementarity
from ..protocol import cross_validate
from ..report import Figure, Report, Verdict
from ..strategies import STRATEGIES, Split, World, build_world
from ..tables import Table, read_tables
from ..two_steps import PAIRS, Planner, Steps, on_a_purse, steps, worst_window, worth_for
from . import Options

TRADES = (0.02, 0.05, 0.1, 0.2)
KNOWN = {"routerbench": ("aiq", "clusters", 0.8445), "routerdc7": ("macro", "clusters", 0.584)}
KNOWN |= {"routellm": ("apgr", "logistic", 0.657)}
"""By data set: figure, arm and the value in the specification; RouterDC's is on its five training tasks."""


def run(options: Options) -> Report:
    folder = data_folder(options.data)
    others = read_tables(folder, ["routellm"])["routellm"]
    with showing(options.console) as progress:
        bar = progress.add_task("retrieval: searches, then routers", total=1 + len(options.seeds))
        world = build_world(others, options.scale)
        progress.advance(bar)
        splits = []
        for seed in options.seeds:
            splits.append(Split(world, seed))
            assert splits[-1].routed
            progress.advance(bar)
        figures = [*judge_retrieval(splits), *newcomer(world, options.seeds)]
        figures += protocol_holds(folder, options, progress)
        figures += on_one_budget(options, progress)
    return Report(
        name="survey-doing-more-with-less",
        claim="one candidate abstraction routes retrieval, models and their pipeline, and one protocol judges it",
        figures=tuple(figures),
        seeds=options.seeds,
        notes=(
            f"{world.document.max() + 1} documents of the installed libraries; other versions give others",
            "intervals of utility gains: bootstrap over documents on the first seed's test part",
        ),
        plots=(draw(splits[0], options.out / "retrieval.png"),),
    )


ARMS = ("best single", "before retrieval", "after cheap scores", "table by true type", "oracle")
IN_SPEC = {
    "best single": ".884; 2,550",
    "before retrieval": ".863; 1,103",
    "after cheap scores": ".875; 1,037",
    "table by true type": ".865; 1,270",
    "oracle": ".930; 272",
}


def judge_retrieval(splits: Sequence[Split]) -> list[Figure]:
    figures = []
    for arm in ARMS:
        chosen = [split.choice(arm, 0.05) for split in splits]
        for what in ("hit", "tokens"):
            values = np.array([s.got(getattr(s.world, what), c).mean() for s, c in zip(splits, chosen, strict=True)])
            figures.append(_over(f"retrieval, lambda .05, {arm}: {what}", values, paper=IN_SPEC[arm] + " in the spec"))
    for trade in TRADES:
        figures.append(_gain(splits[0], trade))
    for against, least in (("characters@10", 0.30), ("hybrid@10", 0.60), ("bm25@10", 0.70)):
        saved = np.array([_saving(split, against) for split in splits])
        figures.append(_over(f"retrieval: fewer tokens at the hit rate of {against}", saved, f">= {least:.0%}", least))
    lead = np.array([_utility(s, "after cheap scores", 0.05) - _utility(s, "before retrieval", 0.05) for s in splits])
    leads = np.array(
        [[_utility(s, "after cheap scores", t) - _utility(s, "before retrieval", t) for t in TRADES] for s in splits]
    )
    figures.append(
        _over(
            "retrieval: utility after - before the cheap scores, mean of the four lambdas",
            leads.mean(axis=1),
            ">= +.005",
            0.005,
        )
    )
    figures.append(_over("... at lambda .05", lead))
    nothing = [split.choice("after cheap scores", 0.05) == 0 for split in splits]
    away = [split.world.document[split.test] == -1 for split in splits]
    out = np.array([n[a].mean() for n, a in zip(nothing, away, strict=True)])
    lost = np.array([n[~a].mean() for n, a in zip(nothing, away, strict=True)])
    figures.append(_over("retrieval: outside questions sent to none", out, ">= 98%", 0.98, "99.6% in the spec"))
    figures.append(_over("retrieval: inside questions sent to none", -lost, ">= -1%", -0.01, "0% in the spec"))
    for arm in ("best single", "after cheap scores", "oracle"):
        values = np.array([s.got(s.world.hit, s.choice(arm, 0.02, most=1)).mean() for s in splits])
        figures.append(_over(f"retrieval, k = 1: hit rate, {arm}", values))
    figures += _unseen_kind(splits[0])
    return figures


def _over(name: str, values: Array, wanted: str = "", least: float | None = None, paper: str = "") -> Figure:
    mean, low, high = over_seeds(values)
    verdict: Verdict = "info" if least is None else "pass" if mean >= least else "short"
    return Figure(name=name, ours=mean, low=low, high=high, paper=paper, wanted=wanted, verdict=verdict)


def _utility(split: Split, arm: str, trade: float) -> float:
    return float(split.got(split.world.utility(trade), split.choice(arm, trade)).mean())


def _gain(split: Split, trade: float) -> Figure:
    """Utility over the best single strategy; documents are drawn with all of their queries."""
    utility = split.world.utility(trade)
    gap = split.got(utility, split.choice("after cheap scores", trade)) - split.got(
        utility, split.choice("best single", trade)
    )
    groups = [(doc, i if doc < 0 else -1) for i, doc in enumerate(split.world.document[split.test].tolist())]
    found = interval(means(resamples(len(gap), 1000, 0, groups), gap))
    return Figure(
        name=f"retrieval, lambda {trade:g}: utility over the best single",
        ours=found.value,
        low=found.low,
        high=found.high,
        paper={0.02: "+.018", 0.05: "+.051", 0.1: "+.036", 0.2: "+.039"}[trade] + " in the spec",
        wanted="interval > 0",
        verdict="pass" if found.low > 0 else "short",
    )


def _saving(split: Split, against: str) -> float:
    """Share of its tokens that the router saves at its hit rate; -1 where the router never reaches it."""
    column = STRATEGIES.index(against)
    hit, tokens = split.world.hit[split.test, column].mean(), split.world.tokens[split.test, column].mean()
    spent = float(hull(*split.curve("after cheap scores")).reaching(hit))
    return -1.0 if np.isnan(spent) else 1.0 - spent / float(tokens)


def _unseen_kind(split: Split) -> list[Figure]:
    """What is lost on queries with typing errors when none was among the training queries."""
    blind = Split(split.world, split.seed, unseen="typos")
    typos = split.world.kind[split.test] == "typos"
    rows = []
    for name, of in (("all kinds seen", split), ("typing errors never seen", blind)):
        chosen = of.choice("after cheap scores", 0.05)
        hit, utility = of.got(of.world.hit, chosen)[typos].mean(), of.got(of.world.utility(0.05), chosen)[typos].mean()
        rows.append(Figure(name=f"retrieval, queries with typing errors, {name}: hit rate", ours=float(hit)))
        rows.append(Figure(name="... utility", ours=float(utility)))
    return rows


def newcomer(world: World, seeds: Sequence[int]) -> list[Figure]:
    """Line 4: one index comes while the policy runs, told only what it chose, with a card that says it is average."""
    figures = []
    for added in ("characters@3", "bm25@3"):
        own, refitted = shares(world.utility(0.1), world.surface, STRATEGIES, added, seeds)
        apart = float(abs(own.mean() - refitted.mean()) / max(refitted.mean(), 1e-9))
        figures += [
            _over(f"newcomer {added}: share of the traffic, 100 queries after it came", own),
            _over("... of the policy refitted on every option's outcome", refitted),
            Figure(
                name="... difference, relative",
                ours=apart,
                wanted="<= 0.20",
                verdict="pass" if apart <= 0.20 else "short",
            ),
        ]
    return figures


def protocol_holds(folder: Path, options: Options, progress: Progress) -> list[Figure]:
    """Line 2: known figures come out of the protocol; it says "do not route" where one dominates, and names clones."""
    tables = read_tables(folder, [*KNOWN, "llmrouter9", "reasoning_gym"])
    bar = progress.add_task("protocol", total=len(tables) + 2)
    figures = []
    for name, table in tables.items():
        part = table if options.scale >= 1.0 else table.take(np.arange(max(200, int(len(table) * options.scale))))
        figure, arm, known = KNOWN.get(name, ("accuracy", "clusters", float("nan")))
        if name == "routerdc7":
            part = part.take(np.isin(part.tasks, ("mmlu", "gsm8k", "cmmlu", "arc_challenge", "humaneval")))
        found = cross_validate(part, [arm], rounds=200)
        value = found.arm(arm).figures[figure]
        near = None if np.isnan(known) else bool(value.low - 0.01 <= known <= value.high + 0.01)
        paper, wanted = f"{known} in the spec", "within 1 point of the interval"
        figures.append(_from(f"protocol, {name}: {figure} of {arm}", value, paper, wanted, near))
        figures.append(_from(f"... oracle over best single; {found.verdict.text}", found.margin))
        progress.advance(bar)
    dominated = degenerate(tables["routerbench"], options.scale)
    said = cross_validate(dominated, ["clusters"], rounds=200)
    figures.append(
        _from(
            "protocol, one dominates: says to route (0: does not)",
            _plainly(said.verdict.route),
            "",
            "0",
            not said.verdict.route,
        )
    )
    progress.advance(bar)
    lost = max(complementarity(clones(tables["routerbench"])).values())
    figures.append(
        _from("protocol, clones: most that the oracle loses without one", _plainly(lost), "", "0", lost == 0.0)
    )
    progress.advance(bar)
    return figures


def _plainly(value: float) -> Interval:
    return Interval(float(value), float(value), float(value))


def _from(name: str, value: Interval, paper: str = "", wanted: str = "", passed: bool | None = None) -> Figure:
    verdict: Verdict = "info" if passed is None else "pass" if passed else "short"
    paper, wanted = ("", "") if passed is None else (paper, wanted)
    return Figure(
        name=name, ours=value.value, low=value.low, high=value.high, paper=paper, wanted=wanted, verdict=verdict
    )


def degenerate(table: Table, scale: float) -> Table:
    """The table with a candidate that is right whenever anybody is, at the price of the cheapest."""
    rows = np.arange(len(table) if scale >= 1.0 else max(200, int(len(table) * scale)))
    part = table.take(rows)
    score, cost = part.score.copy(), part.cost.copy()
    score[:, 0], cost[:, 0] = score.max(axis=1), cost.min(axis=1)
    return replace(part, score=score, cost=cost)


def clones(table: Table) -> Table:
    """The table with every candidate answering as the first does."""
    return replace(table, score=np.repeat(table.score[:, :1], len(table.candidates), axis=1))


def on_one_budget(options: Options, progress: Progress) -> list[Figure]:
    """Line 3: retrieval and model chosen together, against a fixed pair and two routers unaware of each other."""
    seeds, n = options.seeds[:3], max(200, int(1600 * options.scale))
    bar = progress.add_task("pipeline: every pair on every question", total=len(PAIRS) * len(seeds))
    rows = []
    for seed in seeds:
        world = steps(n, seed, options.out.parent / "answers", lambda count: progress.advance(bar, count))
        known, asked = (
            Steps(*(of[half] for of in (world.quality, world.cost, world.vectors)))
            for half in (slice(0, n // 2), slice(n // 2, n))
        )
        joint = Planner.fitted(known, asked.vectors, joint=True)
        apart = Planner.fitted(known, asked.vectors, joint=False)
        at = np.arange(len(asked.quality))
        fixed = int(known.utility.mean(axis=0).argmax())
        chosen = joint.choose()
        allowance = 0.6 * float(asked.cost[at, chosen].mean())
        on_purse = on_a_purse(joint, asked, worth_for(joint, allowance), allowance, most=4.0 * allowance)
        rows.append(
            (
                float(asked.utility[at, chosen].mean()),
                float(asked.utility[at, apart.choose()].mean()),
                float(asked.utility[:, fixed].mean()),
                float(asked.utility.max(axis=1).mean()),
                worst_window(asked.cost[at, on_purse], allowance),
                float(asked.quality[at, on_purse].mean()),
                float(asked.quality[at, chosen].mean()),
            )
        )
    together, alone, pair, oracle, window, kept, free = np.array(rows).T
    return [
        _over("pipeline, utility: joint", together),
        _over("pipeline, utility: two routers apart", alone),
        _over("pipeline, utility: best fixed pair", pair),
        _over("pipeline, utility: oracle", oracle),
        _over("pipeline: joint - best fixed pair", together - pair, ">= 0.03", 0.03),
        _over("pipeline: joint - two routers apart", together - alone, ">= 0.01", 0.01),
        _over("pipeline: - worst 200 questions' spending / what came in", -window, ">= -1.02", -1.02),
        _over("pipeline, quality: without a budget", free),
        _over("pipeline, quality: on 60% of that spending", kept),
    ]


def draw(split: Split, path: Path) -> str:
    """Hit rate over context tokens: every strategy, the routers' curves."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5.5))
    for column, name in enumerate(STRATEGIES):
        x, y = split.world.tokens[split.test, column].mean(), split.world.hit[split.test, column].mean()
        axes.plot(x, y, "k.", ms=5)
        axes.annotate(name, (x, y), fontsize=7)
    for arm in ("before retrieval", "after cheap scores", "table by true type", "oracle"):
        tokens, hit = split.curve(arm)
        order = np.argsort(tokens)
        axes.plot(tokens[order], hit[order], label=arm, lw=2.2 if arm.startswith("after") else 1.2)
    axes.set(xlabel="context tokens, mean", ylabel="hit rate", title="retrieval strategies and routers among them")
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140, bbox_inches="tight")
    plt.close(figure)
    return str(path)
