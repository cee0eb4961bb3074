from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.encoder import Encoder
from interlock.guards import BudgetGuard, WorstCase
from interlock.guards.budget import IMAGE, most_tokens
from interlock.types import Candidate, Context, Message, Profile, Request


def candidate(**profile: Any) -> Candidate:
    return Candidate(name="c", provider="p", model="m", profile=Profile(**profile))


def objections(request: Request, *candidates: Candidate, worst: WorstCase | None = None) -> dict[int, str]:
    context = Context(request, {}, np.zeros(0, np.float32))
    return {i: reason.code for i, reason in BudgetGuard(worst or WorstCase()).check(context, candidates)}


PRICED = candidate(price_in=1.0, price_out=2.0, max_output=1000)


def test_it_looks_only_where_money_was_set_aside() -> None:
    assert objections(Request(), candidate()) == {}
    assert objections(Request(reserved=0.0), candidate()) == {0: "cost_unbounded"}


def test_the_worst_case_decides() -> None:
    request = Request(messages=(Message("user", "x" * 84),), max_tokens=50)
    cost = (100 * 1.0 + 50 * 2.0) / 1e6
    assert WorstCase().cost(request, PRICED, 100) == pytest.approx(cost)
    assert WorstCase(calls=3).cost(request, PRICED, 100) == pytest.approx(3 * cost)
    for reserved, found in ((cost, {}), (cost * 0.99, {0: "may_exceed_budget"})):
        asked = Request(messages=request.messages, max_tokens=50, reserved=reserved)
        assert objections(asked, PRICED) == found


@pytest.mark.parametrize(
    ("profile", "fields", "cost"),
    [
        ({"price_in": 0.0, "price_out": 0.0}, {}, 0.0),
        ({"price_in": 1.0, "price_out": 2.0}, {}, None),
        ({"price_in": 1.0}, {"max_tokens": 5}, None),
        ({"price_in": 1.0, "price_out": 2.0, "context_window": 10}, {}, 30),
        ({"price_in": 1.0, "price_out": 2.0, "max_output": 5}, {"max_tokens": 50}, 110),
        ({"price_in": 1.0, "price_out": 2.0}, {"max_tokens": 50, "body": {"n": 3}}, 400),
        ({"price_in": 1.0, "price_out": 2.0, "price_cache_write": 1.25}, {"max_tokens": 50}, 225),
    ],
)
def test_bounds(profile: dict[str, Any], fields: dict[str, Any], cost: float | None) -> None:
    found = WorstCase().cost(Request(**fields), candidate(**profile), 100)
    assert found == (None if cost is None else pytest.approx(cost / 1e6))


def test_what_is_not_stated_may_be_assumed() -> None:
    worst = WorstCase(price_in=3.0, price_out=4.0, output_tokens=10)
    assert worst.cost(Request(), candidate(), 100) == pytest.approx(340e-6)


def test_a_candidates_own_option_outweighs_the_request() -> None:
    fixed = Candidate(name="c", provider="p", model="m", profile=PRICED.profile, options={"max_tokens": 700})
    assert WorstCase().cost(Request(max_tokens=5), fixed, 0) == pytest.approx(1400e-6)


@given(st.text(max_size=200))
def test_no_tokenizer_makes_more_of_a_text(text: str) -> None:
    request = Request(messages=(Message("user", text),))
    assert most_tokens(request) >= len(text.encode(errors="replace"))
    assert most_tokens(request) >= len(Encoder.load().tokenizer.encode(text))


def test_parts_tools_and_formats_count() -> None:
    url = "data:image/png;base64," + "A" * 100_000
    parts = [{"type": "text", "text": "what"}, {"type": "image_url", "image_url": {"url": url}}]
    plain = Request(messages=(Message("user", parts),))
    assert most_tokens(plain) == 16 + 4 + IMAGE
    tools = [{"type": "function", "function": {"name": "f", "description": "d" * 500}}]
    assert most_tokens(Request(messages=plain.messages, body={"tools": tools, "messages": []})) > 500 + IMAGE
