"""A decision written down: one row a candidate, the draw reproducible, the declared order as the last resort."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.decision import first_in_order, write_down
from interlock.exploration import sample
from interlock.plan import Served
from interlock.policy import Choice
from interlock.types import Context, Decision, Estimate, Message, Reason, Request, Signal

NAMES = ("a", "b", "c")
NO = Reason("rules", "no", "not this one")


class Plan:
    """What writing down needs of a plan."""

    def __init__(self, *order: str, seed: int = 3) -> None:
        self.candidates = [type("Named", (), {"name": name}) for name in NAMES]
        self.default_order, self.config = order, "hash"
        self.settings = type("Settings", (), {"policy": type("Block", (), {"seed": seed})})


class Policy:
    name = "a+b+c"


def written(
    probability: list[float],
    *,
    dropped: tuple[bool, bool, bool] = (False, False, False),
    standing: Any = ((), (), ()),
    plan: Any = None,
    degraded: str = "",
    promised: tuple[bool, bool, bool] | None = None,
    **fields: Any,
) -> Decision:
    request = Request(messages=(Message("user", "hi"),), tenant="acme", session="s", **fields)
    context = Context(request, {"tokens": Signal("tokens", 1.0)}, np.ones(2, np.float32))
    column = np.array([[0.1, 0.2, 0.3]])
    estimate = Estimate(column, column + 1, column + 2, column + 3, np.full((1, 3), math.nan))
    choice = Choice(
        column * 10, np.array([probability]), np.array([dropped]), None if promised is None else np.array([promised])
    )
    served: Any = Served(Policy(), "7-abc", degraded)  # type: ignore[arg-type]
    return write_down(plan or Plan(), served, [context], [standing], estimate, choice, 0.25)[0]


def test_every_column_finds_its_place() -> None:
    decision = written([0.0, 1.0, 0.0], standing=((NO,), (), ()), id="il-1", seed=9)
    first, second, _ = decision.considered
    assert (first.candidate, first.reasons, second.reasons) == ("a", (NO,), ())
    found = (second.quality, second.quality_std, second.cost, second.latency, second.utility, second.probability)
    assert found == pytest.approx((0.2, 1.2, 2.2, 3.2, 2.0, 1.0))
    assert math.isnan(second.energy)
    assert (decision.id, decision.tenant, decision.session, decision.model) == ("il-1", "acme", "s", "auto")
    assert (decision.chosen, decision.policy, decision.snapshot, decision.config) == ("b", "a+b+c", "7-abc", "hash")
    assert (decision.seed, decision.seconds, decision.degraded) == (9, 0.25, "")
    assert decision.signals["tokens"].value == 1.0
    assert decision.vector.tolist() == [1.0, 1.0]


def test_the_configured_seed_is_used_when_the_request_has_none() -> None:
    assert written([1.0, 0.0, 0.0], plan=Plan(seed=5)).seed == 5
    assert written([1.0, 0.0, 0.0], plan=Plan(seed=5), seed=0).seed == 0


@given(st.integers(0, 2**63), st.text(min_size=1, max_size=20), st.lists(st.floats(0, 1), min_size=3, max_size=3))
@settings(max_examples=200)
def test_the_draw_can_be_repeated_from_what_is_written(seed: int, id: str, weights: list[float]) -> None:
    total = sum(weights)
    probability = [weight / total for weight in weights] if total else [0.0, 0.0, 0.0]
    decision = written(probability, seed=seed, id=id)
    again = sample(np.array([row.probability for row in decision.considered]), decision.seed, decision.id)
    assert decision.chosen == (None if again is None else NAMES[again])
    assert (decision.chosen is None) == (not any(probability))
    if decision.chosen is not None:
        assert decision.probability > 0


def test_nobody_permitted_is_a_refusal() -> None:
    decision = written([0.0, 0.0, 0.0], standing=((NO,), (NO,), (NO,)), plan=Plan("a"))
    assert (decision.chosen, decision.degraded, decision.probability) == (None, "", 0.0)


def test_the_dropped_get_a_reason_while_others_remain() -> None:
    decision = written([0.0, 1.0, 0.0], dropped=(True, False, True), standing=((), (), (NO,)), degraded="last_good")
    codes = [[reason.code for reason in row.reasons] for row in decision.considered]
    assert codes == [["not_finite"], [], ["no", "not_finite"]]
    assert (decision.chosen, decision.degraded) == ("b", "last_good")


def test_the_declared_order_is_the_last_resort_and_says_so() -> None:
    decision = written(
        [0.0, 0.0, 0.0],
        dropped=(True, False, True),
        standing=((), (NO,), ()),
        plan=Plan("b", "c", "a"),
        degraded="last_good",
    )
    assert (decision.chosen, decision.degraded) == ("c", "default_order")
    assert [row.probability for row in decision.considered] == [0.0, 0.0, 1.0]
    assert [row.permitted for row in decision.considered] == [True, False, True], "a guard's word stays"


@pytest.mark.parametrize(
    ("promised", "said"), [(None, ""), ((False, True, False), ""), ((True, False, True), "no_promise")]
)
def test_a_choice_outside_the_promise_says_so(promised: Any, said: str) -> None:
    assert written([0.0, 1.0, 0.0], promised=promised).degraded == said
    assert written([0.0, 0.0, 0.0], promised=promised, standing=((NO,), (NO,), (NO,))).degraded == ""
    others = written([0.0, 1.0, 0.0], promised=promised, dropped=(True, False, False))
    assert others.degraded == said, "also where others were dropped"


@given(st.permutations(NAMES), st.integers(0, 3), st.lists(st.booleans(), min_size=3, max_size=3).filter(any))
def test_the_first_allowed_in_the_declared_order_then_in_the_pools(
    order: list[str], declared: int, allowed: list[bool]
) -> None:
    plan: Any = Plan(*order[:declared])
    wanted = [*order[:declared], *NAMES]
    expected = next(name for name in wanted if allowed[NAMES.index(name)])
    assert NAMES[first_in_order(plan, np.array(allowed))] == expected
