"""Can a log answer for another policy? Effective sample size, what was never tried, and which requests are to blame.

Rows with weights w carry as much as (sum w)^2 / sum w^2 rows of the policy itself would (Kish, Survey Sampling, 1965).
Their mean should be 1; far from it, what the policy wants has hardly come up yet. What the log had no chance to choose
cannot be answered by any number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from .ope import Logged

RARE = 20.0  # times as often as it was tried: what a policy wants so is hardly answered for
STRAY = 0.3  # of the mean weight from 1
LISTED = 5


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of one group for which the other policy wants a candidate that the log hardly tried.

    `share` is what the policy wants of it there, as a share of all its choices; `tried` is the log's mean probability.
    """

    group: str
    candidate: str
    requests: int
    share: float
    tried: float
    examples: tuple[str, ...]

    def __str__(self) -> str:
        tried = "never tried" if self.tried == 0 else f"tried with {self.tried:.2g}"
        return f"{self.group}: {self.candidate} for {self.requests} requests ({self.share:.1%} of all), {tried}"


class Overlap(msgspec.Struct, frozen=True, kw_only=True):
    """`effective` of the `rows`; `unsupported` is the share of choices never tried; `mean` and `largest` weight."""

    rows: int
    effective: float
    mean: float
    unsupported: float
    largest: float
    trouble: tuple[Trouble, ...]

    def too_thin(self, effective: float, unsupported: float) -> str:
        """Why this log cannot answer, empty if it can: less than `effective` rows, more than `unsupported` untried."""
        if self.unsupported > unsupported:
            return (
                f"{self.unsupported:.1%} of what the policy would choose had no chance in the log"
                f" (at most {unsupported:.1%} is allowed)"
            )
        if self.effective < effective:
            return f"the {self.rows} decisions say as much as {self.effective:.0f} of the policy's own would"
        if abs(self.mean + self.unsupported - 1.0) > STRAY:
            return f"weights average {self.mean:.2f} where they should 1: what the policy wants came up too seldom"
        return ""


def effective(weights: Sequence[float] | np.ndarray) -> float:
    w = np.asarray(weights, dtype=np.float64)
    square = float((w * w).sum())
    return float(w.sum() ** 2) / square if square > 0 else 0.0


def overlap(log: Logged, groups: Sequence[str] = (), ids: Sequence[str] = ()) -> Overlap:
    """`groups` (n,) names the kind of each request, `ids` (n,) its decision; the log must have names of candidates."""
    tried = log.logging if log.logging is not None else np.full_like(log.target, np.nan)
    rare = (log.target > 0) & ~(tried * RARE >= log.target) if log.logging is not None else log.target < 0
    found: list[Trouble] = []
    names = log.names or [str(i) for i in range(log.target.shape[1])]
    of = np.array(groups if len(groups) else [""] * len(log), dtype=object)
    for group in dict.fromkeys(of):
        mine = of == group
        for c, name in enumerate(names):
            rows = np.flatnonzero(mine & rare[:, c])
            if len(rows):
                found.append(
                    Trouble(
                        group=str(group),
                        candidate=name,
                        requests=len(rows),
                        share=float(log.target[rows, c].sum()) / len(log),
                        tried=float(tried[rows, c].mean()),
                        examples=tuple(ids[i] for i in rows[:3]) if len(ids) else (),
                    )
                )
    found.sort(key=lambda trouble: -trouble.share)
    return Overlap(
        rows=len(log),
        effective=effective(log.weight),
        mean=float(log.weight.mean()),
        unsupported=float(log.unsupported.sum()) / len(log),
        largest=float(log.weight.max()),
        trouble=tuple(found[:LISTED]),
    )
