"""The figures of routing. Curves are (cost, quality) points on the last axis; leading axes are resamples, done at once.

Quality lies in [0, 1], cost is any unit. Intervals and tests are in `intervals`.

Source: AIQ: RouterBench (arXiv 2403.12031); PGR, APGR, CPT: RouteLLM (arXiv 2406.18665); hypervolume: RADAR (arXiv
2509.25426); PerfGain, CostSave, ParetoDist: LLMRouterBench (arXiv 2601.07206); ECE: Naeini et al., AAAI 2015.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..types import Array

# Two-sided 97.5% quantiles of Student's t for 1..10 degrees of freedom (Student 1908; any statistics table).
_T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def over_seeds(values: Array) -> tuple[float, float, float]:
    """Mean and 95% t-interval of one figure per seed, shape (seeds,). A single seed has an infinite interval."""
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return mean, -math.inf, math.inf
    half = _T975[min(n - 1, len(_T975)) - 1] * float(np.std(values, ddof=1)) / math.sqrt(n)
    return mean, mean - half, mean + half


def rolling(values: Array, window: int) -> Array:
    """Mean of the last `window` values at each position, shape (n,); shorter at the start."""
    sums = np.cumsum(np.insert(values.astype(np.float64), 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts), dtype=np.float64)


class Curve(NamedTuple):
    """Vertices of a frontier, cost rising: both (..., m). Shorter ones repeat their last vertex."""

    cost: Array
    quality: Array

    def at(self, cost: ArrayLike) -> Array:
        """Quality at `cost` (...,): interpolated, flat to the right of the last vertex; NaN left of the first."""
        c = np.asarray(cost, dtype=np.float64)[..., None]
        left, right = self.cost[..., :-1], self.cost[..., 1:]
        width = right - left
        share = np.divide(c - left, width, out=np.zeros(np.broadcast_shapes(c.shape, left.shape)), where=width > 0)
        rise = np.clip(share, 0.0, 1.0) * (self.quality[..., 1:] - self.quality[..., :-1])
        quality = self.quality[..., 0] + rise.sum(axis=-1)
        return np.asarray(np.where(c[..., 0] < self.cost[..., 0], np.nan, quality))

    def reaching(self, quality: ArrayLike) -> Array:
        """The least cost (...,) at which this quality is reached; NaN where it never is."""
        q = np.asarray(quality, dtype=np.float64)[..., None]
        low, high = self.quality[..., :-1], self.quality[..., 1:]
        rise = high - low
        share = np.divide(q - low, rise, out=np.zeros(np.broadcast_shapes(q.shape, low.shape)), where=rise > 0)
        spent = np.clip(share, 0.0, 1.0) * (self.cost[..., 1:] - self.cost[..., :-1])
        return np.asarray(np.where(q[..., 0] > self.quality[..., -1], np.nan, self.cost[..., 0] + spent.sum(axis=-1)))

    def mean(self, low: ArrayLike, high: ArrayLike) -> Array:
        """Mean quality over costs from `low` to `high` (...,); left of the first vertex it is as there.

        NaN where the range is empty.
        """
        a, b = (np.asarray(bound, dtype=np.float64)[..., None] for bound in (low, high))
        start, end = self.cost[..., :1], self.cost[..., -1:]
        left, right = np.clip(self.cost[..., :-1], a, b), np.clip(self.cost[..., 1:], a, b)
        width = self.cost[..., 1:] - self.cost[..., :-1]
        slope = np.divide(
            self.quality[..., 1:] - self.quality[..., :-1], width, out=np.zeros_like(width), where=width > 0
        )
        middle = self.quality[..., :-1] + slope * (0.5 * (left + right) - self.cost[..., :-1])
        area = (middle * (right - left)).sum(axis=-1, keepdims=True)
        area = area + self.quality[..., :1] * np.clip(start - a, 0.0, b - a)
        area = area + self.quality[..., -1:] * np.clip(b - end, 0.0, b - a)
        span = b - a
        mean = np.divide(area, span, out=np.full(area.shape, np.nan), where=span > 0)
        return np.asarray(mean[..., 0])


def hull(cost: ArrayLike, quality: ArrayLike) -> Curve:
    """The non-decreasing upper convex hull of points (..., m): what mixing the points at random can reach.

    It starts at the cheapest point and ends at the best one. NaN points are left out.
    """
    c, q = np.broadcast_arrays(np.asarray(cost, dtype=np.float64), np.asarray(quality, dtype=np.float64))
    bad = ~(np.isfinite(c) & np.isfinite(q))
    c, q = np.where(bad, np.inf, c), np.where(bad, -np.inf, q)
    tied = np.where(c == c.min(axis=-1, keepdims=True), q, -np.inf)
    here = tied.argmax(axis=-1)[..., None]
    costs, qualities = [np.take_along_axis(c, here, -1)], [np.take_along_axis(q, here, -1)]
    for _ in range(
        c.shape[-1] - 1
    ):  # a gift-wrapping step: to the point seen under the steepest angle, the farthest of them
        run = c - costs[-1]
        ahead = (run > 0) & ~bad
        rise = np.where(ahead, q - qualities[-1], -np.inf)
        slope = np.divide(rise, run, out=np.full(c.shape, -np.inf), where=ahead)
        steepest = slope.max(axis=-1, keepdims=True)
        last = ~(steepest > 0)
        if last.all():
            break
        there = np.where(slope >= steepest * (1.0 - 1e-12), run, -1.0).argmax(axis=-1)[..., None]
        costs.append(np.where(last, costs[-1], np.take_along_axis(c, there, -1)))
        qualities.append(np.where(last, qualities[-1], np.take_along_axis(q, there, -1)))
    return Curve(np.concatenate(costs, axis=-1), np.concatenate(qualities, axis=-1))


def aiq(cost: ArrayLike, quality: ArrayLike, low: ArrayLike, high: ArrayLike) -> Array:
    """Average improvement in quality: area under the hull of the points (..., m) from cost `low` to `high`, / range.

    `low` and `high` are the mean costs of the cheapest and the dearest candidate, so that all routers share the range.
    """
    return hull(cost, quality).mean(low, high)


def hypervolume(cost: ArrayLike, quality: ArrayLike, dearest: ArrayLike) -> Array:
    """Area dominated by the points (..., m) themselves, without mixing; costs are in units of `dearest` (...,)."""
    c = np.asarray(cost, dtype=np.float64) / np.asarray(dearest, dtype=np.float64)[..., None]
    q = np.asarray(quality, dtype=np.float64)
    order = np.argsort(c, axis=-1, kind="stable")
    c, q = np.take_along_axis(c, order, -1), np.take_along_axis(q, order, -1)
    best = np.maximum.accumulate(np.nan_to_num(q, nan=0.0), axis=-1)
    ends = np.minimum(np.concatenate([c[..., 1:], np.ones_like(c[..., :1])], axis=-1), 1.0)
    return np.asarray((best * np.maximum(ends - c, 0.0)).sum(axis=-1))


def perf_gain(quality: ArrayLike, single: ArrayLike) -> Array:
    """The best point's quality over the best single candidate's, as a share of the latter (...,)."""
    reference = np.asarray(single, dtype=np.float64)
    return np.asarray((np.nanmax(np.asarray(quality, dtype=np.float64), axis=-1) - reference) / reference)


def cost_save(curve: Curve, quality: ArrayLike, cost: ArrayLike) -> Array:
    """1 - the share of `cost` at which the curve reaches `quality` (...,); NaN where it never does."""
    return np.asarray(1.0 - curve.reaching(quality) / np.asarray(cost, dtype=np.float64))


def pareto_front(cost: Array, quality: Array) -> tuple[Array, Array]:
    """The points (m,) that no other point beats in one of the two without losing in the other, cost rising."""
    order = np.lexsort((-quality, cost))
    c, q = cost[order], quality[order]
    before = np.maximum.accumulate(np.concatenate([[-np.inf], q[:-1]]))
    return c[q > before], q[q > before]


def pareto_distance(cost: Array, quality: Array, front_cost: Array, front_quality: Array) -> float:
    """Mean distance of points (m,) to the nearest non-dominated point of the front (f,), in min-max units of both."""
    c, q = pareto_front(front_cost, front_quality)
    spans = [float(np.ptp(np.concatenate(pair))) or 1.0 for pair in ((cost, front_cost), (quality, front_quality))]
    apart = np.hypot((cost[:, None] - c) / spans[0], (quality[:, None] - q) / spans[1])
    return float(apart.min(axis=1).mean())


class Deferral(NamedTuple):
    """Quality when the share `share` of queries goes to the strong candidate, those with the largest margin first.

    Both (..., n + 1), from none to all.
    """

    share: Array
    quality: Array

    @property
    def pgr(self) -> Array:
        """Performance gap recovered, (..., n + 1): 0 is the weak candidate, 1 the strong one; more beats both."""
        weak, strong = self.quality[..., :1], self.quality[..., -1:]
        gap = strong - weak
        pgr: Array = np.divide(self.quality - weak, gap, out=np.full(self.quality.shape, np.nan), where=gap != 0)
        return pgr

    @property
    def apgr(self) -> Array:
        """Mean of PGR over all strong shares (...,)."""
        pgr = self.pgr
        return np.asarray((0.5 * (pgr[..., 1:] + pgr[..., :-1]) * np.diff(self.share, axis=-1)).sum(axis=-1))

    @property
    def area(self) -> Array:
        """Mean quality over all strong shares (...,)."""
        middle = 0.5 * (self.quality[..., 1:] + self.quality[..., :-1])
        return np.asarray((middle * np.diff(self.share, axis=-1)).sum(axis=-1))

    def cpt(self, level: float) -> Array:
        """Call-performance threshold: the least strong share at which PGR reaches `level`, 0.8 for CPT(80%), (...,)."""
        reached = self.pgr >= level - 1e-12
        first = reached.argmax(axis=-1)[..., None]
        return np.where(reached.any(axis=-1), np.take_along_axis(self.share, first, -1)[..., 0], np.nan)


def deferral(margin: Array, weak: Array, strong: Array, weights: Array | None = None) -> Deferral:
    """From predicted margins and true scores (n,). `weights` (..., n) are counts of resamples; by default, all one.

    Queries of equal margin come in the order of the table.
    """
    order = np.argsort(-margin, kind="stable")
    w = np.ones(len(margin)) if weights is None else np.asarray(weights, dtype=np.float64)
    w = w[..., order] / w.sum(axis=-1, keepdims=True)
    start = np.zeros((*w.shape[:-1], 1))
    base = (w * weak[order]).sum(axis=-1, keepdims=True)
    gained = np.concatenate([start, np.cumsum(w * (strong - weak)[order], axis=-1)], axis=-1)
    return Deferral(np.concatenate([start, np.cumsum(w, axis=-1)], axis=-1), base + gained)


def shares(chosen: NDArray[np.intp], candidates: int) -> Array:
    """How often each candidate was chosen, (k,), from indices (n,); negative ones (no choice) do not count."""
    counts = np.bincount(chosen[chosen >= 0], minlength=candidates).astype(np.float64)
    return np.asarray(counts / max(counts.sum(), 1.0))


def entropy(share: Array) -> float:
    """Selection entropy in bits: 0 when one candidate gets everything, log2(k) when all get the same."""
    some = share[share > 0]
    return float(-(some * np.log2(some)).sum()) + 0.0


class Reliability(NamedTuple):
    """Bins of equal size by prediction: mean prediction, mean score and how many, each (bins,)."""

    predicted: Array
    observed: Array
    weight: Array

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean gap between prediction and score, weighted by count."""
        gap = np.abs(self.predicted - self.observed)
        return float((gap * self.weight).sum() / max(self.weight.sum(), 1.0))


