"""What estimators are given of a prompt in the lab: the packaged embedding, beside terms of the training prompts.

The terms are TF-IDF of words and of character n-grams, reduced by truncated SVD (latent semantic analysis). Fixed
few-shot preambles are cut off first. Fitted on training prompts alone.

Source: Deerwester et al., "Indexing by Latent Semantic Analysis", JASIS 41 (1990).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from ..encoder import Encoder
from ..signals.text import strip_preamble
from ..types import Array


@dataclass
class Features:
    """`fit` on training prompts, then `transform` gives (n, d) float64: embedding, then `terms` LSA columns."""

    terms: int = 64
    embedding: bool = True
    _terms: Any = field(default=None, init=False, repr=False)

    def fit(self, prompts: Sequence[str], tasks: Sequence[str] = ()) -> Self:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_pipeline, make_union

        if self.terms:
            common: dict[str, Any] = {"sublinear_tf": True, "min_df": 2, "max_features": 50_000}
            words = TfidfVectorizer(ngram_range=(1, 2), **common)
            letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), **common)
            svd = TruncatedSVD(self.terms, random_state=0)
            self._terms = make_pipeline(make_union(words, letters), svd).fit([question(prompt) for prompt in prompts])
        return self

    def transform(self, prompts: Sequence[str]) -> Array:
        asked = [question(prompt) for prompt in prompts]
        parts = [Encoder.load().encode(asked).astype(np.float64)] if self.embedding else []
        if self._terms is not None:
            parts.append(self._terms.transform(asked))
        return np.hstack(parts)


def question(prompt: str) -> str:
    """The prompt without its fixed worked examples."""
    return strip_preamble(prompt)[0]
