"""Clusters, preference margins, votes, cascades and bandits: each paradigm of routing where the survey says it stands.

"Dynamic Model Routing and Cascading", arXiv 2603.04445, with RouteLLM, RouterDC and Avengers folded in. Six parts: real
outcome tables under 5-fold cross-validation (1 to 3, and the bridge from bandit to offline fit, 6), and pocket models
with their real answers (4, 5). The honest panel, above all the task table, stands beside every router.

Avengers needs specialists: the pocket family ships six adapters of micro beside nano and micro as members, and small
(1.6M weights) as the generalist, where the specification asks for eight specialists and a generalist of 20M.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from ...encoder import Encoder
from ...estimators import ESTIMATORS
from ...estimators.boosted import Boosted
from ...estimators.clusters import kmeans
from ...estimators.scaling import square_distances
from ...exploration import UCB
from ...objectives import Weighted
from ...pocket.mix import bench
from ...pocket.tasks import TASKS, Example, draw
from ...pocket.tasks.facts import facts_about
from ...policy import Policy
from ...types import Array
from ..answers import showing
from ..asked import Asked, ask_examples
from ..bandit import World, walk
from ..features import Features
from ..intervals import interval, means, resamples
from ..locate import data_folder
from ..metrics import deferral, over_seeds
from ..protocol import cross_validate
from ..report import Figure, Report, Verdict
from ..stages import cascade, certify, search
from ..tables import Table, join, read_tables
from . import Options

INSIDE = ("mmlu", "gsm8k", "cmmlu", "arc_challenge", "humaneval")
"""RouterDC's training tasks; the others of its table are out of distribution."""
MEMBERS = (
    "micro-base7-t1",
    "micro-roman-t1",
    "micro-clock-t1",
    "micro-comet-t0",
    "micro-painter-t0",
    "micro-mineral-t0",
    "nano-t1",
    "micro-t1",
)
GENERALIST = "small-t1"
STAGES = ("nano-t0", "micro-t1", "small-t1")
FIELDS = (
    "base7",
    "roman",
    "clock",
    "facts-comet",
    "facts-painter",
    "facts-mineral",
    "add",
    "cups",
    "recall",
    "brackets",
)
"""Tasks of the vote: the six that somebody specialises in, and four that all generalists were taught."""

GROUPS = (14, 32, 64, 140)
EPSILON = 0.05
HOPES = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75)


def run(options: Options) -> Report:
    folder = data_folder(options.data)
    tables = {
        name: _part(table, options.scale)
        for name, table in read_tables(folder, ["routellm", "routerdc7", "routerbench"]).items()
    }
    with showing(options.console) as progress:
        bar = progress.add_task("real tables", total=4)
        parts: tuple[Callable[[], list[Figure]], ...] = (
            partial(preference, tables["routellm"], options.seeds[0]),
            partial(clustering, tables["routerdc7"], options.seeds[0]),
            partial(frontier, tables["routerbench"], options.seeds[0]),
            partial(bridge, tables["routerbench"], options.seeds),
        )
        figures: list[Figure] = []
        for part in parts:
            figures += part()
            progress.advance(bar)
        voted = [Vote(seed, options, progress) for seed in options.seeds]
        figures += judge_votes(voted)
        staged, curve = staged_answers(options, progress)
    return Report(
        name="survey-routing-cascading",
        claim="each paradigm of routing stands where the survey says, beside the table that most of them hardly beat",
        figures=(*figures, *staged),
        seeds=options.seeds,
        notes=(
            "intervals of 1 to 3 are bootstraps over queries, of 4 to 6 over seeds",
            "Avengers here: 6 specialists (micro with an adapter, 0.4M weights), nano and micro against small (1.3M "
            "active); 8 specialists and a generalist of 20M do not exist in the pocket family",
        ),
        plots=(draw_plots(voted, curve, options.out / "survey-routing-cascading.png"),),
    )


