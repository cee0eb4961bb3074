"""One ability a configuration and a difficulty read off the prompt are enough to route between model x budget pairs.

1. The embedded pool's generalists (model x reasoning budget) really answer tasks with a difficulty knob. Does the
   difficulty that is read off unseen prompts follow the knob; what does the Chebyshev sweep dominate; does the scale
   hold on levels that were never trained on, where neighbours cannot help?
2. RouterBench: how well success is foretold, what 90% of the best model's quality costs, beside a task table.
3. A model left out is placed with few answers, chosen by information or at random; and what that placement is worth.

Source: RADAR (arXiv 2509.25426).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random

import numpy as np

from ...estimators import KNN, Constant, Estimator, ItemResponse, Ridge
from ...estimators.item_response import Items, chosen_rank
from ...estimators.placement import Placement, ability, place
from ...pocket.tasks import TASKS, Example, Split, draw
from ...types import Array
from .. import answers
from ..answers import answer_all, showing
from ..costs import Costs
from ..features import Features
from ..locate import data_folder
from ..metrics import aiq, hull, hypervolume, over_seeds, rank_correlation, reliability
from ..protocol import OBJECTIVES, swept
from ..report import Figure, Report, Verdict
from ..tables import Table, read_tables
from . import Options

KNOBBED = ("add", "cups", "sort", "reverse", "dedupe", "rotate", "caesar", "recall", "bool", "grid", "brackets")
TRAIN_EACH, TEST_EACH = 20, 10
ASKED = (20, 50, 100, 265)
FEW = 50


def knobbed(seed: int, split: Split, each: int) -> list[Example]:
    """`each` prompts of every level of every task whose level is written in its text: digits, lengths, hops."""
    rng = Random(f"radar:{seed}:{split}")
    cells = [(task, level) for task in KNOBBED for level in TASKS[task].levels]
    return [draw(TASKS[task], rng, level, split) for _ in range(each) for task, level in cells]


def sizes(scale: float) -> tuple[tuple[Split, int], ...]:
    """How many of each level to learn from, and to judge on; the routers' training part is the pool's validation."""
    each = max(2, int(TRAIN_EACH * scale)), max(2, int(TEST_EACH * scale))
    return ("validation", each[0]), ("test", each[1])


def with_lengths(columns: Array, prompts: Sequence[str]) -> Array:
    """The lab's features and how long a prompt is: log characters, words, digits and signs."""
    counts = [
        (len(p), len(p.split()), sum(c.isdigit() for c in p), sum(not (c.isalnum() or c.isspace()) for c in p))
        for p in prompts
    ]
    return np.hstack([columns, np.log1p(np.array(counts, dtype=np.float64))])


def frontier(
    quality: Array, cost: Array, score: Array, paid: Array, objective: str = "chebyshev"
) -> tuple[Array, Array]:
    """Mean cost and mean score of each setting of the objective, from predictions (n, k) and what really came."""
    dearest = float(np.nanmean(paid, axis=0).max())
    chosen = swept(OBJECTIVES[objective](dearest), quality, cost, np.isfinite(score))
    return tuple(np.take_along_axis(of, chosen, axis=1).mean(axis=0) for of in (paid, score))


def cpt(cost: Array, quality: Array, paid: Array, score: Array, level: float) -> float:
    """The least cost of a point that reaches `level` of the best candidate's quality, as a share of its cost; or 1."""
    best = int(score.mean(axis=0).argmax())
    enough = quality >= level * score[:, best].mean()
    return float(cost[enough].min() / paid[:, best].mean()) if enough.any() else 1.0


def auc(predicted: Array, score: Array) -> float:
    """How often a success is rated above a failure, over all cells."""
    from scipy.stats import rankdata

    p, y = predicted.ravel(), score.ravel() > 0.5
    ranks = rankdata(p)
    good = int(y.sum())
    return float((ranks[y].sum() - good * (good + 1) / 2) / max(good * (len(y) - good), 1))


def covered(mean: Array, std: Array, score: Array, bins: int = 10) -> float:
    """Share of (candidate, decile of prediction) cells whose mean score lies within 1.96 deviations of the prediction.

    The deviation joins the mean of the estimate's own, as if shared by the whole cell, and that of drawing the scores.
    """
    inside = []
    for p, s, y in zip(mean.T, std.T, score.T, strict=True):
        for rows in np.array_split(np.argsort(p), bins):
            if len(rows):
                variance = s[rows].mean() ** 2 + (p[rows] * (1.0 - p[rows])).mean() / len(rows)
                inside.append(abs(y[rows].mean() - p[rows].mean()) <= 1.96 * np.sqrt(variance))
    return float(np.mean(inside))


