"""Write down a decision: every candidate considered, why not or how likely, and which one the seed drew."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .errors import Refused
from .exploration import sample
from .guards import Board, Health
from .types import Context, Decision, Estimate, Mask, Reason, Slate

if TYPE_CHECKING:
    from .guards import Standing
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
    contexts: Sequence[Context],
    standing: Standing,
    estimate: Estimate,
    choice: Choice,
    seconds: float,
) -> list[Decision]:
    """The decisions on a batch; each took `seconds`.

    Candidates that passed every guard but have no finite estimate are dropped with a reason, never chosen silently.
    Only when nothing else is left does the declared default order choose among them; the decision says so. It also says
    when the chosen one is outside what the objective promises.
    """
    names = tuple(candidate.name for candidate in plan.candidates)
    columns = (*(getattr(estimate, name) for name in estimate.__struct_fields__), choice.utility, choice.probability)
    numbers = np.stack(columns, axis=2)
    some_dropped: list[bool] = [bool(row.any()) for row in choice.dropped]
    outside = [] if choice.promised is None else (~choice.promised).tolist()
    now, decisions = time.time(), []
    for i, (context, reasons, probability) in enumerate(
        zip(contexts, standing, choice.probability.tolist(), strict=True)
    ):
        request, degraded = context.request, served.degraded
        seed = plan.settings.policy.seed if request.seed is None else request.seed
        pick = sample(probability, seed, request.id)
        if some_dropped[i] and pick is None:
            pick, degraded = first_in_order(plan, choice.dropped[i]), "default_order"
            numbers[i, pick, -1] = 1.0
        elif some_dropped[i]:
            reasons = [(*own, NOT_FINITE) if out else own for own, out in zip(reasons, choice.dropped[i], strict=True)]
        if outside and pick is not None and degraded != "default_order" and outside[i][pick]:
            degraded = NO_PROMISE
        slate = Slate(names, reasons, numbers[i])
        decisions.append(_decision(plan, served, context, slate, pick, seed, degraded, now, seconds))
    return decisions


def _decision(
    plan: Plan,
    served: Served,
    context: Context,
    slate: Slate,
    pick: int | None,
    seed: int,
    degraded: str,
    at: float,
    seconds: float,
) -> Decision:
    request = context.request
    return Decision(
        id=request.id,
        at=at,
        tenant=request.tenant,
        session=request.session,
        model=request.model,
        considered=slate,
        chosen=None if pick is None else slate.names[pick],
        policy=served.policy.name,
        snapshot=served.snapshot,
        config=plan.config,
        seed=seed,
        degraded=degraded,
        key=request.key,
        reserved=request.reserved or 0.0,
        writer=request.writer,
        signals=context.signals,
        vector=context.vector,
        seconds=seconds,
    )


def first_in_order(plan: Plan, allowed: Mask) -> int:
    """The first allowed candidate in the declared default order; those not listed come last, in pool order."""
    names = [candidate.name for candidate in plan.candidates]
    order = [names.index(name) for name in plan.default_order] + list(range(len(names)))
    return next(index for index in order if allowed[index])


def refusal(decision: Decision, board: Board) -> Refused:
    """What a caller is told when nobody may serve: every reason, and how long to wait where that is all it takes."""
    reasons = {row.candidate: [reason.detail for reason in row.reasons] for row in decision.considered}
    unwell = [row.candidate for row in decision.considered if row.grade == f"but for {Health.name}"]
    return Refused(reasons, decision.id, min(map(board.wait, unwell)) if unwell else None)