def _part(table: Table, scale: float) -> Table:
    if scale >= 1.0:
        return table
    return table.take(np.random.default_rng(0).permutation(len(table))[: max(200, int(scale * len(table)))])


def _figure(name: str, value: Any, wanted: str = "", least: float | None = None, paper: str = "") -> Figure:
    """From an interval of `intervals`, or from one value a seed."""
    mean, low, high = over_seeds(value) if isinstance(value, np.ndarray) else (value.value, value.low, value.high)
    verdict: Verdict = "info" if least is None else "pass" if mean >= least else "short"
    return Figure(name=name, ours=mean, low=low, high=high, paper=paper, wanted=wanted, verdict=verdict)


def predicted(table: Table, estimators: Sequence[str], seed: int) -> tuple[Table, dict[str, Array]]:
    """The table in the order of its folds, and what each estimator fitted without a row's fold predicts, (n, k)."""
    guesses: dict[str, list[Array]] = {name: [] for name in estimators}
    tables = []
    for train, test in table.folds(5, seed):
        features = Features()
        vectors, asked = features.fit_transform(train.prompts, train.tasks), features.transform(test.prompts)
        for name in estimators:
            estimator = ESTIMATORS[name]()
            estimator.fit_table(vectors, train.candidates, train.score)
            guesses[name].append(estimator.predict(asked, train.candidates)[0])
        tables.append(test)
    return join(tables), {name: np.vstack(rows) for name, rows in guesses.items()}


PREFERENCE = ("logistic", "ridge", "boosted", "matrix_factorization")


def preference(table: Table, seed: int) -> list[Figure]:
    """Line 1: RouteLLM's pair, MMLU and GSM8K together."""
    table = table.take([task != "mt_bench" for task in table.tasks])
    strong, weak = (int(i) for i in np.argsort(-table.score.mean(axis=0)))
    judged, of = predicted(table, PREFERENCE, seed)
    weights = resamples(len(judged), 500, seed)
    low, high = judged.score[:, weak], judged.score[:, strong]
    figures, apgr = [], {}
    for name, quality in of.items():
        margin = deferral(quality[:, strong] - quality[:, weak], low, high, weights)
        alone = deferral(-quality[:, weak], low, high, weights)
        apgr[name] = margin.apgr, alone.apgr
        figures.append(
            _figure(f"RouteLLM joint, APGR: {name}", interval(margin.apgr), paper="0.65 to 0.657 in the spec")
        )
        figures.append(
            _figure("... difficulty of the weak model alone", interval(alone.apgr), paper="0.58 in the spec")
        )
        figures.append(_figure("... CPT(50%)", interval(margin.cpt(0.5)), paper="0.29 in the spec"))
        figures.append(_figure("... CPT(80%)", interval(margin.cpt(0.8)), paper="0.61 in the spec"))
    ours, difficulty = apgr["logistic"]
    return [
        *figures,
        _figure("RouteLLM joint, APGR, logistic", interval(ours), ">= 0.64", 0.64),
        _figure(
            "RouteLLM joint, APGR, margin - difficulty alone, logistic", interval(ours - difficulty), ">= 0.05", 0.05
        ),
    ]


