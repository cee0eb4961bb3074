"""A candidate as the mean of what it won less the mean of what it lost: where it is better than the others.

Centroids of wins alone say what was asked rather than who is good at it, and smoothing over neighbours makes profiles
of different candidates converge; what is signed does neither.

Source: contrastive counterpart of the embedding profiles of RouteProfile (arXiv 2605.00180); Rocchio (1971).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ..types import Array

CARD_WORTH = 20.0
"""As many outcomes as a card with benchmark scores is worth."""


def signed_centroid(vectors: ArrayLike, scores: ArrayLike, groups: Sequence[str] | None = None) -> Array:
    """Profiles (k, d) from prompts (n, d) and scores (n, k), NaN where there is none.

    Each score counts less the mean of the prompt's others. With `groups` (n,), prompts are replaced by the mean of
    their group (its task, its domain), so nothing is known beyond the group.
    """
    x, y = np.asarray(vectors, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if groups is not None:
        kinds = {name: i for i, name in enumerate(dict.fromkeys(groups))}
        member = np.array([kinds[name] for name in groups])
        means = np.stack([x[member == i].mean(axis=0) for i in range(len(kinds))])
        x = means[member]
    seen = np.isfinite(y)
    filled, count = np.where(seen, y, 0.0), np.maximum(seen.sum(axis=1, keepdims=True), 1)
    better = np.where(seen, filled - filled.sum(axis=1, keepdims=True) / count, 0.0)
    return np.asarray(better.T @ x / np.maximum(seen.sum(axis=0), 1)[:, None])


def blended(card: Array, outcomes: Array, count: float, worth: float = CARD_WORTH) -> tuple[Array, float]:
    """A profile from what the card says and what outcomes say, and how much the two agree (their cosine).

    The card counts like `worth` outcomes: contradicted often enough, it loses.
    """
    lengths = float(np.linalg.norm(card) * np.linalg.norm(outcomes))
    agreement = float(card @ outcomes) / lengths if lengths > 0.0 else 0.0
    share = count / (count + worth)
    return share * outcomes + (1.0 - share) * card, agreement
