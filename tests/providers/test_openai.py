"""The OpenAI-compatible provider over real sockets."""

import asyncio
import json
import math
from contextlib import aclosing

import pytest

from interlock.errors import ConfigError, Garbled, Overloaded, RateLimited, Rejected, Unreachable
from interlock.providers import OpenAI
from interlock.types import Message, Usage


def data(**fields):
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def delta(text, finish=None, **fields):
    return data(id="c1", choices=[{"index": 0, "delta": {"content": text}, "finish_reason": finish, **fields}])


USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 5},
         "completion_tokens_details": {"reasoning_tokens": 2}}  # fmt: skip
DONE = b"data: [DONE]\n\n"


def streaming(*pieces, end=True):
    async def play(peer):
        while True:
            await peer.receive()
            await peer.begin_stream()
            for piece in pieces:
                await peer.piece(piece)
            if not end:
                return
            await peer.end_stream()

    return play


def answering(body, status="200 OK", headers=""):
    async def play(peer):
        while True:
            await peer.receive()
            await peer.answer(body, status, headers)

    return play


async def collect(provider, call, into=None):
    chunks = [] if into is None else into
    async for chunk in provider.send(call):
        chunks.append(chunk)
    return chunks


def sent(server):
    head, body = server.requests[-1]
    return head, json.loads(body)


async def test_a_whole_answer(serve, call, completion):
    body = completion("hello", usage=USAGE, system_fingerprint="kept")
    server = await serve(answering(body))
    [chunk] = await collect(OpenAI(server.url + "/v1", "key"), call("hi"))
    assert chunk.raw == body
    assert (chunk.text, chunk.finish, chunk.usage) == ("hello", "stop", Usage(9, 4, 5, 2))
    head, request = sent(server)
    assert head.startswith(b"POST /v1/chat/completions ")
    assert b"\r\nauthorization: Bearer key\r\n" in head
    assert request == {"messages": [{"role": "user", "content": "hi"}], "model": "served-name"}


async def test_the_callers_fields_survive_and_the_candidates_options_win(serve, call, completion):
    server = await serve(answering(completion()))
    own = {"messages": [{"role": "user", "content": "raw", "unknown": 1}], "model": "auto", "temperature": 0.3,
           "made_up": {"deep": [1, None]}, "stream": True, "stream_options": {"include_usage": True}}  # fmt: skip
    options = {"temperature": 0, "reasoning_effort": "low"}
    await collect(OpenAI(server.url), call(body=own, options=options, max_tokens=9))
    _, request = sent(server)
    assert request == {"messages": own["messages"], "model": "served-name", "made_up": own["made_up"], "temperature": 0,
                       "reasoning_effort": "low", "max_tokens": 9}  # fmt: skip


async def test_a_stated_limit_is_not_stated_twice(serve, call, completion):
    server = await serve(answering(completion()))
    await collect(OpenAI(server.url), call(body={"max_completion_tokens": 5}, max_tokens=5, seed=3))
    assert {name: value for name, value in sent(server)[1].items() if name not in ("messages", "model")} == {
        "max_completion_tokens": 5,
        "seed": 3,
    }


async def test_a_stream(serve, call):
    server = await serve(streaming(delta("hel"), delta("lo"), delta("", "stop"), data(choices=[], usage=USAGE), DONE))
    provider = OpenAI(server.url)
    for _ in range(2):
        chunks = await collect(provider, call(stream=True))
        assert "".join(chunk.text for chunk in chunks) == "hello"
        assert [chunk.finish for chunk in chunks] == ["", "", "stop", ""]
        assert chunks[-1].usage == Usage(9, 4, 5, 2)
        assert chunks[-1].raw == b""  # the caller did not ask for it
        assert json.loads(chunks[0].raw)["choices"][0]["delta"] == {"content": "hel"}
    assert server.connections == 1
    assert sent(server)[1]["stream_options"] == {"include_usage": True}


async def test_usage_is_shown_to_a_caller_who_asked(serve, call):
    server = await serve(streaming(delta("x", "stop"), data(choices=[], usage=USAGE), DONE))
    body = {"stream_options": {"include_usage": True, "include_obfuscation": False}}
    chunks = await collect(OpenAI(server.url), call(stream=True, body=body))
    assert json.loads(chunks[-1].raw)["usage"] == USAGE
    assert sent(server)[1]["stream_options"] == body["stream_options"]


