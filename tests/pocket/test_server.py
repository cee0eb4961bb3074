from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from interlock.pocket.pool import Pool
from interlock.pocket.server import MAX_BODY, build
from interlock.pocket.tokenizer import encode

Json = dict[str, Any]


@pytest.fixture
async def client(weights: Path) -> AsyncIterator[httpx.AsyncClient]:
    with Pool.load(path=weights, slots=2, max_queue=1) as pool:
        transport = httpx.ASGITransport(build(pool))
        async with httpx.AsyncClient(transport=transport, base_url="http://pocket") as client:
            yield client


def chat(text: Any = "Sort D A C B.", **fields: Any) -> Json:
    return {"model": "tiny-t0", "messages": [{"role": "user", "content": text}], "max_tokens": 6, **fields}


async def complete(client: httpx.AsyncClient, body: Json) -> Json:
    response = await client.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def events(client: httpx.AsyncClient, body: Json) -> list[Json]:
    response = await client.post("/v1/chat/completions", json={**body, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


async def test_a_completion_has_the_openai_shape(client: httpx.AsyncClient) -> None:
    answer = await complete(client, chat(seed=3))
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "tiny-t0"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["prompt_tokens"] == len(encode("Sort D A C B.")) + 2
    assert answer["usage"]["completion_tokens"] == 6
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + 6
    assert answer["interlock"]["seed"] == 3
    assert answer["interlock"]["cost_usd"] > 0


async def test_votes_that_do_not_fit_the_queue_are_refused_together(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/chat/completions", json=chat(model="tiny", reasoning_effort="high"))
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1
    assert response.json()["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize(("effort", "model"), [("none", "tiny-t0"), ("low", "tiny-t1"), ("medium", "tiny-t2")])
async def test_reasoning_effort_chooses_the_budget(client: httpx.AsyncClient, effort: str, model: str) -> None:
    answer = await complete(client, chat(model="tiny", reasoning_effort=effort, max_tokens=3))
    assert answer["model"] == model
    details = answer["usage"]["completion_tokens_details"]
    assert details["reasoning_tokens"] == (0 if effort == "none" else 3)
    message = answer["choices"][0]["message"]
    assert message["content"] == "" or effort == "none"


async def test_the_prompt_is_the_last_user_message(client: httpx.AsyncClient) -> None:
    alone = await complete(client, chat("Add 1 and 2."))
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Something else"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": [{"type": "text", "text": "Add 1 and 2."}]},
    ]
    within = await complete(client, {**chat(), "messages": messages})
    assert within["choices"] == alone["choices"]
    assert within["usage"] == alone["usage"]


async def test_chunks_add_up_to_the_completion(client: httpx.AsyncClient) -> None:
    body = chat(max_tokens=20, logprobs=True, top_logprobs=2)
    whole = await complete(client, body)
    chunks = await events(client, {**body, "stream_options": {"include_usage": True}})
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    *deltas, usage = chunks
    assert usage["choices"] == []
    assert {**usage["usage"], "prompt_tokens_details": None} == {**whole["usage"], "prompt_tokens_details": None}
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in deltas)
    assert text == whole["choices"][0]["message"]["content"]
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in deltas]
    assert reasons[-1] == "length"
    assert set(reasons[:-1]) == {None}
    logprobs = [entry for chunk in deltas for entry in (chunk["choices"][0]["logprobs"] or {"content": []})["content"]]
    assert logprobs == whole["choices"][0]["logprobs"]["content"]
    assert "".join(entry["token"] for entry in logprobs) == text
    assert all(len(entry["top_logprobs"]) == 2 for entry in logprobs)


async def test_usage_is_not_streamed_unless_asked_for(client: httpx.AsyncClient) -> None:
    assert all(chunk["choices"] and "usage" not in chunk for chunk in await events(client, chat()))


