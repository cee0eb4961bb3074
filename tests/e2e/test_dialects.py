"""Every dialect to every provider, with the SDKs people use: openai, anthropic, LlamaIndex, against real gateways."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import Any

import anthropic
import httpx
import openai
import pydantic
import pytest
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

from interlock.lab.process import Gateway, gateway

from .conftest import Upstream
from .upstreams import SIGNED, Claude, serving

PROMPT = "Please add 47 to 85 for me."
SAID: Any = [{"role": "user", "content": PROMPT}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CLAUDE_TOOL: Any = {"name": "weather", "description": "the weather", "input_schema": SCHEMA}
CHAT_TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
RESPONSES_TOOL: Any = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, upstream: ThreadingHTTPServer) -> Iterator[Gateway]:
    """A provider that speaks chat, and one that speaks Messages, behind keys of two tenants."""
    Claude.received = []
    folder = tmp_path_factory.mktemp("both")
    with serving(Claude) as claude:
        config = folder / "interlock.yaml"
        config.write_text(
            f"""
providers:
  hosted: {{kind: openai, base_url: "http://127.0.0.1:{upstream.server_address[1]}/v1"}}
  claude: {{kind: anthropic, base_url: "{claude}", api_key: "env:CLAUDE_KEY"}}
candidates:
  - {{name: plain, provider: hosted, model: plain-1, price: {{in: 1, out: 2}}, quality: 0.9}}
  - {{name: opus, provider: claude, model: opus-1, price: {{in: 3, out: 6}}, quality: 0.5, max_output: 8000}}
policy: {{exploration: {{kind: greedy}}}}
learner: {{enabled: false}}
responses: {{path: "{folder}/responses.db"}}
server:
  keys:
    - {{tenant: acme, key: "env:ACME_KEY"}}
    - {{tenant: other, key: "env:OTHER_KEY"}}
