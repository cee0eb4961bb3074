"""What would another policy have been worth on the same requests? Off-policy estimates of value, with intervals.

A log has, of each request, who was chosen, with which probability, and the reward. Another policy is given by its
probabilities on the same requests. With w = its probability of the logged choice / the logged one, r the reward and
q(x, a) a model's prediction of it,

    ips            mean of w r: unbiased wherever the log tries what the other policy wants, and noisy
    snips          sum of w r / sum of w: slightly biased, keeps to the rewards' range, less noisy
    direct         mean of sum_a p(a) q(x, a): as right or wrong as the model; its interval knows nothing of that
    doubly_robust  direct + mean of w (r - q): unbiased as ips is, and the better the model, the less noisy
    switch         doubly robust where w is small, the model alone where it is large

Each is a mean over rows of a contribution a row, so that one interval serves all. For a log whose probabilities were
themselves learnt along the way the contributions are martingale differences; predictions must then come from before
the row (as `interlock replay` makes them), or from a cross-fit when the log's policy did not learn.

Source: Horvitz & Thompson (1952); Swaminathan & Joachims, NeurIPS 2015 (snips); Dudik, Langford & Li, arXiv 1103.4601
(doubly robust); Wang, Agarwal & Dudik, arXiv 1612.01205 (switch); Maurer & Pontil, arXiv 0907.3740 (bernstein).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..estimators import Ridge
from ..types import Array, Mask

RESAMPLES = 1000
SPREAD = 0.4  # standard deviation of the rewards that ridge's own scale is made for
TINY = 1e-12


@dataclass(frozen=True)
class Logged:
    """n logged choices among k candidates, and the probabilities (n, k) that the policy in question gives them.

    `propensity` (n,) is the logged probability of what was chosen; `logging` (n, k) are the logged probabilities of
    all, where the log has them: only they tell what was never tried. `model` (n, k) predicts the rewards. `span` are
    the least and the greatest reward possible. Raises ValueError naming the first bad row.
    """

    chosen: NDArray[np.intp]
    reward: Array
    propensity: Array
    target: Array
    model: Array | None = None
    logging: Array | None = None
    span: tuple[float, float] = (0.0, 1.0)
    names: Sequence[str] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        n = len(self.reward)
        if self.target.ndim != 2 or not len(self.chosen) == n == len(self.propensity) == len(self.target):
            shapes = f"{len(self.chosen)} choices, {n} rewards, {len(self.propensity)} propensities"
            raise ValueError(f"{shapes}, probabilities of shape {self.target.shape}: expected n, n, n and (n, k)")
        if not n:
            raise ValueError("the log has no rows: nothing can be said of any policy")
        k = self.target.shape[1]
        self._first((self.chosen < 0) | (self.chosen >= k), f"the choice is none of the {k} candidates")
        self._first(~np.isfinite(self.reward), "the reward is not finite; leave the row out")
        bad = ~((self.propensity > 0) & (self.propensity <= 1 + 1e-6))
        self._first(bad, "the propensity is not in (0, 1]: what was chosen had a chance to be")
        sums = self.target.sum(axis=1)
        bad = ~(np.isfinite(self.target).all(axis=1) & (self.target >= 0).all(axis=1) & (np.abs(sums - 1) < 1e-6))
        self._first(bad, "the other policy's probabilities are no distribution")
        for what, values in (("predictions", self.model), ("logged probabilities", self.logging)):
            if values is not None:
                if values.shape != self.target.shape:
                    raise ValueError(f"{what} have shape {values.shape}: expected {self.target.shape}")
                self._first(~np.isfinite(values).all(axis=1), f"its {what} are not finite")

    def _first(self, bad: Mask | np.bool_, problem: str) -> None:
        if bad.any():
            raise ValueError(f"row {int(np.argmax(bad))}: {problem}")

    def __len__(self) -> int:
        return len(self.reward)

    @cached_property
    def weight(self) -> Array:
        """How much more often the other policy makes the logged choice, (n,)."""
        return np.asarray(self.target[np.arange(len(self)), self.chosen] / self.propensity)

    @cached_property
    def unsupported(self) -> Array:
        """What the other policy wants of candidates the log had no chance to choose, (n, k); zeros when not known."""
        if self.logging is None:
            return np.zeros_like(self.target)
        return np.where(self.logging <= 0.0, self.target, 0.0)

    @property
    def predicted(self) -> Array:
        if self.model is None:
            raise ValueError("this estimate needs predictions of the rewards (n, k): give `model`, or use ips or snips")
        return self.model


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """A policy's value by one method, with its interval. `unknown` of its width no number of rows would cure."""

    method: str
    mean: float
    low: float
    high: float
    unknown: float = 0.0

    def within(self, least: float, most: float) -> Value:
        """Mean and interval, where weighing takes them beyond what a reward can be."""
        mean, low, high = np.clip((self.mean, self.low, self.high), least, most).tolist()
        return msgspec.structs.replace(self, mean=mean, low=low, high=high)


