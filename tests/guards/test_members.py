"""What each guard says, in the words a refused caller reads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from interlock.guards import Access, Addressed, Board, CapabilityGuard, Dialect, Guard, Health, LimitsGuard, Trust
from interlock.guards.limits import stricter
from interlock.types import Candidate, Capability, Context, Estimate, Limits, Native, Profile, Request, Signal


def context(signals: dict[str, Any] | None = None, **fields: Any) -> Context:
    read = {name: Signal(name, value) for name, value in (signals or {}).items()}
    return Context(Request(**fields), read, np.zeros(0, np.float32))


def candidate(name: str = "a", **profile: Any) -> Candidate:
    return Candidate(name=name, provider="p", model=name, profile=Profile(**profile))


def said(guard: Guard, asked: Context, *pool: Candidate) -> list[tuple[int, str]]:
    return [(i, reason.code) for i, reason in guard.check(asked, pool or (candidate(),))]


@pytest.mark.parametrize(
    ("answer", "codes", "strict_codes"),
    [
        (Capability.YES, [], []),
        (Capability.NO, ["no_tools"], ["no_tools"]),
        (Capability.UNKNOWN, [], ["unknown_tools"]),
        (None, [], ["unknown_tools"]),
    ],
)
def test_capabilities_have_three_answers(answer: Capability | None, codes: list[str], strict_codes: list[str]) -> None:
    declared = {} if answer is None else {"tools": answer}
    one = candidate(capabilities=declared, context_window=100)
    asked = context({"tokens": 1.0}, needs=frozenset({"tools"}))
    assert [code for _, code in said(CapabilityGuard(), asked, one)] == codes
    assert [code for _, code in said(CapabilityGuard(forbid_unknown=True), asked, one)] == strict_codes


def test_the_window_holds_prompt_and_answer() -> None:
    one = candidate(context_window=100)
    guard = CapabilityGuard(margin=1.5)
    assert said(guard, context({"tokens": 60.0}, max_tokens=10), one) == []
    assert said(guard, context({"tokens": 60.0}, max_tokens=11), one) == [(0, "context_window")]
    ((_, reason),) = guard.check(context({"tokens": 80.0}), (one,))
    assert reason.detail == "its window is 100 tokens; the prompt has about 120, and 0 are asked for"


@pytest.mark.parametrize("signals", [{}, {"tokens": None}])
def test_whether_it_fits_is_unknown_when_nothing_was_counted(signals: dict[str, None]) -> None:
    asked = context(signals, max_tokens=1000)
    assert said(CapabilityGuard(), asked, candidate(context_window=10)) == []
    assert said(CapabilityGuard(forbid_unknown=True), asked, candidate(context_window=10)) == [
        (0, "unknown_context_window")
    ]
    assert said(CapabilityGuard(forbid_unknown=True), context({"tokens": 5.0}), candidate()) == [
        (0, "unknown_context_window")
    ]


def test_an_answer_longer_than_the_candidate_writes_is_not_asked_of_it() -> None:
    assert said(CapabilityGuard(), context(max_tokens=51), candidate(max_output=50)) == [(0, "max_output")]
    assert said(CapabilityGuard(), context(max_tokens=50), candidate(max_output=50)) == []


def test_access_is_by_tenant_with_a_default() -> None:
    pool = candidate("near-1"), candidate("near-2"), candidate("far")
    guard = Access({"acme": ["near-*"], "none": []}, default=["far"])
    assert said(guard, context(tenant="acme"), *pool) == [(2, "not_allowed")]
    assert [i for i, _ in said(guard, context(tenant="none"), *pool)] == [0, 1, 2]
    assert [i for i, _ in said(guard, context(), *pool)] == [0, 1]
    assert said(Access(), context(tenant="anyone"), *pool) == []
    ((_, reason),) = guard.check(context(), pool[:1])
    assert reason.detail == "a caller without a tenant may not use it"


def test_a_caller_may_name_a_virtual_model_or_one_candidate() -> None:
    pool = candidate("near-1"), candidate("near-2"), candidate("far")
    guard = Addressed({"auto": ("*",), "near": ("near-*",)})
    assert said(guard, context(model="auto"), *pool) == []
    assert said(guard, context(model="near"), *pool) == [(2, "not_in_model")]
    assert said(guard, context(model="far"), *pool) == [(0, "not_asked_for"), (1, "not_asked_for")]
    assert len(said(guard, context(model="gone"), *pool)) == 3


@pytest.mark.parametrize(("value", "permitted"), [(False, 2), (True, 1), (None, 1), ("", 1), (0.0, 1)])
def test_sensitive_data_stay_in_their_domain_unless_the_signal_is_false(value: Any, permitted: int) -> None:
    pool = candidate("in", trust="private"), candidate("out")
    assert 2 - len(said(Trust(), context({"pii": value}), *pool)) == permitted


def test_an_unread_trust_signal_counts_as_set() -> None:
    ((_, reason),) = Trust(allow=("private", "on-site")).check(context(), (candidate(),))
    assert reason.detail == (
        "the signal pii could not be read, and its trust domain is 'public', not 'private' or 'on-site'"
    )


def estimate(quality: float = 1.0, cost: float = 0.0, latency: float = 0.0) -> Estimate:
    return Estimate(*(np.array([[value]]) for value in (quality, 0.1, cost, latency, 0.0)))


def objections(guard: LimitsGuard, asked: Limits, predicted: Estimate) -> list[str]:
    return [reason.code for _, reason in guard.check_estimate(context(limits=asked), (candidate(),), predicted)]


def test_limits_hold_at_their_value_and_not_beyond() -> None:
    asked, guard = Limits(max_cost=0.5, deadline=2.0, min_quality=0.7), LimitsGuard()
    assert objections(guard, asked, estimate(0.7, 0.5, 2.0)) == []
    assert objections(guard, asked, estimate(0.69, 0.51, 2.01)) == ["max_cost", "deadline", "min_quality"]
    assert objections(guard, Limits(), estimate(0.0, 9.0, 9.0)) == []


@pytest.mark.parametrize("unknown", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_meets_no_limit(unknown: float) -> None:
    assert objections(LimitsGuard(), Limits(max_cost=1.0), estimate(cost=unknown)) == ["max_cost"]
    assert objections(LimitsGuard(), Limits(min_quality=0.0), estimate(quality=unknown)) == ["min_quality"]
    assert objections(LimitsGuard(), Limits(), estimate(cost=unknown)) == []


def test_an_unknown_prediction_is_told_in_words() -> None:
    guard = LimitsGuard()
    ((_, reason),) = guard.check_estimate(context(limits=Limits(max_cost=1.0)), (candidate(),), estimate(cost=math.nan))
    assert "nan" not in reason.detail


def test_the_stricter_of_two_limits_holds() -> None:
    operator = Limits(max_cost=0.1, min_quality=0.5)
    assert objections(LimitsGuard(operator), Limits(max_cost=5.0), estimate(cost=0.2)) == ["max_cost"]
    assert stricter(Limits(1.0, None, 0.2), operator) == Limits(0.1, None, 0.5)
    assert stricter(Limits(0.01, 3.0, 0.9), operator) == Limits(0.01, 3.0, 0.9)


def test_health_says_how_long_to_wait_and_after_which_error() -> None:
    board = Board(failures=1, ejectable=1.0, clock=lambda: 0.0)
    pool = candidate("open"), candidate("resting"), candidate("fine")
    board.register(one.name for one in pool)
    for name, error in (("open", "provider_timeout"), ("resting", "provider_rate_limited")):
        assert board.begin(name)
        board.end(name, error, 0.1, retry_after=4.0)
    details = {i: reason.detail for i, reason in Health(board).check(context(), pool)}
    assert details == {
        0: "its circuit breaker is open after provider_timeout",
        1: "it asked to be left alone for 4.0 s",
    }


def test_what_chat_cannot_say_needs_a_provider_of_the_callers_dialect() -> None:
    guard = Dialect({"p": "messages", "q": ""})
    pool = (
        candidate("mine"),
        Candidate(name="other", provider="q", model="m"),
        Candidate(name="x", provider="z", model="m"),
    )
    assert said(guard, context(), *pool) == []
    assert said(guard, context(native=Native("messages", {})), *pool) == []
    special = Native("messages", {}, only=("container", "tools[0]"))
    assert said(guard, context(native=special), *pool) == [(1, "untranslatable"), (2, "untranslatable")]
    ((_, reason),) = guard.check(context(native=special), pool[1:2])
    assert "container; tools[0]" in reason.detail
    assert len(said(guard, context(native=Native("responses", {}, only=("x",))), *pool)) == 3
