"""Traces: what a header says, and that every identifier follows from the request's."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from interlock.telemetry import JsonLines, Trace
from interlock.telemetry.context import HEADER, of_call

THEIRS = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_callers_trace_goes_on() -> None:
    trace = Trace.of("il-1", THEIRS, 0.0)
    assert trace.sampled
    assert trace.parent == 0x00F067AA0BA902B7
    assert trace.header(7) == "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000007-01"


def test_a_caller_who_does_not_sample_decides_that_too() -> None:
    assert not Trace.of("il-1", THEIRS[:-1] + "0", 1.0).sampled


@pytest.mark.parametrize(
    "header",
    ["", "x", THEIRS.upper(), THEIRS.replace("4", "g"), "ff" + THEIRS[2:], "00-" + "0" * 32 + THEIRS[35:], THEIRS + "x",
     THEIRS[:36] + "0" * 16 + "-01", THEIRS + "\r\nx-evil: 1"],
)  # fmt: skip
def test_what_is_no_trace_begins_a_new_one(header: str) -> None:
    assert HEADER.fullmatch(header) is None
    trace = Trace.of("il-1", header, 1.0)
    assert trace == Trace.of("il-1", "", 1.0)
    assert trace.parent == 0


def test_a_share_of_new_traces_is_sampled() -> None:
    sampled = sum(Trace.of(f"il-{number}", "", 0.25).sampled for number in range(4000))
    assert 850 < sampled < 1150


def test_calls_have_spans_of_their_own() -> None:
    spans = {of_call("il-1", name, why, k) for name in "ab" for why in ("chosen", "retry") for k in range(3)}
    assert len(spans) == 12


def test_a_log_line_is_json_without_an_exceptions_text() -> None:
    try:
        raise ValueError("the prompt")
    except ValueError:
        record = logging.LogRecord("interlock.x", logging.ERROR, "f", 1, "it %s", ("failed",), sys.exc_info())
    line = json.loads(JsonLines().format(record))
    assert (line["level"], line["logger"], line["message"]) == ("error", "interlock.x", "it failed")
    assert line["exception"] == "ValueError"
    assert "the prompt" not in json.dumps(line)
