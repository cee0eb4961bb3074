"""The Messages API: what goes in comes out at a provider that speaks it too, and streams say what whole answers say."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings

from interlock.errors import InterlockError, NotFound, Overloaded, RateLimited, RequestError, Unsupported
from interlock.gateway.dialects.messages import Messages
from interlock.guards import Dialect
from interlock.providers.anthropic_request import translate, untranslated
from interlock.providers.base import Call
from interlock.types import Candidate, Context, Native, Request

from .answers import ANSWERS, CUTS, Json, chunks, events, whole

IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
CACHED = {"cache_control": {"type": "ephemeral"}}
TOOL = {
    "name": "add",
    "description": "adds",
    "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}},
}
CONVERSATION = [
    {"role": "user", "content": [{"type": "text", "text": "What is this?", **CACHED}, IMAGE]},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s1"},
            {"type": "text", "text": "Let me add."},
            {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}},
            {"type": "tool_use", "id": "t2", "name": "add", "input": {}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "2"}]},
            {"type": "tool_result", "tool_use_id": "t2", "content": "none", "is_error": True},
            {"type": "text", "text": "Go on."},
        ],
    },
]


ASKED: Json = {
    "model": "auto",
    "max_tokens": 50,
    "system": [{"type": "text", "text": "Be brief.", **CACHED}],
    "messages": CONVERSATION,
    "tools": [TOOL],
    "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    "stop_sequences": ["END"],
    "temperature": 0.5,
    "top_k": 3,
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "metadata": {"user_id": "u1"},
}
HI: Json = {"model": "auto", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


def call(body: Json, **options: Any) -> Call:
    chat, native = Messages().request(body, {})
    return Call(Request(body=chat, native=native), Candidate(name="c", provider="a", model="claude", options=options))


def only(change: Json) -> tuple[str, ...]:
    made = Messages().request({**HI, **change}, {})[1]
    assert made is not None
    return made.only


def test_anthropic_gets_a_request_as_it_was_sent() -> None:
    body = {**ASKED, "vendor": [1, None], "interlock": {"session": "s"}}
    expected = {**body, "model": "claude"}
    del expected["interlock"]
    assert untranslated(call(body)) == expected


def test_the_candidates_options_are_set_on_it() -> None:
    config = {"format": {"type": "json_schema", "schema": {"type": "object"}}, "effort": "low"}
    sent = untranslated(call({**HI, "output_config": config}, reasoning_effort="high", max_tokens=99, temperature=0.1))
    assert sent["output_config"] == {**config, "effort": "high"}
    assert (sent["max_tokens"], sent["temperature"], sent["messages"]) == (99, 0.1, HI["messages"])
    with pytest.raises(Unsupported, match="logit_bias"):
        untranslated(call(HI, logit_bias={"1": 2}))


def test_others_get_the_same_conversation_without_what_only_anthropic_could_use() -> None:
    arrived = translate(call(ASKED), 1000)
    plain = msgspec.json.decode(msgspec.json.encode(CONVERSATION))
    del plain[0]["content"][0]["cache_control"]
    del plain[1]["content"][0]
    results = arrived["messages"].pop()["content"]
    assert [block["type"] for block in results] == ["tool_result", "tool_result", "text"]
    assert "Error: none" in str(results[1])
    assert arrived["messages"] == plain[:2]
    assert arrived["system"] == [{"type": "text", "text": "Be brief."}]
    for name in ("tools", "tool_choice", "stop_sequences", "temperature", "top_k", "metadata", "max_tokens"):
        assert arrived[name] == ASKED[name], name


def test_nothing_in_that_needs_anthropic() -> None:
    made = Messages().request(ASKED, {b"anthropic-beta": b"files-2025, more"})[1]
    assert made is not None
    assert (made.only, made.betas) == ((), "files-2025, more")
    bad = Messages().request(ASKED, {b"anthropic-beta": b"x\r\ny: z"})[1]
    assert bad is not None
    assert bad.betas == ""


THOUGHT: Json = {"type": "thinking", "thinking": "hm", "signature": "s1"}
HIDDEN: Json = {"type": "redacted_thinking", "data": "x"}
UNSIGNED: Json = {"type": "thinking", "thinking": "hm", "signature": ""}
USE: Json = {"type": "tool_use", "id": "t1", "name": "add", "input": {}}
RESULT: Json = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "2"}]}


def said(*blocks: Json) -> Json:
    return {"role": "assistant", "content": list(blocks)}


def native(*turns: Json) -> Native:
    made = Messages().request({**HI, "messages": [HI["messages"][0], *turns]}, {})[1]
    assert made is not None
    return made


def test_signed_thinking_binds_while_tools_are_called() -> None:
    bound = native(said(THOUGHT, USE), RESULT, said(HIDDEN, USE), RESULT)
    assert (bound.only, len(bound.signed)) == ((), 2)
    assert "messages[3].content[0]" in bound.signed[0]
    assert "messages[1].content[0]" in bound.signed[1]


@pytest.mark.parametrize(
    "turns",
    [
        [said(THOUGHT, USE), RESULT, said({"type": "text", "text": "2"}), {"role": "user", "content": "thanks"}],
        [said(THOUGHT, USE), {"role": "user", "content": [*RESULT["content"], {"type": "text", "text": "go on"}]}],
        [said(UNSIGNED, USE), RESULT],
        [said(USE), RESULT],
    ],
    ids=["over", "the user speaks", "nobody signed", "nothing was thought"],
)
def test_other_thinking_binds_nobody(turns: list[Json]) -> None:
    assert native(*turns).signed == ()


def test_the_guard_keeps_signed_thinking_to_those_who_can_read_it() -> None:
    pool = [Candidate(name=name, provider=name, model="m") for name in ("claude", "another", "plain")]
    guard = Dialect({"claude": "messages", "another": "messages", "plain": ""})
    request = Request(native=native(said(THOUGHT, USE), RESULT))
    ((index, reason),) = guard.check(Context(request, {}, np.zeros(0, np.float32)), pool)
    assert (index, reason.guard, reason.code) == (2, "dialect", "signed_reasoning")
    assert "messages[1].content[0]" in reason.detail
    over = Request(native=native(said(THOUGHT), {"role": "user", "content": "thanks"}))
    assert not list(guard.check(Context(over, {}, np.zeros(0, np.float32)), pool))


def test_thinking_that_nobody_signed_is_not_sent_where_it_would_be_refused() -> None:
    text = {"type": "text", "text": "Yes."}
    turns = [
        said(UNSIGNED, text),
        {"role": "user", "content": "and?"},
        said(UNSIGNED),
        {"role": "user", "content": "?"},
    ]
    sent = native(*turns).body["messages"]
    assert sent == [HI["messages"][0], said(text), turns[1], turns[3]]
    assert turns[0]["content"][0] is UNSIGNED, "what the caller sent is left as it is"


def test_structured_output_and_effort_arrive() -> None:
    config = {"format": {"type": "json_schema", "schema": {"type": "object"}}, "effort": "low"}
    assert translate(call({**HI, "output_config": config}), 1000)["output_config"] == config


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "search_result"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "file"}}]}]}, "'file'"),
        ({"messages": [{"role": "user", "content": [{"type": "document", "citations": {"enabled": True}}]}]}, "citat"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [IMAGE]}]}]}, "'image'"),
        ({"messages": [{"role": "assistant", "content": [{"type": "server_tool_use"}]}]}, "'server_tool_use'"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search_20250305"),
        ({"tools": [{**TOOL, "defer_loading": True}]}, "tools[0].defer_loading"),
        ({"container": "c"}, "container"),
        ({"output_config": {"format": {"type": "grammar"}}}, "output_config.format"),
    ],
)
def test_what_only_anthropic_can_serve_is_named(change: Json, named: str) -> None:
    (name,) = only(change)
    assert named in name


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": [{"role": "system", "content": "x"}]}, "messages[0].role"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
        ({"tools": [{"name": "x"}]}, "tools[0].input_schema"),
        ({"tools": [TOOL], "tool_choice": {"type": "sometimes"}}, "tool_choice.type"),
    ],
)
def test_what_is_wrong_is_named(change: Json, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        Messages().request({**HI, **change}, {})
    assert caught.value.param == param


@pytest.mark.parametrize("name", ["messages", "max_tokens"])
def test_what_is_missing_is_named(name: str) -> None:
    body: Json = {"model": "auto", "max_tokens": 5, "messages": []}
    del body[name]
    with pytest.raises(RequestError, match=name):
        Messages().request(body, {})


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_has_its_blocks_its_reason_and_its_usage(kind: str) -> None:
    message, finish = ANSWERS[kind]
    told = msgspec.json.decode(Messages().whole(whole(message, finish), {}, "il-1"))
    assert (told["type"], told["role"], told["model"]) == ("message", "assistant", "small")
    assert told["usage"] == {"input_tokens": 12, "cache_read_input_tokens": 8, "output_tokens": 7}
    text = "".join(block["text"] for block in told["content"] if block["type"] == "text")
    assert text == (message.get("content") or message.get("refusal") or "")
    used = [block for block in told["content"] if block["type"] == "tool_use"]
    assert [(block["id"], block["name"]) for block in used] == [
        (call["id"], call["function"]["name"]) for call in message.get("tool_calls", ())
    ]
    reasons = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
    assert told["stop_reason"] == reasons[finish]


@pytest.mark.parametrize("kind", ANSWERS)
@settings(deadline=None, max_examples=30)
@given(cuts=CUTS)
def test_a_stream_adds_up_to_the_whole_answer(kind: str, cuts: list[int]) -> None:
    message, finish = ANSWERS[kind]
    stream = Messages().stream({}, "il-1")
    raw = b"".join([*map(stream.read, chunks(message, finish, cuts)), stream.end()])
    assert gathered(events(raw)) == msgspec.json.decode(Messages().whole(whole(message, finish), {}, "il-1"))


def gathered(said: list[Json]) -> Json:
    """The message that a client makes of the events, checking that they come in order."""
    assert said[0]["type"] == "message_start"
    assert said[-1] == {"type": "message_stop"}
    message: Json = said[0]["message"]
    open_: int | None = None
    arguments: dict[int, str] = {}
    for one in said[1:-1]:
        if one["type"] == "content_block_start":
            assert open_ is None
            open_ = one["index"]
            assert open_ == len(message["content"])
            message["content"].append(one["content_block"])
        elif one["type"] == "content_block_delta":
            assert one["index"] == open_
            extend(message["content"][one["index"]], one["delta"], arguments, one["index"])
        elif one["type"] == "content_block_stop":
            assert one["index"] == open_
            open_ = None
        else:
            assert open_ is None
            message.update(one["delta"], usage=one["usage"])
    for index, text in arguments.items():
        message["content"][index]["input"] = msgspec.json.decode(text)
    return message


def extend(block: Json, delta: Json, arguments: dict[int, str], index: int) -> None:
    field: dict[str, Any] = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}
    if delta["type"] == "input_json_delta":
        arguments[index] = arguments.get(index, "") + delta["partial_json"]
    else:
        name = field[delta["type"]]
        block[name] += delta[name]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NotFound("gone"), "not_found_error"),
        (RateLimited("slow"), "rate_limit_error"),
        (Overloaded("busy"), "overloaded_error"),
        (RequestError("bad"), "invalid_request_error"),
    ],
)
def test_errors_have_its_shape(error: InterlockError, kind: str) -> None:
    told = msgspec.json.decode(Messages().error(error))
    assert (told["type"], told["error"]["type"], told["error"]["message"]) == ("error", kind, error.message)


def test_a_stream_that_breaks_off_says_so() -> None:
    stream = Messages().stream({}, "il-1")
    assert events(stream.fail(Overloaded("busy")))[0]["error"]["type"] == "overloaded_error"
