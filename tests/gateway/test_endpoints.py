"""The rest of the API over a real ledger and router: looking, judging, steering, and who may."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from interlock.gateway import embed
from interlock.gateway.shadow import Second
from interlock.learning.learner import Learner
from interlock.ledger import Reading

from .conftest import Running, Script, Start, keys

FILE = """providers: {far: {kind: openai, base_url: "http://127.0.0.1:9/v1"}}
candidates:
  - {name: only, provider: far, model: m}
vector: [structure]
policy: {exploration: {kind: greedy}}
"""
KEYS = keys(("sk-a", "acme", "viewer"), ("sk-b", "other", "viewer"), ("sk-o", "ops", "operator"))


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


async def judge(gateway: Running, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    return await gateway.client.post("/v1/feedback", json=body, headers=headers)


async def answered(gateway: Running, headers: dict[str, str] | None = None, **fields: Any) -> str:
    """The id of a decision whose outcome is in the ledger."""
    response = await gateway.chat(headers=headers, **fields)
    id: str = response.headers["x-interlock-id"]
    await gateway.outcome(id)
    return id


async def test_the_whole_story_of_a_decision(start: Start) -> None:
    async with start() as gateway:
        id = await answered(gateway)
        assert (await judge(gateway, id=id, score=True, source="verifier", note="right")).json() == {
            "id": id,
            "recorded": True,
        }
        story = (await gateway.client.get(f"/v1/ledger/{id}")).json()
        assert story["decision"]["chosen"] == story["outcome"]["candidate"] == "tiny"
        assert story["outcome"]["usage"]["output"] == 2
        assert [(row["score"], row["source"]) for row in story["feedback"]] == [(1.0, "verifier")]
        assert story["prompt"] is None  # prompts are not kept unless the configuration says so


async def test_recent_rows_page_by_page(start: Start) -> None:
    async with start() as gateway:
        for _ in range(5):
            await answered(gateway)
        first = (await gateway.client.get("/v1/ledger?limit=4")).json()
        second = (await gateway.client.get(f"/v1/ledger?limit=10&before={first['next']}")).json()
        assert [row["seq"] for row in first["rows"] + second["rows"]] == list(range(10, 0, -1))
        assert second["next"] is None
        only = (await gateway.client.get("/v1/ledger?kind=outcome")).json()["rows"]
        assert [row["kind"] for row in only] == ["outcome"] * 5


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=99999", "before=-1", "kind=outcom"])
async def test_a_wrong_query_is_named(start: Start, query: str) -> None:
    async with start() as gateway:
        response = await gateway.client.get(f"/v1/ledger?{query}")
        assert response.status_code == 400
        assert response.json()["error"]["param"] == query.split("=")[0]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"score": 1}, None),
        ({"id": "", "score": 1}, "id"),
        ({"id": "x"}, "score"),
        ({"id": "x", "score": 1.5}, "score"),
        ({"id": "x", "score": "good"}, "score"),
        ({"id": "x", "score": 1, "source": ""}, "source"),
        ({"id": "x", "score": 1, "note": "n" * 5000}, "note"),
        ({"id": "x", "score": 1, "scor": 1}, None),
        ({"id": "x", "score": 1, "source": "tiny"}, "source"),
    ],
)
async def test_wrong_feedback_is_refused(start: Start, body: dict[str, Any], param: str | None) -> None:
    async with start() as gateway:
        response = await judge(gateway, **body)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == param


async def test_feedback_on_nothing_is_not_found(start: Start) -> None:
    async with start() as gateway:
        assert (await judge(gateway, id="il-none", score=1)).status_code == 404


async def test_route_decides_and_records_nothing(start: Start) -> None:
    async with start() as gateway:
        body = {"messages": [{"role": "user", "content": "hi"}], "interlock": {"tenant": "t"}}
        document = (await gateway.client.post("/v1/route", json=body)).json()
        assert document["chosen"] == "tiny"
        assert document["tenant"] == "t"
        assert document["signals"]["structure"]
        refused = (
            await gateway.client.post("/v1/route", json={"messages": [{"role": "user", "content": "forbidden"}]})
        ).json()
        assert refused["chosen"] is None
        assert refused["considered"][0]["reasons"][0]["code"] == "forbidden_word"
        assert (await gateway.client.get("/v1/ledger")).json()["rows"] == []
        assert not gateway.script.calls


async def test_pool_and_curve_come_from_the_ledger(start: Start) -> None:
    async with start() as gateway:
        for score in (1, 1, 0):
            await judge(gateway, id=await answered(gateway), score=score)
        await answered(gateway, model="large")
        pool = (await gateway.client.get("/v1/pool")).json()
        tiny, large = pool["candidates"]
        assert pool["decisions"] == 4
        assert (tiny["share"], tiny["judged"], large["share"], large["quality"]) == (0.75, 3, 0.25, None)
        assert tiny["quality"] == pytest.approx(2 / 3)
        assert tiny["breaker"] == "closed"
        curve = (await gateway.client.get("/v1/curve?points=1")).json()
        assert curve["decisions"] == 3
        assert curve["served"]["mean"] == [pytest.approx(2 / 3)]


async def test_events_tell_of_decision_outcome_and_feedback(start: Start) -> None:
    async with start() as gateway, gateway.client.stream("GET", "/v1/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.aiter_lines()
        assert await anext(lines) == ": listening"
        await judge(gateway, id=await answered(gateway), score=1)
        kinds = []
        async with asyncio.timeout(5):
            async for line in lines:
                kinds += [line.removeprefix("event: ")] if line.startswith("event: ") else []
                if len(kinds) == 3:
                    break
        assert kinds == ["decision", "outcome", "feedback"]


async def test_shutdown_does_not_wait_for_open_pages(start: Start) -> None:
    async with start(grace=30) as gateway, gateway.client.stream("GET", "/v1/events") as response:
        lines = response.aiter_lines()
        await anext(lines)
        gateway.server.should_exit = True
        async with asyncio.timeout(10):
            assert [line async for line in lines if line] == []


async def test_metrics_count_what_happened(start: Start) -> None:
    async with start() as gateway:
        await judge(gateway, id=await answered(gateway), score=1)
        await gateway.chat("forbidden")
        text = (await gateway.client.get("/metrics")).text
        for line in (
            'interlock_requests_total{route="chat",status="200"} 1.0',
            'interlock_requests_total{route="chat",status="422"} 1.0',
            'interlock_decisions_total{candidate="tiny",degraded=""} 1.0',
            'interlock_refusals_total{guard="rules"} 1.0',
            'interlock_tokens_total{candidate="tiny",kind="output"} 2.0',
            'interlock_breaker_state{candidate="tiny",state="closed"} 1.0',
            'interlock_feedback_total{kind="score"} 1.0',
            'interlock_signal_seconds_total{signal="structure"}',
            'interlock_guard_seconds_total{guard="addressed"}',
            "\ninterlock_ledger_queue ",
            'interlock_policy_failures_total{stage="estimate"} 0.0',
            'interlock_config_reloads_total{result="failed"} 0.0',
        ):
            assert line in text


async def test_a_scrape_reads_no_file(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered on the event loop, which must not wait for a disk."""
    async with start() as gateway:
        router, text = gateway.router, gateway.service.metrics.text
        await judge(gateway, id=await answered(gateway), score=1)
        assert b"\ninterlock_snapshot_age_seconds " not in text()
        router.learner = Learner(router.ledger, router.served.policy.clone(), router.adopt)
        assert b"\ninterlock_snapshot_age_seconds " not in text()
        await asyncio.to_thread(router.learner.step)

        def reads(*_: object) -> None:
            raise AssertionError("a scrape reads the ledger")

        with monkeypatch.context() as patch:
            patch.setattr(Reading, "fetch", reads)
            (age,) = re.findall(rb"^interlock_snapshot_age_seconds (.+)$", text(), re.MULTILINE)
        assert 0.0 <= float(age) < 600.0


