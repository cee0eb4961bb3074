"""Any JSON is a request in every dialect, or a `RequestError`; any provider's answer is one, or `Garbled`."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.errors import Garbled, RequestError
from interlock.gateway import parse
from interlock.gateway.dialects import Chat, Completions, Dialect, Messages, Responses

DIALECTS: dict[str, Dialect] = {
    "chat": Chat(),
    "messages": Messages(),
    "responses": Responses(),
    "completions": Completions(),
}
WORDS = (
    "type role content text tool_use tool_result id name input source base64 media_type data url image document",
    "thinking user assistant system function function_call function_call_output call_id output message input_text",
    "input_image image_url json_schema schema format effort tool auto any citations enabled title index delta",
    "arguments logprobs token top_logprobs prompt_tokens_details signature",
)
names = st.sampled_from(" ".join(WORDS).split())
values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=16,
)
calls = st.fixed_dictionaries({}, optional={"index": st.integers(0, 2), "id": names, "function": values})
said = st.dictionaries(
    st.sampled_from(["content", "refusal", "reasoning_content", "thinking_blocks", "tool_calls"]),
    values | st.lists(calls, max_size=3),
    max_size=4,
)
answered = {"index": st.integers(0, 1), "delta": said, "message": said, "logprobs": values}
choices = st.fixed_dictionaries({}, optional=answered)
GOOD: dict[str, Any] = {
    "messages": [{"role": "user", "content": "hi"}],
    "input": "hi",
    "prompt": "hi",
    "max_tokens": 5,
}


@pytest.mark.parametrize("name", DIALECTS)
@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_request_is_read_or_refused(name: str, data: st.DataObject) -> None:
    dialect = DIALECTS[name]
    fields = st.sampled_from([*dialect.body.__struct_fields__, "vendor"])
    asked = {**GOOD, "model": "auto", **data.draw(st.dictionaries(fields, values, max_size=4))}
    with contextlib.suppress(RequestError):
        body, native = dialect.request(dict(asked), {})
        parse.chat(dict(body), {}, None, ("auto",), native)


@pytest.mark.parametrize("name", DIALECTS)
@settings(deadline=None, max_examples=150)
@given(st.lists(choices, max_size=2), st.dictionaries(st.sampled_from(["usage", "id", "model", "created"]), values))
def test_any_answer_is_told_or_garbled(name: str, choices: list[Any], rest: dict[str, Any]) -> None:
    dialect = DIALECTS[name]
    raw = msgspec.json.encode({**rest, "choices": choices})
    with contextlib.suppress(Garbled):
        dialect.whole(raw, {}, "il-1")
    events = dialect.stream({}, "il-1")
    with contextlib.suppress(Garbled):
        events.read(raw)
        events.read(raw)
    events.end()
