"""Whole answers and their streams carry the same; unknown fields too."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.caching import joined, split

CALLS = [
    {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
    {"id": "call_2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
]
MESSAGES: dict[str, dict[str, Any]] = {
    "text": {"role": "assistant", "content": "Hello, wörld.", "x_vendor": {"kept": [1]}},
    "reasoning": {"role": "assistant", "content": "Four.", "reasoning_content": "2 + 2"},
    "calls": {"role": "assistant", "content": None, "tool_calls": CALLS},
    "parts": {"role": "assistant", "content": "x", "thinking_blocks": [{"type": "thinking", "signature": "s"}]},
}


def whole(*messages: dict[str, Any], usage: dict[str, int] | None = None) -> dict[str, Any]:
    logprobs = {"content": [{"token": "H", "logprob": -0.1}]}
    choices = [
        {"index": i, "message": message, "finish_reason": "stop", "logprobs": logprobs}
        for i, message in enumerate(messages)
    ]
    head = {"id": "c1", "created": 5, "model": "m", "object": "chat.completion", "x_head": 7}
    return head | {"choices": choices} | ({} if usage is None else {"usage": usage})


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_split_answer_joins_to_itself(kind: str) -> None:
    answer = whole(MESSAGES[kind], MESSAGES["text"], usage={"prompt_tokens": 3})
    chunks, usage = split(msgspec.json.encode(answer))
    assert all(msgspec.json.decode(chunk)["object"] == "chat.completion.chunk" for chunk in (*chunks, usage))
    assert msgspec.json.decode(joined([*chunks, usage], None)) == answer


def test_usage_the_caller_did_not_see_is_there_all_the_same() -> None:
    chunks, usage = split(msgspec.json.encode(whole(MESSAGES["text"])))
    assert usage == b""
    assert msgspec.json.decode(joined(chunks, {"prompt_tokens": 4}))["usage"] == {"prompt_tokens": 4}


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=30), st.text(max_size=20), st.lists(st.integers(0, 30), max_size=5))
def test_however_a_stream_is_cut_it_joins_to_the_same(text: str, arguments: str, cuts: list[int]) -> None:
    def pieces(of: str) -> list[str]:
        edges = sorted({0, len(of), *(cut for cut in cuts if cut < len(of))})
        return [of[a:b] for a, b in pairwise(edges)]

    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": p} for p in pieces(text))]
    start = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "add", "arguments": ""}}
    deltas += [{"tool_calls": [start]}]
    deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in pieces(arguments)]
    chunks = [{"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    (choice,) = msgspec.json.decode(joined(map(msgspec.json.encode, chunks), None))["choices"]
    assert choice["message"]["content"] == text
    assert choice["message"]["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": arguments}}
    ]
    assert choice["finish_reason"] == "tool_calls"