async def test_probes(start: Start) -> None:
    async with start() as gateway:
        assert (await gateway.client.get("/healthz")).json() == {"status": "ok"}
        assert (await gateway.client.get("/readyz")).json() == {"ready": True, "problems": []}
        gateway.service.drain()
        response = await gateway.client.get("/readyz")
        assert (response.status_code, response.json()) == (503, {"ready": False, "problems": ["draining"]})


async def test_models(start: Start) -> None:
    async with start() as gateway:
        listed = (await gateway.client.get("/v1/models")).json()
        assert [model["id"] for model in listed["data"]] == ["auto", "tiny", "large"]
        assert (await gateway.client.get("/v1/models/tiny")).json() == listed["data"][1]
        missing = await gateway.client.get("/v1/models/tinny")
        assert missing.status_code == 404
        assert "did you mean 'tiny'?" in missing.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/v1/modls", 404, "did you mean '/v1/models'?"),
        ("GET", "/nothing-like-it", 404, "no path"),
        ("POST", "/v1/models", 405, ""),
        ("GET", "/v1/learner/rollback", 405, ""),
        ("DELETE", "/healthz", 405, ""),
    ],
)
async def test_wrong_paths_and_methods(start: Start, method: str, path: str, status: int, said: str) -> None:
    async with start() as gateway:
        response = await gateway.client.request(method, path)
        assert response.status_code == status
        assert said in response.json()["error"]["message"]


