"""Random histories: decisions of several tenants, outcomes, and late, repeated, revoked and odd feedback."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from interlock.estimators import Constant, Ridge
from interlock.exploration import Softmax
from interlock.ledger import Record, SqliteLedger
from interlock.objectives import Weighted
from interlock.policy import Policy
from interlock.types import Considered, Decision, Feedback, Outcome, Signal, Step, Usage

CANDIDATES = ("small", "large")
D = 3


def policy(estimator: Any = None) -> Policy:
    return Policy(estimator or Ridge(), Weighted(), Softmax())


def decision(id: str, tenant: str, vector: Sequence[float], chosen: str | None) -> Decision:
    considered = tuple(Considered(name, (), 0.5, 0.1, 0.0, 0.1, 0.0, 0.5, 0.5) for name in CANDIDATES)
    return Decision(
        id=id,
        at=1.7e9,
        tenant=tenant,
        session="",
        model="auto",
        considered=considered,
        chosen=chosen,
        policy="p",
        snapshot="0-0",
        config="c",
        seed=0,
        signals={"tokens": Signal("tokens", 20.0)},
        vector=np.array(vector, np.float32),
    )


def history(seed: int, n: int, revoke: bool = True) -> list[Record]:
    """About 3n records: outcomes by others than the chosen, feedback before its outcome, twice, and withdrawn."""
    random = np.random.default_rng(seed)
    records: list[Record] = []
    late: list[Record] = []
    for i in range(n):
        id, tenant = f"il-{seed}-{i}", str(random.choice(["acme", "umbrella", "x"]))
        vector = random.normal(size=D)
        chosen = None if random.random() < 0.05 else str(random.choice(CANDIDATES))
        records.append(decision(id, tenant, vector, chosen))
        served = chosen if random.random() < 0.8 else str(random.choice([*CANDIDATES, ""])) or None
        step = Step(
            served or "small", "chosen", error="" if served else "provider_timeout", usage=Usage(9, 11), seconds=0.3
        )
        quality = float(random.random()) if random.random() < 0.2 else None
        outcome = Outcome(decision=id, at=1.7e9, candidate=served, steps=(step,), usage=Usage(9, 11), quality=quality)
        scores = [
            Feedback(
                decision=id,
                at=1.7e9,
                score=float(random.choice([0.0, 1.0, 0.7, 2.5, np.nan])),
                source=str(random.choice(["person", "judge", "small"])),
                tenant=str(random.choice([tenant, tenant, tenant, "", "x"])),
                revoked=bool(revoke and random.random() < 0.25),
            )
            for _ in range(random.integers(0, 4))
        ]
        for record in random.permutation(np.array([outcome, *scores], dtype=object)):
            (late if random.random() < 0.3 else records).append(record)
        while late and random.random() < 0.3:
            records.append(late.pop(random.integers(len(late))))
    return [*records, *late, Feedback(decision="il-unknown", at=1.0, score=1.0, source="person")]


def quarrel(seed: int, n: int, revoke: bool = True) -> list[Record]:
    """About 2n records of decisions that are scored at once, by tenants that agree and by liars that take turns.

    Now and then an old score is replaced or withdrawn, which can be one that a liar was found out by.
    """
    random = np.random.default_rng(seed)
    records: list[Record] = []
    given: list[Feedback] = []
    turns = {"x": (0.0, 0.5), "y": (0.2, 1.0), "z": (0.5, 0.8)}  # of the stream, when each of them lies
    for i in range(n):
        id, tenant = f"il-{seed}-{i}", str(random.choice(["acme", "umbrella", "initech", *turns]))
        vector = random.choice([-1.0, 1.0], size=D)
        begin, end = turns.get(tenant, (0.0, 0.0))
        truth = 0.5 + 0.5 * vector[0]
        score = 1.0 - truth if begin <= i / n < end else truth
        records.append(decision(id, tenant, vector, CANDIDATES[int(vector[1] > 0)]))
        given.append(Feedback(decision=id, at=1.7e9, score=score, source="person", tenant=tenant))
        records.append(given[-1])
        if revoke and random.random() < 0.05:
            old = given[random.integers(len(given))]
            records.append(msgspec.structs.replace(old, score=1.0 - old.score, revoked=bool(random.random() < 0.5)))
    return records


@pytest.fixture(scope="session")
def fresh() -> Callable[..., Policy]:
    return policy


@pytest.fixture(scope="session")
def histories() -> Callable[..., list[Record]]:
    return history


@pytest.fixture(scope="session")
def quarrels() -> Callable[..., list[Record]]:
    return quarrel


@pytest.fixture(params=[Ridge, Constant])
def estimator(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str, Sequence[Record]], SqliteLedger]:
    """A new ledger of the given name with the records, all committed."""

    def written(name: str, records: Sequence[Record]) -> SqliteLedger:
        path = tmp_path / f"{name}.db"
        ledger = SqliteLedger(path, linger=0.0)
        for record in records:
            ledger.put(record)
        ledger.flush().wait(30)
        return ledger

    return written


class Make:
    """Single records for examples."""

    @staticmethod
    def decision(id: str, tenant: str = "acme", chosen: str | None = "small") -> Decision:
        return decision(id, tenant, [1.0, 0.0, 0.0], chosen)

    @staticmethod
    def outcome(id: str, candidate: str = "small") -> Outcome:
        step = Step(candidate, "chosen", usage=Usage(5, 7), seconds=0.25)
        return Outcome(
            decision=id, at=1.7e9, candidate=candidate, steps=(step,), usage=Usage(5, 7), latency=0.25, ttft=0.1
        )

    @staticmethod
    def cascade(id: str) -> Outcome:
        steps = (
            Step("small", "chosen", usage=Usage(5, 7), seconds=0.25),
            Step("large", "escalated", error="provider_timeout", seconds=9.0),
            Step("large", "retry", usage=Usage(5, 30), seconds=1.5),
        )
        return Outcome(decision=id, at=1.7e9, candidate="large", steps=steps, usage=Usage(10, 37), ttft=0.1)

    @staticmethod
    def score(id: str, score: float, source: str = "person", tenant: str = "", revoked: bool = False) -> Feedback:
        return Feedback(decision=id, at=1.7e9, score=score, source=source, tenant=tenant, revoked=revoked)


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()
