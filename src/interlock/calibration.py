"""At which threshold may an estimate be trusted? Counted from decisions and their scores, with a finite-sample bound.

An acceptor takes the cheapest candidate whose assured quality (the estimate less its standard deviation, so that few
look best by chance) reaches a threshold, and abstains when none does. Its risk at a threshold is P(accepted and wrong),
over all requests. Every scored decision says something about every threshold: it holds what was estimated of each
candidate before anybody was asked, so it is known whom each threshold would have accepted. If that is the one who
answered, its error counts, over the probability of having asked it; if another who had a chance, nothing (on average
that is right); if one who had none, an error is assumed.

Thresholds are tested from the strictest down, each at level `delta`, until one fails; the last that passed is used. The
test is the exact binomial one where every answer was certain to be asked for, else Hoeffding's and Bentkus' for bounded
losses. So, with probability 1 - delta over the decisions counted, the risk on requests like them is at most `epsilon`.

Source: learn then test, Angelopoulos et al., arXiv 2110.01052; bound: Bates et al., arXiv 2101.02703.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from .types import Array, Estimate

THRESHOLDS: Array = np.linspace(0.0, 1.0, 201)
CLASSES = 6  # of probabilities: (1/2, 1], (1/4, 1/2] ... ; below 1/32 a candidate counts as never tried
NEVER = math.inf


class Rung(NamedTuple):
    """A decision's view of one permitted candidate: assured quality in [0, 1], USD, probability of being chosen."""

    candidate: str
    quality: float
    cost: float
    probability: float


@dataclass
class Calibration:
    """Sums over scored decisions, at every threshold. An answer is wrong when its score is below `right`."""

    right: float = 0.5
    _rows: float = field(default=0.0, init=False, repr=False, compare=False)
    _losses: Array = field(init=False, repr=False, compare=False)
    _classes: Array = field(init=False, repr=False, compare=False)
    _known: dict[tuple[float, float], float] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0.0 < self.right <= 1.0:
            raise ValueError(f"right is {self.right:g}: expected a score in (0, 1]")
        self.restore({})

    @property
    def rows(self) -> float:
        return self._rows

    def learn(self, ladder: Sequence[Rung], candidate: str, score: float, weight: float = 1.0) -> None:
        """Count one scored decision: `candidate` answered. A negative weight takes it back."""
        self._known.clear()
        self._rows += weight
        for rung, low, high in _intervals(ladder):
            span = slice(
                int(np.searchsorted(THRESHOLDS, low, "right")), int(np.searchsorted(THRESHOLDS, high, "right"))
            )
            kind = _class_of(rung.probability)
            if kind >= CLASSES:
                self._losses[span] += weight
                kind = 0
            elif rung.candidate == candidate and score < self.right:
                self._losses[span] += weight / rung.probability
            self._classes[span, kind] += weight

    def learn_table(self, estimate: Estimate, score: Array) -> Self:
        """Count n requests that every candidate has answered, with scores (n, k). Raises ValueError."""
        quality, cost = assured(estimate.quality, estimate.quality_std), estimate.cost
        if score.shape != quality.shape:
            raise ValueError(f"scores have shape {score.shape}: expected that of the estimates, {quality.shape}")
        self._known.clear()
        self._rows += len(quality)
        for i, threshold in enumerate(THRESHOLDS):
            taken, row = accepted(quality, cost, float(threshold))
            wrong = ~(score[row, taken] >= self.right)  # one that nobody has scored counts as wrong
            self._losses[i] += wrong.sum()
            self._classes[i, 0] += len(row)
        return self

    def threshold(self, epsilon: float, delta: float) -> float:
        """The least threshold whose risk is at most `epsilon`, at confidence 1 - `delta`; infinite if there is none."""
        key = epsilon, delta
        if key not in self._known:
            found, n = NEVER, math.floor(self._rows + 1e-9)
            for i in range(len(THRESHOLDS) - 1, -1, -1):
                kinds = np.flatnonzero(self._classes[i] > 1e-9)
                reach = 2.0 ** int(kinds[-1]) if len(kinds) else 1.0
                if not n or p_value(n, max(float(self._losses[i]), 0.0), epsilon, reach) > delta:
                    break
                found = float(THRESHOLDS[i])
            self._known[key] = found
        return self._known[key]

    def risk(self, threshold: float) -> float:
        """The share accepted and wrong as counted, NaN before anything is."""
        if not math.isfinite(threshold) or not self._rows:
            return math.nan
        return float(self._losses[int(np.searchsorted(THRESHOLDS, threshold - 1e-12))]) / self._rows

    def state(self) -> dict[str, Any]:
        return {"rows": self._rows, "losses": self._losses, "classes": self._classes} if self._rows else {}

    def restore(self, state: Mapping[str, Any]) -> Self:
        self._rows = float(state.get("rows", 0.0))
        self._losses = np.array(state.get("losses", np.zeros(len(THRESHOLDS))))
        self._classes = np.array(state.get("classes", np.zeros((len(THRESHOLDS), CLASSES))))
        self._known = {}
        return self


def assured(quality: Array, std: Array) -> Array:
    """The quality that a candidate has with some certainty."""
    return np.maximum(quality - std, 0.0)


def accepted(quality: Array, cost: Array, threshold: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The columns that are accepted, and the rows in which any is: the cheapest whose quality reaches the threshold."""
    price = np.where((quality >= threshold) & np.isfinite(cost), cost, np.inf)
    taken = price.argmin(axis=1)
    rows = np.flatnonzero(np.isfinite(price[np.arange(len(price)), taken]))
    return taken[rows], rows


def p_value(n: int, losses: float, epsilon: float, reach: float = 1.0) -> float:
    """Of the hypothesis that the mean of n losses in [0, `reach`] exceeds `epsilon`, given their sum."""
    if epsilon >= reach or losses >= n * epsilon:
        return 1.0
    if reach <= 1.0:
        return _binomial(n, math.ceil(losses - 1e-9), epsilon)
    share, wanted = losses / (n * reach), epsilon / reach
    entropy = (share * math.log(share / wanted) if share else 0.0) + (1 - share) * math.log((1 - share) / (1 - wanted))
    return min(1.0, math.exp(-n * entropy), math.e * _binomial(n, math.ceil(n * share - 1e-9), wanted))


def _binomial(n: int, k: int, p: float) -> float:
    """P(X <= k) for X binomial, summed in logarithms."""
    if k >= n:
        return 1.0
    i = np.arange(1, k + 1)
    ratio = np.concatenate(([0.0], np.cumsum(np.log((n - i + 1) / i)))) + np.arange(k + 1) * math.log(p / (1 - p))
    top = float(ratio.max())
    return min(1.0, math.exp(top + n * math.log1p(-p)) * float(np.exp(ratio - top).sum()))


def _intervals(ladder: Sequence[Rung]) -> list[tuple[Rung, float, float]]:
    """From the cheapest up: each candidate that some threshold in (low, high] would accept."""
    found, reached = [], -1.0
    known = [rung for rung in ladder if math.isfinite(rung.quality) and math.isfinite(rung.cost)]
    for rung in sorted(known, key=lambda rung: rung.cost):
        if rung.quality > reached:
            found.append((rung, reached, rung.quality))
            reached = rung.quality
    return found


def _class_of(probability: float) -> int:
    return CLASSES if probability <= 2.0**-CLASSES else math.ceil(-math.log2(min(probability, 1.0)) - 1e-9)
