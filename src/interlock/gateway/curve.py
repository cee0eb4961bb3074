"""GET /v1/curve: what routing earned over time, against what every fixed candidate would have earned.

Only decisions that were judged count. Utility is the objective's own, with the measured score, cost, latency and
energy in the place of their estimates. What a fixed candidate would have earned on a prompt that went to another
one is not known; it is estimated without bias, doubly robustly, from what the ledger keeps of each decision: the
estimates for all candidates as they were before the answer, and the probability of each of being chosen,

    v(a) = u(a) + [a answered] / p(a) x (measured utility - u(a)),      1 / p(a) capped at CAP

where u(a) is the utility estimated at the time. The cap trades a little bias for much variance. A candidate that
the guards ruled out for a prompt has no value there.

Source: Dudik, Langford and Li, "Doubly Robust Policy Evaluation and Learning", ICML 2011.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import msgspec
import numpy as np

from ..types import Array, Estimate
from .history import COLUMNS, Past, estimates

CAP = 20.0
FEWEST = 10  # judged decisions in one point

Utility = Callable[[Estimate], Array]


def curve(pasts: Sequence[Past], utility: Utility, points: int = 40) -> dict[str, Any]:
    """At most `points` points in order of time, each over equally many judged decisions.

    Every series has one mean and one standard error per point; `null` where a candidate was never permitted.
    """
    names = sorted({name for past in pasts for name in past.names})
    served, fixed = values(pasts, names, utility)
    size = max(FEWEST, math.ceil(len(pasts) / points))
    bins = [slice(start, start + size) for start in range(0, len(pasts), size)]
    return {
        "decisions": len(pasts),
        "per_point": size,
        "at": [float(np.mean([past.at for past in pasts[part]])) for part in bins],
        "until": [min(part.stop, len(pasts)) for part in bins],
        "served": _series(served[:, None], bins)[0],
        "fixed": dict(zip(names, _series(fixed, bins), strict=True)),
        "method": f"served: measured utility; fixed: doubly robust estimate, weights capped at {CAP:g}",
    }


def values(pasts: Sequence[Past], names: Sequence[str], utility: Utility) -> tuple[Array, Array]:
    """Measured utility (n,), and each candidate's doubly robust value (n, k), NaN where it was not permitted."""
    served, fixed, start = np.full(len(pasts), np.nan), np.full((len(pasts), len(names)), np.nan), 0
    for own, group in groupby(pasts, key=lambda past: past.names):
        rows = list(group)
        columns = [names.index(name) for name in own]
        served[start : start + len(rows)], fixed[start : start + len(rows), columns] = _same_candidates(
            rows, own, utility
        )
        start += len(rows)
    return served, fixed


def _same_candidates(rows: list[Past], own: tuple[str, ...], utility: Utility) -> tuple[Array, Array]:
    expected = estimates(rows)
    column = np.array([own.index(past.served or "") if past.served in own else -1 for past in rows])
    known, at = np.arange(len(rows))[column >= 0], column[column >= 0]
    measured = Estimate(*(array.copy() for array in msgspec.structs.astuple(expected)))
    for row, candidate in zip(known, at, strict=True):
        _measure(measured, rows[row], row, candidate)
    before = np.nan_to_num(utility(expected), nan=0.0)
    got = np.full(len(rows), np.nan)
    got[known] = utility(measured)[known, at]
    probability = np.stack([past.table[COLUMNS.index("probability")] for past in rows])
    value = before.copy()
    weight = np.minimum(CAP, 1.0 / np.maximum(probability[known, at], 1.0 / CAP))
    value[known, at] += weight * (got[known] - before[known, at])
    return got, np.where([past.permitted for past in rows], value, np.nan)


def _measure(estimate: Estimate, past: Past, row: int, candidate: int) -> None:
    outcome, score = past.outcome, past.score
    if outcome is None or score is None:
        raise ValueError("only answered and judged decisions have a measured utility")
    estimate.quality[row, candidate], estimate.cost[row, candidate] = score, outcome.cost
    estimate.latency[row, candidate] = outcome.latency
    if outcome.energy is not None:
        estimate.energy[row, candidate] = outcome.energy


def _series(table: Array, bins: Sequence[slice]) -> list[dict[str, list[float | None]]]:
    """Per column of `table` (n, k): mean and standard error in each bin, over the numbers that are there."""
    series = []
    for column in table.T:
        parts = [part[np.isfinite(part)] for part in (column[piece] for piece in bins)]
        series.append(
            {
                "mean": [float(part.mean()) if len(part) else None for part in parts],
                "standard_error": [
                    float(part.std(ddof=1) / math.sqrt(len(part))) if len(part) > 1 else None for part in parts
                ],
            }
        )
    return series
