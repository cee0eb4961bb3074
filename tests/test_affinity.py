"""Affinity: what a cache can save is expected of it, no more, and of nobody else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.affinity import Affinity, saving
from interlock.consumption import Consumption
from interlock.types import AFFINITY, CACHE, Candidate, Context, Message, Outcome, Profile, Request, Signal, Step, Usage

LONG = "a long instruction " * 50
CACHED = Profile(price_in=10.0, price_out=10.0, price_cached=1.0)


def turns(*texts: str, session: str = "", tenant: str = "t") -> Request:
    roles = ["system", *["user", "assistant"] * len(texts)]
    messages = tuple(Message(role, text) for role, text in zip(roles, texts, strict=False))
    return Request(messages=messages, session=session, tenant=tenant)


def answered(by: str = "a", usage: Usage = Usage(), why: str = "chosen", error: str = "") -> Outcome:
    step = Step(candidate=by, why=why, usage=usage, error=error)
    return Outcome(decision="d", at=0.0, candidate=by, steps=(step,))


class World:
    """An affinity whose clock and load a test sets."""

    def __init__(self, **settings: int) -> None:
        self.now, self.open = 0.0, 0
        self.affinity = Affinity(frozenset({"a", "b"}), clock=lambda: self.now, **settings)

    def learn(self, request: Request, outcome: Outcome) -> None:
        self.affinity.after(request, lambda _: None)(outcome)

    def signal(self, request: Request) -> Signal | None:
        context = Context(request, {}, np.zeros(1, np.float32))
        return self.affinity.read([context], lambda _: self.open)[0].signals.get(AFFINITY)

    def share(self, request: Request) -> float:
        signal = self.signal(request)
        return 0.0 if signal is None else signal.confidence


FIRST = turns(LONG, "hello")
SECOND = turns(LONG, "hello", "hi there", "and now?")


def test_the_next_turn_is_expected_in_the_cache_of_who_answered() -> None:
    world = World()
    assert world.signal(SECOND) is None
    world.learn(FIRST, answered("b"))
    signal = world.signal(SECOND)
    assert signal is not None
    assert signal.value == "b"
    seen = len(LONG + "hello") / len(LONG + "hello" + "hi there" + "and now?")
    assert signal.confidence == pytest.approx(0.5 * seen), "before anything was counted, a half is expected"


@pytest.mark.parametrize(
    "other",
    [
        turns(LONG, "hello"),  # the same again: one turn, no session
        turns(LONG, "goodbye", "hi there", "and now?"),
        turns(LONG + ".", "hello", "hi there", "and now?"),
        turns(LONG, "hello", "hi there", "and now?", tenant="another"),
        turns(LONG, "hello", "hi there", "and now?", session="another"),
        Request(),
    ],
)
def test_another_conversation_is_in_no_cache(other: Request) -> None:
    world = World()
    world.learn(FIRST, answered())
    assert world.signal(other) is None


def test_requests_of_a_session_share_their_instructions() -> None:
    world = World()
    world.learn(turns(LONG, "hello", session="s"), answered())
    assert world.share(turns(LONG, "something else", session="s")) == pytest.approx(0.5, rel=0.05)
    assert world.share(turns("Be brief.", "something else", session="s")) == 0.0


def test_the_expectation_fades_with_time_and_load() -> None:
    world = World(busy=4)
    world.learn(FIRST, answered())
    whole = world.share(SECOND)
    world.open = 4
    assert world.share(SECOND) == pytest.approx(whole / 2)
    world.open, world.now = 0, 225.0
    assert world.share(SECOND) == pytest.approx(whole / 4)
    world.now = 300.0
    assert world.signal(SECOND) is None


def test_the_providers_own_count_says_how_much_is_found() -> None:
    finds, forgets = World(), World()
    for world, cached in ((finds, 900), (forgets, 0)):
        for _ in range(50):
            world.learn(FIRST, answered())
            world.learn(SECOND, answered(usage=Usage(input=900, cached=cached)))
    assert finds.affinity.found("a") > 0.95
    assert forgets.affinity.found("a") < 0.05
    assert finds.affinity.found("b") == 0.5


def test_what_was_no_answer_of_the_candidate_is_not_remembered() -> None:
    world = World()
    world.learn(FIRST, answered("free"))
    world.learn(FIRST, answered(why=CACHE))
    world.learn(FIRST, answered(error="provider_unavailable"))
    world.learn(Request(), answered())
    assert world.signal(SECOND) is None


def test_the_oldest_are_forgotten_first_and_reading_changes_nothing() -> None:
    world = World(entries=2)
    talks = [(turns(LONG, f"hello {i}"), turns(LONG, f"hello {i}", "hi", "on")) for i in range(3)]
    for first, second in talks:
        world.learn(first, answered())
        world.signal(talks[0][1])
        world.signal(second)
    assert [world.signal(second) is not None for _, second in talks] == [False, True, True]


def test_only_a_stated_lower_price_saves() -> None:
    profiles = {"saves": CACHED, "same": Profile(price_in=1.0, price_cached=1.0), "unknown": Profile(price_in=1.0)}
    pool = [Candidate(name=name, provider="p", model="m", profile=profile) for name, profile in profiles.items()]
    assert saving(pool) == {"saves"}
    done = print
    assert Affinity().after(FIRST, done) is done, "where nothing can be saved nothing is done"


price = st.none() | st.floats(0.0, 100.0)


@given(
    price_in=price,
    price_cached=price,
    confidence=st.floats(-1.0, 2.0),
    tokens=st.floats(0.0, 1e6),
    value=st.sampled_from(["a", "b", "gone"]),
)
def test_the_preference_never_exceeds_what_the_cache_can_save(
    price_in: float | None, price_cached: float | None, confidence: float, tokens: float, value: str
) -> None:
    profile = Profile(price_in=price_in, price_out=2.0, price_cached=price_cached)
    pool = [Candidate(name=name, provider="p", model="m", profile=profile) for name in "ab"]
    plain = {"tokens": Signal("tokens", tokens)}
    contexts = [
        Context(Request(), signals, np.zeros(1, np.float32))
        for signals in (plain, {**plain, AFFINITY: Signal(AFFINITY, value, confidence)})
    ]
    without, given_ = Consumption().predict(contexts, pool, np.zeros((2, 1))).cost
    if price_in is None:
        assert np.isnan([without, given_]).all()
        return
    saved = without - given_
    most = tokens * max(0.0, price_in - (price_in if price_cached is None else price_cached)) / 1e6
    for name, each in zip("ab", saved, strict=True):
        assert -1e-12 <= each <= (most if name == value else 0.0) + 1e-12
    assert (given_ >= -1e-12).all()


@given(
    events=st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 900), st.floats(0, 400)), max_size=12
    ),
    open_calls=st.integers(0, 1000),
)
def test_what_is_expected_is_a_share(events: list[tuple[str, int, int, float]], open_calls: int) -> None:
    world = World(entries=3)
    texts = [LONG, "one", "two", "three", "four", "five"]
    world.open = open_calls
    for by, length, cached, pause in events:
        world.learn(turns(*texts[: 2 + length]), answered(by, Usage(input=500, cached=cached)))
        world.now += pause
        assert 0.0 <= world.share(turns(*texts)) <= 1.0