"""
        )
        env = {"ACME_KEY": "sk-acme", "OTHER_KEY": "sk-other", "CLAUDE_KEY": "sk-claude"}
        with gateway(folder, "--config", str(config), env=env) as running:
            yield running


@pytest.fixture
def claude(both: Gateway) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=both.url, api_key="sk-acme", max_retries=0)


@pytest.fixture
def openai_of(both: Gateway) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{both.url}/v1", api_key="sk-acme", max_retries=0)


@pytest.fixture
def pocket(pocket_gateway: Gateway) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{pocket_gateway.url}/v1", api_key="none", max_retries=0)


@pytest.fixture
def pocket_claude(pocket_gateway: Gateway) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=pocket_gateway.url, api_key="none", max_retries=0)


# anthropic's SDK


def test_messages_from_the_pocket_pool(pocket_claude: anthropic.Anthropic) -> None:
    raw = pocket_claude.messages.with_raw_response.create(model="auto", max_tokens=64, messages=SAID)
    answer = raw.parse()
    assert answer.stop_reason == "end_turn"
    assert answer.usage.output_tokens > 0
    assert all(block.type in ("text", "thinking") for block in answer.content)
    assert raw.headers["x-interlock-pool"] == "pocket"
    assert raw.headers["x-interlock-id"]


def test_a_streamed_message_says_what_a_whole_one_says(pocket_claude: anthropic.Anthropic) -> None:
    model = next(m.id for m in pocket_claude.models.list() if m.id != "auto")
    asked: Any = {"model": model, "max_tokens": 64, "messages": SAID, "extra_body": {"temperature": 0}}
    whole = pocket_claude.messages.create(**asked)
    with pocket_claude.messages.stream(**asked) as stream:
        pieces = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert pieces == "".join(block.text for block in whole.content if block.type == "text")
    assert (final.stop_reason, final.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)


@pytest.mark.parametrize("model", ["plain", "opus"])
@pytest.mark.parametrize("stream", [False, True])
def test_tools_by_messages(claude: anthropic.Anthropic, model: str, stream: bool) -> None:
    asked: Any = {"model": model, "max_tokens": 64, "messages": SAID, "tools": [CLAUDE_TOOL]}
    if stream:
        with claude.messages.stream(**asked) as events:
            answer: Any = events.get_final_message()
    else:
        answer = claude.messages.create(**asked)
    call = answer.content[-1]
    assert (call.type, call.name, call.input) == ("tool_use", "weather", {"city": "Ulm"})
    assert answer.stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "rain"}]}
    turns: Any = [*SAID, {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    claude.messages.create(model=model, max_tokens=64, messages=turns, tools=[CLAUDE_TOOL])
    if model == "plain":
        _, said, tool = Upstream.received[-1]["messages"]
        assert said["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city":"Ulm"}'}
        assert (tool["role"], tool["tool_call_id"], tool["content"]) == ("tool", call.id, "rain")
    else:
        sent = Claude.received[-1][0]["messages"]
        assert sent[1]["content"][0] == SIGNED  # the provider gets its own signature back
        assert sent[2]["content"] == [result]


def test_anthropic_gets_its_own_requests_as_they_were_and_answers_come_as_they_are(both: Gateway) -> None:
    body: Any = {
        "model": "opus",
        "max_tokens": 64,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "x"}}]}],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "vendor_field": [1, {"a": None}],
    }
    headers = {"x-api-key": "sk-acme", "anthropic-beta": "context-1m"}
    with httpx.Client(base_url=both.url, headers=headers, timeout=60) as client:
        whole = client.post("/v1/messages", json={**body, "interlock": {"session": "s"}})
        streamed = client.post("/v1/messages", json={**body, "stream": True}).text
    sent, told = Claude.received[-2]
    assert sent == {**body, "model": "opus-1"}
    assert (told["x-api-key"], told["anthropic-beta"]) == ("sk-claude", "context-1m")
    assert whole.json()["x_vendor"] == 7
    assert whole.json()["content"][0] == SIGNED
    assert whole.headers["x-interlock-model"] == "opus"
    assert float(whole.headers["x-interlock-cost"]) == pytest.approx((7 * 3 + 5 * 3 + 2 * 3 + 3 * 6) / 1e6)
    assert "event: ping" in streamed
    assert '"x_vendor": 7' in streamed
    assert streamed.count("event: message_stop") == 1


def test_what_only_anthropic_understands_goes_there_or_nowhere(claude: anthropic.Anthropic) -> None:
    search: Any = {"type": "web_search_20250305", "name": "web_search"}
    raw = claude.messages.with_raw_response.create(model="auto", max_tokens=64, messages=SAID, tools=[search])
    assert raw.headers["x-interlock-model"] == "opus"  # the better one could not search
    assert Claude.received[-1][0]["tools"] == [search]
    with pytest.raises(anthropic.UnprocessableEntityError, match="web_search_20250305") as refused:
        claude.messages.create(model="plain", max_tokens=64, messages=SAID, tools=[search])
    assert refused.value.body["error"]["reasons"]["plain"]  # type: ignore[index, call-overload]


def test_signed_thinking_before_a_tool_call_stays_with_its_provider(claude: anthropic.Anthropic) -> None:
    call = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Ulm"}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "rain"}
    turns: Any = [*SAID, {"role": "assistant", "content": [SIGNED, call]}, {"role": "user", "content": [result]}]
    asked: Any = {"max_tokens": 64, "tools": [CLAUDE_TOOL]}
    raw = claude.messages.with_raw_response.create(model="auto", messages=turns, **asked)
    assert raw.headers["x-interlock-model"] == "opus"  # the better one cannot read it
    assert Claude.received[-1][0]["messages"] == turns
    with pytest.raises(anthropic.UnprocessableEntityError, match="signed thinking"):
        claude.messages.create(model="plain", messages=turns, **asked)
    turns[-1] = {"role": "user", "content": [result, {"type": "text", "text": "Shorter, please."}]}
    raw = claude.messages.with_raw_response.create(model="auto", messages=turns, **asked)
    assert raw.headers["x-interlock-model"] == "plain"  # the user has spoken


def test_images_by_every_dialect_reach_every_provider(claude: anthropic.Anthropic, openai_of: openai.OpenAI) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    url = f"data:image/png;base64,{PIXEL}"
    block: Any = [{"type": "image", "source": source}, {"type": "text", "text": "what?"}]
    part: Any = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "what?"}]
    item: Any = [{"type": "input_image", "image_url": url, "detail": "auto"}, {"type": "input_text", "text": "what?"}]
    for model in ("plain", "opus"):
        claude.messages.create(model=model, max_tokens=9, messages=[{"role": "user", "content": block}])
        openai_of.chat.completions.create(model=model, messages=[{"role": "user", "content": part}])
        openai_of.responses.create(model=model, input=[{"role": "user", "content": item}])
    urls = [body["messages"][-1]["content"][0]["image_url"]["url"] for body in Upstream.received[-3:]]
    assert urls == [url] * 3
    sources = [body["messages"][-1]["content"][0]["source"] for body, _ in Claude.received[-3:]]
    assert sources == [source] * 3


def test_tokens_are_counted(pocket_claude: anthropic.Anthropic) -> None:
    short = pocket_claude.messages.count_tokens(model="auto", messages=SAID).input_tokens
    assert 5 < short < 30
    with_tool = pocket_claude.messages.count_tokens(
        model="auto", messages=SAID, tools=[CLAUDE_TOOL], system="Be brief."
    )
    assert with_tool.input_tokens > short + 10


def test_anthropics_errors_arrive_as_its_own(both: Gateway, claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="does not exist") as missing:
        claude.messages.create(model="claude-nothing", max_tokens=9, messages=SAID)
    assert missing.value.body["error"]["type"] == "not_found_error"  # type: ignore[index, call-overload]
    with pytest.raises(anthropic.BadRequestError, match="at least one message"):
        claude.messages.create(model="auto", max_tokens=9, messages=[])
    with pytest.raises(anthropic.AuthenticationError):
        anthropic.Anthropic(base_url=both.url, api_key="wrong", max_retries=0).messages.create(
            model="auto", max_tokens=9, messages=SAID
        )
    with pytest.raises(anthropic.AuthenticationError):
        anthropic.Anthropic(base_url=both.url, api_key="wrong", max_retries=0).messages.count_tokens(
            model="auto", messages=SAID
        )
    with httpx.Client(base_url=both.url, timeout=60) as client:
        for got in (client.get("/v1/messages"), client.get("/v1/messages/nothing"), client.post("/v1/messages")):
            assert got.json()["type"] == "error", got.text
        assert "error" in client.get("/v1/nothing").json()
    with contextlib.closing(http.client.HTTPConnection(both.address, timeout=60)) as connection:
        connection.putrequest("POST", "/v1/messages")
        connection.putheader("content-length", str(1 << 40))
        connection.endheaders()
        assert json.load(connection.getresponse())["error"]["type"] == "request_too_large"


# openai's SDK


def test_structured_output_by_chat_and_by_responses(openai_of: openai.OpenAI) -> None:
    class Place(pydantic.BaseModel):
        city: str

    for model in ("plain", "opus"):
        said: Any = [{"role": "user", "content": '{"city": "Ulm"}'}]
        chat = openai_of.chat.completions.parse(model=model, messages=said, response_format=Place)
        assert chat.choices[0].message.parsed == Place(city="Ulm")
        answer = openai_of.responses.parse(model=model, input='{"city": "Ulm"}', text_format=Place)
        assert answer.output_parsed == Place(city="Ulm")
    assert Upstream.received[-1]["response_format"]["json_schema"]["schema"]["required"] == ["city"]
    assert Claude.received[-1][0]["output_config"]["format"]["schema"]["required"] == ["city"]


def test_a_response_is_created_retrieved_continued_and_deleted(openai_of: openai.OpenAI, both: Gateway) -> None:
    first = openai_of.responses.create(model="plain", input="My name is Ada.", instructions="Be brief.")
    assert first.output_text == "My name is Ada."
    assert (first.status, first.usage.total_tokens) == ("completed", 8)  # type: ignore[union-attr]
    assert openai_of.responses.retrieve(first.id) == first
    second = openai_of.responses.create(model="plain", input="What is it?", previous_response_id=first.id)
    roles = [(message["role"], message["content"]) for message in Upstream.received[-1]["messages"]]
    assert roles == [("user", "My name is Ada."), ("assistant", "My name is Ada."), ("user", "What is it?")]
    listed = list(openai_of.responses.input_items.list(second.id, order="asc", limit=2))
    assert [item.content[0].text for item in listed] == [content for _, content in roles]  # type: ignore[union-attr]
    stranger = openai.OpenAI(base_url=f"{both.url}/v1", api_key="sk-other", max_retries=0)
    for take in (stranger.responses.retrieve, stranger.responses.delete):
        with pytest.raises(openai.NotFoundError, match="no response"):
            take(first.id)
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        stranger.responses.create(model="plain", input="And?", previous_response_id=first.id)
    openai_of.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError, match="no response"):
        openai_of.responses.retrieve(first.id)
    unkept = openai_of.responses.create(model="plain", input="hi", store=False)
    with pytest.raises(openai.NotFoundError):
        openai_of.responses.retrieve(unkept.id)


@pytest.mark.parametrize("model", ["plain", "opus"])
def test_a_streamed_response_with_a_tool(openai_of: openai.OpenAI, model: str) -> None:
    with openai_of.responses.stream(model=model, input=PROMPT, tools=[RESPONSES_TOOL]) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert "response.function_call_arguments.delta" in kinds
    call: Any = final.output[-1]
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Ulm"})
    assert openai_of.responses.retrieve(final.id).output[-1].type == "function_call"
    result: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "rain"}]
    after = openai_of.responses.create(model=model, input=result, previous_response_id=final.id)
    assert after.status == "completed"


def test_responses_from_the_pocket_pool_whole_and_streamed(pocket: openai.OpenAI) -> None:
    model = pocket.models.list().data[1].id
    whole = pocket.responses.create(model=model, input=PROMPT, temperature=0)
    with pocket.responses.stream(model=model, input=PROMPT, temperature=0) as stream:
        pieces = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert pieces == final.output_text == whole.output_text
    assert final.usage == whole.usage


def test_legacy_completions(pocket: openai.OpenAI) -> None:
    model = pocket.models.list().data[1].id
    whole = pocket.completions.create(model=model, prompt=PROMPT, temperature=0, max_tokens=32, logprobs=1)
    pieces = list(pocket.completions.create(model=model, prompt=PROMPT, temperature=0, max_tokens=32, stream=True))
    assert whole.object == "text_completion"
    assert "".join(piece.choices[0].text for piece in pieces if piece.choices) == whole.choices[0].text
    assert whole.choices[0].logprobs is not None
    assert "".join(whole.choices[0].logprobs.tokens or ()).removesuffix("<eos>") == whole.choices[0].text
    with pytest.raises(openai.BadRequestError, match="one in each request"):
        pocket.completions.create(model=model, prompt=["a", "b"])


def test_the_explanation_comes_in_every_dialect(both: Gateway) -> None:
    headers = {"authorization": "Bearer sk-acme", "x-interlock-explain": "1"}
    bodies: dict[str, Any] = {
        "/v1/chat/completions": {"messages": SAID},
        "/v1/responses": {"input": PROMPT},
        "/v1/completions": {"prompt": PROMPT},
        "/v1/messages": {"messages": SAID, "max_tokens": 9},
    }
    with httpx.Client(base_url=both.url, headers=headers, timeout=60) as client:
        for path, body in bodies.items():
            for model in ("plain", "opus"):
                whole = client.post(path, json={"model": model, **body})
                assert whole.json()["interlock"]["id"] == whole.headers["x-interlock-id"]
                streamed = client.post(path, json={"model": model, "stream": True, **body})
                first = streamed.text.partition("data: ")[2].partition("\n")[0]
                assert json.loads(first)["interlock"]["chosen"] == model, path


# Others


def test_llama_index(pocket_gateway: Gateway, hosted_gateway: Gateway) -> None:
    asked = [ChatMessage(role="user", content=PROMPT)]
    pool = OpenAILike(api_base=f"{pocket_gateway.url}/v1", api_key="none", model="auto", is_chat_model=True)
    assert pool.chat(asked).raw is not None
    assert list(pool.stream_chat(asked))[-1].raw is not None
    assert (
        OpenAILike(api_base=f"{pocket_gateway.url}/v1", api_key="none", model="auto").complete(PROMPT).raw is not None
    )
    hosted = OpenAILike(api_base=f"{hosted_gateway.url}/v1", api_key="sk-acme", model="auto", is_chat_model=True)
    assert hosted.chat(asked, tools=[CHAT_TOOL]).message.additional_kwargs["tool_calls"]