async def test_the_page_may_load_nothing_from_elsewhere(start: Start) -> None:
    async with start() as gateway:
        policy = (await gateway.client.get("/healthz")).headers["content-security-policy"]
        assert policy.startswith("default-src 'self'")
        assert "unsafe" not in policy


async def test_without_a_key_nothing_but_probes(start: Start) -> None:
    async with start(keys=KEYS) as gateway:
        assert (await gateway.chat()).status_code == 401
        assert (await judge(gateway, id="x", score=1)).status_code == 401
        for path in (
            "/v1/models",
            "/v1/ledger",
            "/v1/ledger/x",
            "/v1/events",
            "/v1/pool",
            "/v1/curve",
            "/v1/config",
            "/v1/learner",
        ):
            response = await gateway.client.get(path)
            assert response.status_code == 401, path
            assert response.json()["error"]["code"] == "missing_api_key"
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await gateway.client.get(path)).status_code == 200


async def test_a_tenant_sees_only_its_own(start: Start) -> None:
    async with start(keys=KEYS) as gateway:
        id = await answered(gateway, headers=bearer("sk-a"))
        for key, status in (("sk-a", 200), ("sk-b", 404), ("sk-o", 200)):
            assert (await gateway.client.get(f"/v1/ledger/{id}", headers=bearer(key))).status_code == status
            assert (await judge(gateway, bearer(key), id=id, score=1)).status_code == status
        counts = {
            key: len((await gateway.client.get("/v1/ledger?kind=decision", headers=bearer(key))).json()["rows"])
            for key in ("sk-a", "sk-b", "sk-o")
        }
        assert counts == {"sk-a": 1, "sk-b": 0, "sk-o": 1}


@pytest.mark.parametrize("path", ["/v1/pool", "/v1/curve", "/v1/config"])
async def test_operators_paths(start: Start, path: str) -> None:
    async with start(keys=KEYS) as gateway:
        assert (await gateway.client.get(path, headers=bearer("sk-a"))).status_code == 403
        assert (await gateway.client.get(path, headers=bearer("sk-o"))).status_code == 200


async def test_learning_that_is_switched_off_says_so(start: Start) -> None:
    async with start() as gateway:
        response = await gateway.client.get("/v1/learner")
        assert response.status_code == 404
        assert "switched off" in response.json()["error"]["message"]


class Letters:
    """An encoder whose pieces are characters: vector = how often a, b and c occur, at length one."""

    dim = 3

    class tokenizer:
        @staticmethod
        def encode(text: str) -> list[int]:
            return ["abc".index(c) for c in text if c in "abc"]

    @staticmethod
    def embed(pieces: list[int]) -> Any:
        counts = np.bincount(pieces, minlength=3).astype(np.float32)
        return counts / max(1.0, float(np.linalg.norm(counts)))


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed.Encoder, "load", lambda: Letters)


@pytest.mark.usefixtures("letters")
async def test_embeddings_in_both_forms(start: Start) -> None:
    async with start() as gateway:
        plain = (
            await gateway.client.post("/v1/embeddings", json={"input": ["aab", "c" * 30_000], "model": embed.MODEL})
        ).json()
        packed = (
            await gateway.client.post("/v1/embeddings", json={"input": "aab", "encoding_format": "base64"})
        ).json()
        vector = np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), "<f4")
        assert np.allclose(vector, plain["data"][0]["embedding"])
        assert np.allclose(vector, np.array([2, 1, 0]) / 5**0.5)
        assert plain["data"][1]["embedding"] == [0, 0, 1]
        assert packed["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


@pytest.mark.usefixtures("letters")
@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, None),
        ({"input": []}, 400, "input"),
        ({"input": ["a", ""]}, 400, "input[1]"),
        ({"input": [[1, 2]]}, 400, "input[0]"),
        ({"input": "a", "dimensions": 2}, 400, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, 400, "encoding_format"),
        ({"input": "a", "model": "text-embedding-3-small"}, 404, "model"),
    ],
)
async def test_wrong_embeddings_requests(start: Start, body: dict[str, Any], status: int, param: str | None) -> None:
    async with start() as gateway:
        response = await gateway.client.post("/v1/embeddings", content=json.dumps(body))
        assert response.status_code == status
        assert response.json()["error"]["param"] == param


