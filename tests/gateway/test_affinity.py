"""A conversation stays where it is cached when that is worth it, over real sockets: a gateway and an upstream that
counts what it has read before, as OpenAI-compatible providers do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from interlock.assembly import from_settings
from interlock.config import from_document
from interlock.config.document import Document
from interlock.gateway.front import front
from interlock.gateway.server import build
from interlock.gateway.service import Service
from interlock.router import Router
from interlock.types import Context, Request

LONG = "You are a careful clerk. " * 400
HOLD = "hold"
AGAIN = [{"role": "user", "content": "and then?"}]


class Upstream(ThreadingHTTPServer):
    """Counts characters as tokens; of each model it remembers the prompts it has read."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.read: dict[str, list[list[Any]]] = {}
        self.release = threading.Event()
        self.held = threading.Semaphore(0)


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        messages = body["messages"]
        if messages[-1]["content"] == HOLD:
            self.server.held.release()
            self.server.release.wait(20)
        read = self.server.read.setdefault(body["model"], [])
        known = max((len(json.dumps(old)) for old in read if messages[: len(old)] == old), default=0)
        read.append(messages)
        usage = {"prompt_tokens": len(json.dumps(messages)), "completion_tokens": 5, "total_tokens": 0}
        message = {"role": "assistant", "content": "Yes."}
        document = {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": usage | {"prompt_tokens_details": {"cached_tokens": known}},
        }
        content = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.release.set()
        server.shutdown()
        thread.join()


Talk = Callable[..., Any]


@contextlib.asynccontextmanager
async def gateway(folder: Path, upstream: Upstream, **changed: Any) -> AsyncIterator[tuple[Router, httpx.AsyncClient]]:
    """Two candidates of one price; `better` is a little better than `other`."""
    common = {"provider": "far", "price": {"in": 10, "out": 10, "cached": 1}, "output_tokens": 5}
    other = {"name": "other", "model": "other", "quality": 0.7, **common, **changed.pop("other", {})}
    document = {
        "version": 1,
        "providers": {"far": {"kind": "openai", "base_url": f"http://127.0.0.1:{upstream.server_port}/v1"}},
        "candidates": [{"name": "better", "model": "better", "quality": 0.71, **common}, other],
        "vector": ["tokens"],
        "policy": {
            "estimator": {"kind": "constant"},
            "objective": {"kind": "weighted", "quality": 1.0, "cost": 20.0},
            "exploration": {"kind": "greedy"},
        },
        "learner": {"enabled": False},
        "ledger": {"path": str(folder / "ledger.db")},
        **changed,
    }
    settings = from_document(Document(document))
    router = from_settings(settings, Router)
    server = build(Service(router, front(settings, router.plan.candidates)), port=0, grace=5)
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done(), "the server did not start"
        await asyncio.sleep(0.005)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=20) as client:
        try:
            yield router, client
        finally:
            server.should_exit = True
            await client.aclose()
            await asyncio.wait_for(task, 10)


async def ask(client: httpx.AsyncClient, messages: list[Any], model: str = "auto") -> str:
    body = {"model": model, "messages": messages, "interlock": {"session": "s"}}
    response = await client.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    messages.append(response.json()["choices"][0]["message"])
    return response.headers["x-interlock-model"]


def opened(subject: str = "a matter") -> list[Any]:
    return [{"role": "user", "content": LONG + subject}]


async def test_a_second_turn_stays_where_its_beginning_is_cached(tmp_path: Path, upstream: Upstream) -> None:
    async with gateway(tmp_path, upstream) as (router, client):
        talk = opened()
        assert await ask(client, talk, "other") == "other"
        body = {"model": "auto", "messages": talk + AGAIN, "interlock": {"session": "s"}}
        response = await client.post("/v1/chat/completions", json=body)
        assert response.headers["x-interlock-model"] == "other"
        assert await ask(client, opened("another matter")) == "better", "a new conversation has no history"
        decision = (await router.ledger.explain(response.headers["x-interlock-id"])).decision
        assert decision is not None
        signal = decision.signals["affinity"]
        costs = {row.candidate: row.cost for row in decision.considered}
        assert signal.value == "other"
        assert 0.4 < signal.confidence < 0.5
        assert costs["other"] < costs["better"]
        again = Context(Request(), decision.signals, decision.vector)  # as a replay reads it
        estimate = router.served.policy.estimate([again], router.plan.candidates)
        assert dict(zip(costs, estimate.cost[0].tolist(), strict=True)) == costs
        assert router.plan.affinity.found("other") > 0.6, "the upstream has counted what it found"


@pytest.mark.parametrize(
    "changed",
    [
        {"affinity": {"enabled": False}},
        {"other": {"quality": 0.3}},
        {"other": {"price": {"in": 10, "out": 10}}},
        {"affinity": {"lifetime_s": 0.001}},
    ],
    ids=["off", "much worse", "no cached price", "forgotten"],
)
async def test_it_leaves_when_staying_saves_too_little(
    tmp_path: Path, upstream: Upstream, changed: dict[str, Any]
) -> None:
    async with gateway(tmp_path, upstream, **changed) as (_, client):
        talk = opened()
        assert await ask(client, talk, "other") == "other"
        await asyncio.sleep(0.01)
        assert await ask(client, talk + AGAIN) == "better"


async def test_it_leaves_when_a_guard_says_no(tmp_path: Path, upstream: Upstream) -> None:
    rule = {"name": "home", "when": "request.model == 'auto'", "forbid": "candidate.name == 'other'"}
    async with gateway(tmp_path, upstream, guards={"rules": [rule]}) as (_, client):
        talk = opened()
        assert await ask(client, talk, "other") == "other"
        assert await ask(client, talk + AGAIN) == "better"


async def test_it_leaves_a_candidate_under_load_and_comes_back(tmp_path: Path, upstream: Upstream) -> None:
    async with gateway(tmp_path, upstream, affinity={"busy": 1}) as (_, client):
        talk = opened()
        assert await ask(client, talk, "other") == "other"
        held = [{"role": "user", "content": HOLD}]
        calls = [asyncio.create_task(ask(client, list(held), "other")) for _ in range(24)]
        for _ in calls:
            assert await asyncio.to_thread(upstream.held.acquire, timeout=10)
        assert await ask(client, talk + AGAIN) == "better"
        upstream.release.set()
        await asyncio.gather(*calls)
        assert await ask(client, talk + AGAIN) == "better", "that turn's beginning is now cached there"
