"""The clients people use, against real gateways: the openai SDK, LangChain, and plain curl."""

from __future__ import annotations

import json
import shutil
import subprocess
from http.server import ThreadingHTTPServer
from typing import Any

import numpy as np
import openai
import pytest
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI

from interlock.lab.process import Gateway

from .conftest import Upstream

PROMPT: Any = [{"role": "user", "content": "Please add 47 to 85 for me."}]
WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


@pytest.fixture
def pocket(pocket_gateway: Gateway) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{pocket_gateway.url}/v1", api_key="none", max_retries=0)


@pytest.fixture
def hosted(hosted_gateway: Gateway) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{hosted_gateway.url}/v1", api_key="sk-acme", max_retries=0)


def test_openai_chat(pocket: openai.OpenAI) -> None:
    raw = pocket.chat.completions.with_raw_response.create(model="auto", messages=PROMPT)
    answer = raw.parse()
    assert answer.choices[0].message.content is not None  # a pocket model may have nothing to say
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert raw.headers["x-interlock-pool"] == "pocket"
    assert raw.headers["x-interlock-id"]


def test_openai_stream_without_and_with_usage(pocket: openai.OpenAI) -> None:
    chunks = list(pocket.chat.completions.create(model="auto", messages=PROMPT, stream=True, seed=1))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    asked = list(
        pocket.chat.completions.create(
            model="auto", messages=PROMPT, stream=True, stream_options={"include_usage": True}, seed=1
        )
    )
    assert asked[-1].usage is not None
    assert asked[-1].usage.completion_tokens > 0


def test_openai_stream_and_whole_say_the_same(pocket: openai.OpenAI) -> None:
    model = pocket.models.list().data[1].id  # one candidate, so that routing cannot make the difference
    whole = pocket.chat.completions.create(model=model, messages=PROMPT, temperature=0)
    pieces = pocket.chat.completions.create(model=model, messages=PROMPT, temperature=0, stream=True)
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == whole.choices[0].message.content


def test_openai_models(pocket: openai.OpenAI) -> None:
    models = {model.id: model for model in pocket.models.list()}
    assert "auto" in models
    assert len(models) > 2
    assert pocket.models.retrieve("auto").owned_by == "interlock"
    with pytest.raises(openai.NotFoundError, match="did you mean 'auto'"):
        pocket.models.retrieve("auto0")


def test_openai_embeddings(pocket: openai.OpenAI) -> None:
    texts = ["a cat sat on the mat", "the cat lay on a rug", "interest rates rose again"]
    vectors = np.array([item.embedding for item in pocket.embeddings.create(model="interlock-embed", input=texts).data])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    plain = pocket.embeddings.create(model="interlock-embed", input=texts[0], encoding_format="float")
    assert np.allclose(plain.data[0].embedding, vectors[0], atol=1e-6)


@pytest.mark.parametrize("stream", [False, True])
def test_openai_tools_pass_through(hosted: openai.OpenAI, stream: bool) -> None:
    if stream:
        chunks = list(hosted.chat.completions.create(model="auto", messages=PROMPT, tools=[WEATHER], stream=True))
        calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or []]
        assert calls[0].function is not None
        assert (calls[0].function.name, calls[0].function.arguments) == ("weather", '{"city": "Ulm"}')
    else:
        raw = hosted.chat.completions.with_raw_response.create(model="auto", messages=PROMPT, tools=[WEATHER])
        assert raw.headers["x-interlock-model"] == "tooled"  # the better one cannot use tools
        call = raw.parse().choices[0].message.tool_calls[0]  # type: ignore[index]
        assert call.function.name == "weather"  # type: ignore[union-attr]
        assert raw.parse().model_extra == {"x_vendor": {"kept": True}}
    assert Upstream.received[-1]["tools"] == [WEATHER]


