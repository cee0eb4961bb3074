"""GET /v1/shadow: a second policy decides on every request without executing: how often it differs, what it is worth.

What it would have chosen is drawn as a live decision is, with the request's own seed and id, so that the same
probabilities choose the same. With the serving policy's estimator it decides from the estimates that the decision
itself records: exactly what it would have seen then, and nothing has to be learnt or kept for it. With another
estimator it learns beside the gateway (learning/shadow.py).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ..assembly import build_policy, trust_of
from ..config.settings import PolicySettings
from ..errors import InterlockError
from ..exploration import sample
from ..learning.shadow import Shadow
from ..ledger import Place, Reading
from ..plan import Plan
from ..policy import Policy
from ..types import Array
from .history import WINDOW, Past, estimates
from .off_policy import MEASURES, Log, log_of, weigh

if TYPE_CHECKING:
    from .service import Service

logger = logging.getLogger("interlock.shadow")

LOOK_EVERY = 0.5  # seconds, for another configuration
POINTS = 40  # of the curve
FEWEST = 10  # decisions in one point
LISTED = 8  # flows, groups and examples


class Second:
    """The shadow of one plan. `own` is there when it has to learn for itself."""

    def __init__(self, policy: Policy, settings: PolicySettings, own: Shadow | None = None) -> None:
        self.policy, self.settings, self.own = policy, settings, own

    def stop(self) -> None:
        if self.own is not None:
            self.own.stop()

    def probabilities(self, pasts: Sequence[Past]) -> list[Array | None]:
        """Of each decision over its own candidates, (k,); `None` where this policy has not decided."""
        if self.own is not None:
            return [_listed(past, self.own.probability(past.id)) for past in pasts]
        found: list[Array | None] = []
        for _, group in groupby(pasts, key=lambda past: past.names):
            rows = list(group)
            permitted = np.array([past.permitted for past in rows], dtype=np.bool_)
            found += list(self.policy.choose(estimates(rows), permitted).probability)
        return found


def _listed(past: Past, chances: Any) -> Array | None:
    return None if chances is None else np.array([chances.get(name, 0.0) for name in past.names])


def second(plan: Plan, place: Place) -> Second | None:
    """The shadow that a plan configures, learning already if it has to. Raises `LedgerError`."""
    wanted = plan.settings.shadow_policy
    if wanted is None:
        return None
    policy = build_policy(plan.settings, plan.reader, wanted)
    if shares_estimates(wanted, plan.settings.policy):
        return Second(policy, wanted)
    own = Shadow(Reading(place), policy, plan.candidates, trust_of(plan.settings), WINDOW)
    return Second(policy, wanted, own.start())


def shares_estimates(wanted: PolicySettings, serving: PolicySettings) -> bool:
    """`promise` calibrates itself by a state of its own, which no decision records."""
    return wanted.estimator == serving.estimator and wanted.objective["kind"] != "promise"


async def shadowing(service: Service) -> None:
    """A background of a service: keeps `service.second` the shadow of the plan that serves."""
    plan: Plan | None = None
    try:
        while True:
            if service.router.plan is not plan:
                same = plan is not None and _depends(plan) == _depends(service.router.plan)
                plan = service.router.plan
                if not same:
                    old, service.second = service.second, None
                    if old is not None:
                        await asyncio.to_thread(old.stop)
                    try:
                        service.second = await asyncio.to_thread(second, plan, service.router.ledger.place)
                    except InterlockError as error:
                        logger.error("the shadow policy cannot begin: %s", error)
            await asyncio.sleep(LOOK_EVERY)
    finally:
        if service.second is not None:
            await asyncio.to_thread(service.second.stop)


def _depends(plan: Plan) -> object:
    own = plan.settings
    return own.shadow, own.policy, own.candidates, own.learner, own.vector, own.signals


def compare(pasts: Sequence[Past], shadow: Second | None, serving: PolicySettings) -> dict[str, Any]:
    """The document: over all decisions both made, and by task and by tenant. Without a shadow it says so."""
    if shadow is None:
        return {"serving": _parts(serving), "shadow": None}
    decided = [
        (past, chances, drawn)
        for past, chances in zip(pasts, shadow.probabilities(pasts), strict=True)
        if past.chosen is not None
        and chances is not None
        and (drawn := sample(chances.tolist(), past.seed, past.id)) is not None
    ]
    seen = [past for past, _, _ in decided]
    other = np.array([past.names[drawn] != past.chosen for past, _, drawn in decided], dtype=np.bool_)
    log = log_of(seen)
    target = _target(log, {past.id: chances for past, chances, _ in decided})
    picks = [past.names[drawn] for past, _, drawn in decided]
    return {
        "serving": _parts(serving),
        "shadow": _parts(shadow.settings),
        "learns": shadow.own is not None,
        "progress": None if shadow.own is None else shadow.own.progress(),
        "decisions": len(seen),
        "undecided": sum(past.chosen is not None for past in pasts) - len(seen),
        "since": seen[0].at if seen else None,
        "until": seen[-1].at if seen else None,
        "differs": _share(other),
        "curve": _curve(seen, other),
        "measures": {measure: weigh(log, target, measure) for measure in MEASURES},
        "left_out": log.left_out,
        "flows": _flows(seen, picks),
        "groups": {
            "task": _groups(log, target, seen, other, [past.kind for past in seen]),
            "tenant": _groups(log, target, seen, other, [past.tenant for past in seen]),
        },
        "latest": [
            {"id": past.id, "at": past.at, "kind": past.kind, "served": past.chosen, "shadow": pick}
            for past, pick in list(zip(seen, picks, strict=True))[::-1]
            if pick != past.chosen
        ][:LISTED],
    }


def would_choose(past: Past, shadow: Second) -> dict[str, Any] | None:
    """What the shadow makes of one decision; `None` when it has not decided, or permits nobody."""
    (chances,) = shadow.probabilities([past])
    drawn = None if chances is None else sample(chances.tolist(), past.seed, past.id)
    if chances is None or drawn is None:
        return None
    return {"candidate": past.names[drawn], "probability": float(chances[drawn])}


def _target(log: Log, chances: dict[str, Array]) -> Array:
    target = np.zeros_like(log.logging)
    at = {name: index for index, name in enumerate(log.names)}
    for i, past in enumerate(log.pasts):
        target[i, [at[name] for name in past.names]] = chances[past.id]
    return target


def _parts(settings: PolicySettings) -> dict[str, Any]:
    return {part: getattr(settings, part) for part in ("estimator", "objective", "exploration")}


def _share(other: np.ndarray) -> dict[str, float] | None:
    """A share with its 95% interval. Source: E. B. Wilson, JASA 22 (1927)."""
    if not len(other):
        return None
    n, share, z = len(other), float(other.mean()), 1.959964
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return {"mean": share, "low": max(0.0, centre - half), "high": min(1.0, centre + half)}


def _curve(seen: Sequence[Past], other: np.ndarray) -> dict[str, list[int] | list[float]]:
    """The share over time, over equally many decisions a point."""
    parts = max(1, min(POINTS, len(seen) // FEWEST))
    edges = [len(seen) * part // parts for part in range(parts + 1)] if seen else []
    bins = [slice(*pair) for pair in pairwise(edges)]
    return {
        "until": edges[1:],
        "at": [float(np.mean([past.at for past in seen[part]])) for part in bins],
        "differs": [float(other[part].mean()) for part in bins],
    }


def _flows(seen: Sequence[Past], picks: Sequence[str]) -> list[dict[str, Any]]:
    """Who answered, whom the shadow would have asked, and how often; only where they differ."""
    counted: dict[tuple[str | None, str], int] = {}
    for past, pick in zip(seen, picks, strict=True):
        if pick != past.chosen:
            counted[past.chosen, pick] = counted.get((past.chosen, pick), 0) + 1
    most = sorted(counted.items(), key=lambda item: -item[1])[:LISTED]
    return [{"served": served, "shadow": pick, "decisions": count} for (served, pick), count in most]


def _groups(
    log: Log, target: Array, seen: Sequence[Past], other: np.ndarray, names: Sequence[str]
) -> list[dict[str, Any]]:
    """The same by group, the largest first. A group has fewer decisions, so less can be said of it."""
    of = dict(zip((past.id for past in seen), names, strict=True))
    carried = np.array([of[past.id] for past in log.pasts], dtype=object)
    every = np.array(names, dtype=object)
    sizes = sorted(((name, int((every == name).sum())) for name in dict.fromkeys(names)), key=lambda item: -item[1])
    found = []
    for name, size in sizes:
        rows = np.flatnonzero(carried == name)
        weighed = {measure: weigh(log.only(rows), target[rows], measure) for measure in ("quality", "cost")}
        found.append(
            {
                "name": name,
                "decisions": size,
                "differs": _share(other[every == name]),
                **{
                    measure: {"difference": one.difference, "refused": one.refused, "rows": one.rows}
                    for measure, one in weighed.items()
                },
            }
        )
    return found
