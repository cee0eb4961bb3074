"""Choosing how to retrieve, for each query, keeps the hit rate of always retrieving much and drops half of the context.

"Doing More with Less", arXiv 2502.00409: routing is not only which model, and every result needs the same protocol. Four
parts: sixteen retrieval strategies on docstrings of the installed libraries; the protocol on outcome tables, a table of
clones and a dominated one; a pipeline of retrieval and pocket model on one budget; an index that is added at run time.

Utility = hit - lambda x context tokens / 1000. A question about something else needs no context, so "none" serves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from ...estimators import ESTIMATORS
from ...types import Array
from ..answers import showing
from ..docstrings import KINDS, documents, queries
from ..intervals import interval, means, resamples
from ..locate import data_folder
from ..metrics import hull, over_seeds
from ..report import Figure, Report, Verdict
from ..retrieval import Bm25, CharNgram, Chunked, Found, Hybrid, Lsa, Retriever
from ..tables import read_tables
from . import Options


TRADES = (0.02, 0.05, 0.1, 0.2)
DEPTHS = (1, 3, 10)
INDEXES = ("bm25", "characters", "lsa", "passages", "hybrid")
STRATEGIES = ("none", *(f"{index}@{k}" for index in INDEXES for k in DEPTHS))
OUTSIDE = "outside"
CURVE = tuple(float(x) for x in np.geomspace(0.002, 0.5, 24))
TREES = {"trees": 80, "leaves": 15, "rate": 0.1, "share": 0.5}


@dataclass(frozen=True)
class World:
    """n queries by 16 strategies: whether the document came (1.0 or 0.0), context tokens, and what is known before.

    `document` is the one asked about, -1 for a question about something else; `kind` its form. `surface` is known before
    retrieval, `cheap` are top score and two gaps of three indexes, which cost no tokens.
    """

    text: tuple[str, ...]
    kind: NDArray[np.str_]
    document: NDArray[np.intp]
    hit: Array
    tokens: Array
    surface: Array
    cheap: Array

    def utility(self, trade: float) -> Array:
        return self.hit - trade * self.tokens / 1000.0


def run(options: Options) -> Report:
    folder = data_folder(options.data)
    with showing(options.console) as progress:
        bar = progress.add_task("retrieval: indexes and searches", total=1)
        world = build_world(folder, options.scale)
        progress.advance(bar)
        bar = progress.add_task("retrieval: routers", total=len(options.seeds))
        splits = []
        for seed in options.seeds:
            splits.append(Split(world, seed))
            splits[-1].routed  # noqa: B018
            progress.advance(bar)
        figures = [
            *judge_retrieval(splits),
            *newcomer(world.hit, world.tokens, world.surface, STRATEGIES, options.seeds),
        ]
        figures += protocol_holds(folder, options, progress)
        figures += on_one_budget(options, progress)
    return Report(
        name="survey-doing-more-with-less",
        claim="one candidate abstraction routes retrieval, models and their pipeline, and one protocol judges it",
        figures=tuple(figures),
        seeds=options.seeds,
        notes=(
            f"{len(set(world.document.tolist())) - 1} documents of the installed libraries; other versions give others",
            "intervals of utility gains: bootstrap over documents on the first seed's test part",
        ),
        plots=(draw(splits[0], options.out / "retrieval.png"),),
    )


def build_world(folder: Path, scale: float) -> World:
    """Every strategy on every query."""
    corpus = documents(None if scale >= 1.0 else max(60, int(2500 * scale)))
    asked = queries(corpus, seed=0)
    table = read_tables(folder, ["routellm"])["routellm"]
    others = [prompt for prompt, task in zip(table.prompts, table.tasks, strict=True) if task != "mt_bench"]
    others = [others[i] for i in np.random.default_rng(0).permutation(len(others))[: len(corpus)]]
    text = [query for kind in KINDS for query in asked[kind]] + others
    document = np.array([*range(len(corpus))] * len(KINDS) + [-1] * len(others))
    kind = np.array([kind for kind in KINDS for _ in corpus] + [OUTSIDE] * len(others))
    bodies = [one.body for one in corpus]
    bm25, characters, lsa = Bm25(), CharNgram(), Lsa()
    indexes: dict[str, Retriever] = {
        "bm25": bm25.fit(bodies),
        "characters": characters.fit(bodies),
        "lsa": lsa.fit(bodies),
        "passages": Chunked().fit(bodies),
    }
    found = {name: index.search(text, 50) for name, index in indexes.items()}
    found["hybrid"] = (
        Hybrid(members=[_Ready(found[name]) for name in ("bm25", "characters", "lsa")])
        .fit(bodies)
        .search(text, max(DEPTHS))
    )
    hit, tokens = [(document == -1).astype(np.float64)], [np.zeros(len(text))]
    for name in INDEXES:
        for k in DEPTHS:
            came = (found[name].documents[:, :k] == document[:, None]).any(axis=1)
            hit.append(np.where(document == -1, 1.0, came))
            tokens.append(found[name].tokens[:, :k].sum(axis=1))
    cheap = np.hstack([_gaps(found[name].scores) for name in ("bm25", "characters", "lsa")])
    known = set(bm25._words.vocabulary_)
    return World(tuple(text), kind, document, np.stack(hit, 1), np.stack(tokens, 1), surface(text, known), cheap)


@dataclass
class _Ready:
    """What has been found already, as a retriever."""

    found: Found

    def fit(self, documents: Sequence[str]) -> _Ready:
        return self

    def search(self, queries: Sequence[str], k: int) -> Found:
        return Found(*(part[:, :k] for part in self.found))


def _gaps(scores: Array) -> Array:
    """Top score, and its gaps to the second and to the tenth."""
    return np.stack([scores[:, 0], scores[:, 0] - scores[:, 1], scores[:, 0] - scores[:, 9]], axis=1)


def surface(text: Sequence[str], known: set[str]) -> Array:
    """Nine numbers of how a query looks, (n, 9)."""
    rows = []
    for query in text:
        words, length = query.split(), max(1, len(query))
        plain = [word.strip(".,:;()?`'\"").lower() for word in words]
        rows.append(
            (
                np.log1p(len(words)),
                np.log1p(length),
                sum(word in known for word in plain) / max(1, len(words)),
                sum(not c.isalnum() and not c.isspace() for c in query) / length,
                sum(c.isupper() for c in query) / length,
                sum(c.isdigit() for c in query) / length,
                sum(map(len, words)) / max(1, len(words)),
                float("?" in query),
                float("_" in query or "." in query[:-1]),
            )
        )
    return np.array(rows, dtype=np.float64)


@dataclass(frozen=True)
class Split:
    """One seed's routers: fitted on 80% of the documents (and of the outside questions), judged on the rest."""

    world: World
    seed: int
    unseen: str = ""

    @cached_property
    def test(self) -> NDArray[np.bool_]:
        rng = np.random.default_rng(self.seed)
        kept = rng.random(self.world.document.max() + 1) < 0.2
        outside = rng.random(len(self.world.document)) < 0.2
        return np.where(self.world.document >= 0, kept[self.world.document], outside)

    @cached_property
    def routed(self) -> dict[str, Array]:
        """Predicted hit rate (n, 16) of the test queries, before retrieval and after the cheap scores."""
        grams = self._grams()
        before = np.hstack([self.world.surface, grams])
        return {
            "before retrieval": self._fit(before),
            "after cheap scores": self._fit(np.hstack([before, self.world.cheap])),
        }

    def _train(self) -> NDArray[np.bool_]:
        return ~self.test & (self.world.kind != self.unseen)

    def _grams(self) -> Array:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_pipeline

        letters = TfidfVectorizer(
            analyzer="char_wb", ngram_range=(2, 4), min_df=2, sublinear_tf=True, max_features=30_000
        )
        space = make_pipeline(letters, TruncatedSVD(64, random_state=0))
        space.fit([query for query, use in zip(self.world.text, self._train(), strict=True) if use])
        return np.asarray(space.transform(self.world.text))

    def _fit(self, features: Array) -> Array:
        estimator: Any = ESTIMATORS["boosted"](**TREES)
        train = self._train()
        estimator.fit_table(features[train], STRATEGIES, self.world.hit[train])
        return np.asarray(estimator.predict(features[self.test], STRATEGIES)[0])

    @cached_property
    def expected(self) -> Array:
        """Mean context tokens of each strategy on the training queries."""
        return np.asarray(self.world.tokens[self._train()].mean(axis=0))

    def choice(self, arm: str, trade: float, most: int = 10) -> NDArray[np.intp]:
        """The strategy of each test query. `most` leaves deeper strategies out."""
        allowed = np.array([name == "none" or int(name.split("@")[1]) <= most for name in STRATEGIES])
        train, utility = self._train(), self.world.utility(trade)
        if arm == "oracle":
            value = utility[self.test]
        elif arm == "best single":
            value = np.broadcast_to(utility[train].mean(axis=0), (int(self.test.sum()), len(STRATEGIES)))
        elif arm == "table by true type":
            means_of = {kind: utility[train & (self.world.kind == kind)].mean(axis=0) for kind in set(self.world.kind)}
            value = np.array([means_of[kind] for kind in self.world.kind[self.test]])
        else:
            value = self.routed[arm] - trade * self.expected / 1000.0
        return np.asarray(np.where(allowed, value, -np.inf).argmax(axis=1))

    def got(self, of: Array, chosen: NDArray[np.intp]) -> Array:
        return np.asarray(of[self.test][np.arange(len(chosen)), chosen])

    def curve(self, arm: str) -> tuple[Array, Array]:
        """Mean tokens and hit rate over many trades."""
        chosen = [self.choice(arm, trade) for trade in CURVE]
        return (
            np.array([self.got(self.world.tokens, c).mean() for c in chosen]),
            np.array([self.got(self.world.hit, c).mean() for c in chosen]),
        )


ARMS = ("best single", "before retrieval", "after cheap scores", "table by true type", "oracle")
KNOWN = {
    ("best single", 0.05): ".884; 2,550",
    ("before retrieval", 0.05): ".863; 1,103",
    ("after cheap scores", 0.05): ".875; 1,037",
    ("table by true type", 0.05): ".865; 1,270",
    ("oracle", 0.05): ".930; 272",
}


def judge_retrieval(splits: Sequence[Split]) -> list[Figure]:
    figures = []
    for arm in ARMS:
        chosen = [split.choice(arm, 0.05) for split in splits]
        for what in ("hit", "tokens"):
            values = np.array([s.got(getattr(s.world, what), c).mean() for s, c in zip(splits, chosen, strict=True)])
            figures.append(
                _over(f"retrieval, lambda .05, {arm}: {what}", values, paper=KNOWN[arm, 0.05] + " in the spec")
            )
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
