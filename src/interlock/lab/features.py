"""What estimators are given of a prompt in the lab: which task it looks like, how it is built, and what it is about.

Four groups of columns, fitted on training prompts alone, fixed few-shot preambles cut off first:

    tasks       how much it looks like each task of the training part (ridge classifier on the other three groups)
    structure   counts of lines, digits, choices ... (`signals.structure`)
    terms       TF-IDF of words and of character n-grams, reduced by truncated SVD (latent semantic analysis)
    embedding   the packaged encoder's, its widest directions over the training prompts

On recorded outcomes the task tells most, structure next, and most of what terms and embedding seem to tell is noise.
The training rows' task columns come from classifiers that have not seen them, or they would look surer than later ones.

Source: Deerwester et al., "Indexing by Latent Semantic Analysis", JASIS 41 (1990); out-of-fold features: stacking,
Wolpert, Neural Networks 5 (1992).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from ..encoder import Encoder
from ..signals.structure import Structure
from ..signals.text import strip_preamble
from ..types import Array, Message, Request

LONGEST = 4000
"""Characters of a question that its terms are counted in."""

SAMPLE = 4000
"""Training prompts that the terms are found from; more change little and cost much."""

COUNTS = (
    "characters",
    "words",
    "lines",
    "sentences",
    "digits",
    "numbers",
    "longest_word",
    "capitalised",
    "commas",
    "questions",
    "round",
    "equals",
    "latex",
    "choices",
    "upper_share",
    "symbol_share",
    "non_ascii_share",
)
"""Columns of `signals.structure` that are used: those that vary in many kinds of prompts."""

_PICKED = [Structure.columns.index(name) for name in COUNTS]
_FOLDS = 4
_SHARPNESS = 8.0  # of the softmax over the classifier's scores, which lie about in [0, 1]
_PENALTY = 100.0


@dataclass
class Features:
    """`fit_transform` on the training prompts gives (n, d) float64, `transform` the same columns of any others.

    At most `tasks` columns tell the task, `terms` the terms, `embedding` the widest directions of the embedding (0:
    none). Prompts without task labels get no task columns. With `given`, the task is no guess but told by whoever asks:
    `transform` is given the labels, and each task of the training part has a column of 0 and 1.
    """

    tasks: int = 16
    structure: bool = True
    terms: int = 16
    embedding: int = 24
    given: bool = False
    _terms: Any = field(default=None, init=False, repr=False)
    _embedding: tuple[Array, Array] | None = field(default=None, init=False, repr=False)
    _tasks: Tasks | None = field(default=None, init=False, repr=False)
    _labels: list[str] = field(default_factory=list, init=False, repr=False)

    def fit(self, prompts: Sequence[str], tasks: Sequence[str] = ()) -> Self:
        self.fit_transform(prompts, tasks)
        return self

    def fit_transform(self, prompts: Sequence[str], tasks: Sequence[str] = ()) -> Array:
        """Fit on these prompts and give their columns, (n, d)."""
        asked = [question(prompt) for prompt in prompts]
        self._terms = self._tasks = self._embedding = None
        if self.terms:
            few = asked[:: -(-len(asked) // SAMPLE)] if asked else []
            self._terms = _term_pipeline(min(self.terms, max(1, len(few) - 1))).fit(few)
        if self.embedding:
            encoded = _encode(asked)
            centre = encoded.mean(axis=0)
            self._embedding = centre, np.linalg.svd(encoded - centre, full_matrices=False)[2][: self.embedding].T
        columns = self._columns(asked)
        if self.given:
            self._labels = sorted(set(tasks)) if len(set(tasks)) > 1 else []
            return np.hstack([self._told(tasks), columns])
        if self.tasks and len(set(tasks)) > 1:
            self._tasks, own = Tasks.fitted(columns, tasks, self.tasks)
            columns = np.hstack([own, columns])
        return columns

    def transform(self, prompts: Sequence[str], tasks: Sequence[str] = ()) -> Array:
        """`tasks` are looked at with `given` alone. Raises `ValueError` if they are wanted and not there."""
        columns = self._columns([question(prompt) for prompt in prompts])
        if self._labels:
            if len(tasks) != len(prompts):
                raise ValueError(f"{len(prompts)} prompts and {len(tasks)} tasks: with `given`, each prompt has one")
            return np.hstack([self._told(tasks), columns])
        return columns if self._tasks is None else np.hstack([self._tasks.transform(columns), columns])

    def _told(self, tasks: Sequence[str]) -> Array:
        """A column a task; a task that was not in training has 0 in all."""
        return np.array([[float(task == label) for label in self._labels] for task in tasks]).reshape(len(tasks), -1)

    def _columns(self, asked: Sequence[str]) -> Array:
        parts = [np.zeros((len(asked), 0))]
        if self.structure:
            parts.append(_structure(asked))
        if self._terms is not None:
            parts.append(self._terms.transform(asked))
        if self._embedding is not None:
            centre, directions = self._embedding
            parts.append((_encode(asked) - centre) @ directions)
        return np.hstack(parts)


@dataclass(frozen=True)
class Tasks:
    """How much a prompt looks like each task: softmax of a ridge classifier's scores, the widest directions of them."""

    scaler: Any
    classifier: Any
    centre: Array
    directions: Array

    @classmethod
    def fitted(cls, columns: Array, tasks: Sequence[str], most: int) -> tuple[Self, Array]:
        """The classifier, and the columns of the prompts it was fitted on, out of fold."""
        from sklearn.linear_model import Ridge
        from sklearn.preprocessing import StandardScaler

        names = {task: i for i, task in enumerate(sorted(set(tasks)))}
        member = np.zeros((len(tasks), len(names)))
        member[np.arange(len(tasks)), [names[task] for task in tasks]] = 1.0
        scaler = StandardScaler().fit(columns)
        z = np.clip(scaler.transform(columns), -6.0, 6.0)
        fold, own = np.random.default_rng(0).permutation(len(z)) % _FOLDS, np.zeros_like(member)
        for part in range(_FOLDS):
            kept = fold != part
            if not kept.all():
                own[~kept] = Ridge(alpha=_PENALTY).fit(z[kept], member[kept]).predict(z[~kept])
        own = _softmax(own)
        centre, directions = own.mean(axis=0), np.eye(len(names))
        if len(names) > most:
            directions = np.linalg.svd(own - centre, full_matrices=False)[2][:most].T
        made = cls(scaler, Ridge(alpha=_PENALTY).fit(z, member), centre, directions)
        return made, np.asarray((own - centre) @ directions)

    def transform(self, columns: Array) -> Array:
        z = np.clip(self.scaler.transform(columns), -6.0, 6.0)
        return np.asarray((_softmax(self.classifier.predict(z)) - self.centre) @ self.directions)


