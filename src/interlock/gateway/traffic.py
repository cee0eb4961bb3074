"""GET /v1/traffic: requests, errors, latency and cost over time, for the gateway as a whole and for each provider.

A provider's errors are those of single calls: a request that another candidate answered in the end still counts here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..execution.calls import CANCELLED
from ..types import Array, Candidate, Outcome
from .history import Past
from .pool import UNKNOWN

WIDTHS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400)  # seconds


def traffic(
    pasts: Sequence[Past], candidates: Sequence[Candidate], breakers: Mapping[str, Mapping[str, Any]], points: int = 60
) -> dict[str, Any]:
    """At most `points` intervals of equal length that end with the last answer; `null` where nothing happened."""
    outcomes = sorted((past.outcome for past in pasts if past.outcome is not None), key=lambda outcome: outcome.at)
    refused = [past.at for past in pasts if past.chosen is None]
    times = [outcome.at for outcome in outcomes] + refused
    edges = _edges(min(times), max(times), points) if times else np.zeros(1)
    providers = {candidate.name: candidate.provider for candidate in candidates}
    calls = [(outcome.at, step) for outcome in outcomes for step in outcome.steps if step.error != CANCELLED]
    names = list(dict.fromkeys(providers.values()))
    return {
        "since": float(edges[0]) if times else None,
        "until": float(edges[-1]) if times else None,
        "width": float(edges[1] - edges[0]) if times else None,
        "at": edges[:-1].tolist(),
        "all": _all(outcomes, refused, edges),
        "providers": [
            _provider(
                name,
                [(at, step.seconds, step.error) for at, step in calls if providers.get(step.candidate) == name],
                edges,
            )
            | {
                "candidates": [
                    {"name": candidate, **breakers.get(candidate, UNKNOWN)}
                    for candidate, own in providers.items()
                    if own == name
                ]
            }
            for name in names
        ],
    }


def _all(outcomes: Sequence[Outcome], refused: Sequence[float], edges: Array) -> dict[str, Any]:
    done = [outcome for outcome in outcomes if outcome.candidate is not None]
    priced = [outcome for outcome in outcomes if math.isfinite(outcome.cost)]
    ttft = [(outcome.at, outcome.ttft) for outcome in done if outcome.ttft is not None]
    failed = [outcome.at for outcome in outcomes if outcome.error and outcome.error != CANCELLED]
    return {
        "requests": _count([outcome.at for outcome in outcomes] + list(refused), edges),
        "failed": _count(failed, edges),
        "refused": _count(refused, edges),
        "cost": _sum([(outcome.at, outcome.cost) for outcome in priced], edges),
        "unpriced": len(outcomes) - len(priced),
        "latency": _quantiles([(outcome.at, outcome.latency) for outcome in done], edges),
        "ttft": _quantiles(ttft, edges),
    }


def _provider(name: str, calls: Sequence[tuple[float, float, str]], edges: Array) -> dict[str, Any]:
    errors = Counter(error for _, _, error in calls if error)
    return {
        "name": name,
        "calls": _count([at for at, _, _ in calls], edges),
        "errors": _count([at for at, _, error in calls if error], edges),
        "codes": dict(errors.most_common()),
        "latency": _quantiles([(at, seconds) for at, seconds, error in calls if not error], edges),
        "total": {"calls": len(calls), "errors": errors.total()}
        | _two(np.array([seconds for _, seconds, error in calls if not error])),
    }


def _edges(first: float, last: float, points: int) -> Array:
    """Whole multiples of a round width, so that the intervals stay where they are as time goes on."""
    span = max(last - first, 1.0)
    width = next(
        (width for width in WIDTHS if span / width < points - 1), 86400 * math.ceil(span / 86400 / (points - 2))
    )
    begin, end = math.floor(first / width), math.floor(last / width) + 1
    return np.arange(begin, end + 1, dtype=np.float64) * width


def _place(times: Sequence[float], edges: Array) -> np.ndarray:
    return np.clip(np.searchsorted(edges, times, side="right") - 1, 0, max(len(edges) - 2, 0))


def _count(times: Sequence[float], edges: Array) -> list[int]:
    if not times:
        return [0] * (len(edges) - 1)
    counts: list[int] = np.bincount(_place(times, edges), minlength=len(edges) - 1).tolist()
    return counts


def _sum(timed: Sequence[tuple[float, float]], edges: Array) -> list[float]:
    if not timed:
        return [0.0] * (len(edges) - 1)
    times, values = zip(*timed, strict=True)
    sums: list[float] = np.bincount(_place(times, edges), weights=values, minlength=len(edges) - 1).tolist()
    return sums


def _quantiles(timed: Sequence[tuple[float, float]], edges: Array) -> dict[str, list[float | None]]:
    """The median and the 95th percentile in each interval."""
    n = len(edges) - 1
    parts: list[list[float]] = [[] for _ in range(n)]
    for place, (_, value) in zip(_place([at for at, _ in timed], edges).tolist(), timed, strict=True):
        parts[place].append(value)
    two = [_two(np.array(part)) for part in parts]
    return {name: [one[name] for one in two] for name in ("p50", "p95")}


def _two(values: Array) -> dict[str, float | None]:
    if not len(values):
        return {"p50": None, "p95": None}
    p50, p95 = np.quantile(values, (0.5, 0.95)).tolist()
    return {"p50": p50, "p95": p95}
