"""The pipeline. Nothing else in the code knows all of it.

    Request -> signals -> Context -> guards -> permitted -> estimate -> objective + exploration -> Decision
                                                                                                      |
    Answer <- ledger <- Outcome <------------------- execution <--------------------------------------+

Deciding and doing are two functions: `decide` has no side effect, so live traffic, dry run, shadow and replay all call
the same one; `start` decides, records and carries out. Everything numeric is batch-first: requests that arrive in one
event-loop tick are decided together.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np

from .batching import Tick
from .decision import refusal, write_down
from .errors import NotFound
from .failsafe import Failsafe
from .judging import check
from .plan import Plan, Served
from .types import Answer, Decision, Feedback, Request

if TYPE_CHECKING:
    from .config import Settings
    from .execution import Run
    from .learning.learner import Learner
    from .ledger import Ledger
    from .policy import Policy


class Router:
    """Routes requests among a plan's candidates. Construct with `Router.from_config`, or from parts in a test."""

    def __init__(self, plan: Plan, served: Served, ledger: Ledger) -> None:
        self.plan, self.served, self.ledger = plan, served, ledger
        self.learner: Learner | None = None
        self.failsafe = Failsafe()
        self.changing = asyncio.Lock()  # one reload at a time, and none while closing
        self.leaving: asyncio.Task[None] | None = None  # closes what reloads have dropped
        self._decide_in_tick = Tick(self._decide)

    @classmethod
    def from_config(cls, path: str | None = None) -> Self:
        """Everything from one `interlock.yaml`; without a path, what the environment offers. Raises `ConfigError`."""
        from .assembly import assemble

        return assemble(path, cls)

    def decide(self, requests: Sequence[Request]) -> list[Decision]:
        """One decision per request. Pure: reads clocks, breakers and the current snapshot, changes nothing."""
        return [decision for decision, _ in self._decide(requests)]

    def _decide(self, requests: Sequence[Request]) -> list[tuple[Decision, Plan]]:
        """Each decision with the plan it was made on: a reload may come before it is carried out."""
        began, plan, served = time.perf_counter(), self.plan, self.served
        if not requests:
            return []
        contexts = plan.affinity.read(plan.reader.read(requests), plan.board.under_way)
        standing = plan.guards.check(contexts, plan.candidates)
        estimate = self.failsafe.estimate(served.policy, contexts, plan.candidates)
        standing = plan.guards.check_estimates(contexts, plan.candidates, estimate, standing)
        permitted = np.array([[not reasons for reasons in row] for row in standing], dtype=np.bool_)
        choice = self.failsafe.choose(served.policy, estimate, permitted, [r.limits for r in requests])
        seconds = (time.perf_counter() - began) / len(requests)
        decisions = write_down(plan, served, contexts, standing, estimate, choice, seconds)
        return [(decision, plan) for decision in decisions]

    async def start(self, request: Request) -> Run:
        """Decide, record, begin; iterate the run for the answer. Raises `Refused`; `Busy` when the ledger is behind."""
        decision, plan = await self._decide_in_tick(request)
        recorded = self.ledger.put(decision, request)
        if decision.chosen is None:
            await recorded
            raise refusal(decision, plan.board)
        run = plan.executor.start(request, decision, plan.affinity.after(request, self.ledger.put), recorded)
        plan.runs.add(run)
        return run

    async def route(self, request: Request) -> Answer:
        """Decide, execute, record; the whole answer at once. Raises `Refused` or the last `ProviderError`."""
        run = await self.start(request)
        chunks = [chunk async for chunk in run]
        return Answer(run.decision, run.outcome, "".join(chunk.text for chunk in chunks), chunks[-1].raw)

    async def feedback(self, feedback: Feedback) -> None:
        """Returns once durable. Raises `NotFound`, or `RequestError` for a score or a source that cannot count."""
        check(feedback, self.plan.candidates)
        if not await self.ledger.knows(feedback.decision):
            raise NotFound(f"no decision {feedback.decision!r} in the ledger", param="id")
        await self.ledger.commit(feedback)

    def adopt(self, policy: Policy, snapshot: str, degraded: str = "") -> None:
        """Serve another snapshot from the next decision on. Called by the learner, from its thread."""
        self.served = Served(policy, snapshot, degraded)

    async def reload(self, settings: Settings) -> None:
        """Serve another configuration from the next decision on. Raises `ConfigError`, and then nothing has changed."""
        from .lifecycle import reload

        await reload(self, settings)

    async def close(self) -> None:
        """Stop learning, close providers, write what is queued. Safe to call twice."""
        from .lifecycle import release

        await release(self)
