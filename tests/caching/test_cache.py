from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.caching.cache import NO_MATTER, Cache, Kept, keys
from interlock.encoder import Encoder
from interlock.types import Message, Request

PROMPT = "What is the capital of France?"


def request(prompt: str = PROMPT, **fields: Any) -> Request:
    fields.setdefault("tenant", "acme")
    return Request(messages=(Message("user", prompt),), **fields)


def kept(prompt: str = PROMPT, at: float = 0.0, raw: bytes = b"{}") -> Kept:
    return Kept(raw, "il-1", "small", at, prompt)


def vector(text: str) -> Any:
    return Encoder.load().encode_one(text)


def test_the_same_request_is_answered_whatever_its_id_and_whether_it_streams() -> None:
    cache = Cache(clock=lambda: 0.0)
    cache.put(request(body={"stream": True, "temperature": 0}), kept())
    hit = cache.get(request(stream=True, body={"temperature": 0, "user": "u"}))
    assert hit is not None
    assert (hit.kept, hit.similarity) == (kept(), 1.0)


@pytest.mark.parametrize(
    "other",
    [
        request(tenant="globex"),
        request(model="small"),
        request(max_tokens=5),
        request(seed=1),
        request(body={"temperature": 1}),
        request(body={"x_unknown": 1}),
        request(needs=frozenset({"json"})),
        request("What is the capital of Spain?"),
        msgspec.structs.replace(request(), messages=(Message("system", "Be rude."), Message("user", PROMPT))),
        msgspec.structs.replace(
            request(), messages=(Message("user", [{"type": "image_url"}, {"type": "text", "text": PROMPT}]),)
        ),
    ],
)
def test_whatever_changes_the_answer_is_part_of_the_key(other: Request) -> None:
    cache = Cache(similarity=0.5, clock=lambda: 0.0)
    cache.put(request(), kept(), vector(PROMPT))
    assert cache.get(other, vector(other.prompt)) is None


def test_a_paraphrase_is_answered_and_a_trap_is_not() -> None:
    cache = Cache(similarity=0.8, clock=lambda: 0.0)
    cache.put(request(), kept(), vector(PROMPT))
    again, trap = "please tell me what's the capital of France", "What is not the capital of France?"
    hit = cache.get(request(again), vector(again))
    assert hit is not None
    assert 0.8 <= hit.similarity < 1
    assert cache.get(request(trap), vector(trap)) is None
    assert Cache(clock=lambda: 0.0).get(request(again), vector(again)) is None


def test_answers_age_and_the_least_used_goes_first() -> None:
    now = [0.0]
    cache = Cache(ttl=10, entries=2, similarity=0.8, clock=lambda: now[0])
    for prompt in ("one plum", "two pears"):
        cache.put(request(prompt), kept(prompt), vector(prompt))
    assert cache.get(request("one plum")) is not None
    cache.put(request("three figs"), kept("three figs"), vector("three figs"))
    assert cache.get(request("two pears"), vector("two pears")) is None
    assert cache.get(request("one plum")) is not None
    now[0] = 10.5
    assert cache.get(request("one plum"), vector("one plum")) is None


def test_what_is_larger_than_the_whole_is_not_kept() -> None:
    cache = Cache(size=2000, clock=lambda: 0.0)
    cache.put(request(), kept(raw=b"x" * 5000))
    assert (len(cache), cache.held) == (0, 0)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(0, 3000)), max_size=40),
    st.integers(1, 6),
)
def test_bounds_hold_and_no_tenant_sees_anothers(puts: list[tuple[str, int, int]], entries: int) -> None:
    cache = Cache(entries=entries, size=20_000, similarity=0.0, clock=lambda: 0.0)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(10, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for tenant, which, size in puts:
        cache.put(request(f"plum {which}", tenant=tenant), kept(tenant, raw=b"x" * size), vectors[which])
        assert len(cache) <= entries
        assert 0 <= cache.held <= 20_000
    for tenant in "abc":
        for which in range(10):
            hit = cache.get(request(f"plum {which}", tenant=tenant), vectors[which])
            assert hit is None or hit.kept.prompt == tenant
    cache.clear()
    assert (len(cache), cache.held) == (0, 0)


def test_fields_that_do_not_matter_are_few_and_known() -> None:
    for name in NO_MATTER:
        assert keys(request(body={name: 1})) == keys(request(body={}))
    assert keys(request(body={"temperature": 1})) != keys(request(body={}))
