"""The Messages API: requests translated there, answers and events translated back, over real sockets."""

import json

import pytest

from interlock.errors import (
    Garbled,
    OutOfFunds,
    Overloaded,
    RateLimited,
    Rejected,
    TooLong,
    Unauthenticated,
    Unsupported,
)
from interlock.providers import Anthropic
from interlock.providers.anthropic_request import translate
from interlock.types import Message, Usage

PNG = "data:image/png;base64,aGk="


def user(*parts):
    return {"messages": [{"role": "user", "content": list(parts)}]}


def image(url):
    return {"type": "image_url", "image_url": {"url": url}}


def arguments(text):
    called = {"id": "1", "function": {"name": "f", "arguments": text}}
    return {"messages": [{"role": "assistant", "tool_calls": [called]}]}


def whole(content, stop_reason="end_turn", **usage):
    usage = {"input_tokens": 10, "output_tokens": 4, **usage}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": content,
               "stop_reason": stop_reason, "usage": usage}  # fmt: skip
    return json.dumps(message).encode()


def answering(body, status="200 OK", headers=""):
    async def play(peer):
        while True:
            await peer.receive()
            await peer.answer(body, status, headers)

    return play


def streaming(*events, end=True):
    async def play(peer):
        while True:
            await peer.receive()
            await peer.begin_stream()
            for event in events:
                await peer.piece(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
            if not end:
                return
            await peer.end_stream()

    return play


async def collect(provider, call):
    return [chunk async for chunk in provider.send(call)]


def translated(call, conversation=({"role": "user", "content": "hi"},), **body):
    return translate(call(body={"messages": list(conversation), **body}), 4096)


def test_a_plain_conversation(call):
    conversation = (
        Message("system", "be brief"),
        Message("developer", [{"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}}]),
        Message("user", "one"),
        Message("user", [{"type": "text", "text": "two"}, {"type": "text", "text": ""}]),
        Message("assistant", "three"),
    )
    assert translate(call(messages=conversation, max_tokens=7, stream=True), 4096) == {
        "model": "served-name",
        "max_tokens": 7,
        "stream": True,
        "system": [
            {"type": "text", "text": "be brief"},
            {"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}},
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "three"}]},
        ],
    }


def test_tools_their_calls_and_their_results(call):
    weather = {"name": "weather", "description": "now", "parameters": {"type": "object"}, "strict": True}
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    conversation = (
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "", "thinking_blocks": [thought],
         "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "weather", "arguments": '{"at":"x"}'}},
                        {"id": "t2", "type": "function", "function": {"name": "weather", "arguments": ""}}]},
        {"role": "tool", "tool_call_id": "t1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "t2", "content": [{"type": "text", "text": "rain"}]},
        {"role": "user", "content": "so?"},
    )  # fmt: skip
    body = translated(
        call,
        conversation,
        tools=[{"type": "function", "function": weather}, {"type": "function", "function": {"name": "bare"}}],
        tool_choice="required",
        parallel_tool_calls=False,
    )
    assert body["tools"] == [
        {"name": "weather", "description": "now", "input_schema": {"type": "object"}, "strict": True},
        {"name": "bare", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                thought,
                {"type": "tool_use", "id": "t1", "name": "weather", "input": {"at": "x"}},
                {"type": "tool_use", "id": "t2", "name": "weather", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "sunny"}]},
                {"type": "tool_result", "tool_use_id": "t2", "content": [{"type": "text", "text": "rain"}]},
                {"type": "text", "text": "so?"},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("choice", "result"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}),
    ],
)
def test_tool_choice(call, choice, result):
    assert translated(call, tool_choice=choice)["tool_choice"] == result


def test_images_and_documents(call):
    parts = [
        {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x/y.jpg"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE", "filename": "a.pdf"}},
    ]
    [message] = translated(call, [{"role": "user", "content": parts}])["messages"]
    assert message["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"type": "image", "source": {"type": "url", "url": "https://x/y.jpg"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}},
    ]


def test_parameters(call):
    schema = {"type": "object", "properties": {}}
    body = translated(
        call,
        max_completion_tokens=50,
        stop="END",
        temperature=0.5,
        top_p=0.9,
        user="u1",
        seed=3,
        n=1,
        logprobs=False,
        presence_penalty=0,
        frequency_penalty=None,
        response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": schema}},
        reasoning_effort="minimal",
        thinking={"type": "adaptive"},
    )
    del body["messages"]
    assert body == {
        "model": "served-name",
        "max_tokens": 50,
        "stop_sequences": ["END"],
        "temperature": 0.5,
        "top_p": 0.9,
        "metadata": {"user_id": "u1"},
        "output_config": {"format": {"type": "json_schema", "schema": schema}, "effort": "low"},
        "thinking": {"type": "adaptive"},
    }