def clustering(table: Table, seed: int) -> list[Figure]:
    """Line 2: RouterDC's seven, tasks it was trained on and others."""
    inside = np.array([task in INSIDE for task in table.tasks])
    known, others = table.take(inside), table.take(~inside)
    judged, of = predicted(known, ("clusters", "ridge", "knn"), seed)
    weights = resamples(len(judged), 500, seed)
    best = judged.score.mean(axis=0).argmax()
    single = _macro(judged.score[:, best], judged.tasks, weights)
    labels = np.array(judged.tasks)
    by_task = {task: int(judged.score[labels == task].mean(axis=0).argmax()) for task in set(judged.tasks)}
    lookup = judged.score[np.arange(len(judged)), [by_task[task] for task in judged.tasks]]
    figures = [_figure("RouterDC inside, macro: best single", interval(single), paper="0.546 in the spec")]
    figures.append(
        _figure("... task table", interval(_macro(lookup, judged.tasks, weights)), paper="0.586 in the spec")
    )
    spec = {"clusters": "0.584 in the spec", "ridge": "0.571 in the spec", "knn": "0.554 in the spec"}
    macro = {}
    for name, quality in of.items():
        got = judged.score[np.arange(len(judged)), quality.argmax(axis=1)]
        macro[name] = _macro(got, judged.tasks, weights)
        figures.append(_figure(f"... {name}", interval(macro[name]), paper=spec[name]))
    figures.append(
        _figure("RouterDC inside, clusters - best single", interval(macro["clusters"] - single), ">= 0.03", 0.03)
    )
    features = Features()
    vectors = features.fit_transform(known.prompts, known.tasks)
    estimator = ESTIMATORS["clusters"]().fit_table(vectors, known.candidates, known.score)
    quality, _ = estimator.predict(features.transform(others.prompts), known.candidates)
    gap = others.score[np.arange(len(others)), quality.argmax(axis=1)] - others.score[:, best]
    away = means(resamples(len(others), 500, seed), gap)
    figures.append(_figure("RouterDC outside, clusters - best single inside", interval(away), ">= -0.005", -0.005))
    return figures


def _macro(values: Array, tasks: Sequence[str], weights: Array) -> Array:
    """Mean over tasks of the mean over queries, in each resample."""
    labels = np.array(tasks)
    each = [means(weights[:, labels == task], values[labels == task]) for task in dict.fromkeys(tasks)]
    return np.asarray(np.nanmean(each, axis=0))


def frontier(table: Table, seed: int) -> list[Figure]:
    """Line 3: RouterBench's cost and quality, and whether clusters beat a task table."""
    found = cross_validate(table, ["clusters", "knn", "ridge", "item_response"], seed=seed, rounds=300)
    spec = {"clusters": "0.8445", "task table, task given": "0.844", "knn": "0.839", "item_response": "0.834"}
    spec |= {"ridge": "0.828", "oracle": "0.976"}
    aiq = {arm.name: arm.figures["aiq"] for arm in found.arms if "aiq" in arm.figures}
    figures = [
        _figure(f"RouterBench, AIQ: {name}", value, paper=f"{spec[name]} in the spec" if name in spec else "")
        for name, value in aiq.items()
    ]
    clusters, given = aiq["clusters"], aiq["task table, task given"]
    better = clusters.low > given.value
    says = "better than" if better else "not better than"
    figures.append(_figure("RouterBench, AIQ, clusters", clusters, ">= 0.84", 0.84))
    figures.append(
        Figure(
            name=f"RouterBench: clusters are {says} a task table here",
            ours=clusters.value - given.value,
            low=clusters.low - given.value,
            high=clusters.high - given.value,
        )
    )
    return figures


def bridge(table: Table, seeds: Sequence[int]) -> list[Figure]:
    """Line 6: a linear bandit from nothing, told only what it chose, against the same estimator fitted on all.

    Its width was chosen on splits 100 to 103.
    """
    online: list[float] = []
    offline: list[float] = []
    single: list[float] = []
    for seed in seeds:
        train, test = next(table.folds(5, seed))
        features = Features()
        vectors, asked = features.fit_transform(train.prompts, train.tasks), features.transform(test.prompts)
        policy = Policy(ESTIMATORS["ridge"](), Weighted(), UCB(1.0))
        rng = np.random.default_rng(seed)
        rows = np.concatenate([rng.permutation(len(train)), rng.permutation(len(train))])[:2000]
        walk(policy, World(train.candidates, vectors, train.score), rows, seed)
        fitted = ESTIMATORS["ridge"]().fit_table(vectors, train.candidates, train.score)
        for estimator, into in ((policy.estimator, online), (fitted, offline)):
            chosen = estimator.predict(asked, train.candidates)[0].argmax(axis=1)
            into.append(test.score[np.arange(len(test)), chosen].mean())
        single.append(test.score[:, train.score.mean(axis=0).argmax()].mean())
    gap = np.array(online) - np.array(offline)
    return [
        _figure("bridge, accuracy: offline ridge", np.array(offline)),
        _figure("bridge, accuracy: bandit after 2,000 rounds", np.array(online)),
        _figure("bridge, accuracy: best single", np.array(single)),
        _figure("bridge: bandit - offline", gap, ">= -0.02", -0.02),
    ]


