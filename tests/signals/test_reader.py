from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.errors import ConfigError
from interlock.signals import SOURCES, Reader, Reading, build
from interlock.types import Message, Request, Signal

EVERY = tuple(SOURCES)
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "keywords": {"lists": {"law": {"words": ["court", "contract"], "match": "bm25"}, "pills": {"words": ["aspirin"]}}},
    "hints": {"known": {"task": ["code"]}},
}
VECTOR = tuple(name for name in EVERY)

CONTENT = st.one_of(
    st.none(),
    st.text(st.characters(), max_size=200),
    st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["text", "image_url", "input_audio", "odd"]), "text": st.text(max_size=40)}
        ),
        max_size=3,
    ),
)
MESSAGES = st.lists(
    st.builds(
        Message,
        role=st.sampled_from(["system", "user", "assistant", "tool"]),
        content=CONTENT,
        tool_calls=st.one_of(st.none(), st.just([{"id": "1", "function": {"name": "f", "arguments": "{}"}}])),
    ),
    max_size=5,
)
REQUESTS = st.builds(
    Request,
    messages=MESSAGES.map(tuple),
    hints=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    body=st.one_of(st.just({}), st.just({"tools": [{"type": "function"}]})),
)


def ask(prompt: str, **fields: Any) -> Request:
    return Request(messages=(Message("user", prompt),), **fields)


@pytest.fixture(scope="module")
def reader() -> Reader:
    return build(EVERY, SETTINGS, VECTOR)


@given(REQUESTS)
@settings(max_examples=250, deadline=None)
def test_any_request_is_read_without_failure_to_a_finite_vector(request: Request) -> None:
    reader = _shared()
    (context,) = reader.read([request])
    assert not reader.failures
    assert context.vector.shape == (len(reader.columns),)
    assert context.vector.dtype == np.float32
    assert np.isfinite(context.vector).all()
    assert np.abs(context.vector).max(initial=0) <= 1 + 1e-6
    assert set(context.signals) == set(EVERY)
    assert all(0 <= signal.confidence <= 1 and signal.seconds >= 0 for signal in context.signals.values())


@given(st.lists(REQUESTS, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_reading_is_deterministic_and_does_not_depend_on_the_batch(requests: list[Request]) -> None:
    reader = _shared()
    together = reader.read(requests)
    for request, context in zip(requests, together, strict=True):
        (alone,) = reader.read([request])
        assert np.array_equal(alone.vector, context.vector)
        assert {n: (s.value, s.confidence, s.evidence) for n, s in alone.signals.items()} == {
            n: (s.value, s.confidence, s.evidence) for n, s in context.signals.items()
        }


@pytest.mark.parametrize("names", [EVERY, EVERY[::-1], EVERY[3:] + EVERY[:3]])
def test_the_order_of_sources_changes_neither_values_nor_layout(reader: Reader, names: tuple[str, ...]) -> None:
    other = build(names, SETTINGS, VECTOR)
    request = ask("Write a function that adds 12 and 34, then mail it to bob@example.org")
    (a,), (b,) = reader.read([request]), other.read([request])
    assert other.columns == reader.columns
    assert np.array_equal(a.vector, b.vector)
    assert {n: s.value for n, s in a.signals.items()} == {n: s.value for n, s in b.signals.items()}


def test_the_layout_follows_the_vector_setting() -> None:
    reader = build((), None, ("shape.turns", "structure.digits", "modality", "structure.commas"))
    assert reader.columns[:2] == ("shape.turns", "structure.digits")
    assert reader.columns[2].startswith("modality.")
    assert reader.columns[-1] == "structure.commas"
    (context,) = reader.read([ask("1,2,3")])
    assert context.vector[1] > 0
    assert context.vector[-1] > 0


def test_only_what_is_referred_to_is_built() -> None:
    assert {source.name for source in build(["shape"], None, ["structure.digits"]).sources} == {"shape", "structure"}
    assert {source.name for source in build(["task"]).sources} == {"task", "embedding", "structure"}


@dataclass(frozen=True)
class Broken:
    answer: object
    name: str = "broken"
    columns: tuple[str, ...] = ("a", "b")
    requires: tuple[str, ...] = ()

    def read(self, request: Request, seen: Mapping[str, Reading]) -> Reading:
        if isinstance(self.answer, Exception):
            raise self.answer
        return Reading(Signal(self.name, "fine"), self.answer)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "answer",
    [ValueError("no"), (1.0, float("nan")), (float("inf"), 0.0), (1.0, 2.0, 3.0), ("x", "y"), RecursionError()],
)
def test_a_source_that_fails_is_zero_counted_and_logged(answer: object, caplog: pytest.LogCaptureFixture) -> None:
    reader = Reader([Broken(answer), *build(["shape"]).sources], ["broken", "shape"])
    with caplog.at_level(logging.WARNING):
        first, second = reader.read([ask("hello"), ask("world")])
    for context in (first, second):
        assert context.signals["broken"].value is None
        assert context.signals["broken"].confidence == 0
        assert not context.vector[:2].any()
        assert context.vector[2:].any()
    assert reader.failures == {"broken": 2}
    assert "broken" in caplog.text


@dataclass(frozen=True)
class Plain:
    name: str
    requires: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    def read(self, request: Request, seen: Mapping[str, Reading]) -> Reading:
        return Reading(Signal(self.name, ",".join(sorted(seen))))


def test_a_source_finds_what_it_requires_in_every_order() -> None:
    chain = [Plain("a"), Plain("b", ("a",)), Plain("c", ("a", "b"))]
    for order in itertools.permutations(chain):
        (context,) = Reader(order, []).read([ask("x")])
        assert {"a", "b"} <= set(str(context.signals["c"].value).split(","))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: build(["languag"]), "did you mean 'language'"),
        (lambda: build(["shape"], {"shape": {"depth": 3}}), "depth"),
        (lambda: build((), None, ["structure.digit"]), "did you mean 'structure.digits'"),
        (lambda: build((), None, ["structure", "structure.digits"]), "stands twice"),
        (lambda: build((), None, ["pi"]), "there is no signal 'pi'"),
        (lambda: Reader([Plain("a", ("b",)), Plain("b", ("a",))], []), "wait for one another"),
        (lambda: Reader([Plain("a"), Plain("a")], []), "given twice"),
    ],
)
def test_mistakes_are_named(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


_READERS: list[Reader] = []


def _shared() -> Reader:
    """One reader for all examples of a property: hypothesis does not mix with function-scoped fixtures."""
    if not _READERS:
        _READERS.append(build(EVERY, SETTINGS, VECTOR))
    return _READERS[0]
