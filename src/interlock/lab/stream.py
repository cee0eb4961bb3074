"""Stream prompts through the real decide -> ledger -> fold -> publish path in this process, on recorded answers.

Everything is what `interlock serve` runs (router, ledger file, learner, policy and trust of the embedded configuration)
but the call to the model, whose recorded answer is taken. So what a policy would have got is known for every prompt and
candidate, and is reported as the expectation under the decision's own probabilities, without the noise of its draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import numpy as np

from ..assembly import UNTRAINED, build_plan, build_policy, trust_of
from ..config import Document, from_document
from ..learning.learner import Learner
from ..ledger import SqliteLedger
from ..offered import embedded
from ..plan import Served
from ..pocket.tasks import Example
from ..providers import close_all
from ..router import Router
from ..types import Array, Decision, Feedback, Message, Outcome, Request, Step, Usage
from .answers import Table

TOGETHER = 20  # requests decided, scored and learnt in one go: about what a busy gateway sees between two folds


def requests_of(examples: Sequence[Example], seed: int, tenants: Sequence[str] = ("",)) -> list[Request]:
    """One request an example; the tenants take turns."""
    return [
        Request(
            id=f"il-{seed}-{i:06d}",
            messages=(Message("user", example.prompt),),
            tenant=tenants[i % len(tenants)],
            seed=seed,
        )
        for i, example in enumerate(examples)
    ]


class Stream:
    """The embedded configuration, ready to be streamed through any number of times. Use as a context manager.

    `changes` are merged into its `policy` and `learner` blocks: another estimator, `{"robust": False}`.
    """

    def __init__(self, *, policy: dict[str, object] | None = None, learner: dict[str, object] | None = None) -> None:
        document = embedded()
        document["policy"] |= policy or {}
        document["learner"] = learner or {}
        self.settings = from_document(Document(document))
        self.plan = build_plan(self.settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        import asyncio

        asyncio.run(close_all(self.plan.executor.providers.values()))

    def run(
        self,
        requests: Sequence[Request],
        world: Table,
        scores: Array | None = None,
        *,
        learn: int | None = None,
        keep: Path | None = None,
        done: Callable[[int], object] = lambda _: None,
    ) -> Array:
        """The probability (n, k) of each candidate at each request, starting from an empty ledger.

        `world` is what candidates answer, `scores` (n, k) what is said of it (default: its quality). With `learn`, only
        the first so many requests are learnt from. The ledger is written to `keep`, if given. `done` is told how many
        requests have just been finished.
        """
        assert [c.name for c in self.plan.candidates] == list(world.names)
        said = world.quality if scores is None else scores
        probability = np.zeros((len(requests), len(world.names)))
        policy = build_policy(self.settings, self.plan.reader)
        with TemporaryDirectory() as folder, SqliteLedger(keep or Path(folder) / "ledger.db", linger=0.0) as ledger:
            router = Router(self.plan, Served(policy.clone().prepare(), UNTRAINED), ledger)
            trust = trust_of(self.settings)
            learner = Learner(ledger, policy, router.adopt, trust=trust, store_every=math.inf)
            for start in range(0, len(requests), TOGETHER):
                batch = requests[start : start + TOGETHER]
                for row, decision in enumerate(router.decide(batch), start):
                    probability[row] = [considered.probability for considered in decision.considered]
                    _carry_out(ledger, decision, requests[row], world, row, said)
                ledger.flush().wait()
                if learn is None or start < learn:
                    learner.step()
                done(len(batch))
            learner.stop()
        return probability


def _carry_out(ledger: SqliteLedger, decision: Decision, request: Request, world: Table, row: int, said: Array) -> None:
    """Record the decision, what carrying it out would have given, and the score."""
    assert decision.chosen is not None
    column = world.names.index(decision.chosen)
    fresh, cached, written = (int(count) for count in world.tokens[row, column])
    usage, cost = Usage(input=fresh + cached, output=written, cached=cached), float(world.cost[row, column])
    step = Step(decision.chosen, "chosen", usage=usage, cost=cost)
    ledger.put(decision, request)
    ledger.put(
        Outcome(
            decision=decision.id,
            at=decision.at,
            candidate=decision.chosen,
            steps=(step,),
            usage=usage,
            cost=cost,
            finish="stop",
        )
    )
    score = float(said[row, column])
    ledger.put(Feedback(decision=decision.id, at=decision.at, score=score, source="verifier", tenant=request.tenant))
