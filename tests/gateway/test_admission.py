"""Budgets, rates and keys over HTTP: what a client of an over-used key sees."""

from __future__ import annotations

import asyncio

import pytest

from interlock.errors import ConfigError
from interlock.gateway.front import countable
from interlock.identity import Allowance, Budget, RateLimits
from interlock.types import Decision

from ..conftest import Scripted
from .conftest import Script, Start, keys


def bearer(secret: str = "sk-a") -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def acme(*budgets: Budget, **limits: int) -> object:
    return keys(("sk-a", "acme", "viewer"), allowance=Allowance(budgets, RateLimits(**limits)))


async def test_the_key_and_what_was_set_aside_are_in_the_decision(start: Start) -> None:
    async with start(keys=acme(Budget("day", 1.0))) as gateway:
        response = await gateway.chat(headers=bearer(), model="tiny", max_tokens=100)
        assert response.status_code == 200
        case = await gateway.router.ledger.explain(response.headers["x-interlock-id"])
        assert case.decision.key == "a"
        assert 200e-6 < case.decision.reserved < 300e-6
        used = await gateway.service.admission.control.used(["key:a", "tenant:acme"])
        assert used["key:a"]["day"] == used["tenant:acme"]["day"] == pytest.approx(7e-6)


async def test_over_budget(start: Start) -> None:
    async with start(keys=acme(Budget("day", 0.0002))) as gateway:
        response = await gateway.chat(headers=bearer(), model="tiny", max_tokens=1000)
        error = response.json()["error"]
        assert response.status_code == 429
        assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
        assert error["budget"]["window"] == "day"
        assert error["budget"]["limit_usd"] == 0.0002
        assert int(response.headers["retry-after"]) >= 1
        assert "x-interlock-id" in response.headers
        assert (
            'interlock_admission_total{event="budget",limit="day",scope="key"} 1.0'
            in (await gateway.client.get("/metrics")).text
        )
        assert gateway.script.calls == []
        assert (await gateway.chat(headers=bearer(), model="tiny", max_tokens=10)).status_code == 200


async def test_over_its_rate(start: Start) -> None:
    async with start(keys=acme(requests_per_minute=1)) as gateway:
        first = await gateway.chat(headers=bearer())
        assert first.headers["x-ratelimit-remaining-requests"] == "0"
        refused = await gateway.chat(headers=bearer(), stream=True)
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert 50 < int(refused.headers["retry-after"]) <= 60
        assert refused.headers["x-ratelimit-limit-requests"] == "1"


async def test_a_client_that_leaves_frees_its_stream(start: Start) -> None:
    script = Script(gate=asyncio.Event())
    async with start(script, keys=acme(Budget("day", 1.0), parallel_streams=1)) as gateway:
        body = {"model": "tiny", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        async with gateway.client.stream("POST", "/v1/chat/completions", json=body, headers=bearer()) as first:
            assert first.status_code == 200
            await anext(first.aiter_bytes())
            second = await gateway.chat(headers=bearer(), model="tiny", max_tokens=9, stream=True)
            assert second.json()["error"]["limit"] == {"scope": "key", "name": "a", "of": "streams", "most": 1}
        async with asyncio.timeout(5):
            while gateway.service.admission.control.counter.open:  # type: ignore[attr-defined]
                await asyncio.sleep(0.01)
        script.gate = None
        assert (await gateway.chat(headers=bearer(), model="tiny", max_tokens=9, stream=True)).status_code == 200
        (standing,) = await gateway.service.admission.control.standings({"key:a": Allowance((Budget("day", 1.0),))})
        assert standing.reserved == 0.0
        assert standing.used > 20e-6  # nobody knows what the broken one cost, so all that was set aside is counted


async def test_a_refusal_gives_back_what_was_set_aside(start: Start) -> None:
    async with start(keys=acme(Budget("day", 1.0))) as gateway:
        refused = await gateway.chat("forbidden", headers=bearer(), model="tiny", max_tokens=9)
        assert refused.status_code == 422
        (standing,) = await gateway.service.admission.control.standings({"key:a": Allowance((Budget("day", 1.0),))})
        assert (standing.used, standing.reserved) == (0.0, 0.0)


async def test_x_api_key_is_a_key_too(start: Start) -> None:
    async with start(keys=acme()) as gateway:
        assert (await gateway.chat()).status_code == 401
        response = await gateway.chat(headers={"x-api-key": "sk-a"})
        assert response.status_code == 200
        case = await gateway.router.ledger.explain(response.headers["x-interlock-id"])
        assert isinstance(case.decision, Decision)
        assert case.decision.tenant == "acme"


async def test_what_nobody_could_count_is_refused_and_not_made(start: Start) -> None:
    """As where several processes write one ledger without a Redis."""
    named = keys(("sk-a", "acme", "viewer"), allowance=Allowance((Budget("day", 1.0),))) | keys(
        ("sk-x", "ops", "admin")
    )
    async with start(keys=named) as gateway:
        gateway.service.admission.control.alone = False
        refused = await gateway.chat(headers=bearer())
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "counter_unreachable")
        assert (await gateway.chat(headers=bearer("sk-x"))).status_code == 200
        for limits, status in (({"budgets": [{"window": "day", "hard_usd": 1}]}, 400), ({}, 200)):
            body = {"tenant": "acme", **limits}
            made = await gateway.client.post("/admin/keys", json=body, headers=bearer("sk-x"))
            assert made.status_code == status
            assert ("admission.redis" in made.text) == (status == 400)


def test_a_configuration_says_what_needs_a_redis(scripted: Scripted) -> None:
    budgets = {"acme": {"budgets": [{"window": "day", "hard_usd": 1}]}}
    for changes in (
        {},
        {"tenants": budgets, "admission": {"redis": "redis://127.0.0.1:1/0"}},
        {"tenants": {"acme": {}}},
    ):
        countable(scripted.settings(**changes), alone=False)
    limited = scripted.settings(tenants=budgets)
    countable(limited, alone=True)
    with pytest.raises(ConfigError, match="several processes write this ledger") as refused:
        countable(limited, alone=False)
    assert refused.value.path == "admission.redis"