def question(prompt: str) -> str:
    """The prompt without its fixed worked examples."""
    return strip_preamble(prompt)[0]


def _encode(asked: Sequence[str]) -> Array:
    return Encoder.load().encode(list(asked)).astype(np.float64)


def _softmax(scores: Array) -> Array:
    grown = np.exp(_SHARPNESS * (scores - scores.max(axis=1, keepdims=True)))
    return np.asarray(grown / grown.sum(axis=1, keepdims=True))


def _structure(asked: Sequence[str]) -> Array:
    reader = Structure()
    rows = [reader.read(Request(messages=(Message("user", text),)), {}).columns for text in asked]
    return np.array(rows, dtype=np.float64).reshape(len(asked), len(Structure.columns))[:, _PICKED]


def _term_pipeline(terms: int) -> Any:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.preprocessing import FunctionTransformer

    common: dict[str, Any] = {"sublinear_tf": True, "min_df": 2, "max_features": 20_000, "dtype": np.float32}
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\S+", **common)
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), **common)
    svd = TruncatedSVD(terms, n_iter=3, random_state=0)
    return make_pipeline(FunctionTransformer(_shortened), make_union(words, letters), svd)


def _shortened(asked: Sequence[str]) -> list[str]:
    return [text[:LONGEST] for text in asked]
