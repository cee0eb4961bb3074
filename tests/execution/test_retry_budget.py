"""How often a domain is asked again, over any traffic and in a run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.errors import ConfigError, NoSuchModel, Overloaded, ProviderError, Unreachable
from interlock.execution import Fallback, RetryBudget


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(
    share=st.floats(0, 1),
    floor=st.floats(0, 20),
    window=st.floats(0.1, 100),
    events=st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=200),
)
def test_retries_never_exceed_the_share_and_the_floor(share, floor, window, events):
    clock = Clock()
    budget = RetryBudget(share, floor, window, clock)
    calls = retries = 0
    for seconds, again in events:
        clock.now += seconds
        if not again:
            budget.earn("d")
            calls += 1
        elif budget.affords("d"):
            budget.spend("d")
            retries += 1
        assert retries <= floor + share * calls + floor * clock.now / window + 1e-6


def test_what_was_saved_up_is_forgotten_and_the_floor_comes_back():
    clock = Clock()
    budget = RetryBudget(share=0.5, floor=1.0, window=1.0, clock=clock)
    for _ in range(100):
        budget.earn("d")
    clock.now = 60.0
    budget.spend("d")
    assert not budget.affords("d")
    clock.now = 120.0
    assert budget.affords("d")


def test_domains_do_not_spend_each_others_budget():
    budget = RetryBudget(share=0.0, floor=1.0)
    budget.spend("a")
    assert not budget.affords("a")
    assert budget.affords("b")


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"floor": -1.0}, {"window": 0.0}, {"floor": float("nan")}])
def test_numbers_out_of_range_are_configuration_errors(wrong):
    with pytest.raises(ConfigError, match="got"):
        RetryBudget(**wrong)


async def text_of(run):
    return "".join([chunk.text async for chunk in run])


def story(w):
    return [(step.candidate, step.why, step.error) for step in w.outcomes[-1].steps]


async def test_without_a_budget_nothing_is_repeated_and_the_next_candidate_answers_at_once(world, answer):
    w = world(a=[answer(error=Unreachable("x"))], b=[answer(["b"])])
    assert await text_of(w.start(budget=RetryBudget(share=0.0, floor=0.0))) == "b"
    assert story(w) == [("a", "chosen", "provider_unreachable"), ("a", "retry", "retry_budget"), ("b", "fallback", "")]
    assert w.calls == ["a", "b"]
    assert w.pauses == []


async def test_falling_back_inside_a_troubled_domain_is_a_repeated_call(world, answer):
    w = world(a=[answer(error=Overloaded("x"))], b=[answer(["b"])], c=[answer(["c"])])
    w.domains = {"a": "one", "b": "one", "c": "two"}
    assert await text_of(w.start(budget=RetryBudget(share=0.0, floor=0.0))) == "c"
    assert story(w)[1] == ("b", "fallback", "retry_budget")


async def test_falling_back_for_the_requests_sake_is_not(world, answer):
    w = world(a=[answer(error=NoSuchModel("x"))], b=[answer(["b"])])
    w.domains = {"a": "one", "b": "one"}
    assert await text_of(w.start(budget=RetryBudget(share=0.0, floor=0.0))) == "b"


async def test_a_storm_reaches_a_provider_with_little_more_than_the_traffic(world, answer):
    w = world(a=[answer(error=Unreachable("x"))])
    budget = RetryBudget(share=0.1, floor=5.0, window=10.0, clock=w.clock)
    for _ in range(1000):
        w.now += 0.001
        with pytest.raises(ProviderError):
            await text_of(w.start(fallback=Fallback(retries=3, backoff=0.0), budget=budget))
    assert 1000 + 90 <= len(w.calls) <= 1000 + 0.1 * 1000 + 5.0 + 5.0 * (w.now - 100.0) / 10.0
