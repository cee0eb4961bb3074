"""A right file serves at once; a wrong one changes nothing, and everybody is told what is wrong with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from interlock.assembly import assemble
from interlock.gateway.front import front
from interlock.gateway.reload import watching
from interlock.gateway.service import Service
from interlock.router import Router
from interlock.types import Message, Request

CONFIG = """
providers:
  far: {kind: openai, base_url: "http://127.0.0.1:9/v1"}
candidates:
  - {name: first, provider: far, model: m, price: {in: 1, out: 1}, quality: 0.5}
  - {name: second, provider: far, model: m, price: {in: 1, out: 1}, quality: 0.6}
vector: [structure]
policy: {exploration: {kind: greedy}}
learner: {enabled: false}
"""


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    path = tmp_path / "interlock.yaml"
    path.write_text(CONFIG)
    router = await asyncio.to_thread(assemble, str(path), Router, ledger=str(tmp_path / "ledger.db"))
    async with Service(router, front(router.plan.settings, router.plan.candidates), [watching(path, 0.02)]) as service:
        yield service


async def rewritten(service: Service, path: Path, text: str) -> None:
    """Write the file and wait until the gateway has looked at it."""
    before = service.reload
    path.write_text(text)
    async with asyncio.timeout(10):
        while service.reload is before:
            await asyncio.sleep(0.01)


def chosen(service: Service) -> str | None:
    (decision,) = service.router.decide([Request(messages=(Message("user", "hi"),))])
    return decision.chosen


async def test_a_right_file_serves_from_the_next_decision_on(service: Service, tmp_path: Path) -> None:
    assert chosen(service) == "second"
    before = service.front.hash
    await rewritten(
        service, tmp_path / "interlock.yaml", CONFIG.replace("name: second", "name: another").replace("0.5", "0.9")
    )
    assert service.reload.error == ""
    assert chosen(service) == "first"
    assert set(service.models) == {"auto", "first", "another"}
    assert service.front.hash != before
    assert b'interlock_config_reloads_total{result="ok"} 1.0' in service.metrics.text()


async def test_a_wrong_file_changes_nothing_and_says_where(service: Service, tmp_path: Path) -> None:
    stream = service.hub.listen()
    await anext(stream)
    path = tmp_path / "interlock.yaml"
    await rewritten(service, path, CONFIG.replace("quality: 0.6", "qualty: 0.6"))
    assert service.config()["reload"]["ok"] is False
    assert f"{path}:6" in service.reload.error
    assert "quality" in service.reload.error
    assert chosen(service) == "second"
    assert set(service.models) == {"auto", "first", "second"}
    assert b'interlock_config_reloads_total{result="failed"} 1.0' in service.metrics.text()
    assert b"event: config" in await anext(stream)
    await rewritten(service, path, CONFIG)
    assert service.reload.error == ""


async def test_secrets_are_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_TEST_KEY", "sk-very-secret")
    path = tmp_path / "interlock.yaml"
    keys = 'server: {keys: [{tenant: acme, key: "env:GATEWAY_TEST_KEY", role: operator}]}\n'
    path.write_text(CONFIG + keys)
    router = await asyncio.to_thread(assemble, str(path), Router, ledger=str(tmp_path / "ledger.db"))
    async with Service(router, front(router.plan.settings, router.plan.candidates)) as service:
        assert service.identify({b"authorization": b"Bearer sk-very-secret"}).tenant == "acme"
        assert "sk-very-secret" not in str(service.config())
