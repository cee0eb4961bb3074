"""Any bytes give a request or a `RequestError` that names the field; nothing else ever leaves the parser."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.errors import NotFound, RequestError
from interlock.gateway import parse

MODELS = ("auto", "pocket-nano", "pocket-small")


def body(**fields: Any) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": "hi"}]} | fields).encode()


def read(raw: bytes, headers: dict[bytes, bytes] | None = None, tenant: str | None = None) -> parse.Parsed:
    return parse.chat(parse.document(raw), headers or {}, tenant, MODELS)


@pytest.mark.parametrize(
    ("raw", "param", "said"),
    [
        (b"", None, "empty"),
        (b"{", None, "ends too early"),
        (b"[1]", None, "not an array"),
        (b'{"a":"\xff"}', None, "not UTF-8"),
        (b"[" * 100_000, None, "nested too deeply"),
        (b'{"messages":[{"role":"user","content":' + b"[" * 5000, None, "nested too deeply"),
        (b"{}", None, "missing field `messages`"),
        (body(messages=[]), "messages", "at least one message"),
        (body(messages="hi"), "messages", "Expected `array`"),
        (body(messages=[{"content": "hi"}]), "messages[0]", "missing field `role`"),
        (body(messages=[{"role": "usr", "content": "hi"}]), "messages[0].role", "did you mean 'user'?"),
        (body(messages=[{"role": "user"}]), "messages[0].content", "needs content"),
        (body(messages=[{"role": "user", "content": [{"text": "hi"}]}]), "messages[0].content[0].type", "has a type"),
        (body(messages=[{"role": "user", "content": 7}]), "messages[0].content", "Expected `str | array | null`"),
        (body(max_tokens=0), "max_tokens", ">= 1"),
        (body(max_tokens=10**9), "max_tokens", "<= 1048576"),
        (body(max_completion_tokens="many"), "max_completion_tokens", "got `str`"),
        (body(stream="yes"), "stream", "got `str`"),
        (body(seed=2**80), "seed", ""),
        (body(n=0), "n", ">= 1"),
        (body(temperature="hot"), "temperature", "got `str`"),
        (body(tools={}), "tools", "got `object`"),
        (body(interlock={"tennant": "t"}), "interlock", "did you mean 'tenant'?"),
        (body(interlock={"limits": {"max_cst": 1}}), "interlock.limits", "did you mean 'max_cost'?"),
        (body(interlock={"limits": {"min_quality": 1.5}}), "interlock.limits.min_quality", "<= 1"),
        (body(interlock={"hints": {"task": 3}}), "interlock.hints[...]", "Expected `str`"),
    ],
)
def test_what_is_wrong_is_named(raw: bytes, param: str | None, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(raw)
    assert caught.value.status == 400
    assert caught.value.param == param
    assert said in caught.value.message


def test_an_unknown_model_is_not_found_and_the_nearest_is_offered() -> None:
    with pytest.raises(NotFound, match="did you mean 'pocket-nano'") as caught:
        read(body(model="pocket-nana"))
    assert (caught.value.status, caught.value.code, caught.value.param) == (404, "model_not_found", "model")


@pytest.mark.parametrize(
    ("fields", "needs"),
    [
        ({}, set()),
        ({"tools": [{"type": "function"}]}, {"tools"}),
        ({"tools": []}, set()),
        ({"response_format": {"type": "json_object"}, "logprobs": True}, {"json", "logprobs"}),
        ({"response_format": {"type": "text"}}, set()),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": "?"}]}]},
            {"image"},
        ),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}], "modalities": ["text"]}, {"audio"}),
    ],
)
def test_needs(fields: dict[str, Any], needs: set[str]) -> None:
    assert read(body(**fields)).request.needs == needs


def test_the_body_wins_over_the_headers() -> None:
    headers = {b"x-interlock-session": b"h", b"x-interlock-max-cost": b"2", b"x-interlock-deadline": b"3.5"}
    request = read(body(interlock={"session": "b", "limits": {"max_cost": 1}}), headers).request
    assert request.session == "b"
    assert (request.limits.max_cost, request.limits.deadline, request.limits.min_quality) == (1, 3.5, None)


def test_hints_and_explain_by_header() -> None:
    parsed = read(body(), {b"x-interlock-hints": b"task=math, level = 3", b"x-interlock-explain": b"1"})
    assert parsed.request.hints == {"task": "math", "level": "3"}
    assert parsed.explain


@pytest.mark.parametrize("value", [b"abc", b"-1", b"nan", b"inf", b"1e999"])
def test_a_limit_in_a_header_is_checked_too(value: bytes) -> None:
    with pytest.raises(RequestError, match="x-interlock-max-cost"):
        read(body(), {b"x-interlock-max-cost": value})


def test_a_keys_tenant_cannot_be_talked_away() -> None:
    assert read(body(), tenant="acme").request.tenant == "acme"
    assert read(body(interlock={"tenant": "acme"}), tenant="acme").request.tenant == "acme"
    with pytest.raises(RequestError, match="leave it out"):
        read(body(interlock={"tenant": "other"}), tenant="acme")
    with pytest.raises(RequestError, match="leave it out"):
        read(body(), {b"x-interlock-tenant": b"other"}, tenant="acme")


@pytest.mark.parametrize(
    ("control", "wish"),
    [(b"no-store", "no-store"), (b"No-Cache, no-store", "no-store"), (b"max-age=0, no-cache", "no-cache"), (b"x", "")],
)
def test_a_caller_may_ask_for_a_fresh_answer(control: bytes, wish: str) -> None:
    assert read(body(), {b"cache-control": control}).request.cache == wish


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from([*parse.ChatBody.__struct_fields__, "interlock", "vendor"])


@given(st.dictionaries(fields, json_values) | json_values)
def test_any_json_is_read_or_refused(document: Any) -> None:
    with contextlib.suppress(RequestError):
        parsed = read(msgspec.json.encode(document))
        assert parsed.request.messages
        assert "interlock" not in parsed.request.body


@given(st.binary())
def test_any_bytes_are_refused_with_a_message(raw: bytes) -> None:
    with pytest.raises(RequestError):
        read(raw)


@given(
    st.dictionaries(st.sampled_from([*parse.LIMIT_HEADERS, b"x-interlock-hints", b"x-interlock-tenant"]), st.binary())
)
def test_any_headers_are_read_or_refused(headers: dict[bytes, bytes]) -> None:
    with contextlib.suppress(RequestError):
        assert read(body(), headers).request.messages
