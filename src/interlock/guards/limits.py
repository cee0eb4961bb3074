"""What the caller will not accept, held against what is predicted: cost, time and quality."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..types import Candidate, Context, Estimate, Limits, Reason
from .base import Objection

NONE = Limits()


@dataclass(frozen=True)
class LimitsGuard:
    """`defaults` apply where the request states no limit of its own. A prediction that is not finite meets no limit."""

    defaults: Limits = NONE
    name: str = "limits"

    def of(self, context: Context) -> Limits:
        asked, own = context.request.limits, self.defaults
        if own is NONE:
            return asked
        return Limits(
            own.max_cost if asked.max_cost is None else asked.max_cost,
            own.deadline if asked.deadline is None else asked.deadline,
            own.min_quality if asked.min_quality is None else asked.min_quality,
        )

    def check_estimate(self, context: Context, candidates: Sequence[Candidate], estimate: Estimate) -> Iterable[Objection]:
        limits = self.of(context)
        if limits.max_cost is not None:
            for i in np.flatnonzero(~(estimate.cost[0] <= limits.max_cost)).tolist():
                detail = f"it would cost about ${estimate.cost[0, i]:.3g}, the limit is ${limits.max_cost:.3g}"
                yield i, Reason(self.name, "max_cost", detail, "raise max_cost, or shorten the request")
        if limits.deadline is not None:
            for i in np.flatnonzero(~(estimate.latency[0] <= limits.deadline)).tolist():
                detail = f"it would take about {estimate.latency[0, i]:.3g} s, the deadline is {limits.deadline:.3g} s"
                yield i, Reason(self.name, "deadline", detail, "allow more time")
        if limits.min_quality is not None:
            for i in np.flatnonzero(~(estimate.quality[0] >= limits.min_quality)).tolist():
                detail = f"its expected quality is {estimate.quality[0, i]:.2f}, at least {limits.min_quality:.2f} is asked for"
                yield i, Reason(self.name, "min_quality", detail, "lower min_quality")