def test_openai_unknown_fields_pass_through_and_ours_stay_here(hosted: openai.OpenAI) -> None:
    extra = {"vendor_field": [1, {"a": None}], "interlock": {"session": "s1"}}
    hosted.chat.completions.create(model="auto", messages=PROMPT, temperature=0.5, extra_body=extra)
    assert Upstream.received[-1]["vendor_field"] == [1, {"a": None}]
    assert Upstream.received[-1]["temperature"] == 0.5
    assert "interlock" not in Upstream.received[-1]


def test_openai_errors_arrive_as_its_own(pocket: openai.OpenAI, hosted_gateway: Gateway) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        pocket.chat.completions.create(model="gpt-nothing", messages=PROMPT)
    with pytest.raises(openai.BadRequestError, match="at least one message"):
        pocket.chat.completions.create(model="auto", messages=[])
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        pocket.chat.completions.create(model="auto", messages=PROMPT, tools=[WEATHER])
    assert len(refused.value.body["reasons"]) > 1  # type: ignore[index, call-overload]
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{hosted_gateway.url}/v1", api_key="wrong").models.list()


def test_langchain(pocket_gateway: Gateway) -> None:
    model = ChatOpenAI(base_url=f"{pocket_gateway.url}/v1", api_key="none", model="auto")  # type: ignore[arg-type]
    answer = model.invoke([HumanMessage("Please add 47 to 85 for me.")])
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.usage_metadata is not None
    pieces = list(model.stream("Please add 47 to 85 for me."))
    assert any(piece.response_metadata.get("finish_reason") == "stop" for piece in pieces)


def test_langchain_binds_tools(hosted_gateway: Gateway, upstream: ThreadingHTTPServer) -> None:
    model = ChatOpenAI(base_url=f"{hosted_gateway.url}/v1", api_key="sk-acme", model="auto")  # type: ignore[arg-type]
    answer = model.bind_tools([WEATHER]).invoke("What is the weather in Ulm?")
    assert answer.tool_calls[0]["args"] == {"city": "Ulm"}  # type: ignore[union-attr]


def curl(*arguments: str) -> str:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed")
    return subprocess.run(
        [program, "-sS", "--max-time", "30", *arguments], capture_output=True, text=True, check=True
    ).stdout


def test_curl_without_any_header(pocket_gateway: Gateway) -> None:
    answer = json.loads(
        curl(f"{pocket_gateway.url}/v1/chat/completions", "-d", json.dumps({"model": "auto", "messages": PROMPT}))
    )
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_curl_stream(pocket_gateway: Gateway) -> None:
    body = json.dumps({"model": "auto", "messages": PROMPT, "stream": True})
    lines = curl("-N", f"{pocket_gateway.url}/v1/chat/completions", "-d", body).split("\n\n")
    assert lines[-2] == "data: [DONE]"
    assert json.loads(lines[0].removeprefix("data: "))["object"] == "chat.completion.chunk"


def test_curl_asks_scores_and_looks(hosted_gateway: Gateway) -> None:
    url, key = hosted_gateway.url, ("-H", "authorization: Bearer sk-acme")
    body = json.dumps({"model": "auto", "messages": PROMPT, "interlock": {"explain": True}})
    explained = json.loads(curl(*key, f"{url}/v1/chat/completions", "-d", body))["interlock"]
    assert explained["chosen"] == "plain"
    assert explained["tenant"] == "acme"
    scored = json.dumps({"id": explained["id"], "score": 1, "source": "person"})
    assert json.loads(curl(*key, f"{url}/v1/feedback", "-d", scored)) == {"id": explained["id"], "recorded": True}
    story = json.loads(curl(*key, f"{url}/v1/ledger/{explained['id']}"))
    assert story["feedback"][0]["score"] == 1
    assert story["outcome"]["cost"] == pytest.approx((5 * 1 + 3 * 2) / 1e6)
    curve = json.loads(curl("-H", "authorization: Bearer sk-ops", f"{url}/v1/curve"))
    assert curve["decisions"] == 1
