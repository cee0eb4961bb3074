"""Admission over a real ledger: what is set aside, what is refused and how it says so, and what the rows give back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interlock.admission import AdmissionControl, LocalCounter, Terms, fold
from interlock.errors import OverBudget, Throttled
from interlock.guards import WorstCase
from interlock.identity import NOBODY, Allowance, Budget, Identity, RateLimits
from interlock.ledger import SqliteLedger
from interlock.types import Candidate, Decision, Message, Outcome, Profile, Request, Slate, Usage, time_of

CHEAP = Candidate(name="cheap", provider="p", model="m", profile=Profile(price_in=1, price_out=2, max_output=100))
DEAR = Candidate(name="dear", provider="p", model="m", profile=Profile(price_in=10, price_out=20, max_output=100))
VAGUE = Candidate(name="vague", provider="p", model="m", profile=Profile(price_in=1, price_out=2))
POOL = (CHEAP, DEAR, VAGUE)
PROMPT = 40 - 16  # characters, so that the bound on tokens is 40


def key(*budgets: Budget, candidates: tuple[str, ...] = ("*",), **limits: int) -> Identity:
    return Identity("k", "acme", "viewer", candidates, Allowance(budgets, RateLimits(**limits)))


def request(**fields: Any) -> Request:
    return Request(**{"messages": (Message("user", "x" * PROMPT),), "tenant": "acme"} | fields)


def control(*, tenants: dict[str, Allowance] | None = None) -> AdmissionControl:
    terms = Terms(tenants or {}, {"auto": ("*",)}, POOL, WorstCase())
    return AdmissionControl(LocalCounter(), terms)


def outcome(id: str, cost: float, tokens: int = 10) -> Outcome:
    return Outcome(decision=id, at=time_of(id) or 0.0, candidate="cheap", steps=(), usage=Usage(tokens, 0), cost=cost)


LEAST, MOST = (40 * 1 + 100 * 2) / 1e6, (40 * 10 + 100 * 20) / 1e6  # USD, of cheap and of dear


async def test_the_worst_case_is_set_aside_and_the_real_cost_counted() -> None:
    made = control()
    lease = await made.admit(key(Budget("day", 1.0)), request())
    assert (lease.request.reserved, lease.request.key) == (MOST, "k")
    (standing,) = await made.standings({"key:k": Allowance((Budget("day", 1.0),))})
    assert (standing.used, standing.reserved) == (0.0, MOST)
    lease.settle(outcome(lease.request.id, 0.0001))
    lease.settle(outcome(lease.request.id, 0.0001))  # once is enough
    assert (await made.used(["tenant:acme"]))["tenant:acme"] == dict.fromkeys(("hour", "day", "month", "total"), 0.0001)


async def test_what_is_left_may_be_enough_for_the_cheap_one() -> None:
    lease = await control().admit(key(Budget("day", 0.001)), request())
    assert lease.request.reserved == 0.001
    lease = await control().admit(key(Budget("day", 1.0), candidates=("cheap",)), request())
    assert (lease.request.reserved, lease.request.allowed) == (LEAST, ("cheap",))


async def test_a_full_budget_says_which_and_until_when() -> None:
    made = control(tenants={"acme": Allowance((Budget("month", 0.002),))})
    first = await made.admit(key(), request())
    with pytest.raises(OverBudget) as busy:
        await made.admit(key(), request())
    assert busy.value.retry_after == 1.0  # only reserved: soon there may be room again
    first.settle(outcome(first.request.id, 0.0019))
    with pytest.raises(OverBudget, match="the monthly budget of tenant 'acme' has no room") as refused:
        await made.admit(key(), request())
    said = refused.value.details["budget"]
    assert (said["used_usd"], said["limit_usd"], said["needed_usd"]) == (0.0019, 0.002, LEAST)
    assert refused.value.status == 429
    assert refused.value.code == "insufficient_quota"
    assert refused.value.retry_after is not None
    assert 0 < refused.value.retry_after <= 31 * 86400


async def test_a_refused_run_gives_everything_back() -> None:
    made = control()
    lease = await made.admit(key(Budget("total", 1.0), parallel_streams=1), request(stream=True))
    with pytest.raises(Throttled, match="1 streamed answers open"):
        await made.admit(key(Budget("total", 1.0), parallel_streams=1), request(stream=True))
    lease.settle(None)
    assert (await made.used(["key:k"]))["key:k"]["total"] == 0.0
    (await made.admit(key(Budget("total", MOST), parallel_streams=1), request(stream=True))).settle(None)


async def test_a_soft_budget_only_warns() -> None:
    told: list[Any] = []
    made = control()
    made._tell = lambda *what: told.append(what)
    who = key(Budget("hour", soft_usd=0.01))
    lease = await made.admit(who, request())
    assert (lease.headers, lease.request.reserved) == (b"", None)
    lease.settle(outcome(lease.request.id, 0.02))
    lease = await made.admit(who, request())
    assert lease.headers == b"x-interlock-budget-warning: key hour used=0.020000 soft=0.010000\r\n"
    assert told == [("warning", "key", "hour")]


async def test_rates_say_what_is_left() -> None:
    made = control()
    lease = await made.admit(key(requests_per_minute=2), request())
    assert b"x-ratelimit-remaining-requests: 1\r\n" in lease.headers
    await made.admit(key(requests_per_minute=2), request())
    with pytest.raises(Throttled, match="key 'k' is at its limit of 2 requests a minute") as refused:
        await made.admit(key(requests_per_minute=2), request())
    assert refused.value.retry_after == pytest.approx(30, abs=1)
    assert b"x-ratelimit-limit-requests: 2\r\n" in refused.value.headers


async def test_nobody_in_particular_costs_nothing() -> None:
    asked = request(tenant="")
    lease = await control().admit(NOBODY, asked)
    assert lease.request is asked
    assert lease.headers == b""


async def test_an_unknown_cost_counts_as_what_was_reserved() -> None:
    made = control()
    lease = await made.admit(key(Budget("day", 1.0)), request())
    lease.settle(outcome(lease.request.id, math.nan))
    assert (await made.used(["key:k"]))["key:k"]["day"] == MOST


def decision(request: Request, chosen: str | None = "cheap") -> Decision:
    return Decision(
        id=request.id, at=time_of(request.id) or 0.0, tenant=request.tenant, session="", model="auto",
        considered=Slate((), (), np.zeros((0, 7))), chosen=chosen, policy="p", snapshot="s", config="c", seed=0,
        key=request.key, reserved=request.reserved or 0.0,
    )  # fmt: skip


async def test_the_ledger_gives_the_counters_back(tmp_path: Path) -> None:
    """Costs that are no whole cents, one that nobody knows, one refused, one whose process died."""
    made, costs = control(), [0.00037, 1.1e-7, math.nan, 0.25, None, "refused"]
    who = key(Budget("month", 1.0))
    with SqliteLedger(tmp_path / "ledger.db") as book:
        for cost in costs:
            lease = await made.admit(who, request())
            book.put(decision(lease.request, None if cost == "refused" else "cheap"))
            if isinstance(cost, float):
                ended = outcome(lease.request.id, cost)
                book.put(ended)
                lease.settle(ended)
            elif cost == "refused":
                lease.settle(None)
        await book.flush()
        again = AdmissionControl(mine := LocalCounter(), made.terms)
        await again.catch_up(book, mine)
    before, after = [await one.used(["key:k", "tenant:acme"]) for one in (made, again)]
    assert before == after
    assert after["key:k"]["month"] == pytest.approx(0.25 + 0.00037 + 1.1e-7 + MOST, abs=1e-12)
    assert [one.reserved for one in await again.standings({"key:k": who.allowance})] == [0.0]


async def test_counting_begins_while_requests_go_on(tmp_path: Path) -> None:
    made = control()
    with SqliteLedger(tmp_path / "ledger.db") as book:

        async def one(cost: float) -> None:
            lease = await made.admit(key(), request())
            book.put(decision(lease.request))
            ended = outcome(lease.request.id, cost)
            book.put(ended)
            lease.settle(ended)

        for _ in range(50):
            await one(0.001)
        assert isinstance(made.counter, LocalCounter)
        made.counter.restore({})  # as if it had not been counting
        import asyncio

        catching = asyncio.create_task(made.catch_up(book, made.counter))
        for _ in range(50):
            await one(0.001)
            await asyncio.sleep(0)
        await catching
        await book.flush()
        found = fold(book, 0.0, book.head()[0]).totals
    assert (await made.used(["key:k"]))["key:k"]["total"] == pytest.approx(0.1)
    assert made.counter.totals() == found


async def test_a_row_that_is_no_decision_is_named(tmp_path: Path) -> None:
    from interlock.errors import LedgerError

    class Row:
        seq, kind, body = 7, "decision", b"\xc1"

    class Broken:
        def rows(self, **_: Any) -> list[Any]:
            return [Row()]

    with pytest.raises(LedgerError, match="row 7 is no decision"):
        fold(Broken(), 0.0)  # type: ignore[arg-type]