def on_pocket(
    train: answers.Table, test: answers.Table, asked: tuple[Sequence[Example], Sequence[Example]]
) -> dict[str, float]:
    """Part 1 on one seed's answers."""
    columns = [i for i, name in enumerate(train.names) if name.count("-") == 1]  # specialists know other tasks
    names = [train.names[i] for i in columns]
    prompts = [[example.prompt for example in examples] for examples in asked]
    features = Features()
    columns_of = (
        features.fit_transform(prompts[0], [example.task for example in asked[0]]),
        features.transform(prompts[1]),
    )
    x, z = (with_lengths(*pair) for pair in zip(columns_of, prompts, strict=True))
    score, truth, paid = train.quality[:, columns], test.quality[:, columns], test.cost[:, columns]
    cost = Costs().fit(x, train.cost[:, columns]).predict(z)
    model = ItemResponse().fit_table(x, names, score)
    hard, rank = model.difficulty(z), chosen_rank(x, names, score)
    task = np.array([example.task for example in asked[1]])
    level = np.array([example.level for example in asked[1]])
    row = {
        f"Spearman {t}": rank_correlation(hard[task == t], level[task == t]) for t in KNOBBED if (task == t).sum() > 2
    }
    row["Spearman, mean over tasks"] = float(np.nanmean(list(row.values())))
    row["Spearman, least"] = float(np.nanmin(list(row.values())))
    table = {t: score[[e.task == t for e in asked[0]]].mean(axis=0) for t in KNOBBED}
    predicted = {
        "IRT": model.predict(z, names)[0],
        "chosen rank": ItemResponse(rank=rank).fit_table(x, names, score).predict(z, names)[0],
        "MIRT, rank 4": ItemResponse(rank=4).fit_table(x, names, score).predict(z, names)[0],
        "kNN": KNN().fit_table(x, names, score).predict(z, names)[0],
        "ridge": Ridge(share=0.0).fit_table(x, names, score).predict(z, names)[0],
        "task table": np.stack([table[t] for t in task]),
        "oracle": truth,
    }
    dearest = float(paid.mean(axis=0).max())
    for name, quality in predicted.items():
        spent, got = frontier(quality, paid if name == "oracle" else cost, truth, paid)
        row[f"hypervolume {name}"] = float(hypervolume(spent, got, dearest))
        for share in (0.8, 0.9, 0.95):
            row[f"CPT({share:.0%}) {name}"] = cpt(spent, got, paid, truth, share)
    rng = np.random.default_rng(0)
    drawn = [rng.permutation(len(names))[:2] for _ in range(50)]
    row["hypervolume random pair"] = float(
        np.mean([hypervolume(paid[:, pair].mean(axis=0), truth[:, pair].mean(axis=0), dearest) for pair in drawn])
    )
    return row | on_unseen_levels(x, z, asked, names, score, truth, paid)