async def test_reused_prefixes_are_told(client: httpx.AsyncClient) -> None:
    prompt = "Sort these letters: " + "D A C B " * 8
    cached = [(await complete(client, chat(prompt)))["usage"]["prompt_tokens_details"]["cached_tokens"] for _ in "ab"]
    assert cached == [0, 16 * ((len(encode(prompt)) + 1) // 16)]


@pytest.mark.parametrize(
    ("body", "status", "param", "code"),
    [
        (chat(model="huge"), 404, "model", "model_not_found"),
        (chat(messages=[]), 400, "messages", "invalid_request"),
        (chat(messages=[{"role": "system", "content": "x"}]), 400, "messages", "invalid_request"),
        (chat([{"type": "image_url", "image_url": {"url": "data:"}}]), 400, "messages", "invalid_request"),
        (chat(max_tokens=0), 400, "max_tokens", "invalid_request"),
        (chat(max_tokens="many"), 400, "max_tokens", "invalid_request"),
        (chat(temperature=3), 400, "temperature", "invalid_request"),
        (chat(n=2), 400, "n", "invalid_request"),
        (chat(top_logprobs=2), 400, "top_logprobs", "invalid_request"),
        (chat(tools=[{"type": "function"}]), 400, "tools", "invalid_request"),
        (chat(response_format={"type": "json_object"}), 400, "response_format", "invalid_request"),
        (chat(reasoning_effort="huge"), 400, "reasoning_effort", "invalid_request"),
        (chat("7" * 300), 400, "prompt", "context_length_exceeded"),
        ({"messages": []}, 400, "model", "invalid_request"),
    ],
)
async def test_wrong_requests_are_told_what_is_wrong(
    client: httpx.AsyncClient, body: Json, status: int, param: str | None, code: str
) -> None:
    for stream in (False, True):
        response = await client.post("/v1/chat/completions", json={**body, "stream": stream})
        assert response.status_code == status, response.text
        error = response.json()["error"]
        assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")
        assert error["message"]


async def test_what_is_not_json_or_too_large_is_refused(client: httpx.AsyncClient) -> None:
    for content, status in ((b"{", 400), (b"\xff\xfe", 400), (b"[]", 400), (b" " * (MAX_BODY + 1), 413)):
        response = await client.post("/v1/chat/completions", content=content)
        assert response.status_code == status
        assert response.json()["error"]["type"] == "invalid_request_error"


async def test_unknown_paths_and_methods_have_the_error_shape(client: httpx.AsyncClient) -> None:
    missing, wrong = await client.get("/v1/nothing"), await client.get("/v1/chat/completions")
    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert missing.json()["error"]["code"] == "not_found"
    assert "/v1/chat/completions" in wrong.json()["error"]["message"]


async def test_odd_text_is_answered(client: httpx.AsyncClient) -> None:
    for text in ("", "é木🙂", "\x00\x07", "a" * 250):
        answer = await complete(client, chat(text))
        assert answer["usage"]["prompt_tokens"] == len(encode(text)) + 2
    absurd = await complete(client, chat("", max_tokens=2**70))
    assert absurd["usage"]["total_tokens"] == 256


async def test_models_are_listed_bare_and_with_their_budgets(client: httpx.AsyncClient) -> None:
    names = [card["id"] for card in (await client.get("/v1/models")).json()["data"]]
    assert {"tiny", "tiny-left", "tiny-left-t1", "speck-tN"} <= set(names)
    for name in names:
        assert (await client.get(f"/v1/models/{name}")).json()["id"] == name
    assert (await client.get("/v1/models/none")).status_code == 404


async def test_embeddings_come_as_numbers_or_bytes(client: httpx.AsyncClient) -> None:
    body = {"model": "tiny", "input": ["Sort D A.", "Add 1 and 2."]}
    plain = (await client.post("/v1/embeddings", json=body)).json()
    packed = (await client.post("/v1/embeddings", json={**body, "encoding_format": "base64"})).json()
    assert plain["usage"]["prompt_tokens"] == sum(len(encode(text)) + 1 for text in body["input"])
    for numbers, packed_numbers in zip(plain["data"], packed["data"], strict=True):
        decoded = np.frombuffer(base64.b64decode(packed_numbers["embedding"]), np.float32)
        np.testing.assert_array_equal(np.array(numbers["embedding"], np.float32), decoded)
        assert len(decoded) == 48
    for wrong in ({"input": []}, {"layer": 9}, {"pooling": "max"}, {"input": "7" * 300}):
        response = await client.post("/v1/embeddings", json={**body, **wrong})
        assert response.status_code == 400
        assert response.json()["error"]["param"] == next(iter(wrong))


async def test_metrics_bear_the_names_of_real_replicas(client: httpx.AsyncClient) -> None:
    await complete(client, chat(model="tiny-left-t0"))
    text = (await client.get("/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for name in ("num_requests_waiting", "num_requests_running", "kv_cache_usage_perc", "lora_requests_info",
                 "prompt_tokens", "generation_tokens", "prefix_cache_queries", "prefix_cache_hits"):  # fmt: skip
        assert {sample.labels["model_name"] for sample in families[f"vllm:{name}"].samples} == {"tiny", "speck"}
    generated = {sample.labels["model_name"]: sample.value for sample in families["vllm:generation_tokens"].samples}
    assert generated == {"tiny": 6, "speck": 0}
    lora = families["vllm:lora_requests_info"].samples
    assert {sample.labels["model_name"]: sample.labels["max_lora"] for sample in lora} == {"tiny": "2", "speck": "0"}


async def test_health_names_the_models(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"status": "ok", "models": ["speck", "tiny"]}
