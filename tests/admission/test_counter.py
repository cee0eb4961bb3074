"""The same for the counter of one process and for the one in Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interlock.admission import Ask, LocalCounter, Open, Rate, Settlement, lines
from interlock.admission.redis_counter import RedisCounter

from .conftest import AT, line, redis_counter, settled

Counter = LocalCounter | RedisCounter
Asking = Callable[..., Ask]


async def test_what_is_reserved_is_not_there_for_others(counter: Counter, asking: Asking) -> None:
    first = asking(10, 60, {"day": 100})
    assert (await counter.reserve(first)).granted == 60
    second = await counter.reserve(asking(10, 60, {"day": 100}))
    assert (second.granted, second.room) == (40, ((0, 60),))
    third = await counter.reserve(asking(10, 60, {"day": 100}))
    assert (third.against, third.which, third.room) == ("budget", 0, ((0, 100),))
    counter.settle(first, 60, Settlement(25, 0))
    await settled(counter)
    assert await counter.usage([line("key:k", "day"), line("tenant:t", "total")]) == [(25, 40), (25, 40)]
    assert (await counter.reserve(asking(10, 60, {"day": 100}))).granted == 35


async def test_the_tightest_budget_decides(counter: Counter, asking: Asking) -> None:
    assert (await counter.reserve(asking(1, 50, {"hour": 100, "month": 30}))).granted == 30
    refused = await counter.reserve(asking(1, 50, {"hour": 100, "month": 30}))
    assert (refused.against, refused.which) == ("budget", 1)


async def test_a_refusal_takes_nothing(counter: Counter, asking: Asking) -> None:
    rates = (Rate("key:k", "requests", 2, 1), Rate("key:k", "tokens", 100, 80))
    assert (await counter.reserve(asking(5, 5, {"day": 9}, rates=rates))).granted == 5
    assert (await counter.reserve(asking(5, 5, {"day": 9}, rates=rates))).against == "budget"
    limited = await counter.reserve(asking(rates=rates))
    assert (limited.against, limited.which) == ("rate", 1)
    assert limited.wait == pytest.approx(36, abs=1.0)
    assert (await counter.reserve(asking(rates=rates[:1]))).against == ""
    assert (await counter.reserve(asking(rates=rates[:1]))).against == "rate"


async def test_what_costs_nothing_may_come_when_nothing_is_left(counter: Counter, asking: Asking) -> None:
    assert (await counter.reserve(asking(5, 9, {"day": 9}))).granted == 9
    assert (await counter.reserve(asking(0, 9, {"day": 9}))) == (0, "", 0, ((0, 9),), (), 0.0)


async def test_real_tokens_replace_the_expected_ones(counter: Counter, asking: Asking) -> None:
    def ask() -> Ask:
        return asking(rates=(Rate("key:k", "tokens", 100, 60),))

    first = ask()
    assert (await counter.reserve(first)).levels == (pytest.approx(40, abs=2),)
    counter.settle(first, 0, Settlement(0, 10))
    await settled(counter)
    assert (await counter.reserve(ask())).levels == (pytest.approx(30, abs=2),)
    assert (await counter.reserve(ask())).against == "rate"


async def test_more_tokens_than_a_bucket_holds_pass_when_it_is_full(counter: Counter, asking: Asking) -> None:
    huge = asking(rates=(Rate("key:k", "tokens", 100, 1000),))
    assert (await counter.reserve(huge)).against == ""
    refused = await counter.reserve(asking(rates=(Rate("key:k", "tokens", 100, 1),)))
    assert (refused.against, refused.wait) == ("rate", pytest.approx(901 * 0.6, abs=2))


async def test_streams_are_counted_while_they_are_open(counter: Counter, asking: Asking) -> None:
    def ask() -> Ask:
        return asking(streams=(Open("key:k", 2),))

    first = ask()
    assert [(await counter.reserve(one)).against for one in (first, ask(), ask())] == ["", "", "streams"]
    counter.settle(first, 0, None)
    await settled(counter)
    assert [(await counter.reserve(one)).against for one in (ask(), ask())] == ["", "streams"]


async def test_what_was_never_reserved_is_counted_too(counter: Counter, asking: Asking) -> None:
    counter.settle(asking(), 0, Settlement(7, 1))
    await settled(counter)
    assert await counter.usage(lines(("key:k", "tenant:t"), AT)) == [(7, 0)] * 8


async def test_amounts_stay_exact(counter: Counter, asking: Asking) -> None:
    large = 9_007_199_254_740_991 - 4
    ask = asking(3, 3, {"total": large + 4})
    counter.settle(asking(), 0, Settlement(large, 0))
    await settled(counter)
    assert (await counter.reserve(ask)).room == ((large, 0),)
    assert await counter.usage([line("key:k", "total")]) == [(large, 3)]


events = st.lists(
    st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, 60), st.floats(0, 1.5), st.integers(0, 10)),
    min_size=1,
    max_size=60,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=events, hard=st.integers(0, 200))
async def test_a_budget_is_never_overspent(events: list[Any], hard: int) -> None:
    """Reservations never exceed it, and what is spent does so by no more than costs exceed their reservations."""
    await never_overspent(LocalCounter(clock=lambda: AT), events, hard)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=events, hard=st.integers(0, 200))
async def test_a_budget_is_never_overspent_in_redis(events: list[Any], hard: int, redis_server: Any) -> None:
    counter = await redis_counter(redis_server.url, clock=lambda: AT)
    await counter._redis.flushall()
    await counter.start()
    await never_overspent(counter, events, hard)
    await counter.close()


async def never_overspent(counter: Counter, events: list[Any], hard: int) -> None:
    open: list[tuple[Ask, int]] = []
    beyond = spent = 0
    for number, (comes, one, other, share, which) in enumerate(events):
        if comes or not open:
            least, most = sorted((one, other))
            ask = Ask(f"il-{number}", AT, ("key:k",), caps_of(hard), least=least, most=most)
            verdict = await counter.reserve(ask)
            if not verdict.against:
                assert min(least, most) <= verdict.granted <= most or least == 0
                open.append((ask, verdict.granted))
        else:
            ask, granted = open.pop(which % len(open))
            cost = round(granted * share)
            spent, beyond = spent + cost, beyond + max(0, cost - granted)
            counter.settle(ask, granted, Settlement(cost, 0) if share else None)
            await settled(counter)
        ((used, reserved),) = await counter.usage([line("key:k", "day")])
        assert (used, reserved) == (spent, sum(granted for _, granted in open))
        assert used + reserved <= hard + beyond


def caps_of(hard: int) -> Any:
    from interlock.admission import Cap

    return (Cap(line("key:k", "day"), hard),)


@given(costs=st.lists(st.integers(0, 10**12), max_size=30), order=st.randoms())
async def test_the_order_of_settlements_does_not_matter(costs: list[int], order: Any) -> None:
    asks = [(Ask(f"il-{i}", AT, ("key:k", "tenant:t")), cost) for i, cost in enumerate(costs)]
    found = []
    for _ in range(2):
        counter = LocalCounter(clock=lambda: AT)
        for ask, cost in asks:
            counter.settle(ask, 0, Settlement(cost, 0))
        found.append(counter.totals())
        order.shuffle(asks)
    assert found[0] == found[1]


async def test_windows_that_are_over_are_forgotten() -> None:
    now = AT
    counter = LocalCounter(clock=lambda: now)
    counter.settle(Ask("il-1", AT, ("key:k",)), 0, Settlement(5, 0))
    now += 40 * 24 * 3600
    counter.settle(Ask("il-2", now, ("key:k",)), 0, Settlement(3, 0))
    assert sorted(counter.totals().values()) == [3, 3, 3, 8]
    assert len(counter._entries) == 4
