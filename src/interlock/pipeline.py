"""Several routed steps for one request, in order, on one purse: retrieval then model, draft then review.

Every step is a `Router` of its own: its candidates may be anything that is called like a model. A step is told what
the steps before it chose, as hints that its `hints` signal can turn into columns, and its request is what `into` made
of the answer before. Its decision is a ledger row like any other; the ids of one request's rows all begin with the
request's.

Source: routing at every step of a pipeline, Varangot-Reille et al. (arXiv 2502.00409).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from .errors import ConfigError
from .router import Router
from .types import Answer, Limits, Request


def unchanged(request: Request, answer: Answer) -> Request:
    return request


@dataclass(frozen=True)
class Step:
    """`into` makes the next step's request from this step's request and answer."""

    name: str
    router: Router
    into: Callable[[Request, Answer], Request] = unchanged


@dataclass
class Purse:
    """What all steps of all requests share: `per_request` USD come in with each request, at most `most` are kept.

    A step may spend what is there, so over any run of n requests no more than n x `per_request` + `most` is spent, up
    to how far answers cost more than was expected of them; what is overdrawn is missing to the requests that follow.
    """

    per_request: float
    most: float = 0.0
    there: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        if not 0.0 < self.per_request < float("inf"):
            raise ConfigError(f"must be above 0 USD, got {self.per_request!r}", path="purse.per_request")
        self.most = max(self.most, self.per_request)

    def fill(self) -> None:
        """A request has come."""
        self.there = min(self.most, self.there + self.per_request)

    def spend(self, cost: float) -> None:
        self.there -= cost


@dataclass(frozen=True)
class Piped:
    """The answers of all steps in order; the last is the pipeline's."""

    request: str
    answers: tuple[Answer, ...]

    @property
    def text(self) -> str:
        return self.answers[-1].text

    @property
    def cost(self) -> float:
        return sum(answer.outcome.cost for answer in self.answers)


class Pipeline:
    """Raises `ConfigError` without a step, or for a name that stands twice: a step happens once in a request."""

    def __init__(self, steps: Sequence[Step], purse: Purse | None = None) -> None:
        names = [step.name for step in steps]
        if not steps:
            raise ConfigError("has no step; give at least one", path="pipeline")
        doubled = [name for name in names if names.count(name) > 1]
        if doubled:
            raise ConfigError(
                f"the step {doubled[0]!r} stands twice; a step happens once in a request", path="pipeline"
            )
        self.steps, self.purse = tuple(steps), purse

    async def run(self, request: Request) -> Piped:
        """Route every step. Raises `Refused` when a step has no candidate left, for want of money too."""
        if self.purse is not None:
            self.purse.fill()
        answers: list[Answer] = []
        hints, asked = dict(request.hints), request
        for step in self.steps:
            asked = msgspec.structs.replace(
                asked, id=f"{request.id}.{step.name}", hints=dict(hints), limits=self._limits(request)
            )
            answer = await step.router.route(asked)
            if self.purse is not None:
                self.purse.spend(answer.outcome.cost)
            hints[step.name] = answer.outcome.candidate or ""
            asked = step.into(asked, answer)
            answers.append(answer)
        return Piped(request.id, tuple(answers))

    def _limits(self, request: Request) -> Limits:
        """The caller's limits, with a cost of no more than what is in the purse."""
        if self.purse is None:
            return request.limits
        caller = request.limits.max_cost
        there = max(0.0, self.purse.there)
        return msgspec.structs.replace(request.limits, max_cost=there if caller is None else min(caller, there))
