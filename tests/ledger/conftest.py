"""Ledgers, and records as the gateway makes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from interlock.ledger import Ledger, Place, open_ledger
from interlock.types import Considered, Decision, Feedback, Message, Outcome, Reason, Request, Signal, Step, Usage


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> Place:
    """Where a ledger may be made, in either database."""
    return (
        request.getfixturevalue("path") if request.param == "sqlite" else request.getfixturevalue("postgres").database()
    )


@pytest.fixture
def ledger(place: Place) -> Iterator[Ledger]:
    with open_ledger(place, payload=True, linger=0.0, checkpoint_every=16) as ledger:
        yield ledger


def decision(id: str = "il-1", tenant: str = "acme", chosen: str | None = "small", d: int = 4) -> Decision:
    considered = (
        Considered("small", (), 0.8, 0.1, 1e-5, 0.2, math.nan, 0.7, 0.9),
        Considered(
            "large", (Reason("access", "denied", "not for this tenant"),), 0.9, 0.1, 1e-4, 0.9, math.nan, 0.6, 0.1
        ),
    )
    return Decision(
        id=id,
        at=1.7e9,
        tenant=tenant,
        session="s",
        model="auto",
        considered=considered,
        chosen=chosen,
        policy="ridge",
        snapshot="0-abc",
        config="f00d",
        seed=3,
        signals={"tokens": Signal("tokens", 12.0), "pii": Signal("pii", True, evidence="EVIDENCE")},
        vector=np.arange(d, dtype=np.float32),
    )


def request(text: str = "PROMPT") -> Request:
    return Request(messages=(Message("user", text),))


def outcome(id: str = "il-1", candidate: str = "small") -> Outcome:
    step = Step(candidate, "chosen", usage=Usage(5, 7), cost=1e-5, seconds=0.25)
    return Outcome(
        decision=id, at=1.7e9 + 1, candidate=candidate, steps=(step,), usage=Usage(5, 7), cost=1e-5, latency=0.25
    )


def feedback(
    id: str = "il-1", score: float = 1.0, source: str = "person", tenant: str = "acme", revoked: bool = False
) -> Feedback:
    return Feedback(decision=id, at=1.7e9 + 2, score=score, source=source, tenant=tenant, note="NOTE", revoked=revoked)


@pytest.fixture
def make() -> SimpleNamespace:
    """`make.decision(...)`, `make.outcome(...)`, `make.feedback(...)`, `make.request(...)`."""
    return SimpleNamespace(decision=decision, outcome=outcome, feedback=feedback, request=request)


@pytest.fixture
def fill(make: SimpleNamespace) -> Callable[[Ledger, int], None]:
    """Write n decisions of two tenants with everything that follows, and a refusal every ten; waits until committed."""

    def fill(ledger: Ledger, n: int) -> None:
        for i in range(n):
            id, tenant = f"il-{i}", ("acme", "umbrella")[i % 2]
            ledger.put(
                make.decision(id, tenant, chosen=None if i % 10 == 9 else "small"),
                make.request(f"PROMPT {i} of {tenant}"),
            )
            if i % 10 != 9:
                ledger.put(make.outcome(id), answer=f"ANSWER {i} to {tenant}")
                ledger.put(make.feedback(id, score=i % 2, tenant=tenant))
        ledger.flush().wait(10)

    return fill
