"""The chat endpoint over real sockets: what reaches the provider, what reaches the client, and what every failure
looks like."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import httpx
import pytest

from interlock.errors import Garbled, InterlockError, Overloaded, RateLimited
from interlock.ledger import Reading

from .conftest import Script, Start


def events(response: httpx.Response) -> list[str]:
    assert response.headers["content-type"].startswith("text/event-stream")
    return [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]


async def test_an_answer_is_the_providers_own_bytes(start: Start) -> None:
    async with start() as gateway:
        response = await gateway.chat()
        assert response.status_code == 200
        assert response.json()["x_unknown"] == 7
        assert response.headers["x-interlock-model"] == "tiny"
        assert response.headers["x-interlock-pool"] == "pocket"
        assert (await gateway.outcome(response.headers["x-interlock-id"])).candidate == "tiny"
        assert float(response.headers["x-interlock-cost"]) == pytest.approx((3 * 1 + 2 * 2) / 1e6)


async def test_only_the_embedded_pool_is_named_pocket(start: Start) -> None:
    async with start() as gateway:
        response = await gateway.chat(model="large")
        assert response.headers["x-interlock-model"] == "large"
        assert "x-interlock-pool" not in response.headers
        assert "x-interlock-cost" not in response.headers  # its price is not known


async def test_a_stream_ends_with_done_and_hides_the_unasked_usage(start: Start) -> None:
    async with start() as gateway:
        got = events(await gateway.chat(stream=True))
        assert got[-1] == "[DONE]"
        assert [json.loads(event)["choices"][0]["delta"]["content"] for event in got[:-1]] == ["hello", " world"]


async def test_each_event_leaves_at_once(start: Start) -> None:
    gate = asyncio.Event()
    async with start(Script(gate=gate)) as gateway:
        body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
        async with gateway.client.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = response.aiter_lines()
            assert "hello" in await asyncio.wait_for(anext(lines), 5)  # while the second word is still held back
            gate.set()
            assert "[DONE]" in [line async for line in lines][-2]


async def test_unknown_fields_reach_the_provider_and_ours_do_not(start: Start) -> None:
    async with start() as gateway:
        ours = {"session": "s", "program": "p", "limits": {"max_cost": 0.5}, "hints": {"task": "math"}, "tenant": "t"}
        await gateway.chat(temperature=0.25, vendor={"beam": [1, 2]}, interlock=ours)
        request = gateway.script.calls[0].request
        assert request.body["vendor"] == {"beam": [1, 2]}
        assert request.body["temperature"] == 0.25
        assert "interlock" not in request.body
        assert (request.session, request.program, request.tenant, request.limits.max_cost) == ("s", "p", "t", 0.5)
        assert request.hints == {"task": "math"}


@pytest.mark.parametrize("stream", [False, True])
async def test_the_explanation_comes_on_request(start: Start, stream: bool) -> None:
    async with start() as gateway:
        plain = await gateway.chat(stream=stream)
        assert "interlock" not in plain.text
        response = await gateway.chat(stream=stream, headers={"x-interlock-explain": "1"})
        document = json.loads(events(response)[0]) if stream else response.json()
        explanation = document["interlock"]
        assert explanation["id"] == response.headers["x-interlock-id"]
        assert [row["candidate"] for row in explanation["considered"]] == ["tiny", "large"]
        assert explanation["considered"][0]["cost"] > 0
        assert explanation["considered"][1]["cost"] is None  # an unknown price is null, never a made-up number
        assert explanation["runner_up"]["candidate"] == "large"
        assert document["choices"]


async def test_a_refusal_lists_every_candidates_reasons(start: Start) -> None:
    async with start() as gateway:
        response = await gateway.chat("forbidden")
        error = response.json()["error"]
        assert response.status_code == 422
        assert error["code"] == "no_permitted_candidate"
        assert error["reasons"] == {name: ["the rule forbids this word"] for name in ("tiny", "large")}
        assert response.headers["x-interlock-id"] == error["decision"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("failure", "status"),
    [(RateLimited("slow down", retry_after=2.5), 429), (Overloaded("full"), 503), (Garbled("no JSON"), 502)],
)
async def test_a_providers_error_before_the_answer_is_a_status(
    start: Start, failure: InterlockError, status: int, stream: bool
) -> None:
    async with start(Script(fails=failure)) as gateway:
        response = await gateway.chat(stream=stream)
        assert response.status_code == status
        assert response.json()["error"]["code"] == failure.code
        assert response.headers.get("retry-after") == ("3" if status == 429 else None)
        assert response.headers["x-interlock-id"]


async def test_an_error_inside_a_stream_is_an_event_and_there_is_no_done(start: Start) -> None:
    async with start(Script(fails=Garbled("cut off"), fails_at=1)) as gateway:
        got = events(await gateway.chat(stream=True))
        assert "hello" in got[0]
        assert json.loads(got[1])["error"]["code"] == "provider_garbled"
        assert len(got) == 2
        assert (await gateway.chat(stream=True)).status_code == 200  # the connection is still good


async def test_a_bug_behind_the_gateway_is_a_500_with_an_id_and_a_log_line(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async with start() as gateway:
        gateway.router.start = None  # type: ignore[assignment, method-assign]
        response = await gateway.chat()
        assert response.status_code == 500
        assert response.headers["x-interlock-id"] in response.json()["error"]["message"]
        assert "TypeError" in caplog.text


async def test_a_client_that_leaves_cancels_the_provider(start: Start) -> None:
    gate = asyncio.Event()
    async with start(Script(gate=gate)) as gateway:
        body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
        async with gateway.client.stream("POST", "/v1/chat/completions", json=body) as response:
            await anext(response.aiter_lines())
        assert (await gateway.outcome(response.headers["x-interlock-id"])).error == "cancelled"
        assert gateway.script.closed == 1


async def test_a_slow_reader_holds_the_provider_back(start: Start) -> None:
    script = Script(words=["x" * 60_000] * 400)  # 24 MB, far above what sockets buffer
    async with start(script) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=2**16)
        body = json.dumps({"messages": [{"role": "user", "content": "hi"}], "stream": True}).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % len(body) + body)
        await reader.readline()
        before = -1
        while before != script.sent:  # until it stands still
            before = script.sent
            await asyncio.sleep(0.1)
        assert script.sent < 300
        total = 0
        while block := await reader.read(1 << 20):
            total += len(block)
        assert script.sent == 400
        assert total > 24_000_000
        writer.close()


async def test_many_at_once_get_their_own_answers(start: Start) -> None:
    async with start() as gateway:
        responses = await asyncio.gather(*(gateway.chat(stream=bool(i % 2)) for i in range(40)))
        assert all(response.status_code == 200 for response in responses)
        assert len({response.headers["x-interlock-id"] for response in responses}) == 40


async def test_shutdown_lets_open_streams_finish(start: Start) -> None:
    gate = asyncio.Event()
    async with start(Script(gate=gate)) as gateway:
        body, port = {"messages": [{"role": "user", "content": "hi"}], "stream": True}, gateway.port
        async with gateway.client.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = response.aiter_lines()
            await anext(lines)
            gateway.server.should_exit = True
            while not gateway.service.problems():
                await asyncio.sleep(0.01)
            with pytest.raises(httpx.ConnectError):
                await asked_for_ever(port)
            gate.set()
            assert [line async for line in lines][-2] == "data: [DONE]"


async def test_shutdown_is_bounded(start: Start, tmp_path: Path) -> None:
    async with start(Script(gate=asyncio.Event()), grace=1) as gateway:
        body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
        async with gateway.client.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = response.aiter_lines()
            await anext(lines)
            gateway.server.should_exit = True
            with pytest.raises(httpx.RemoteProtocolError):
                assert [line async for line in lines]
    with contextlib.closing(Reading(tmp_path / "ledger.db")) as ledger:
        outcome = ledger.decision(response.headers["x-interlock-id"]).outcome
    assert outcome is not None
    assert outcome.error == "cancelled"


async def asked_for_ever(port: int) -> None:
    async with asyncio.timeout(5), httpx.AsyncClient() as client:
        while True:
            await client.get(f"http://127.0.0.1:{port}/healthz")