def reliability(predicted: ArrayLike, observed: ArrayLike, bins: int = 15) -> Reliability:
    """Of predictions and scores of any one shape; missing scores (NaN) are left out."""
    p, y = np.asarray(predicted, dtype=np.float64).ravel(), np.asarray(observed, dtype=np.float64).ravel()
    here = np.isfinite(p) & np.isfinite(y)
    p, y = p[here], y[here]
    order = np.argsort(p, kind="stable")
    bin_of = np.empty(len(p), dtype=np.intp)
    bin_of[order] = np.arange(len(p)) * bins // max(len(p), 1)
    count = np.bincount(bin_of, minlength=bins).astype(np.float64)
    some = count > 0
    sums = (np.bincount(bin_of, weights=of, minlength=bins)[some] for of in (p, y))
    predicted_mean, observed_mean = (total / count[some] for total in sums)
    return Reliability(predicted_mean, observed_mean, count[some])


def log_loss(predicted: ArrayLike, observed: ArrayLike) -> float:
    """Mean cross entropy in nats of predictions in [0, 1] and scores in [0, 1]; missing scores (NaN) are left out."""
    p, y = np.asarray(predicted, dtype=np.float64), np.asarray(observed, dtype=np.float64)
    here = np.isfinite(y) & np.isfinite(p)
    p, y = np.clip(p[here], 1e-3, 1.0 - 1e-3), y[here]
    return float(-(y * np.log(p) + (1.0 - y) * np.log(1.0 - p)).mean())


class Bands(NamedTuple):
    """Cumulative regret over steps (t,): the mean over runs, and the 2.5% and 97.5% quantiles of the runs."""

    mean: Array
    low: Array
    high: Array


def regret(got: Array, best: Array) -> Bands:
    """Of rewards got, (runs, t), against the best possible, (runs, t) or (t,)."""
    total = np.cumsum(best - got, axis=-1)
    low, high = np.quantile(total, (0.025, 0.975), axis=0)
    return Bands(total.mean(axis=0), low, high)


def rank_correlation(left: ArrayLike, right: ArrayLike, kind: str = "spearman") -> float:
    """Spearman's rho or, with `kind="kendall"`, Kendall's tau-b of two arrays (n,); NaN when one is constant."""
    from scipy import stats

    x, y = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    measure = {"spearman": stats.spearmanr, "kendall": stats.kendalltau}[kind]
    return float(measure(x, y).statistic)