async def test_busy_providers_do_not_hold_up_the_page(start: Start) -> None:
    gate = asyncio.Event()
    async with start(Script(gate=gate)) as gateway:
        waiting = asyncio.create_task(gateway.chat())
        await asyncio.sleep(0.05)
        assert (await gateway.client.get("/v1/models")).status_code == 200
        gate.set()
        assert (await waiting).status_code == 200


async def test_who_asks_and_what_the_key_may(start: Start) -> None:
    async with start() as gateway:
        anyone = (await gateway.client.get("/v1/whoami")).json()
        assert anyone == {"tenant": None, "role": "anyone", "operator": True, "problem": ""}
    async with start(keys=KEYS) as gateway:
        nobody = (await gateway.client.get("/v1/whoami")).json()
        assert (nobody["role"], nobody["operator"]) == ("nobody", False)
        assert "Authorization" in nobody["problem"]
        wrong = (await gateway.client.get("/v1/whoami", headers=bearer("sk-x"))).json()
        assert (wrong["role"], wrong["problem"]) == ("nobody", "this key is not known here")
        acme, ops = [(await gateway.client.get("/v1/whoami", headers=bearer(key))).json() for key in ("sk-a", "sk-o")]
        assert (acme["tenant"], acme["role"], acme["operator"]) == ("acme", "viewer", False)
        assert (ops["tenant"], ops["role"], ops["operator"]) == ("ops", "operator", True)


@pytest.mark.parametrize("path", ["/v1/shadow", "/v1/savings", "/v1/traffic", "/v1/config/diff"])
async def test_what_belongs_to_all_tenants_is_for_operators(start: Start, path: str) -> None:
    async with start(keys=KEYS) as gateway:
        assert (await gateway.client.get(path)).status_code == 401
        assert (await gateway.client.get(path, headers=bearer("sk-a"))).status_code == 403
        assert (await gateway.client.get(path, headers=bearer("sk-o"))).status_code == 200


async def test_shadow_savings_and_traffic_come_from_the_ledger(start: Start) -> None:
    async with start() as gateway:
        for _ in range(6):
            await judge(gateway, id=await answered(gateway), score=1)
        assert (await gateway.client.get("/v1/shadow")).json()["shadow"] is None
        policy = gateway.router.served.policy
        gateway.service.second = Second(policy, gateway.router.plan.settings.policy)
        shadow = (await gateway.client.get("/v1/shadow")).json()
        assert (shadow["decisions"], shadow["differs"]["mean"]) == (6, 0.0)
        savings = (await gateway.client.get("/v1/savings")).json()
        assert savings["against"] == "tiny"  # 0.6 is more than 0.5
        assert savings["requests"] == 6
        assert (await gateway.client.get("/v1/savings?against=tinny")).status_code == 404
        traffic = (await gateway.client.get("/v1/traffic?points=5")).json()
        assert sum(traffic["all"]["requests"]) == 6
        assert {provider["name"]: provider["total"]["calls"] for provider in traffic["providers"]} == {
            "pocket": 6,
            "far": 0,
        }
        story = (await gateway.client.get(f"/v1/ledger/{await answered(gateway)}")).json()
        assert story["shadow"] == {"candidate": "tiny", "probability": 1.0}


async def test_without_a_file_there_is_nothing_to_reload(start: Start) -> None:
    async with start() as gateway:
        assert (await gateway.client.get("/v1/config/diff")).json() == {"file": None, "error": "", "changes": []}
        assert (await gateway.client.post("/admin/reload")).status_code == 404


async def test_the_file_against_what_serves_and_a_reload_on_demand(start: Start, tmp_path: Path) -> None:
    async with start(keys=KEYS) as gateway:
        gateway.service.watched = path = tmp_path / "interlock.yaml"
        path.write_text(FILE)
        found = (await gateway.client.get("/v1/config/diff", headers=bearer("sk-o"))).json()
        assert {"path": "vector[0]", "before": "tokens", "after": "structure"} in found["changes"]
        path.write_text(FILE.replace("greedy", "greedi"))
        found = (await gateway.client.get("/v1/config/diff", headers=bearer("sk-o"))).json()
        assert "did you mean 'greedy'?" in found["error"]
        assert found["changes"] == []
        assert (await gateway.client.post("/admin/reload", headers=bearer("sk-a"))).status_code == 403
        refused = await gateway.client.post("/admin/reload", headers=bearer("sk-o"))
        assert refused.json()["reload"]["ok"] is False
        assert "interlock.yaml:5: policy.exploration.kind" in refused.json()["reload"]["error"]
        path.write_text(FILE)
        assert (await gateway.client.post("/admin/reload", headers=bearer("sk-o"))).json()["reload"]["ok"]
        assert gateway.router.plan.settings.vector == ("structure",)
