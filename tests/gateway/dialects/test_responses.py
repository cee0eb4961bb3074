"""The Responses API: input items as a conversation, and streams that say what whole answers say."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from interlock.errors import Overloaded, RequestError
from interlock.gateway.dialects.responses import Responses

from .answers import ANSWERS, CUTS, USAGE, Json, chunks, events, whole

FUNCTION = {"type": "function", "name": "add"}
SCHEMA = {"name": "answer", "schema": {"type": "object"}, "strict": True}


def chat(**fields: Any) -> Json:
    return Responses().request({"model": "auto", "input": "hi", **fields}, {})[0]


def test_a_text_is_one_user_message_after_the_instructions() -> None:
    assert chat(instructions="Be brief.")["messages"] == [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "hi"},
    ]


def test_items_become_a_conversation() -> None:
    given = [
        {"role": "user", "content": [{"type": "input_text", "text": "add"}, {"type": "input_image", "image_url": "u"}]},
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a":1}'},
        {"type": "function_call", "call_id": "c2", "name": "now", "arguments": ""},
        {"type": "function_call_output", "call_id": "c1", "output": "2"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "two"}]},
    ]
    user, calls, result, said = chat(input=given)["messages"]
    assert user["content"] == [{"type": "text", "text": "add"}, {"type": "image_url", "image_url": {"url": "u"}}]
    assert [call["function"] for call in calls["tool_calls"]] == [
        {"name": "add", "arguments": '{"a":1}'},
        {"name": "now", "arguments": "{}"},
    ]
    assert result == {"role": "tool", "tool_call_id": "c1", "content": "2"}
    assert said == {"role": "assistant", "content": "two"}


def test_parameters_have_their_chat_names() -> None:
    asked = chat(
        max_output_tokens=9,
        reasoning={"effort": "low"},
        text={"format": {"type": "json_schema", **SCHEMA}, "verbosity": "low"},
        tools=[{"type": "function", "name": "add", "parameters": {}, "strict": True}],
        tool_choice={"type": "function", "name": "add"},
        stream=True,
        temperature=0.2,
        include=["reasoning.encrypted_content"],
        background=False,
        store=False,
    )
    asked.pop("messages")
    assert asked == {
        "model": "auto",
        "max_completion_tokens": 9,
        "reasoning_effort": "low",
        "response_format": {"type": "json_schema", "json_schema": SCHEMA},
        "verbosity": "low",
        "tools": [{"type": "function", "function": {"name": "add", "parameters": {}, "strict": True}}],
        "tool_choice": {"type": "function", "function": {"name": "add"}},
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.2,
    }


def test_fields_that_nobody_knows_go_through() -> None:
    assert chat(vendor={"beam": [1, None]})["vendor"] == {"beam": [1, None]}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": [{"type": "computer_call"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_video"}]}]}, "input[0].content[0]"),
        ({"input": 3}, "input"),
        ({"input": None}, "input"),
        ({"include": ["file_search_call.results"]}, "include"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "mcp"}}, "tool_choice"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"input": [{"role": "wizard", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": "function_call", "name": "add"}]}, "input[0]"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format"),
    ],
)
def test_what_cannot_be_routed_is_named(fields: Json, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        chat(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_has_its_items_its_status_and_its_usage(kind: str) -> None:
    message, finish = ANSWERS[kind]
    told = msgspec.json.decode(Responses().whole(whole(message, finish), {"temperature": 1}, "il-1"))
    assert (told["id"], told["object"], told["model"], told["temperature"]) == ("resp_il-1", "response", "small", 1)
    assert told["status"] == ("incomplete" if finish in ("length", "content_filter") else "completed")
    assert told["usage"]["total_tokens"] == USAGE["total_tokens"]
    assert told["usage"]["input_tokens_details"] == {"cached_tokens": 8}
    assert told["usage"]["output_tokens_details"] == {"reasoning_tokens": 3}
    calls = [item for item in told["output"] if item["type"] == "function_call"]
    assert [item["call_id"] for item in calls] == [call["id"] for call in message.get("tool_calls", ())]
    texts = [part.get("text") for item in told["output"] if item["type"] == "message" for part in item["content"]]
    assert texts in ([message.get("content")], [None], [])
    assert len({item["id"] for item in told["output"]}) == len(told["output"])


@pytest.mark.parametrize("kind", ANSWERS)
@settings(deadline=None, max_examples=30)
@given(cuts=CUTS)
def test_a_stream_adds_up_to_the_whole_answer(kind: str, cuts: list[int]) -> None:
    message, finish = ANSWERS[kind]
    stream = Responses().stream({}, "il-1")
    said = events(b"".join([*map(stream.read, chunks(message, finish, cuts)), stream.end()]))
    expected = msgspec.json.decode(Responses().whole(whole(message, finish), {}, "il-1"))
    assert [one["sequence_number"] for one in said] == list(range(len(said)))
    assert [one["type"] for one in said[:2]] == ["response.created", "response.in_progress"]
    assert said[-1]["type"] == f"response.{expected['status']}"
    last = said[-1]["response"]
    assert last["output"] == expected["output"] == gathered(said)
    assert last["usage"] == expected["usage"]
    assert last["incomplete_details"] == expected["incomplete_details"]


def gathered(said: list[Json]) -> list[Json]:
    """The items that a client makes of the deltas alone, checked against what is said when each is done."""
    items: list[Json] = []
    for one in said:
        kind = one["type"]
        if kind == "response.output_item.added":
            assert one["output_index"] == len(items)
            items.append(one["item"])
        elif kind == "response.content_part.added":
            items[-1]["content"].append(one["part"])
        elif kind.endswith("arguments.delta"):
            items[-1]["arguments"] += one["delta"]
        elif kind.endswith(".delta"):
            part = items[-1]["content"][one["content_index"]]
            part["refusal" if "refusal" in kind else "text"] += one["delta"]
            assert one["item_id"] == items[-1]["id"]
        elif kind == "response.output_item.done":
            items[-1]["status"] = "completed"
            assert one["item"] == items[-1]
    return items


def test_a_stream_that_breaks_off_says_so() -> None:
    stream = Responses().stream({}, "il-1")
    said = events(stream.read(chunks(*ANSWERS["text"], [3])[0]) + stream.fail(Overloaded("busy")))
    assert said[-1]["type"] == "response.failed"
    assert said[-1]["response"]["error"] == {"code": Overloaded.code, "message": "busy"}
