"""Guards only remove, always say why, and fail closed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.guards import (
    Access,
    Addressed,
    Board,
    CapabilityGuard,
    Guards,
    Health,
    LimitsGuard,
    Objection,
    Rule,
    Rules,
    Trust,
)
from interlock.types import (
    Candidate,
    Capability,
    Considered,
    Context,
    Estimate,
    Limits,
    Message,
    Profile,
    Request,
    Signal,
)

NAMES = ("nano", "small", "large", "far")
NEEDS = ("tools", "json", "image")

candidates = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True).flatmap(
    lambda names: st.tuples(
        *(
            st.builds(
                lambda name, trust, window, can: Candidate(
                    name=name,
                    provider="p",
                    model=name,
                    profile=Profile(trust=trust, context_window=window, capabilities=can, price_in=1.0),
                ),
                st.just(name),
                st.sampled_from(["private", "public"]),
                st.sampled_from([None, 10, 1000]),
                st.dictionaries(st.sampled_from(NEEDS), st.sampled_from(list(Capability))),
            )
            for name in names
        )
    )
)

requests = st.builds(
    lambda tenant, model, needs, limits, most: Request(
        messages=(Message("user", "hello"),), tenant=tenant, model=model, needs=needs, limits=limits, max_tokens=most
    ),
    st.sampled_from(["", "acme", "other"]),
    st.sampled_from(["auto", "private", *NAMES]),
    st.frozensets(st.sampled_from(NEEDS)),
    st.builds(
        Limits, *(st.one_of(st.none(), st.floats(0, 2)) for _ in range(2)), st.one_of(st.none(), st.floats(0, 1))
    ),
    st.sampled_from([None, 5, 100]),
)

contexts = st.builds(
    lambda request, tokens, pii: Context(
        request,
        {"tokens": Signal("tokens", tokens), "pii": Signal("pii", pii)},
        np.zeros(1, np.float32),
    ),
    requests,
    st.sampled_from([0.0, 8.0, 500.0]),
    st.sampled_from([True, False, None]),
)

numbers = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 0.1, 0.5, 1.0, 3.0])


def all_guards(board: Board) -> Guards:
    return Guards(
        [
            Addressed({"auto": ("*",), "private": ("nano", "small")}),
            Access({"acme": ("small", "n*")}),
            CapabilityGuard(),
            Health(board),
            Trust(),
            Rules([Rule("long", "signals.tokens > 400.0", "candidate.name == 'nano'", "too long for nano")]),
        ],
        [LimitsGuard()],
    )


@given(st.lists(contexts, min_size=1, max_size=3), candidates, st.data())
@settings(max_examples=400, deadline=None)
def test_guards_only_remove_and_give_a_reason(
    batch: list[Context], pool: tuple[Candidate, ...], data: st.DataObject
) -> None:
    guards = all_guards(Board())
    before = guards.check(batch, pool)
    rows = [[data.draw(numbers) for _ in pool] for _ in batch]
    estimate = Estimate(*(np.array(rows, dtype=np.float64) for _ in range(5)))
    after = guards.check_estimates(batch, pool, estimate, before)
    for i, context in enumerate(batch):
        for j, candidate in enumerate(pool):
            assert after[i][j][: len(before[i][j])] == before[i][j], "an objection was withdrawn"
            for reason in after[i][j]:
                assert reason.guard
                assert reason.code
                assert reason.detail
            permitted = not after[i][j]
            if permitted:
                assert "no" not in {candidate.can(need).value for need in context.request.needs}
                assert context.signals["pii"].value is False or candidate.profile.trust == "private"
                assert context.request.tenant != "acme" or candidate.name in ("small", "nano")
                if context.request.limits.max_cost is not None:
                    assert estimate.cost[i, j] <= context.request.limits.max_cost
                if context.request.limits.min_quality is not None:
                    assert estimate.quality[i, j] >= context.request.limits.min_quality


class Broken:
    name = "broken"

    def check(self, context: Context, candidates: Sequence[Candidate]) -> Iterable[Objection]:
        raise RuntimeError("the secret prompt")


def context(**fields: object) -> Context:
    return Context(Request(**fields), {}, np.zeros(1, np.float32))  # type: ignore[arg-type]


def pool(*names: str) -> tuple[Candidate, ...]:
    return tuple(Candidate(name=name, provider="p", model=name) for name in names)


def test_a_guard_that_fails_permits_nothing_and_quotes_nothing() -> None:
    ((one, two),) = Guards([Broken()]).check([context()], pool("a", "b"))
    assert one[0].code == two[0].code == "guard_error"
    assert "secret" not in one[0].detail


def test_a_candidate_one_guard_stands_against_is_graded_but_for_it() -> None:
    guards = Guards([Addressed(), Access({"acme": ("a",)})])
    (standing,) = guards.check([context(tenant="acme", model="c")], pool("a", "b", "c"))
    grades = [Considered(name, reasons, 0, 0, 0, 0, 0, 0, 0).grade for name, reasons in zip("abc", standing, strict=True)]
    assert grades == ["but for addressed", "forbidden", "but for access"]


def test_unknown_capabilities_pass_unless_told_otherwise() -> None:
    asked = context(needs=frozenset({"tools"}))
    assert Guards([CapabilityGuard()]).check([asked], pool("a")) == [[()]]
    ((reasons,),) = Guards([CapabilityGuard(forbid_unknown=True)]).check([asked], pool("a"))
    assert reasons[0].code == "unknown_tools"


def test_an_unreadable_trust_signal_counts_as_set() -> None:
    ((reasons,),) = Guards([Trust()]).check([context()], pool("a"))
    assert reasons[0].code == "trust_domain"


def test_every_guard_is_timed() -> None:
    guards = all_guards(Board())
    guards.check([context()], pool("a"))
    assert set(guards.calls) == set(guards.seconds) == {"addressed", "access", "capability", "health", "trust", "rules"}
