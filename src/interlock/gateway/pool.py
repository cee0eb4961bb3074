"""GET /v1/pool: each candidate's share of the traffic, accuracy, cost and speed in the recent past, price and
breaker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite
from statistics import fmean, median
from typing import Any

from ..types import Candidate
from .history import Past

UNKNOWN: Mapping[str, Any] = {"breaker": None, "resting": 0.0, "last_error": ""}


def pool(
    candidates: Sequence[Candidate], pasts: Sequence[Past], breakers: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """One document per candidate. `quality` is the mean score of judged answers; `null`: nobody judged any."""
    answered = [past for past in pasts if past.served is not None]
    failures = Counter(step.candidate for past in pasts if past.outcome for step in past.outcome.steps if step.error)
    return [_row(c, answered, failures[c.name], breakers.get(c.name, UNKNOWN)) for c in candidates]


def _row(candidate: Candidate, answered: Sequence[Past], failures: int, breaker: Mapping[str, Any]) -> dict[str, Any]:
    own = [past for past in answered if past.served == candidate.name]
    outcomes = [past.outcome for past in own if past.outcome is not None]
    scores = [past.score for past in own if past.score is not None]
    costs = [outcome.cost for outcome in outcomes if isfinite(outcome.cost)]
    profile = candidate.profile
    return {
        "name": candidate.name,
        "provider": candidate.provider,
        "model": candidate.model,
        "budget": candidate.budget,
        "answers": len(own),
        "share": len(own) / len(answered) if answered else 0.0,
        "judged": len(scores),
        "quality": fmean(scores) if scores else None,
        "cost": fmean(costs) if costs else None,
        "latency": median(outcome.latency for outcome in outcomes) if outcomes else None,
        "output_tokens": fmean(outcome.usage.output for outcome in outcomes) if outcomes else None,
        "failures": failures,
        "price": {"in": profile.price_in, "out": profile.price_out, "cached": profile.price_cached},
        "trust": profile.trust,
        "context_window": profile.context_window,
        "capabilities": {name: answer.value for name, answer in sorted(profile.capabilities.items())},
        **breaker,
    }