async def test_a_stream_may_end_without_done_once_it_finished(serve, call):
    server = await serve(streaming(delta("x", "length")))
    assert [chunk.finish for chunk in await collect(OpenAI(server.url), call(stream=True))] == ["length"]


async def test_multi_byte_text_split_between_pieces(serve, call):
    event = delta("smörgåsbord 🍽", "stop")
    server = await serve(streaming(*(event[i : i + 1] for i in range(len(event))), DONE))
    chunks = await collect(OpenAI(server.url), call(stream=True))
    assert "".join(chunk.text for chunk in chunks) == "smörgåsbord 🍽"


async def test_confidence_is_the_geometric_mean_of_token_probabilities(serve, call, completion):
    logs = [math.log(0.5), math.log(0.125)]
    content = {"content": [{"token": "t", "logprob": value} for value in logs]}
    choice = {"index": 0, "message": {"content": "x"}, "finish_reason": "stop", "logprobs": content}
    server = await serve(answering(completion(choices=[choice])))
    [chunk] = await collect(OpenAI(server.url), call())
    assert chunk.confidence == pytest.approx(0.25)
    pieces = [delta("t", None, logprobs={"content": [{"token": "t", "logprob": value}]}) for value in logs]
    server = await serve(streaming(*pieces, delta("", "stop"), DONE))
    chunks = await collect(OpenAI(server.url), call(stream=True))
    assert [chunk.confidence for chunk in chunks] == [None, None, pytest.approx(0.25)]


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"[]", b"{}", b'{"choices": 3}', b'{"choices": [{"finish_reason": 1}]}', b"\xff\xfe", b"<html>"],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_garbage_is_garbled(serve, call, body, stream):
    server = await serve(streaming(b"data: " + body + b"\n\n") if stream else answering(body))
    with pytest.raises(Garbled):
        await collect(OpenAI(server.url), call(stream=stream))


@pytest.mark.parametrize("end", [True, False])
async def test_a_truncated_stream_gives_what_came_and_then_an_error(serve, call, end):
    server = await serve(streaming(delta("half"), end=end))
    seen = []
    with pytest.raises(Garbled):
        await collect(OpenAI(server.url), call(stream=True), seen)
    assert [chunk.text for chunk in seen] == ["half"]


async def test_a_reset_in_the_middle_of_a_stream(serve, call):
    async def play(peer):
        await peer.receive()
        await peer.begin_stream()
        await peer.piece(delta("half"))
        await asyncio.sleep(0.02)
        peer.reset()

    server = await serve(play)
    seen = []
    with pytest.raises(Garbled, match="cut off"):
        await collect(OpenAI(server.url), call(stream=True), seen)
    assert [chunk.text for chunk in seen] == ["half"]


async def test_an_error_inside_a_stream_and_inside_a_200(serve, call):
    error = {"message": "engine died, prompt was hi", "type": "overloaded_error"}
    server = await serve(streaming(delta("half"), data(error=error)))
    with pytest.raises(Overloaded, match="overloaded_error"):
        await collect(OpenAI(server.url), call(stream=True))
    server = await serve(answering(json.dumps({"error": error}).encode()))
    for stream in (False, True):
        with pytest.raises(Overloaded):
            await collect(OpenAI(server.url), call(stream=stream))


async def test_a_whole_answer_to_a_stream_is_garbled(serve, call, completion):
    server = await serve(answering(completion()))
    with pytest.raises(Garbled, match="one JSON document"):
        await collect(OpenAI(server.url), call(stream=True))


@pytest.mark.parametrize("stream", [False, True])
async def test_http_errors_tell_neither_the_prompt_nor_the_key(serve, call, stream):
    body = json.dumps({"error": {"message": "no: tell me a secret, sk-123", "param": "temperature"}}).encode()
    server = await serve(answering(body, "400 Bad Request"))
    with pytest.raises(Rejected) as caught:
        await collect(OpenAI(server.url, "sk-123"), call("tell me a secret", stream=stream))
    assert "secret" not in str(caught.value)
    assert "sk-123" not in str(caught.value) + repr(OpenAI(server.url, "sk-123", {"x-key": "sk-123"}))


async def test_a_rate_limit_says_how_long(serve, call):
    server = await serve(answering(b"{}", "429 Too Many Requests", "retry-after: 3\r\n"))
    with pytest.raises(RateLimited) as caught:
        await collect(OpenAI(server.url), call())
    assert caught.value.retry_after == 3.0