def test_the_candidates_options_win(call):
    sent = call(body={"reasoning_effort": "low", "temperature": 1}, options={"reasoning_effort": "high", "top_k": 5})
    body = translate(sent, 4096)
    assert (body["output_config"], body["top_k"], body["temperature"]) == ({"effort": "high"}, 5, 1)
    assert translate(call(options={"reasoning_effort": "none"}), 4096)["thinking"] == {"type": "disabled"}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"n": 2}, "'n'"),
        ({"logprobs": True}, "'logprobs'"),
        ({"logit_bias": {"5": 1}}, "'logit_bias'"),
        ({"frequency_penalty": 0.5}, "'frequency_penalty'"),
        ({"functions": []}, "'functions'"),
        ({"never_heard_of": 0}, "'never_heard_of'"),
        ({"temperature": 1.5}, "temperatures"),
        ({"response_format": {"type": "json_object"}}, "JSON mode"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"tools": [{"type": "custom"}]}, "function tools"),
        ({"messages": [{"role": "critic", "content": "x"}]}, "'critic'"),
        (user({"type": "input_audio", "input_audio": {}}), "'input_audio'"),
        (user(image("http://x")), "https"),
        (user(image("data:image/png,raw")), "base64"),
        (user(image(PNG.replace("png", "bmp"))), "not 'image/bmp'"),
        (arguments("[1]"), "JSON object"),
        (arguments("{"), "JSON object"),
    ],
)
def test_what_cannot_be_expressed_is_unsupported_by_name(call, body, named):
    with pytest.raises(Unsupported, match=named):
        translate(call(body=body), 4096)


@pytest.mark.parametrize("body", [{"messages": ["x"]}, {"tools": [3]}, {"temperature": "hot"}, {"tools": 3}])
def test_what_is_no_chat_request_at_all_is_rejected(call, body):
    with pytest.raises(Rejected):
        translate(call(body=body), 4096)


async def test_a_whole_answer(serve, call):
    body = whole([{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}], cache_read_input_tokens=30,
                 cache_creation_input_tokens=5)  # fmt: skip
    server = await serve(answering(body))
    [chunk] = await collect(Anthropic("key", server.url + "/v1"), call("hi"))
    head, _ = server.requests[0]
    assert head.startswith(b"POST /v1/messages ")
    assert b"x-api-key: key\r\n" in head
    assert b"anthropic-version: 2023-06-01\r\n" in head
    assert (chunk.text, chunk.finish, chunk.usage) == ("hello", "stop", Usage(45, 4, 30, cache_write=5))
    answer = json.loads(chunk.raw)
    assert answer["object"] == "chat.completion"
    assert answer["id"] == "msg_1"
    assert answer["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
    ]
    assert answer["usage"]["prompt_tokens_details"] == {"cached_tokens": 30}


async def test_thinking_and_tool_use(serve, call):
    thought = {"type": "thinking", "thinking": "let me see", "signature": "sig"}
    content = [thought, {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": [1]}}]
    server = await serve(answering(whole(content, "tool_use")))
    [chunk] = await collect(Anthropic("key", server.url), call())
    assert json.loads(chunk.raw)["choices"][0] == {
        "index": 0,
        "finish_reason": "tool_calls",
        "message": {
            "role": "assistant",
            "content": None,
            "reasoning_content": "let me see",
            "thinking_blocks": [thought],
            "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"x":[1]}'}}],
        },
    }


@pytest.mark.parametrize(
    ("stop_reason", "finish"),
    [("end_turn", "stop"), ("max_tokens", "length"), ("stop_sequence", "stop"), ("refusal", "content_filter")],
)
async def test_stop_reasons(serve, call, stop_reason, finish):
    server = await serve(answering(whole([{"type": "text", "text": "x"}], stop_reason)))
    [chunk] = await collect(Anthropic("key", server.url), call())
    assert chunk.finish == finish


START = {"type": "message_start", "message": {"id": "msg_1", "model": "claude", "usage": {"input_tokens": 10,
         "cache_read_input_tokens": 6, "output_tokens": 1}}}  # fmt: skip
STOP = {"type": "message_stop"}


def opened(**block):
    return {"type": "content_block_start", "index": 0, "content_block": block}


def grown(**delta):
    return {"type": "content_block_delta", "index": 0, "delta": delta}


SHUT = {"type": "content_block_stop", "index": 0}


def ended(reason):
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 9}}


