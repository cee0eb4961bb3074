"""The pipeline. Nothing else in the code knows all of it.

    Request -> signals -> Context -> guards -> permitted -> estimate -> objective + exploration -> Decision
                                                                                                      |
    Answer <- ledger <- Outcome <------------------- execution <--------------------------------------+

Deciding and doing are two functions: `decide` has no side effect, so live traffic, dry run, shadow and replay all call
the same one; `start` decides, records and carries out. Everything numeric is batch-first: requests that arrive in one
event-loop tick are decided together.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from .batching import Tick
from .decision import write_down
from .errors import NotFound, Refused
from .types import Answer, Candidate, Decision, Feedback, Outcome, Request

if TYPE_CHECKING:
    from .execution import Executor, Run
    from .guards import Guards
    from .ledger import Ledger
    from .policy import Policy
    from .signals import Reader

@dataclass(frozen=True, slots=True)
class Plan:
    """What one configuration builds. A reload swaps it whole, so a request never sees half of each."""

    candidates: tuple[Candidate, ...]
    reader: Reader
    guards: Guards
    executor: Executor
    default_order: tuple[str, ...]
    config: str
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Served:
    """A policy and the snapshot it was restored from. `degraded` says how far it is from the newest good snapshot."""

    policy: Policy
    snapshot: str
    degraded: str = ""


class Router:
    """Routes requests among a plan's candidates. Construct with `Router.from_config`, or from parts in a test."""

    def __init__(self, plan: Plan, served: Served, ledger: Ledger) -> None:
        self.plan, self.served, self.ledger = plan, served, ledger
        self._decide_in_tick = Tick(self.decide)

    @classmethod
    def from_config(cls, path: str | None = None) -> Self:
        """Everything from one `interlock.yaml`; without a path, what the environment offers. Raises `ConfigError`."""
        from .assembly import assemble

        return assemble(path, cls)

    def decide(self, requests: Sequence[Request]) -> list[Decision]:
        """One decision per request. Pure: reads clocks, breakers and the current snapshot, changes nothing."""
        began, plan, served = time.perf_counter(), self.plan, self.served
        contexts = plan.reader.read(requests)
        standing = plan.guards.check(contexts, plan.candidates)
        estimate = served.policy.estimate(contexts, plan.candidates)
        standing = plan.guards.check_estimates(contexts, plan.candidates, estimate, standing)
        permitted = np.array([[not reasons for reasons in row] for row in standing], dtype=np.bool_)
        choice = served.policy.choose(estimate, permitted)
        seconds = (time.perf_counter() - began) / len(requests)
        return [
            write_down(plan, served, context, i, standing[i], estimate, choice, seconds)
            for i, context in enumerate(contexts)
        ]

    async def start(self, request: Request) -> Run:
        """Decide, record, begin. Iterate the run for the answer. Raises `Refused` when no candidate may serve."""
        decision = await self._decide_in_tick(request)
        self.ledger.put(decision, request)
        if decision.chosen is None:
            raise Refused({row.candidate: [r.detail for r in row.reasons] for row in decision.considered}, decision.id)
        return self.plan.executor.start(request, decision, self._finished)

    def _finished(self, outcome: Outcome) -> None:
        self.ledger.put(outcome)

    async def route(self, request: Request) -> Answer:
        """Decide, execute, record; the whole answer at once. Raises `Refused` or the last `ProviderError`."""
        run = await self.start(request)
        chunks = [chunk async for chunk in run]
        return Answer(run.decision, run.outcome, "".join(chunk.text for chunk in chunks), chunks[-1].raw)

    async def feedback(self, feedback: Feedback) -> None:
        """Returns once the feedback is durable. Raises `NotFound` for an unknown decision, `RequestError` for a self-score."""
        if not await self.ledger.knows(feedback.decision):
            raise NotFound(f"no decision {feedback.decision!r} in the ledger", param="id")
        await self.ledger.commit(feedback)
