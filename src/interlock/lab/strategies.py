"""Sixteen ways to retrieve, on the docstring task: what each brings and costs for each query, and routers among them.

Utility = hit - lambda x context tokens / 1000. A question about something else needs no context, so "none" serves it.
Routers see how a query looks, and after a first look also the scores of three indexes, which cost no tokens.

Source: our reading of embedding-strategy routing in Varangot-Reille et al. (arXiv 2502.00409).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..estimators.boosted import Boosted
from ..types import Array
from .docstrings import KINDS, documents, queries
from .retrieval import Bm25, CharNgram, Chunked, Found, Hybrid, Lsa, Retriever
from .tables import Table

DEPTHS = (1, 3, 10)
INDEXES = ("bm25", "characters", "lsa", "passages", "hybrid")
STRATEGIES = ("none", *(f"{index}@{k}" for index in INDEXES for k in DEPTHS))
OUTSIDE = "outside"
CURVE = tuple(float(x) for x in np.geomspace(0.002, 0.5, 24))


@dataclass(frozen=True)
class World:
    """n queries by 16 strategies: whether the document came (1.0 or 0.0), context tokens, and what is known before.

    `document` is the one asked about, -1 for a question about something else; `kind` its form. `surface` is known
    before retrieval, `cheap` are top score and two gaps of three indexes, which cost no tokens.
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


def build_world(others_from: Table, scale: float) -> World:
    """Every strategy on every query: those about the documents, and about as many from a table of other questions."""
    corpus = documents(None if scale >= 1.0 else max(60, int(2500 * scale)))
    asked = queries(corpus, seed=0)
    others = list(others_from.prompts)
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
    known = bm25.vocabulary
    return World(tuple(text), kind, document, np.stack(hit, 1), np.stack(tokens, 1), surface(text, known), cheap)


@dataclass
class _Ready:
    """What has been found already, as a retriever."""

    found: Found

    def fit(self, documents: Sequence[str]) -> _Ready:
        return self

    def search(self, queries: Sequence[str], k: int) -> Found:
        documents, scores, tokens = self.found
        return Found(documents[:, :k], scores[:, :k], tokens[:, :k])


def _gaps(scores: Array) -> Array:
    """Top score, and its gaps to the second and to the tenth."""
    return np.stack([scores[:, 0], scores[:, 0] - scores[:, 1], scores[:, 0] - scores[:, 9]], axis=1)


def surface(text: Sequence[str], known: frozenset[str]) -> Array:
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
        return np.asarray(np.where(self.world.document >= 0, kept[self.world.document], outside), dtype=np.bool_)

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
        return np.asarray(~self.test & (self.world.kind != self.unseen))

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
        estimator = Boosted(trees=80, leaves=15, rate=0.1, share=0.5)
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