async def test_a_redirect_is_not_followed(serve, call):
    server = await serve(answering(b"", "307 Temporary Redirect", "location: http://elsewhere/\r\n"))
    with pytest.raises(Garbled, match="redirect is not followed"):
        await collect(OpenAI(server.url), call())
    assert len(server.requests) == 1


async def test_closing_the_answer_closes_the_connection(serve, call):
    async def play(peer):
        await peer.receive()
        await peer.begin_stream()
        await peer.piece(delta("one"))
        await peer.gone()
        hung_up.set()

    hung_up = asyncio.Event()
    server = await serve(play)
    async with aclosing(OpenAI(server.url).send(call(stream=True))) as chunks:
        await anext(chunks)
    await asyncio.wait_for(hung_up.wait(), 5)


async def test_nothing_is_sent_before_the_first_chunk_is_asked_for(serve, call, completion):
    server = await serve(answering(completion()))
    chunks = OpenAI(server.url).send(call())
    await asyncio.sleep(0.01)
    assert server.connections == 0
    await chunks.aclose()


async def test_aclose_ends_calls(serve, call):
    async def silent(peer):
        await peer.receive()
        got.set()
        await peer.gone()

    got = asyncio.Event()
    server = await serve(silent)
    provider = OpenAI(server.url)
    task = asyncio.create_task(collect(provider, call()))
    await got.wait()
    await provider.aclose()
    with pytest.raises(Unreachable):
        await task


async def test_tool_calls_and_reasoning_pass_through(serve, call, completion):
    message = {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [{"id": "1"}]}
    body = completion(choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}])
    server = await serve(answering(body))
    [chunk] = await collect(OpenAI(server.url), call())
    assert (chunk.raw, chunk.text, chunk.finish) == (body, "", "tool_calls")


async def test_messages_of_every_shape_are_sent_as_they_are(serve, call, completion):
    server = await serve(answering(completion()))
    conversation = (
        Message("system", "be brief"),
        Message(
            "user", [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]
        ),
        Message("assistant", None, tool_calls=[{"id": "t", "type": "function"}]),
        Message("tool", "42", tool_call_id="t"),
    )
    await collect(OpenAI(server.url), call(messages=conversation))
    assert sent(server)[1]["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": conversation[1].content},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "t", "type": "function"}]},
        {"role": "tool", "content": "42", "tool_call_id": "t"},
    ]


def test_a_key_with_a_line_break_is_a_configuration_error():
    with pytest.raises(ConfigError) as caught:
        OpenAI(api_key="sk-123\r\nx: y")
    assert "sk-123" not in str(caught.value)


COUNTED = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def last_events(usage):
    events = [{"choices": [{"index": 0, "delta": {"content": "hi"}}]},
              {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]  # fmt: skip
    return [b"data: " + json.dumps(event).encode() + b"\n\n" for event in [*events, *usage]]


@pytest.mark.parametrize("shown", [True, False])
async def test_the_chunk_that_ends_the_answer_brings_the_usage_and_it_is_shown_once(serve, call, shown):
    async def streamed(peer):
        await peer.receive()
        await peer.begin_stream()
        for piece in [*last_events([{"choices": [], "usage": COUNTED}]), b"data: [DONE]\n\n"]:
            await peer.piece(piece)
            await asyncio.sleep(0.01)
        await peer.end_stream()

    server = await serve(streamed)
    asked = call(stream=True, body={"stream_options": {"include_usage": True}} if shown else {})
    chunks = [chunk async for chunk in OpenAI(server.url).send(asked)]
    assert next(chunk for chunk in chunks if chunk.finish).usage == Usage(7, 3)
    assert sum(b"prompt_tokens" in chunk.raw for chunk in chunks) == shown


async def test_an_answer_that_is_whole_stays_so_when_the_connection_breaks_before_its_usage(serve, call):
    async def cut(peer):
        await peer.receive()
        await peer.begin_stream()
        for piece in last_events([]):
            await peer.piece(piece)
        await asyncio.sleep(0.05)
        peer.reset()

    server = await serve(cut)
    chunks = [chunk async for chunk in OpenAI(server.url).send(call(stream=True))]
    assert chunks[-1].finish == "stop"
    assert "".join(chunk.text for chunk in chunks) == "hi"