class Vote:
    """One seed: members and generalist on prompts of `FIELDS`; the vote of the best two for each prompt's clusters."""

    def __init__(self, seed: int, options: Options, progress: Progress) -> None:
        n = max(60, int(900 * options.scale))
        self.learnt, self.asked = fields(seed, n, "validation"), fields(seed, n, "test")
        cache = options.out.parent / "answers"
        bar = progress.add_task(f"seed {seed}: the vote", total=2 * len(MEMBERS) + 1)

        def done(count: int) -> None:
            progress.advance(bar, count)

        self.train = ask_examples(self.learnt, MEMBERS, cache, done=done)
        self.test = ask_examples(self.asked, MEMBERS, cache, samples=3, temperature=0.2, done=done)
        self.generalist = ask_examples(self.asked, [GENERALIST], cache, done=done).right[:, 0, 0]
        self.vectors = [Encoder.load().encode([e.prompt for e in of]).astype(float) for of in (self.learnt, self.asked)]
        self.tasks = np.array([example.domain for example in self.asked])

    def right(self, groups: int, members: Sequence[int] | None = None) -> Array:
        """Whether the vote is right, (n,)."""
        use = np.arange(len(MEMBERS)) if members is None else np.array(members)
        score = self.scores(groups, use)
        best = np.argsort(-score, axis=1, kind="stable")[:, :2]
        return np.array([self._elect(row, use[two], score[row, two]) for row, two in enumerate(best)])

    def scores(self, groups: int, use: NDArray[np.intp]) -> Array:
        """Avengers' rank score (n, members): sum over the three nearest clusters of p / (rank + 0.1)."""
        train, test = self.vectors
        centres = kmeans(train, min(groups, len(train)))
        member = square_distances(train, centres).argmin(axis=1)
        right = self.train.right[:, use, 0]
        accuracy = np.stack(
            [
                right[member == c].mean(axis=0) if (member == c).any() else right.mean(axis=0)
                for c in range(len(centres))
            ]
        )
        rank = (-accuracy).argsort(axis=1, kind="stable").argsort(axis=1) + 1
        distance = np.sqrt(square_distances(test, centres))
        near = np.argsort(distance, axis=1)[:, :3]
        weight = np.exp(-6.0 * np.take_along_axis(distance, near, axis=1))
        weight /= weight.sum(axis=1, keepdims=True)
        return np.asarray((weight[:, :, None] / (rank[near] + 0.1)).sum(axis=1))

    def _elect(self, row: int, members: NDArray[np.intp], score: Array) -> float:
        """Most votes of all samples; among equals, the answer of the member with the higher score."""
        votes: dict[str, tuple[int, float]] = {}
        for member, weight in zip(members, score, strict=True):
            for text in self.test.text[row, member].tolist():
                count, best = votes.get(text, (0, 0.0))
                votes[text] = count + 1, max(best, float(weight))
        elected = max(votes, key=votes.__getitem__)
        return float(self.asked[row].verify(elected))

    def leading(self, groups: int, count: int) -> list[int]:
        """The members most often on top."""
        top = self.scores(groups, np.arange(len(MEMBERS))).argmax(axis=1)
        return [int(i) for i in np.argsort(-np.bincount(top, minlength=len(MEMBERS)), kind="stable")[:count]]


