"""What every guard promises. Each check takes a factory of guards."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..guards import Guard
from ..types import Candidate, Capability, Context, Message, Profile, Request, Signal

Factory = Callable[[], Guard]

POOL = (
    Candidate(name="small", provider="p", model="s", profile=Profile(price_in=0.1, price_out=0.2, trust="private")),
    Candidate(name="large", provider="p", model="l", profile=Profile(capabilities={"tools": Capability.NO})),
    Candidate(name="blank", provider="q", model="b"),
)


def contexts() -> list[Context]:
    """An ordinary request, one that needs much, and one of which nothing is known."""
    plain = Request(id="r1", messages=(Message("user", "2 + 2"),), tenant="t")
    much = Request(id="r2", messages=(Message("user", "x"),), needs=frozenset({"tools", "image"}), max_tokens=10**9)
    signals = {"tokens": Signal("tokens", 10.0), "pii": Signal("pii", True), "task": Signal("task", None, 0.0)}
    vector = np.zeros(4, dtype=np.float32)
    return [Context(plain, signals, vector), Context(much, signals, vector), Context(Request(id="r3"), {}, vector)]


def names_itself(factory: Factory) -> None:
    assert factory().name, "a guard has a name"


def only_removes_with_a_reason(factory: Factory) -> None:
    guard = factory()
    for context in contexts():
        for index, reason in guard.check(context, POOL):
            assert 0 <= index < len(POOL), f"an objection names a candidate of the pool, not number {index}"
            assert reason.guard == guard.name, f"a reason names its guard, {guard.name!r}, not {reason.guard!r}"
            assert reason.code, "a reason has a code for machines"
            assert reason.detail, "a reason has a sentence for people"


def asks_the_same_answers_the_same(factory: Factory) -> None:
    guard = factory()
    for context in contexts():
        assert list(guard.check(context, POOL)) == list(guard.check(context, POOL)), "looking changes nothing"


def candidates_have_no_order(factory: Factory) -> None:
    guard = factory()
    for context in contexts():
        straight = {(index, reason.code) for index, reason in guard.check(context, POOL)}
        turned = {(len(POOL) - 1 - index, reason.code) for index, reason in guard.check(context, POOL[::-1])}
        assert straight == turned, "what stands against a candidate does not depend on its place"


def an_empty_pool_is_fine(factory: Factory) -> None:
    for context in contexts():
        assert not list(factory().check(context, ())), "against nobody there is nothing to say"


CHECKS: tuple[Callable[[Factory], None], ...] = (
    names_itself,
    only_removes_with_a_reason,
    asks_the_same_answers_the_same,
    candidates_have_no_order,
    an_empty_pool_is_fine,
)
