"""What the caller or the operator will not accept, held against what is predicted: cost, time and quality."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from ..types import Array, Candidate, Context, Estimate, Limits, Mask, Reason
from .base import Objection

NONE = Limits()


@dataclass(frozen=True)
class LimitsGuard:
    """The request's limits and the operator's `limits` both hold. A prediction that is not finite meets no limit."""

    limits: Limits = NONE
    name: str = "limits"

    def concerns(self, context: Context) -> bool:
        return self.limits != NONE or context.request.limits != NONE

    def check_estimate(
        self, context: Context, candidates: Sequence[Candidate], estimate: Estimate
    ) -> Iterable[Objection]:
        limits = stricter(context.request.limits, self.limits)
        cost, latency, quality = estimate.cost[0], estimate.latency[0], estimate.quality[0]
        if (most := limits.max_cost) is not None:
            told = f"would cost about ${{:.3g}}, the limit is ${most:.3g}"
            yield from self._unless(cost <= most, cost, "max_cost", told, "raise max_cost, or shorten the request")
        if (most := limits.deadline) is not None:
            told = f"would take about {{:.3g}} s, the deadline is {most:.3g} s"
            yield from self._unless(latency <= most, latency, "deadline", told, "allow more time")
        if (least := limits.min_quality) is not None:
            told = f"is expected to reach a quality of {{:.2f}}, at least {least:.2f} is asked for"
            yield from self._unless(quality >= least, quality, "min_quality", told, "lower min_quality")

    def _unless(self, meets: Mask, values: Array, code: str, told: str, remedy: str) -> Iterable[Objection]:
        for i in np.flatnonzero(~(meets & np.isfinite(values))).tolist():
            value = float(values[i])
            detail = (
                f"it {told.format(value)}"
                if isfinite(value)
                else f"a {code} is set, and nothing is known to hold it against"
            )
            yield i, Reason(self.name, code, detail, remedy)


def stricter(one: Limits, other: Limits) -> Limits:
    """Limits that hold exactly when both do."""
    if other is NONE:
        return one
    return Limits(
        max_cost=min(_stated(one.max_cost, other.max_cost), default=None),
        deadline=min(_stated(one.deadline, other.deadline), default=None),
        min_quality=max(_stated(one.min_quality, other.min_quality), default=None),
    )


def _stated(*values: float | None) -> list[float]:
    return [value for value in values if value is not None]
