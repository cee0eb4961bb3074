from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from interlock.admission import spans
from interlock.admission.counter import Rate
from interlock.admission.headers import rate_headers
from interlock.types import new_id, time_of


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_a_leap_february() -> None:
    found = {span.window: (span.start, span.end) for span in spans(at("2028-02-29T23:59:59.999"))}
    assert found["hour"] == (at("2028-02-29T23:00"), at("2028-03-01T00:00"))
    assert found["day"] == (at("2028-02-29T00:00"), at("2028-03-01T00:00"))
    assert found["month"] == (at("2028-02-01T00:00"), at("2028-03-01T00:00"))


@given(st.floats(0, 4e9))
def test_windows_tile_time(moment: float) -> None:
    for span in spans(moment):
        assert span.start <= moment < span.end
        if span.window != "total":
            (following,) = (found for found in spans(span.end) if found.window == span.window)
            assert following.start == span.end


def test_an_id_says_when_it_was_made() -> None:
    before = datetime.now(UTC).timestamp()
    found = time_of(new_id())
    assert found is not None
    assert before - 0.002 <= found <= datetime.now(UTC).timestamp()
    assert time_of(f"{new_id()}.draft") is not None
    assert time_of("req-7") is None


def test_rate_headers_are_openais() -> None:
    rates = [Rate("key:k", "requests", 60, 1), Rate("key:k", "tokens", 6000, 1), Rate("tenant:t", "requests", 10, 1)]
    lines = rate_headers(rates, [59.0, 150.0, 2.5]).decode().splitlines()
    assert lines == [
        "x-ratelimit-limit-requests: 10",
        "x-ratelimit-remaining-requests: 2",
        "x-ratelimit-reset-requests: 45s",
        "x-ratelimit-limit-tokens: 6000",
        "x-ratelimit-remaining-tokens: 150",
        "x-ratelimit-reset-tokens: 58.5s",
    ]
    assert b"reset-requests: 1m30s\r\n" in rate_headers([Rate("key:k", "requests", 60, 1)], [-30.0])
    assert b"reset-requests: 20ms\r\n" in rate_headers([Rate("key:k", "requests", 6000, 1)], [5998.0])
