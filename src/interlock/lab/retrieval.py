"""Retrievers to route among: an index over documents, and what each query finds in it.

Sparse matrices and scikit-learn's vectorizers; everything is local, nothing is learnt from queries.

Source: BM25: Robertson & Zaragoza, "The Probabilistic Relevance Framework" (2009); latent semantic analysis: Deerwester
et al., JASIS 41 (1990); reciprocal rank fusion: Cormack et al., SIGIR 2009.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ..types import Array

_AT_ONCE = 256  # queries whose scores against all documents are dense at the same time


class Found(NamedTuple):
    """What n queries found, best first: documents (n, k), -1 where nothing was; scores; tokens a passage has."""

    documents: NDArray[np.intp]
    scores: Array
    tokens: Array


class Retriever(Protocol):
    def fit(self, documents: Sequence[str]) -> Self:
        """Index the documents."""
        ...

    def search(self, queries: Sequence[str], k: int) -> Found:
        """The k best passages for each query. A passage without anything in common with the query is not found."""
        ...


def count_tokens(text: str) -> int:
    """Tokens by the rule of thumb for English, four thirds of the words."""
    return round(len(text.split()) * 4 / 3)


def best(scores: Any, k: int) -> tuple[NDArray[np.intp], Array]:
    """Columns and values of the k highest in each row of a dense or sparse matrix (n, m); -1 and 0 for none above 0."""
    k = min(k, scores.shape[1])
    columns, values = np.zeros((scores.shape[0], k), dtype=np.intp), np.zeros((scores.shape[0], k))
    for start in range(0, scores.shape[0], _AT_ONCE):
        part = scores[start : start + _AT_ONCE]
        dense = np.asarray(part.toarray() if hasattr(part, "toarray") else part)
        top = np.argpartition(-dense, k - 1, axis=1)[:, :k]
        height = np.take_along_axis(dense, top, axis=1)
        order = np.argsort(-height, axis=1, kind="stable")
        columns[start : start + len(dense)] = np.take_along_axis(top, order, axis=1)
        values[start : start + len(dense)] = np.take_along_axis(height, order, axis=1)
    nothing = values <= 0.0
    return np.where(nothing, -1, columns), np.where(nothing, 0.0, values)


def _lengths(documents: Sequence[str]) -> Array:
    return np.array([*map(count_tokens, documents), 0.0])  # the last is that of nothing found


@dataclass
class Bm25:
    """Words, weighted by rarity, saturating in frequency (`k1`) and relative to the document's length (`b`)."""

    k1: float = 1.2
    b: float = 0.75
    _words: Any = field(default=None, init=False, repr=False)
    _weights: Any = field(default=None, init=False, repr=False)
    _tokens: Array = field(default_factory=lambda: np.zeros(1), init=False, repr=False)

    def fit(self, documents: Sequence[str]) -> Self:
        from scipy import sparse
        from sklearn.feature_extraction.text import CountVectorizer

        self._words = CountVectorizer(token_pattern=r"(?u)\w+")
        counts = self._words.fit_transform(documents).tocsr().astype(np.float64)
        length = np.asarray(counts.sum(axis=1)).ravel()
        rarity = np.log1p((len(documents) - counts.getnnz(axis=0) + 0.5) / (counts.getnnz(axis=0) + 0.5))
        norm = self.k1 * (1.0 - self.b + self.b * length / length.mean())
        rows = np.repeat(np.arange(len(documents)), np.diff(counts.indptr))
        counts.data = counts.data * (self.k1 + 1.0) / (counts.data + norm[rows])
        self._weights = (counts @ sparse.diags(rarity)).T.tocsr()
        self._tokens = _lengths(documents)
        return self

    @property
    def vocabulary(self) -> frozenset[str]:
        """The words of the documents."""
        return frozenset(self._words.vocabulary_)

    def search(self, queries: Sequence[str], k: int) -> Found:
        documents, scores = best((self._words.transform(queries) @ self._weights).tocsr(), k)
        return Found(documents, scores, self._tokens[documents])


@dataclass
class CharNgram:
    """Cosine of TF-IDF over character 3- and 4-grams inside words: forgives typing errors."""

    _grams: Any = field(default=None, init=False, repr=False)
    _weights: Any = field(default=None, init=False, repr=False)
    _tokens: Array = field(default_factory=lambda: np.zeros(1), init=False, repr=False)

    def fit(self, documents: Sequence[str]) -> Self:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), sublinear_tf=True)
        self._weights = self._grams.fit_transform(documents).T.tocsr()
        self._tokens = _lengths(documents)
        return self

    def search(self, queries: Sequence[str], k: int) -> Found:
        documents, scores = best((self._grams.transform(queries) @ self._weights).tocsr(), k)
        return Found(documents, scores, self._tokens[documents])


@dataclass
class Lsa:
    """Cosine in the space of the `dimensions` largest singular directions of word TF-IDF."""

    dimensions: int = 200
    _space: Any = field(default=None, init=False, repr=False)
    _weights: Any = field(default=None, init=False, repr=False)
    _tokens: Array = field(default_factory=lambda: np.zeros(1), init=False, repr=False)

    def fit(self, documents: Sequence[str]) -> Self:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import Normalizer

        words = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\w+")
        narrow = min(self.dimensions, len(documents) - 1)
        self._space = make_pipeline(words, TruncatedSVD(narrow, random_state=0), Normalizer())
        self._weights = self._space.fit_transform(documents).T
        self._tokens = _lengths(documents)
        return self

    def search(self, queries: Sequence[str], k: int) -> Found:
        documents, scores = best(self._space.transform(queries) @ self._weights, k)
        return Found(documents, scores, self._tokens[documents])


@dataclass
class Chunked:
    """Another retriever over passages of `words` words: shorter context. Passages of one document may come together."""

    inner: Retriever = field(default_factory=Bm25)
    words: int = 60
    _document: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp), init=False, repr=False)

    def fit(self, documents: Sequence[str]) -> Self:
        passages, of = [], []
        for number, document in enumerate(documents):
            words = document.split()
            for start in range(0, max(1, len(words)), self.words):
                passages.append(" ".join(words[start : start + self.words]))
                of.append(number)
        self.inner.fit(passages)
        self._document = np.array([*of, -1])
        return self

    def search(self, queries: Sequence[str], k: int) -> Found:
        found = self.inner.search(queries, k)
        return Found(self._document[found.documents], found.scores, found.tokens)


@dataclass
class Hybrid:
    """Several retrievers' lists as one: a document scores the sum of 1 / (`constant` + rank), `depth` ranks deep."""

    members: Sequence[Retriever] = field(default_factory=lambda: (Bm25(), CharNgram(), Lsa()))
    constant: float = 60.0
    depth: int = 50
    _tokens: Array = field(default_factory=lambda: np.zeros(1), init=False, repr=False)

    def fit(self, documents: Sequence[str]) -> Self:
        for member in self.members:
            member.fit(documents)
        self._tokens = _lengths(documents)
        return self

    def search(self, queries: Sequence[str], k: int) -> Found:
        fused = np.zeros((len(queries), len(self._tokens)))
        for member in self.members:
            ranked = member.search(queries, self.depth).documents
            worth = np.broadcast_to(1.0 / (self.constant + 1.0 + np.arange(ranked.shape[1])), ranked.shape)
            np.add.at(fused, (np.arange(len(queries))[:, None], ranked), worth)
        documents, scores = best(fused[:, :-1], k)  # the last column collected the ranks of nothing
        return Found(documents, scores, self._tokens[documents])
