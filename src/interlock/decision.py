"""Write down a decision: every candidate considered, why not or how likely, and which one the seed drew."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .exploration import sample
from .types import Considered, Context, Decision, Estimate, Mask, Reason

if TYPE_CHECKING:
    from .plan import Plan, Served
    from .policy import Choice

NOT_FINITE = Reason(
    "policy",
    "not_finite",
    "an estimate was not a finite number",
    "give it a price, or let it be tried so that its estimates exist",
)

NO_PROMISE = "no_promise"


def write_down(
    plan: Plan,
    served: Served,
    context: Context,
    row: int,
    standing: Sequence[tuple[Reason, ...]],
    estimate: Estimate,
    choice: Choice,
    seconds: float,
) -> Decision:
    """The decision on request `row` of a batch.

    Candidates that passed every guard but have no finite estimate are dropped with a reason, never chosen silently.
    Only when nothing else is left does the declared default order choose among them; the decision says so. It also says
    when the chosen one is outside what the objective promises.
    """
    request = context.request
    seed = plan.settings.policy.seed if request.seed is None else request.seed
    dropped, probability, degraded = choice.dropped[row], choice.probability[row], served.degraded
    pick = sample(probability, seed, request.id)
    if pick is None and dropped.any():
        pick, degraded = first_in_order(plan, dropped), "default_order"
        probability = np.eye(len(plan.candidates))[pick]
    elif dropped.any():
        standing = [(*reasons, NOT_FINITE) if out else reasons for reasons, out in zip(standing, dropped, strict=True)]
    elif pick is not None and choice.promised is not None and not choice.promised[row, pick]:
        degraded = NO_PROMISE
    columns = (*(getattr(estimate, name)[row] for name in estimate.__struct_fields__), choice.utility[row], probability)
    considered = tuple(
        Considered(candidate.name, reasons, *numbers)
        for candidate, reasons, numbers in zip(
            plan.candidates, standing, np.stack(columns, axis=1).tolist(), strict=True
        )
    )
    return Decision(
        id=request.id,
        at=time.time(),
        tenant=request.tenant,
        session=request.session,
        model=request.model,
        considered=considered,
        chosen=None if pick is None else plan.candidates[pick].name,
        policy=served.policy.name,
        snapshot=served.snapshot,
        config=plan.config,
        seed=seed,
        degraded=degraded,
        signals=context.signals,
        vector=context.vector,
        seconds=seconds,
    )


def first_in_order(plan: Plan, allowed: Mask) -> int:
    """The first allowed candidate in the declared default order; those not listed come last, in pool order."""
    names = [candidate.name for candidate in plan.candidates]
    order = [names.index(name) for name in plan.default_order] + list(range(len(names)))
    return next(index for index in order if allowed[index])