def ips(log: Logged) -> Array:
    return log.weight * log.reward


def snips(log: Logged) -> Array:
    """Linearised about the ratio: their mean is the estimate, and their spread its error."""
    total = log.weight.mean()
    if total <= 0.0:
        raise ValueError("the other policy never makes a logged choice: there is nothing to weigh")
    value = float((log.weight * log.reward).mean() / total)
    return np.asarray(value + log.weight * (log.reward - value) / total)


def direct(log: Logged) -> Array:
    return np.asarray((log.target * log.predicted).sum(axis=1))


def doubly_robust(log: Logged) -> Array:
    return direct(log) + log.weight * _surprise(log)


def switch(log: Logged) -> Array:
    """The threshold is the one with the least (variance + squared bound of the bias) among quantiles of the weights."""
    surprise, base, n = _surprise(log), direct(log), len(log)
    widest = log.span[1] - log.span[0]
    best, least = base, math.inf
    for threshold in np.unique(np.quantile(log.weight, (0.5, 0.8, 0.9, 0.95, 0.99, 1.0))):
        kept = log.weight <= threshold
        contributions = base + np.where(kept, log.weight * surprise, 0.0)
        bias = widest * float(np.where(kept, 0.0, log.weight).mean())
        error = float(contributions.var()) / n + bias**2
        if error < least:
            best, least = contributions, error
    return best


def _surprise(log: Logged) -> Array:
    return np.asarray(log.reward - log.predicted[np.arange(len(log)), log.chosen])


METHODS: dict[str, Callable[[Logged], Array]] = {
    "ips": ips,
    "snips": snips,
    "direct": direct,
    "doubly_robust": doubly_robust,
    "switch": switch,
}


def value(log: Logged, method: str = "doubly_robust", interval: str = "student", level: float = 0.95) -> Value:
    """The policy's value and a `level` interval: `student`, `bootstrap` (seeded) or `bernstein` (holds for any n).

    What the log could not have tried widens it to whatever `span` allows there. Raises ValueError.
    """
    contributions = _contributions(log, method)
    if interval not in INTERVALS:
        raise ValueError(f"there is no interval {interval!r}; one of {', '.join(INTERVALS)}")
    if not 0.5 <= level < 1.0:
        raise ValueError(f"level is {level:g}: expected a share such as 0.95")
    return _value(contributions, log, method, INTERVALS[interval](contributions, log, level))


def gain(log: Logged, method: str = "doubly_robust", level: float = 0.95) -> Value:
    """The policy's value less what the log itself got, with Student's interval. Raises ValueError.

    Row by row, so that what both have in common (the request's own difficulty) cancels.
    """
    contributions = _contributions(log, method) - log.reward
    return _value(contributions, log, method, student(contributions, log, level))


def _contributions(log: Logged, method: str) -> Array:
    if method not in METHODS:
        raise ValueError(f"there is no method {method!r}; one of {', '.join(METHODS)}")
    return METHODS[method](log)


def _value(contributions: Array, log: Logged, method: str, interval: tuple[float, float]) -> Value:
    """In the place of the model's guess at what was never tried stand the best and the worst that could have come."""
    blind = float(log.unsupported.sum()) / len(log)
    guess = 0.0
    if blind and log.model is not None and method not in ("ips", "snips"):
        guess = float((log.unsupported * log.model).sum()) / len(log)
    least, most = log.span[0] * blind - guess, log.span[1] * blind - guess
    low, high = interval
    mean = float(contributions.mean())
    return Value(method=method, mean=mean, low=low + min(least, 0.0), high=high + max(most, 0.0), unknown=most - least)


