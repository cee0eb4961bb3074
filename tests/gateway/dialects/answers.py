"""Chat answers as providers give them, whole and cut into a stream's chunks."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import strategies as st

Json = dict[str, Any]

USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 7,
    "total_tokens": 27,
    "prompt_tokens_details": {"cached_tokens": 8},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
CALLS = [
    {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
    {"id": "call_2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
]
ANSWERS: dict[str, tuple[Json, str]] = {
    "text": ({"content": "Hello, wörld."}, "stop"),
    "cut off": ({"content": "Hello"}, "length"),
    "calls": ({"content": None, "tool_calls": CALLS}, "tool_calls"),
    "text and calls": ({"content": "Let me see.", "tool_calls": CALLS[:1]}, "tool_calls"),
    "reasoning": ({"content": "Four.", "reasoning_content": "2 + 2"}, "stop"),
    "refusal": ({"content": None, "refusal": "I will not."}, "content_filter"),
}


def whole(message: Json, finish: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 5, "model": "small"}
    return msgspec.json.encode({**head, "choices": [choice], "usage": USAGE})


def pieces(text: str, cuts: list[int]) -> list[str]:
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[a:b] for a, b in pairwise(edges)]


def chunks(message: Json, finish: str, cuts: list[int]) -> list[bytes]:
    """The same answer as a stream: every text cut at the given places."""
    deltas: list[Json] = [{"role": "assistant", "content": ""}]
    for field in ("reasoning_content", "content", "refusal"):
        deltas += [{field: piece} for piece in pieces(message.get(field) or "", cuts)]
    for index, call in enumerate(message.get("tool_calls", ())):
        function = {"name": call["function"]["name"], "arguments": ""}
        deltas.append({"tool_calls": [{"index": index, "id": call["id"], "type": "function", "function": function}]})
        for piece in pieces(call["function"]["arguments"], cuts):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 5, "model": "small"}
    made = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    made.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    made.append({**head, "choices": [], "usage": USAGE})
    return [msgspec.json.encode(chunk) for chunk in made]


def events(raw: bytes) -> list[Json]:
    """Server-sent events: each names itself as its data does."""
    found = []
    for block in raw.split(b"\n\n"):
        if block:
            name, data = block.split(b"\n")
            decoded = msgspec.json.decode(data.removeprefix(b"data: "))
            assert name == f"event: {decoded['type']}".encode()
            found.append(decoded)
    return found


CUTS = st.lists(st.integers(0, 40), max_size=6)
