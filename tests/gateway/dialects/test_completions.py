"""Legacy completions: a prompt is a user message, an answer its text."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from interlock.errors import Overloaded, RequestError
from interlock.gateway.dialects import Completions

from .answers import ANSWERS, USAGE, Json, chunks, whole


def chat(**fields: Any) -> Json:
    return Completions().request({"model": "auto", "prompt": "hi", **fields}, {})[0]


def told(raw: bytes) -> list[Json]:
    lines = [line.removeprefix(b"data: ") for line in raw.split(b"\n\n") if line]
    return [msgspec.json.decode(line) for line in lines if line != b"[DONE]"]


def test_a_prompt_is_a_user_message() -> None:
    asked = chat(temperature=0.5, stop="x", logprobs=2, vendor=1, suffix="", best_of=1)
    assert asked == {
        "model": "auto",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 16,
        "temperature": 0.5,
        "stop": "x",
        "logprobs": True,
        "top_logprobs": 2,
        "vendor": 1,
    }
    assert chat(prompt=["one"], max_tokens=3)["messages"][0]["content"] == "one"
    assert chat(logprobs=0)["logprobs"] is True


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt[0]"),
        ({"echo": True}, "echo"),
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"logprobs": 9}, "logprobs"),
    ],
)
def test_what_chat_cannot_say_is_refused_by_name(fields: Json, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        chat(**fields)
    assert caught.value.param == param


def test_an_answer_is_its_text() -> None:
    answer = msgspec.json.decode(Completions().whole(whole(*ANSWERS["cut off"]), {}, "il-1"))
    assert answer["object"] == "text_completion"
    assert answer["choices"] == [{"text": "Hello", "index": 0, "logprobs": None, "finish_reason": "length"}]
    assert answer["usage"] == USAGE


def test_logprobs_have_their_legacy_form() -> None:
    tokens = [{"token": t, "logprob": -1.0, "top_logprobs": [{"token": t, "logprob": -1.0}]} for t in ("He", "y")]
    choice = {"index": 0, "message": {"content": "Hey"}, "finish_reason": "stop", "logprobs": {"content": tokens}}
    answer = msgspec.json.decode(Completions().whole(msgspec.json.encode({"choices": [choice]}), {}, "il-1"))
    assert answer["choices"][0]["logprobs"] == {
        "tokens": ["He", "y"],
        "token_logprobs": [-1.0, -1.0],
        "top_logprobs": [{"He": -1.0}, {"y": -1.0}],
        "text_offset": [0, 2],
    }


def test_a_stream_adds_up_and_ends_or_breaks_off() -> None:
    events = Completions().stream({}, "il-1")
    said = told(b"".join(map(events.read, chunks(*ANSWERS["text"], [2, 5]))))
    assert "".join(one["choices"][0]["text"] for one in said if one["choices"]) == "Hello, wörld."
    assert said[-1]["usage"] == USAGE
    assert events.end() == b"data: [DONE]\n\n"
    assert told(events.fail(Overloaded("busy")))[0]["error"]["code"] == Overloaded.code