def on_unseen_levels(
    x: Array,
    z: Array,
    asked: tuple[Sequence[Example], Sequence[Example]],
    names: Sequence[str],
    score: Array,
    truth: Array,
    paid: Array,
) -> dict[str, float]:
    """Trained on the lower two thirds of each task's levels, judged on the upper third."""
    top = {t: TASKS[t].levels[-max(1, len(TASKS[t].levels) // 3)] for t in KNOBBED}
    low = np.array([e.level < top[e.task] for e in asked[0]])
    high = np.array([e.level >= top[e.task] for e in asked[1]])
    dearest, row = float(paid[high].mean(axis=0).max()), {}
    cost = np.tile(paid.mean(axis=0), (int(high.sum()), 1))
    made: dict[str, Estimator] = {"IRT": ItemResponse(), "kNN": KNN(), "model means": Constant()}
    for name, estimator in made.items():
        quality, _ = estimator.fit_table(x[low], names, score[low]).predict(z[high], names)
        spent, got = frontier(quality, cost, truth[high], paid[high])
        row[f"unseen levels: hypervolume {name}"] = float(hypervolume(spent, got, dearest))
    return row


def milliseconds(d: int = 256, k: int = 20, rounds: int = 200) -> float:
    """Median time of one prediction and one choice for one prompt."""
    rng = np.random.default_rng(0)
    names = [f"c{i}" for i in range(k)]
    model = ItemResponse().fit_table(rng.normal(size=(400, d)), names, (rng.random((400, k)) < 0.5) * 1.0)
    asked, cost, spent = rng.normal(size=(rounds, 1, d)), rng.random((1, k)), []
    for x in asked:
        start = time.perf_counter()
        quality, _ = model.predict(x, names)
        np.maximum(0.5 * (1.0 - quality), 0.5 * cost).argmin()
        spent.append(time.perf_counter() - start)
    return 1000.0 * float(np.median(spent))


def on_routerbench(train: Table, test: Table) -> dict[str, float]:
    """Part 2 and the worth of a placement on one split."""
    features = Features()
    x, z = features.fit_transform(train.prompts, train.tasks), features.transform(test.prompts)
    names, paid, score = train.candidates, test.cost, test.score
    cost = Costs().fit(x, train.cost).predict(z)
    low, high = (float(f(test.cost.mean(axis=0))) for f in (np.min, np.max))
    of_task = {t: train.score[[u == t for u in train.tasks]].mean(axis=0) for t in dict.fromkeys(train.tasks)}
    overall = train.score.mean(axis=0)
    model, rank = ItemResponse().fit_table(x, names, train.score), chosen_rank(x, names, train.score)
    mean, std = model.predict(z, names)
    predicted = {
        "IRT": mean,
        "chosen rank": ItemResponse(rank=rank).fit_table(x, names, train.score).predict(z, names)[0],
        "MIRT, rank 4": ItemResponse(rank=4).fit_table(x, names, train.score).predict(z, names)[0],
        "kNN": KNN().fit_table(x, names, train.score).predict(z, names)[0],
        "task table": np.stack([of_task.get(t, overall) for t in test.tasks]),
        "model means": np.tile(overall, (len(z), 1)),
    }
    row = {
        "chosen rank": float(rank),
        "Spearman(theta, accuracy)": rank_correlation([model.abilities()[n][0] for n in names], overall),
    }
    for name, quality in predicted.items():
        spent, got = frontier(quality, cost, score, paid, "weighted")
        row |= {f"AUC {name}": auc(quality, score), f"AIQ {name}": float(aiq(spent, got, low, high))}
        row[f"CPT(90%) {name}"] = cpt(spent, got, paid, score, 0.9)
    row["AIQ single models"] = float(hull(paid.mean(axis=0), score.mean(axis=0)).mean(low, high))
    row |= {"ECE": reliability(mean, score).ece, "coverage of 95%": covered(mean, std, score)}
    return row | placed(
        train, x, lambda quality: float(aiq(*frontier(quality, cost, score, paid, "weighted"), low, high)), z
    )


def placed(train: Table, x: Array, worth: Callable[[Array], float], z: Array) -> dict[str, float]:
    """Part 3: each model in turn is left out of the table and placed by its answers to few prompts of it."""
    error: dict[str, list[float]] = {}
    lost: list[float] = []
    everything = worth(ItemResponse().fit_table(x, train.candidates, train.score).predict(z, train.candidates)[0])
    for column, name in enumerate(train.candidates):
        others = [i for i in range(len(train.candidates)) if i != column]
        model = ItemResponse().fit_table(x, [train.candidates[i] for i in others], train.score[:, others])
        known, answer = model.state(), train.score[:, column]
        items = model._items(model._standardised(x))
        prior = model.newcomer()

        def theta(
            rows: list[int], items: Items = items, answer: Array = answer, prior: tuple[Array, Array] = prior
        ) -> float:
            return float(ability(items, rows, answer[rows], *prior)[0][0])

        full = theta(list(range(len(x))))

        def asked(
            adaptive: int, seed: int, most: int, answer: Array = answer, name: str = name, model: ItemResponse = model
        ) -> Placement:
            return place(model, name, x, lambda r: float(answer[r]), max_items=most, adaptive=adaptive, seed=seed)

        for how, adaptive, seeds in (("information", ASKED[-1], 1), ("shipped rule", 40, 2), ("random", 0, 6)):
            for seed in range(seeds):
                model.restore(known)
                order = asked(adaptive, seed, min(ASKED[-1], len(x))).asked
                for n in ASKED:
                    error.setdefault(f"{how}, n={n}", []).append(abs(theta(order[:n]) - full))
        model.restore(known)
        asked(40, 0, FEW)
        lost.append(everything - worth(model.predict(z, train.candidates)[0]))
    row = {f"placement error: {name}": float(np.mean(values)) for name, values in error.items()}
    return row | {
        "AIQ lost by 50 answers, mean": float(np.mean(lost)),
        "AIQ lost by 50 answers, most": float(np.max(lost)),
    }


def run(options: Options) -> Report:
    """All parts for every seed."""
    bench = read_tables(data_folder(options.data), ["routerbench"])["routerbench"]
    pocket: list[dict[str, float]] = []
    table: list[dict[str, float]] = []
    with showing(options.console) as progress:
        bar = progress.add_task("pocket answers, RouterBench", total=2 * len(options.seeds))
        for seed in options.seeds:
            examples = [knobbed(seed, split, each) for split, each in sizes(options.scale)]
            folder = options.out.parent / "answers"
            seen = [answer_all(of, folder, progress, f"seed {seed}: every candidate") for of in examples]
            pocket.append(on_pocket(seen[0], seen[1], (examples[0], examples[1])))
            progress.advance(bar)
            train, test = next(bench.folds(3, seed))
            rows = slice(None) if options.scale == 1.0 else slice(0, max(150, int(len(train) * options.scale)))
            table.append(on_routerbench(train.take(np.arange(len(train))[rows]), test))
            progress.advance(bar)
    return judge(pocket, table, milliseconds(), options)


def judge(
    pocket: Sequence[Mapping[str, float]], table: Sequence[Mapping[str, float]], latency: float, options: Options
) -> Report:
    """Figures over seeds, the plot, and the verdicts."""
    p, t = ({name: np.array([row[name] for row in rows]) for name in rows[0]} for rows in (pocket, table))

    def figure(name: str, values: Array, wanted: str = "", paper: str = "", passed: bool | None = None) -> Figure:
        mean, low, high = over_seeds(values)
        verdict: Verdict = "info" if passed is None else "pass" if passed else "short"
        return Figure(name=name, ours=mean, low=low, high=high, paper=paper, wanted=wanted, verdict=verdict)

    def least(name: str, values: Array, bound: float, paper: str = "") -> Figure:
        return figure(name, values, f">= {bound:g}", paper, bool(values.mean() >= bound))

    def most(name: str, values: Array, bound: float, paper: str = "") -> Figure:
        return figure(name, values, f"<= {bound:g}", paper, bool(values.mean() <= bound))

    unseen = p["unseen levels: hypervolume IRT"] - p["unseen levels: hypervolume kNN"]
    gains = [
        1.0 - t[f"placement error: information, n={n}"].mean() / t[f"placement error: random, n={n}"].mean()
        for n in (20, 50)
    ]
    end = t["placement error: shipped rule, n=265"].mean() / t["placement error: random, n=265"].mean() - 1.0
    figures = (
        least("pocket: Spearman(difficulty, knob), mean over tasks", p["Spearman, mean over tasks"], 0.7, "0.51, MATH"),
        least("pocket: ... in the worst task", p["Spearman, least"], 0.7),
        most("pocket: CPT(90%)", p["CPT(90%) chosen rank"], 0.35, "0.013, MATH-500"),
        least("pocket: hypervolume on unseen levels - kNN's", unseen, 0.0, "0.7513 - 0.6866, GPQA"),
        most("one decision at d=256, k=20, ms", np.array([latency]), 1.0, "7"),
        least("RouterBench: AUC", t["AUC chosen rank"], 0.67),
        most("RouterBench: CPT(90%)", t["CPT(90%) chosen rank"], 0.20),
        least("RouterBench: AIQ", t["AIQ chosen rank"], 0.83),
        figure("RouterBench: AIQ of a task table", t["AIQ task table"]),
        least("placement: information better than random, n=20", np.array([gains[0]]), 0.20),
        least("placement: information better than random, n=50", np.array([gains[1]]), 0.20),
        most("placement: shipped rule worse than random, n=265", np.array([end]), 0.05),
        most("AIQ lost by placing a model with 50 answers, mean", t["AIQ lost by 50 answers, mean"], 0.01),
        most("AIQ lost by placing a model with 50 answers, worst", t["AIQ lost by 50 answers, most"], 0.01),
        *(figure(f"pocket: {name}", values) for name, values in p.items()),
        *(figure(f"RouterBench: {name}", values) for name, values in t.items()),
    )
    return Report(
        name="radar",
        claim="an ability a configuration and a difficulty off the prompt are enough to route model x budget",
        figures=figures,
        seeds=options.seeds,
        plots=(plot(p, t, options.out / "radar.png"),),
        notes=(
            f"pocket: {len(KNOBBED)} tasks, 3 sizes x 2 budgets; the paper has 35 configurations of large models",
            "chosen rank: of 1, 2, 4, by log loss on a held-out quarter of the training part; IRT is rank 1",
            "coverage: cells of (candidate, decile of prediction) within 1.96 deviations, scores' own noise included",
        ),
        details={"pocket": [dict(row) for row in pocket], "routerbench": [dict(row) for row in table]},
    )


def plot(pocket: Mapping[str, Array], table: Mapping[str, Array], path: Path) -> str:
    """Left: difficulty against knob by task. Right: how far off a placement is, by answers asked."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5))
    tasks = [t for t in KNOBBED if f"Spearman {t}" in pocket]
    axes[0].barh(tasks, [float(np.nanmean(pocket[f"Spearman {t}"])) for t in tasks])
    axes[0].axvline(0.7, color="grey", lw=0.8)
    axes[0].set(xlabel="Spearman of estimated difficulty and level", title="unseen prompts")
    for how in ("information", "shipped rule", "random"):
        axes[1].plot(ASKED, [table[f"placement error: {how}, n={n}"].mean() for n in ASKED], "o-", label=how)
    axes[1].set(xlabel="answers asked", ylabel="|ability - with all answers|", xscale="log", title="a model left out")
    axes[1].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140, bbox_inches="tight")
    plt.close(figure)
    return str(path)
