import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.errors import (
    Garbled,
    NoSuchModel,
    OutOfFunds,
    Overloaded,
    ProviderError,
    RateLimited,
    Rejected,
    TimedOut,
    TooLong,
    Unauthenticated,
)
from interlock.providers.failures import failure, failure_inside, retry_after


def openai(message="", **words):
    return json.dumps({"error": {"message": message, **words}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (301, b"", Garbled),
        (400, openai("bad temperature", param="temperature"), Rejected),
        (400, openai("too long", code="context_length_exceeded"), TooLong),
        (400, openai("This model's maximum context length is 8192 tokens"), TooLong),
        (400, b'{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long"}}', TooLong),
        (400, b'{"error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}', OutOfFunds),
        (400, openai("The model `x` does not exist"), NoSuchModel),
        (401, openai("Incorrect API key provided: sk-secret"), Unauthenticated),
        (402, b"", OutOfFunds),
        (403, b"<html>", Unauthenticated),
        (404, b'{"error":"model \\"x\\" not found, try pulling it first"}', NoSuchModel),
        (404, b'{"detail":"Not Found"}', NoSuchModel),
        (408, b"", TimedOut),
        (413, b"", TooLong),
        (418, b"", Rejected),
        (422, b'{"detail":[{"loc":["body"],"msg":"field required"}]}', Rejected),
        (429, openai("slow down", type="rate_limit_error"), RateLimited),
        (429, openai("You exceeded your current quota", code="insufficient_quota"), OutOfFunds),
        (500, b"oops", Overloaded),
        (502, b"<html>bad gateway", Overloaded),
        (503, b"", Overloaded),
        (504, b"", TimedOut),
        (529, b'{"type":"error","error":{"type":"overloaded_error"}}', Overloaded),
    ],
)
def test_each_status_has_its_leaf(status, body, kind):
    error = failure(status, {}, body)
    assert type(error) is kind
    assert error.upstream_status == status
    assert str(status) in str(error)


def test_machine_readable_words_are_repeated_and_sentences_are_not():
    sentence = "your prompt 'my secret diary' with key sk-123"
    text = str(failure(400, {}, openai(sentence, code="bad_value", param="messages[0].content", type="x y")))
    assert "code bad_value, param messages[0].content" in text
    assert "diary" not in text
    assert "sk-123" not in text
    assert "x y" not in text


@given(st.binary(max_size=200), st.integers(300, 599))
def test_any_body_gives_a_provider_error(body, status):
    assert isinstance(failure(status, {}, body), ProviderError)


leaves = st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
keys = st.sampled_from(["error", "code", "type", "message"]) | st.text()


@given(st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(keys, inner)))
def test_any_error_object_inside_an_answer_gives_a_provider_error(value):
    assert isinstance(failure_inside(json.dumps(value).encode()), ProviderError)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "overloaded_error"}, Overloaded),
        ({"code": 429}, RateLimited),
        ({"code": "rate_limit_exceeded"}, RateLimited),
        ({"type": "invalid_request_error", "message": "maximum context length"}, TooLong),
        ({"code": 7}, Overloaded),
        ("something broke", Overloaded),
    ],
)
def test_errors_inside_an_answer(error, kind):
    assert type(failure_inside(json.dumps(error).encode())) is kind


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({b"retry-after": b"7"}, 7.0),
        ({b"retry-after": b"0.5"}, 0.5),
        ({b"retry-after": b"-3"}, 0.0),
        ({b"retry-after": b"1e12"}, 3600.0),
        ({b"retry-after": b"Fri, 31 Dec 9999 23:59:59 GMT"}, 3600.0),
        ({b"retry-after": b"Fri, 31 Dec 99999 23:59:59 GMT"}, None),
        ({b"retry-after": b"soon"}, None),
        ({b"retry-after": b"nan"}, None),
        ({b"retry-after": b"inf"}, None),
        ({b"retry-after-ms": b"1500", b"retry-after": b"2"}, 1.5),
        ({b"retry-after": b"Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_retry_after(headers, seconds):
    assert retry_after(headers) == seconds


def test_retry_after_as_a_date():
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True).encode()
    assert 55 < retry_after({b"retry-after": date}) <= 60
    assert failure(429, {b"retry-after": date}, b"").retry_after > 55
