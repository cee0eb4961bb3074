"""GET /v1/savings: what routing saved against always asking one candidate, the strongest unless another is named.

The strongest is the one of whom the most quality was expected, over the requests that permit it: expectations are older
than the answers, so that luck in the answers does not choose it. What it would have cost and scored on the requests
that went elsewhere is estimated off-policy, and not at all where it was tried too seldom to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from ..errors import NotFound, nearest
from ..learning.ope import Value
from .history import Past
from .off_policy import Log, log_of, weigh

USUALLY = 0.5  # of the requests must permit a candidate that could be asked always


def savings(pasts: Sequence[Past], against: str = "") -> dict[str, Any]:
    """Sums in USD over the decisions that permit `against`. Raises `NotFound` for a candidate nobody considered."""
    log = log_of(pasts)
    strongest = _strongest(log)
    if against and against not in log.names:
        raise NotFound(
            f"candidate {against!r} was not considered lately; {nearest(against, log.names)}", param="against"
        )
    document: dict[str, Any] = {
        "against": against or strongest,
        "strongest": strongest,
        "candidates": log.names,
        "decisions": len(log.pasts),
        "since": log.pasts[0].at if log.pasts else None,
        "left_out": log.left_out,
    }
    if not document["against"]:
        return document | {"requests": 0}
    target = np.zeros_like(log.logging)
    column = log.names.index(document["against"])
    target[:, column] = log.permitted[:, column]
    cost, quality = weigh(log, target, "cost"), weigh(log, target, "quality")
    return document | {
        "requests": cost.rows,
        "spent": None if cost.served is None else cost.served.mean * cost.rows,
        "would_have_spent": _times(cost.other, cost.rows),
        "saved": _times(cost.difference, cost.rows),
        "predicted": None if cost.predicted is None else cost.predicted * cost.rows,
        "cost": cost,
        "quality": quality,
    }


def _strongest(log: Log) -> str:
    """Empty when there is none that could be asked always."""
    if not log.pasts:
        return ""
    expected = np.where(log.permitted, log.predicted["quality"], np.nan)
    known = np.isfinite(expected)
    mean = np.where(known, expected, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    mean[known.mean(axis=0) < USUALLY] = -np.inf
    return log.names[int(mean.argmax())] if np.isfinite(mean.max()) else ""


def _times(value: Value | None, rows: int) -> Value | None:
    """A mean as a sum."""
    if value is None:
        return None
    parts = ("mean", "low", "high", "unknown")
    return msgspec.structs.replace(value, **{part: getattr(value, part) * rows for part in parts})