def fields(seed: int, n: int, split: Any) -> list[Example]:
    """Prompts of `FIELDS` in turn, all levels."""
    rng = Random(f"fields:{seed}:{split}")
    tasks = [facts_about(name.split("-")[1]) if "-" in name else TASKS[name] for name in FIELDS]
    found: list[Example] = []
    while len(found) < n:
        task = tasks[len(found) % len(tasks)]
        try:
            found.append(draw(task, rng, rng.choice(task.levels), split, "mixed"))
        except LookupError:  # a level whose content lies in other splits altogether
            continue
    return found


def judge_votes(votes: Sequence[Vote]) -> list[Figure]:
    curve = np.array([[vote.right(groups).mean() for groups in GROUPS] for vote in votes])
    all_of = [vote.right(64) for vote in votes]
    alone = np.array([vote.generalist.mean() for vote in votes])
    ours = np.array([right.mean() for right in all_of])
    won = np.array(
        [
            np.mean(
                [
                    right[vote.tasks == t].mean() - vote.generalist[vote.tasks == t].mean() >= 0.05
                    for t in set(vote.tasks)
                ]
            )
            for vote, right in zip(votes, all_of, strict=True)
        ]
    )
    three = np.array([vote.right(64, vote.leading(64, 3)).mean() for vote in votes])
    best = np.array([vote.train.right[:, :, 0].mean(axis=0).max() for vote in votes])
    kept = (three - alone) / np.where(ours - alone == 0, np.nan, ours - alone)
    flat = curve.max(axis=1) - curve.min(axis=1)
    return [
        _figure("vote, accuracy: best single member", best),
        _figure("vote, accuracy: generalist", alone),
        _figure("vote, accuracy: clusters + vote, k = 64", ours),
        _figure("vote: clusters + vote - generalist", ours - alone, ">= 0", 0.0),
        _figure("vote: share of tasks won by 5 points or more", won, ">= 0.5", 0.5),
        _figure("vote: - spread over k = 14 to 140", -flat, ">= -0.015", -0.015),
        _figure("vote: share of the gain that the three leading members keep", kept, ">= 0.95", 0.95),
    ]


