"""A scripted world: time moves when a provider or a pause says so, and every call is written down."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from interlock.errors import ProviderError
from interlock.execution import Executor, Fallback, RetryBudget, Run, Single
from interlock.types import Candidate, Chunk, Considered, Decision, Limits, Outcome, Profile, Reason, Request, Usage

COUNTED = Usage(10, 5)


@dataclass
class Answer:
    """What one call does: time passes, text comes in pieces, then perhaps an error. `error` may be a class."""

    pieces: Sequence[str] = ("hello",)
    error: ProviderError | Exception | None = None
    seconds: float = 0.0
    usage: Usage | None = COUNTED
    confidence: float | None = None
    energy: float | None = None


@dataclass
class World:
    """One provider per candidate name, each with its script; an exhausted script repeats its last entry."""

    scripts: Mapping[str, Sequence[Answer]]
    now: float = 100.0
    domains: Mapping[str, str] = field(default_factory=dict)  # of candidates; their own name unless told otherwise
    calls: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    ends: list[tuple[str, str | None, float | None]] = field(default_factory=list)
    shut: set[str] = field(default_factory=set)
    begun: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    # the providers
    async def send(self, call: Any) -> Any:
        name = call.candidate.name
        script = self.scripts[name]
        answer = script[min(self.calls.count(name), len(script) - 1)]
        self.calls.append(name)
        self.now += answer.seconds
        last = len(answer.pieces) - 1
        try:
            if call.stream:
                for number, piece in enumerate(answer.pieces):
                    done = number == last and answer.error is None
                    yield Chunk(
                        raw=piece.encode(),
                        text=piece,
                        usage=answer.usage if done else None,
                        finish="stop" if done else "",
                        confidence=answer.confidence if done else None,
                        energy=answer.energy if done else None,
                    )
            if answer.error is not None:
                raise answer.error
            if not call.stream:
                text = "".join(answer.pieces)
                known = {"confidence": answer.confidence, "energy": answer.energy}
                yield Chunk(raw=text.encode(), text=text, usage=answer.usage, finish="stop", **known)
        finally:
            self.closed.append(name)

    # the clock
    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    # the breakers
    def begin(self, candidate: str) -> bool:
        if candidate in self.shut:
            return False
        self.begun.append(candidate)
        return True

    def end(self, candidate: str, error: str | None, seconds: float, retry_after: float | None = None) -> None:
        assert candidate in self.begun
        self.begun.remove(candidate)
        self.ends.append((candidate, error, retry_after))

    # what is tested
    def start(
        self,
        *,
        strategy: Any = None,
        fallback: Fallback | None = None,
        forbidden: Sequence[str] = (),
        rows: Mapping[str, Mapping[str, float]] | None = None,
        chosen: str | None = None,
        price: float | None = 1.0,
        stream: bool = False,
        deadline: float | None = None,
        default_order: Sequence[str] = (),
        budget: RetryBudget | None = None,
        on_done: Callable[[Outcome], object] = lambda _: None,
    ) -> Run:
        names = list(self.scripts)
        profile = Profile(price_in=price, price_out=price)
        candidates = [
            Candidate(
                name=name, provider="world", model=name, profile=profile, quota_domain=self.domains.get(name, name)
            )
            for name in names
        ]
        executor = Executor(
            {"world": self}, candidates, strategy or Single(), self, fallback, budget,
            default_order=default_order, clock=self.clock, sleep=self.sleep, draw=lambda: 0.5,
        )  # fmt: skip
        known = rows or {}
        considered = tuple(row(name, -i, name in forbidden, known.get(name, {})) for i, name in enumerate(names))
        first = next((name for name in names if name not in forbidden), None)
        decision = Decision(
            id="d1", at=0.0, tenant="", session="", model="auto", considered=considered, chosen=chosen or first,
            policy="p", snapshot="s", config="c", seed=0,
        )  # fmt: skip

        def done(outcome: Outcome) -> None:
            self.outcomes.append(outcome)
            on_done(outcome)

        return executor.start(Request(stream=stream, limits=Limits(deadline=deadline)), decision, done)


def row(name: str, utility: float, forbidden: bool, known: Mapping[str, float]) -> Considered:
    numbers = {"quality": math.nan, "quality_std": math.nan, "cost": math.nan, "latency": math.nan, "energy": math.nan}
    numbers |= {"utility": utility, "probability": 0.0 if forbidden else 0.5, **known}
    return Considered(candidate=name, reasons=(Reason("g", "no", "not this one"),) if forbidden else (), **numbers)


@pytest.fixture(scope="session")
def answer() -> type[Answer]:
    return Answer


@pytest.fixture(scope="session")
def world() -> Callable[..., World]:
    """`world(a=[Answer(), ...], b=[...])`: candidates in order of falling utility."""
    return lambda **scripts: World(scripts)
