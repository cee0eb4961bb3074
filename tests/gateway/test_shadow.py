"""A shadow decides on what was decided: the same policy never differs, another as often as it would have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interlock.assembly import assemble
from interlock.config.settings import PolicySettings
from interlock.estimators import Constant
from interlock.exploration import Epsilon, Greedy
from interlock.gateway.front import front
from interlock.gateway.history import History
from interlock.gateway.reload import reload
from interlock.gateway.service import Service
from interlock.gateway.shadow import Second, compare, shares_estimates, would_choose
from interlock.objectives import Weighted
from interlock.policy import Policy
from interlock.router import Router
from interlock.types import Considered, Decision, Feedback, Message, Outcome, Request, Signal

SERVING = PolicySettings()
QUALITY, COST = (0.4, 0.8), (0.1, 0.5)


def second(exploration: Any, **weights: float) -> Second:
    return Second(Policy(Constant(), Weighted(**weights), exploration), SERVING)


def history(n: int, serving: Policy) -> History:
    """What `serving` decides when it expects `QUALITY` and `COST`, which are the truth."""
    from interlock.exploration import sample
    from interlock.types import Estimate

    rng, made = np.random.default_rng(3), History()
    numbers = np.array([QUALITY, (0.1, 0.1), COST, (1.0, 1.0), (0.0, 0.0)])
    chances = serving.choose(Estimate(*numbers[:, None, :]), np.ones((1, 2), dtype=np.bool_)).probability[0].tolist()
    for i in range(n):
        pick = sample(chances, 0, f"d{i}")
        assert pick is not None
        rows = tuple(
            Considered(name, (), *numbers[:, k].tolist(), 0.0, chances[k]) for k, name in enumerate(("tiny", "large"))
        )
        made.add(
            Decision(
                id=f"d{i}", at=float(i), tenant=("acme", "x")[i % 2], session="", model="auto", considered=rows,
                chosen=rows[pick].candidate, policy="", snapshot="", config="", seed=0,
                signals={"task": Signal("task", "hard" if i % 3 else "easy")},
            )
        )  # fmt: skip
        made.add(Outcome(decision=f"d{i}", at=float(i), candidate=rows[pick].candidate, steps=(), cost=COST[pick]))
        score = float(rng.random() < QUALITY[pick])
        made.add(Feedback(decision=f"d{i}", at=float(i), score=score, source="verifier"))
    return made


SERVES = Policy(Constant(), Weighted(), Epsilon(0.5))


def test_the_same_policy_never_differs() -> None:
    found = compare(history(200, SERVES).decisions(), Second(SERVES, SERVING), SERVING)
    assert found["decisions"] == 200
    assert found["differs"]["mean"] == 0.0
    assert found["flows"] == found["latest"] == []
    assert abs(found["measures"]["cost"].difference.mean) < 0.05


def test_another_objective_differs_where_it_would_and_is_worth_what_it_is() -> None:
    found = compare(history(1000, SERVES).decisions(), second(Greedy(), cost=5.0), SERVING)  # prefers tiny
    assert found["differs"]["mean"] == pytest.approx(0.75, abs=0.05)
    assert found["differs"]["low"] < found["differs"]["mean"] < found["differs"]["high"]
    quality, cost = found["measures"]["quality"], found["measures"]["cost"]
    assert quality.other.low <= QUALITY[0] <= quality.other.high
    assert cost.other.mean == pytest.approx(COST[0])
    assert cost.difference.high < 0
    assert found["flows"] == [
        {"served": "large", "shadow": "tiny", "decisions": round(1000 * found["differs"]["mean"])}
    ]
    assert {row["name"]: row["decisions"] for row in found["groups"]["tenant"]} == {"acme": 500, "x": 500}
    assert {row["name"] for row in found["groups"]["task"]} == {"easy", "hard"}
    assert found["latest"][0]["at"] > found["latest"][-1]["at"]
    assert len(found["curve"]["differs"]) == len(found["curve"]["at"]) <= 40


def test_what_the_log_never_tried_is_refused() -> None:
    greedy = Policy(Constant(), Weighted(), Greedy())
    found = compare(history(200, greedy).decisions(), second(Greedy(), cost=5.0), SERVING)
    assert found["differs"]["mean"] == 1.0
    assert found["measures"]["quality"].other is None
    assert "had no chance in the log" in found["measures"]["quality"].refused


def test_one_decision() -> None:
    past = history(1, SERVES).decisions()[0]
    assert would_choose(past, second(Greedy(), cost=5.0)) == {"candidate": "tiny", "probability": 1.0}


def test_without_a_shadow_it_says_so() -> None:
    assert compare([], None, SERVING)["shadow"] is None
    empty = compare([], second(Greedy()), SERVING)
    assert empty["decisions"] == 0
    assert empty["differs"] is None


def test_whose_estimates_it_can_use() -> None:
    def with_(**parts: Any) -> PolicySettings:
        return PolicySettings(**parts)

    assert shares_estimates(with_(exploration={"kind": "greedy"}), SERVING)
    assert not shares_estimates(with_(estimator={"kind": "knn"}), SERVING)
    assert not shares_estimates(with_(objective={"kind": "promise"}), SERVING)


CONFIG = """
providers:
  far: {kind: openai, base_url: "http://127.0.0.1:9/v1"}
candidates:
  - {name: first, provider: far, model: m, price: {in: 1, out: 1}, quality: 0.5}
  - {name: second, provider: far, model: m, price: {in: 9, out: 9}, quality: 0.6}
vector: [structure]
shadow: {estimator: {kind: ridge}, objective: {kind: weighted, cost: 100000}}
execution: {retries: 0, backoff_s: 0}
"""


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    path = tmp_path / "interlock.yaml"
    path.write_text(CONFIG)
    router = await asyncio.to_thread(assemble, str(path), Router, ledger=str(tmp_path / "ledger.db"))
    async with Service(router, front(router.plan.settings, router.plan.candidates)) as service:
        service.watched = path
        yield service


async def test_a_shadow_with_an_estimator_of_its_own_follows_the_gateway_and_its_configuration(
    service: Service,
) -> None:
    (decision,) = service.router.decide([Request(messages=(Message("user", "hi"),))])
    service.router.ledger.put(decision)
    async with asyncio.timeout(30):
        while service.second is None or service.second.own is None:
            await asyncio.sleep(0.01)
        first = service.second
        while first.own is not None and first.own.probability(decision.id) is None:
            await asyncio.sleep(0.02)
    document = await service.look(lambda h: compare(h.decisions(), service.second, SERVING))
    assert document["learns"]
    assert document["decisions"] == 1
    assert document["progress"].error == ""
    assert service.watched is not None
    service.watched.write_text(CONFIG.replace("shadow:", "# shadow:"))
    await reload(service, service.watched)
    async with asyncio.timeout(30):
        while service.second is not None:
            await asyncio.sleep(0.02)
