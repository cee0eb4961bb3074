"""What a provider sees in place of personal data, and that its answer has it back, however a stream is cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.errors import Unmasked
from interlock.masking import Masking
from interlock.providers import Call, Chunks
from interlock.types import Candidate, Chunk, Message, Native, Request, Usage

MAIL, CARD, IBAN = "eve@example.org", "4111 1111 1111 1111", "DE89370400440532013000"
PROMPT = f"Write to {MAIL} about card {CARD} and {IBAN}, then to {MAIL} again."


class Echo:
    """Says the last message again, whole or cut at `cuts`; also as the arguments of a tool call."""

    def __init__(self, cuts: tuple[int, ...] = ()) -> None:
        self.cuts, self.seen = cuts, list[Request]()

    async def send(self, call: Call) -> Chunks:
        self.seen.append(call.request)
        text = call.request.messages[-1].text
        arguments = json.dumps({"q": text})
        tool: dict[str, Any] = {"index": 0, "id": "c1", "type": "function"}
        if not call.stream:
            message = {"content": text, "tool_calls": [tool | {"function": {"name": "f", "arguments": arguments}}]}
            yield Chunk(encoded({"index": 0, "message": message, "finish_reason": "stop"}), text, Usage(1, 1), "stop")
            return
        for piece in cut(text, self.cuts):
            yield Chunk(encoded({"index": 0, "delta": {"content": piece}, "finish_reason": None}), piece)
        for piece in cut(arguments, self.cuts):
            delta = {"tool_calls": [tool | {"function": {"arguments": piece}}]}
            yield Chunk(encoded({"index": 0, "delta": delta, "finish_reason": None}))
        yield Chunk(encoded({"index": 0, "delta": {}, "finish_reason": "stop"}), "", Usage(1, 1), "stop")


def encoded(choice: dict[str, Any]) -> bytes:
    return json.dumps({"id": "c", "choices": [choice], "x_unknown": [1, "["]}).encode()


def cut(text: str, cuts: tuple[int, ...]) -> Iterator[str]:
    places = [0, *sorted({place % (len(text) + 1) for place in cuts}), len(text)]
    return (text[start:end] for start, end in pairwise(places))


def call(text: str, stream: bool) -> Call:
    body = {"messages": [{"role": "user", "content": text}], "user": MAIL}
    request = Request(messages=(Message("user", text),), body=body, stream=stream)
    return Call(request, Candidate(name="a", provider="p", model="m"), stream)


async def answer(masking: Masking, asked: Call) -> tuple[str, str, str]:
    """Text, content of the raw answer, arguments."""
    chunks = [chunk async for chunk in masking.send(asked)]
    choices = [choice for chunk in chunks for choice in json.loads(chunk.raw)["choices"]]
    parts = [choice.get("delta") or choice.get("message") or {} for choice in choices]
    arguments = "".join(one["function"]["arguments"] for part in parts for one in part.get("tool_calls", ()))
    return "".join(chunk.text for chunk in chunks), "".join(part.get("content") or "" for part in parts), arguments


@pytest.mark.parametrize("stream", [False, True])
async def test_the_provider_sees_placeholders_and_the_caller_does_not(stream: bool) -> None:
    echo = Echo()
    text, content, arguments = await answer(Masking(echo, ("email", "card")), call(PROMPT, stream))
    [seen] = echo.seen
    assert seen.messages[0].content == f"Write to [EMAIL_1] about card [CARD_2] and {IBAN}, then to [EMAIL_1] again."
    assert seen.body["messages"][0]["content"] == seen.messages[0].content
    assert seen.body["user"] == "[EMAIL_1]"
    assert (text, content, json.loads(arguments)["q"]) == (PROMPT, PROMPT, PROMPT)


@given(
    cuts=st.lists(st.integers(0, 300), max_size=12).map(tuple),
    text=st.lists(st.sampled_from([MAIL, CARD, IBAN, "[", "[EMAIL", "[EMAIL_", "]", " and ", "ü\n\"'\\", "[EMAIL_1]"]))
    .map(" ".join)
    .filter(bool),
    stream=st.booleans(),
)
async def test_whatever_is_said_again_comes_back_as_it_was(cuts: tuple[int, ...], text: str, stream: bool) -> None:
    said, content, arguments = await answer(Masking(Echo(cuts), ("email", "card", "iban")), call(text, stream))
    assert (said, content, json.loads(arguments)["q"]) == (text, text, text)


async def test_every_way_to_cut_a_placeholder() -> None:
    for first in range(40):
        for second in range(first, 40):
            said, *_ = await answer(Masking(Echo((first, second)), ("email",)), call(f"to {MAIL}, please", True))
            assert said == f"to {MAIL}, please"


async def test_what_holds_nothing_passes_byte_by_byte() -> None:
    chunks = [chunk async for chunk in Masking(Echo(), ("email",)).send(call("hello [there]", True))]
    assert chunks[0].raw == encoded({"index": 0, "delta": {"content": "hello [there]"}, "finish_reason": None})


async def test_when_the_detector_fails_nothing_is_sent() -> None:
    def fails(text: str) -> Iterator[Any]:
        raise ValueError(f"cannot read {text}")

    echo = Echo()
    with pytest.raises(Unmasked) as caught:
        await answer(Masking(echo, ("email",), fails), call(PROMPT, False))
    assert echo.seen == []
    assert MAIL not in str(caught.value)


@pytest.mark.parametrize(("text", "only"), [(PROMPT, ()), ("nothing", ("thinking",)), ("nothing", ())])
async def test_a_request_in_another_dialect_is_translated_once_it_is_masked(text: str, only: tuple[str, ...]) -> None:
    echo, asked = Echo(), call(text, False)
    native = Native("anthropic", {"messages": [{"role": "user", "content": text}]}, only)
    body = {"messages": asked.request.body["messages"]}
    asked = msgspec.structs.replace(asked, request=msgspec.structs.replace(asked.request, body=body, native=native))
    await answer(Masking(echo, ("email",)), asked)
    assert echo.seen[0].native == (native if text == "nothing" else None)


async def test_what_only_another_dialect_can_say_is_not_sent_with_personal_data() -> None:
    echo, asked = Echo(), call(PROMPT, False)
    native = Native("anthropic", {"messages": []}, ("thinking",))
    asked = msgspec.structs.replace(asked, request=msgspec.structs.replace(asked.request, native=native))
    with pytest.raises(Unmasked, match="thinking"):
        await answer(Masking(echo, ("email",)), asked)
    assert echo.seen == []