def student(contributions: Array, log: Logged, level: float) -> tuple[float, float]:
    """Student's t, its degrees of freedom by how well the variance itself is known: fewer where few rows weigh most.

    The quantile is the Cornish-Fisher expansion's. Source: Satterthwaite, Biometrics Bulletin 2 (1946), with the
    variance of a variance as it is at any kurtosis.
    """
    n, mean = len(contributions), float(contributions.mean())
    if n < 4:
        return -math.inf, math.inf
    away = contributions - mean
    square = float((away**2).mean())
    kurtosis = float((away**4).mean()) / square**2 if square > TINY**2 else 3.0
    freedom = min(max(2.0 * n / max(kurtosis - 1.0, TINY), 3.0), n - 1.0)
    z = NormalDist().inv_cdf(0.5 + level / 2.0)
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    half = t * float(contributions.std(ddof=1)) / math.sqrt(n)
    return mean - half, mean + half


def bootstrap(contributions: Array, log: Logged, level: float) -> tuple[float, float]:
    """Bootstrap-t over rows: resamples are studentised, which follows the skew that heavy weights bring."""
    n, mean = len(contributions), float(contributions.mean())
    error = float(contributions.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    if n < 4 or error <= TINY:
        return (-math.inf, math.inf) if n < 4 else (mean, mean)
    rng = np.random.default_rng(0)
    counts = rng.multinomial(n, np.full(n, 1.0 / n), size=RESAMPLES).astype(np.float64)
    means = counts @ contributions / n
    spread = np.sqrt(np.maximum(counts @ contributions**2 / n - means**2, TINY) / (n - 1))
    low, high = np.quantile((means - mean) / spread, (0.5 - level / 2, 0.5 + level / 2))
    return mean - float(high) * error, mean - float(low) * error


def bernstein(contributions: Array, log: Logged, level: float) -> tuple[float, float]:
    """Empirical Bernstein. Contributions lie within `span` times the greatest weight possible, so it is wide."""
    n, mean = len(contributions), float(contributions.mean())
    if n < 2:
        return -math.inf, math.inf
    if log.logging is None:
        largest = float(log.weight.max())
    else:
        largest = float(np.divide(log.target, log.logging, out=np.zeros_like(log.target), where=log.logging > 0).max())
    reach = (1.0 + largest) * max(abs(log.span[0]), abs(log.span[1]), log.span[1] - log.span[0])
    logarithm = math.log(4.0 / (1.0 - level))
    half = math.sqrt(2.0 * float(contributions.var(ddof=1)) * logarithm / n) + 7.0 * reach * logarithm / (3 * (n - 1))
    return mean - half, mean + half


INTERVALS: dict[str, Callable[[Array, Logged, float], tuple[float, float]]] = {
    "student": student,
    "bootstrap": bootstrap,
    "bernstein": bernstein,
}


def cross_fit(
    vectors: ArrayLike, chosen: ArrayLike, reward: ArrayLike, names: Sequence[str], folds: int = 5, seed: int = 0
) -> Array:
    """Predicted rewards (n, k) by hierarchical ridge regression, each row by one that has not seen it.

    Rewards may have any unit: they are learnt in deviations from their mean. Raises ValueError.
    Source: Chernozhukov et al., "Double/debiased machine learning", The Econometrics Journal 21 (2018).
    """
    x, y, arms = (np.asarray(values, dtype=np.float64) for values in (vectors, reward, chosen))
    n = len(y)
    if folds < 2 or n < folds:
        raise ValueError(f"{n} rows in {folds} folds: expected at least 2 folds and a row in each")
    if not np.isfinite(x).all():
        raise ValueError(f"row {int(np.argmax(~np.isfinite(x).all(axis=1)))}: its vector is not finite")
    part = np.random.default_rng(seed).permutation(n) % folds
    out = np.zeros((n, len(names)))
    for fold in range(folds):
        rest, held = np.flatnonzero(part != fold), part == fold
        centre, scale = float(y[rest].mean()), float(y[rest].std()) / SPREAD or 1.0
        table = np.full((len(rest), len(names)), np.nan)
        table[np.arange(len(rest)), arms[rest].astype(np.intp)] = (y[rest] - centre) / scale
        out[held] = centre + scale * Ridge(default=0.0).fit_table(x[rest], names, table).predict(x[held], names)[0]
    return out
