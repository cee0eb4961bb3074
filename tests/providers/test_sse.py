import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.errors import Garbled
from interlock.providers.sse import Events

lines = st.sampled_from([b"data: a", b"data:b", b"data", b"data:  c", b"event: e", b"event:", b": n", b"id: 7", b""])
ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
streams = st.lists(st.tuples(lines, ends), max_size=20).map(lambda pairs: b"".join(a + b for a, b in pairs))


def whole(stream: bytes) -> list[tuple[bytes, bytes]]:
    """The specification's algorithm on a complete stream, line by line."""
    events, name, data = [], b"", []
    *complete, _ = re.split(rb"\r\n|\n|\r", stream)
    for line in complete:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            events += [(name or b"message", b"\n".join(data))] if data else []
            name, data = b"", []
        elif field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return events


@given(streams, st.lists(st.integers(0, 400), max_size=12))
def test_any_split_gives_the_events_of_the_whole(stream: bytes, cuts: list[int]) -> None:
    parser, events, at = Events(), [], 0
    for cut in [*sorted(cuts), len(stream)]:
        events += parser.feed(stream[at : max(at, cut)])
        at = max(at, cut)
    assert events == whole(stream)


@given(streams)
def test_byte_by_byte(stream: bytes) -> None:
    parser = Events()
    assert [event for byte in stream for event in parser.feed(bytes([byte]))] == whole(stream)


def test_a_byte_order_mark_is_skipped_once() -> None:
    parser = Events()
    assert parser.feed(b"\xef\xbb") == []
    assert parser.feed(b"\xbfdata: x\n\n\xef\xbb\xbfdata: y\n\ndata: z\n\n") == [(b"message", b"x"), (b"message", b"z")]


def test_an_event_without_end_is_not_kept_forever() -> None:
    parser = Events(limit=1000)
    for _ in range(80):
        parser.feed(b"data: 12345\n")
    with pytest.raises(Garbled, match="1000 bytes"):
        parser.feed(b"data: " + b"x" * 100)


def test_a_long_stream_of_small_events_is_no_long_event() -> None:
    parser = Events(limit=100)
    assert sum(len(parser.feed(b"data: 12345\n\n")) for _ in range(1000)) == 1000