def staged_answers(options: Options, progress: Progress) -> tuple[list[Figure], Array]:
    """Line 5: small to large with an acceptor that is fitted, calibrated, searched and certified on four parts."""
    n = max(400, int(6000 * options.scale))
    examples = [*bench(900, n // 2, split="validation"), *bench(0, n // 2, split="test")]
    bar = progress.add_task("the cascade", total=len(STAGES))
    cache = options.out.parent / "answers"
    asked = ask_examples(examples, STAGES, cache, done=lambda count: progress.advance(bar, count))
    right, cost = asked.right[:, :, 0], asked.cost[:, :, 0]
    probability, before = acceptors([e.prompt for e in examples], asked, n // 3)
    searched, judged = np.arange(n // 3, n // 2), np.arange(n // 2, n)
    least = right[searched, -1].mean() - 0.0025
    settings = []
    for hope in HOPES:  # an early stage is tried where the prompt alone gives it this much hope
        found = search(probability[searched], right[searched], cost[searched], before[searched] >= hope, least=least)
        spent_so = cascade(probability[searched], right[searched], cost[searched], found, before[searched] >= hope)
        settings.append((float(spent_so.cost.mean()), hope, found))
    _, hope, thresholds = min(settings, key=lambda setting: setting[0])
    tried = before >= hope
    ran = cascade(probability[judged], right[judged], cost[judged], thresholds, tried[judged])
    weights = resamples(len(judged), 500, 0)
    lost = means(weights, right[judged, -1] - ran.quality)
    share = means(weights, ran.cost) / means(weights, cost[judged, -1])
    held, spent = [], []
    for draw_of in range(100):
        order = np.random.default_rng(draw_of).permutation(judged)
        calibrating, testing = order[: len(order) // 2], order[len(order) // 2 :]
        kept = certify(
            probability[calibrating],
            right[calibrating],
            cost[calibrating],
            thresholds,
            tried[calibrating],
            epsilon=EPSILON,
        )
        out = cascade(probability[testing], right[testing], cost[testing], kept, tried[testing])
        held.append(float(out.wrong.mean() <= EPSILON))
        spent.append(out.cost.mean() / cost[testing, -1].mean())
    stages = [f"{(ran.stage == s).mean():.2f}" for s in range(len(STAGES))]
    curve = np.array(
        [
            [r.cost.mean() / cost[judged, -1].mean(), r.quality.mean()]
            for level in np.linspace(0.3, 1.0, 29)
            for r in [cascade(probability[judged], right[judged], cost[judged], np.full(len(STAGES) - 1, level))]
        ]
    )
    return [
        _figure("cascade, accuracy: large alone", interval(means(weights, right[judged, -1]))),
        _figure(f"cascade: accuracy (answered by stage {', '.join(stages)})", interval(means(weights, ran.quality))),
        _figure("cascade: accuracy - large alone", interval(-lost), ">= -0.005", -0.005),
        _figure("cascade: - cost / large alone, all stages counted", interval(-share), ">= -0.60", -0.60),
        _figure("cascade: accepted and wrong", interval(means(weights, ran.wrong))),
        Figure(
            name=f"cascade, certified: accepted and wrong <= {EPSILON:g} in so many of 100 resamples",
            ours=100.0 * float(np.mean(held)),
            wanted=">= 95",
            verdict="pass" if np.mean(held) >= 0.95 else "short",
        ),
        Figure(name="... cost / large alone", ours=float(np.mean(spent))),
    ], curve


def acceptors(prompts: Sequence[str], asked: Asked, fitted: int) -> tuple[Array, Array]:
    """P(right) of each early stage (n, s - 1) from prompt and answer, and from the prompt alone: trees, then isotonic.

    Trees are fitted on the first two thirds of the first `fitted` rows, the calibration on the last.
    """
    from sklearn.isotonic import IsotonicRegression

    most = 2 * fitted // 3
    features = Features(tasks=0)
    known = features.fit(prompts[:most]).transform(prompts)
    columns: list[list[Array]] = [[], []]
    for stage in range(asked.right.shape[1] - 1):
        confidence = np.clip(asked.confidence[:, stage], 1e-6, 1.0 - 1e-6)
        seen = np.hstack([np.log(confidence / (1.0 - confidence)), np.char.str_len(asked.text[:, stage])])
        right = asked.right[:, stage]
        for into, vectors in zip(columns, (np.hstack([known, seen]), known), strict=True):
            trees = Boosted(trees=200, leaves=15, rate=0.06, share=0.6)
            trees.fit_table(vectors[:most], ["right"], right[:most])
            raw = trees.predict(vectors, ["right"])[0][:, 0]
            calibration = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
            calibration.fit(raw[most:fitted], right[most:fitted, 0])
            into.append(calibration.predict(raw))
    return np.stack(columns[0], axis=1), np.stack(columns[1], axis=1)


def draw_plots(votes: Sequence[Vote], curve: Array, path: Path) -> str:
    """Accuracy by task, vote beside generalist; the cascade's curve."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5))
    tasks = sorted(set(votes[0].tasks.tolist()))
    voted = [vote.right(64) for vote in votes]
    for offset, label, values in (
        (-0.2, "generalist", [vote.generalist for vote in votes]),
        (0.2, "clusters + vote", voted),
    ):
        bars = [
            np.mean([v[vote.tasks == task].mean() for vote, v in zip(votes, values, strict=True)]) for task in tasks
        ]
        left.bar(np.arange(len(tasks)) + offset, bars, 0.4, label=label)
    left.set_xticks(np.arange(len(tasks)), tasks, rotation=45, ha="right")
    left.set(ylabel="accuracy")
    left.legend(fontsize=8)
    right.plot(curve[:, 0], curve[:, 1], "o-", ms=3)
    right.set(xlabel="cost / large alone", ylabel="accuracy", title="cascade, one threshold for all stages")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140, bbox_inches="tight")
    plt.close(figure)
    return str(path)