async def test_a_stream_of_text(serve, call):
    server = await serve(
        streaming(
            START,
            {"type": "ping"},
            opened(type="text", text=""),
            grown(type="text_delta", text="hel"),
            grown(type="text_delta", text="lo"),
            SHUT,
            ended("end_turn"),
            STOP,
        )
    )
    provider = Anthropic("key", server.url)
    for asked in (False, True):
        chunks = await collect(provider, call(stream=True, body={"stream_options": {"include_usage": asked}}))
        assert [chunk.text for chunk in chunks] == ["", "hel", "lo", "", ""]
        assert [chunk.finish for chunk in chunks] == ["", "", "", "stop", ""]
        assert chunks[-1].usage == Usage(16, 9, 6)
        assert bool(chunks[-1].raw) == asked
        deltas = [json.loads(chunk.raw)["choices"][0]["delta"] for chunk in chunks[:-1]]
        assert deltas == [{"role": "assistant", "content": ""}, {"content": "hel"}, {"content": "lo"}, {}]
    assert server.connections == 1


async def test_a_stream_of_thinking_and_tools(serve, call):
    server = await serve(
        streaming(
            START,
            opened(type="thinking", thinking=""),
            grown(type="thinking_delta", thinking="hm"),
            grown(type="signature_delta", signature="sig"),
            SHUT,
            opened(type="tool_use", id="t1", name="f", input={}),
            grown(type="input_json_delta", partial_json='{"x"'),
            grown(type="input_json_delta", partial_json=":1}"),
            SHUT,
            opened(type="tool_use", id="t2", name="g", input={}),
            SHUT,
            ended("tool_use"),
            STOP,
        )
    )
    chunks = await collect(Anthropic("key", server.url), call(stream=True))
    deltas = [json.loads(chunk.raw)["choices"][0]["delta"] for chunk in chunks if chunk.raw]
    assert {"reasoning_content": "hm"} in deltas
    assert {"thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "sig"}]} in deltas
    texts = {0: "", 1: ""}
    for delta in deltas:
        for tool in delta.get("tool_calls", ()):
            texts[tool["index"]] += tool["function"]["arguments"]
    assert {index: json.loads(text) for index, text in texts.items()} == {0: {"x": 1}, 1: {}}
    assert [chunk.finish for chunk in chunks if chunk.finish] == ["tool_calls"]


@pytest.mark.parametrize("end", [True, False])
async def test_a_stream_without_its_end_is_garbled(serve, call, end):
    server = await serve(streaming(START, opened(type="text", text=""), ended("end_turn"), end=end))
    with pytest.raises(Garbled):
        await collect(Anthropic("key", server.url), call(stream=True))


async def test_an_error_event(serve, call):
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    server = await serve(streaming(START, error))
    with pytest.raises(Overloaded):
        await collect(Anthropic("key", server.url), call(stream=True))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"content": 3, "usage": {}}', whole([{"text": "x"}])])
async def test_garbage_is_garbled(serve, call, body):
    server = await serve(answering(body))
    with pytest.raises(Garbled):
        await collect(Anthropic("key", server.url), call())


async def test_events_with_fields_missing_are_garbled(serve, call):
    for event in ({"type": "message_start"}, grown(type="text_delta"), {"type": "content_block_start"}):
        server = await serve(streaming(START, event))
        with pytest.raises(Garbled):
            await collect(Anthropic("key", server.url), call(stream=True))


@pytest.mark.parametrize(
    ("status", "kind", "message", "leaf"),
    [
        ("401 Unauthorized", "authentication_error", "invalid x-api-key", Unauthenticated),
        ("400 Bad Request", "invalid_request_error", "prompt is too long: 210000 tokens", TooLong),
        ("400 Bad Request", "invalid_request_error", "Your credit balance is too low", OutOfFunds),
        ("429 Too Many Requests", "rate_limit_error", "slow down", RateLimited),
        ("529 Overloaded", "overloaded_error", "Overloaded", Overloaded),
    ],
)
async def test_http_errors(serve, call, status, kind, message, leaf):
    body = json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()
    server = await serve(answering(body, status, "retry-after: 2\r\n"))
    with pytest.raises(leaf) as caught:
        await collect(Anthropic("key", server.url), call())
    assert type(caught.value) is leaf
    assert caught.value.retry_after == 2.0
    assert message not in str(caught.value)


async def test_an_untranslatable_request_is_not_sent(serve, call):
    server = await serve(answering(b""))
    with pytest.raises(Unsupported):
        await collect(Anthropic("key", server.url), call(body={"n": 3}))
    assert server.connections == 0
