"""All guards together: they only remove, say why, permit exactly what the configuration permits, and fail closed."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pytest
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
    Reason,
    Request,
    Signal,
)

NAMES = ("nano", "small", "large", "far")
NEEDS = ("tools", "json", "image")
VIRTUAL = {"auto": ("*",), "private": ("nano", "s*")}
NO_LIMITS = Limits()


@dataclass(frozen=True)
class Configuration:
    """What a test draws; `permits` says in the plainest way what it means."""

    tenants: dict[str, tuple[str, ...]] = field(default_factory=dict)
    default: tuple[str, ...] = ("*",)
    forbid_unknown: bool = False
    margin: float = 1.0
    trusted: tuple[str, ...] = ("private",)
    threshold: float = 400.0
    struck: tuple[str, ...] = ("nano",)
    limits: Limits = NO_LIMITS
    ejected: frozenset[str] = frozenset()

    def guards(self) -> Guards:
        board = Board(failures=1, ejectable=1.0)
        board.register(NAMES)
        for name in self.ejected:
            board.begin(name)
            board.end(name, "provider_timeout", 1.0)
        return Guards(
            [
                Addressed(VIRTUAL),
                Access(self.tenants, self.default),
                CapabilityGuard(self.forbid_unknown, self.margin),
                Health(board),
                Trust(allow=self.trusted),
                Rules([Rule("long", f"signals.tokens > {self.threshold}", self.struck, "too long")]),
            ],
            [LimitsGuard(self.limits)],
        )

    def permits(self, context: Context, candidate: Candidate, predicted: dict[str, float]) -> bool:
        request, profile = context.request, candidate.profile
        tokens, pii = context.signals["tokens"].value, context.signals["pii"].value

        def named(globs: Iterable[str]) -> bool:
            return any(fnmatchcase(candidate.name, glob) for glob in globs)

        poor = {Capability.NO, Capability.UNKNOWN} if self.forbid_unknown else {Capability.NO}
        if tokens is None or profile.context_window is None:
            fits = not self.forbid_unknown
        else:
            fits = int(float(tokens) * self.margin) + (request.max_tokens or 0) <= profile.context_window
        limits = [request.limits, self.limits]
        return (
            (named(VIRTUAL[request.model]) if request.model in VIRTUAL else candidate.name == request.model)
            and named(self.tenants.get(request.tenant, self.default))
            and not any(candidate.can(need) in poor for need in request.needs)
            and fits
            and (profile.max_output is None or (request.max_tokens or 0) <= profile.max_output)
            and candidate.name not in self.ejected
            and (pii is False or profile.trust in self.trusted)
            and not (named(self.struck) and (tokens is None or float(tokens) > self.threshold))
            and all(one.max_cost is None or -math.inf < predicted["cost"] <= one.max_cost for one in limits)
            and all(one.deadline is None or -math.inf < predicted["latency"] <= one.deadline for one in limits)
            and all(one.min_quality is None or math.inf > predicted["quality"] >= one.min_quality for one in limits)
        )


globs = st.lists(st.sampled_from(["*", "nano", "s*", "?ar*", "none"]), max_size=2).map(tuple)
maybe = st.sampled_from([None, 0.0, 0.1, 0.5, 1.0])
limits = st.builds(Limits, maybe, maybe, maybe)
numbers = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 0.1, 0.5, 1.0, 3.0])

configurations = st.builds(
    Configuration,
    st.dictionaries(st.sampled_from(["", "acme"]), globs),
    st.one_of(st.just(("*",)), globs),
    st.booleans(),
    st.sampled_from([1.0, 1.3]),
    st.lists(st.sampled_from(["private", "public"]), unique=True).map(tuple),
    st.sampled_from([0.0, 7.5, 400.0]),
    globs,
    limits,
    st.frozensets(st.sampled_from(NAMES), max_size=2),
)

profiles = st.builds(
    lambda trust, window, most, can: Profile(trust=trust, context_window=window, max_output=most, capabilities=can),
    st.sampled_from(["private", "public"]),
    st.sampled_from([None, 10, 1000]),
    st.sampled_from([None, 50]),
    st.dictionaries(st.sampled_from(NEEDS), st.sampled_from(list(Capability))),
)
pools = st.lists(st.tuples(st.sampled_from(NAMES), profiles), min_size=1, max_size=4, unique_by=lambda t: t[0]).map(
    lambda rows: tuple(Candidate(name=name, provider="p", model=name, profile=profile) for name, profile in rows)
)
contexts = st.builds(
    lambda tenant, model, needs, limits, most, tokens, pii: Context(
        Request(
            messages=(Message("user", "hello"),),
            tenant=tenant,
            model=model,
            needs=needs,
            limits=limits,
            max_tokens=most,
        ),
        {"tokens": Signal("tokens", tokens), "pii": Signal("pii", pii)},
        np.zeros(1, np.float32),
    ),
    st.sampled_from(["", "acme", "other"]),
    st.sampled_from(["auto", "private", *NAMES]),
    st.frozensets(st.sampled_from(NEEDS)),
    limits,
    st.sampled_from([None, 5, 100]),
    st.sampled_from([None, 0.0, 8.0, 500.0]),
    st.sampled_from([True, False, None]),
)


def holds(configuration: Configuration, batch: list[Context], pool: tuple[Candidate, ...], data: st.DataObject) -> None:
    guards = configuration.guards()
    shape = (len(batch), len(pool))
    drawn = data.draw(st.lists(numbers, min_size=3 * math.prod(shape), max_size=3 * math.prod(shape)))
    quality, cost, latency = np.array(drawn, dtype=np.float64).reshape(3, *shape)
    estimate = Estimate(quality, np.ones(shape), cost, latency, np.ones(shape))
    before = guards.check(batch, pool)
    after = guards.check_estimates(batch, pool, estimate, before)
    for i, context in enumerate(batch):
        for j, candidate in enumerate(pool):
            assert after[i][j][: len(before[i][j])] == before[i][j], "an objection was withdrawn"
            predicted = {"quality": quality[i, j], "cost": cost[i, j], "latency": latency[i, j]}
            assert (not after[i][j]) is configuration.permits(context, candidate, predicted), after[i][j]
            assert all(reason.guard and reason.code and reason.detail for reason in after[i][j])
            assert not any(reason.code == "guard_error" for reason in after[i][j])


@given(configurations, st.lists(contexts, min_size=1, max_size=8), pools, st.data())
@settings(max_examples=300, deadline=None)
def test_exactly_what_the_configuration_permits_is_permitted(
    configuration: Configuration, batch: list[Context], pool: tuple[Candidate, ...], data: st.DataObject
) -> None:
    holds(configuration, batch, pool, data)


@pytest.mark.slow
@given(configurations, st.lists(contexts, min_size=8, max_size=8), pools, st.data())
@settings(max_examples=2500, deadline=None)
def test_exactly_what_the_configuration_permits_is_permitted_in_twenty_thousand_cases(
    configuration: Configuration, batch: list[Context], pool: tuple[Candidate, ...], data: st.DataObject
) -> None:
    holds(configuration, batch, pool, data)


class Broken:
    """Objects to the first candidate, then fails with a text that quotes the prompt."""

    name = "broken"

    def check(self, context: Context, candidates: Sequence[Candidate]) -> Iterable[Objection]:
        yield 0, Reason(self.name, "fine", "an objection made in time")
        raise RuntimeError(f"cannot look at {context.request.prompt}")

    def concerns(self, context: Context) -> bool:
        return True

    def check_estimate(
        self, context: Context, candidates: Sequence[Candidate], estimate: Estimate
    ) -> Iterable[Objection]:
        assert estimate.quality.shape == (1, len(candidates))
        return self.check(context, candidates)


def context(**fields: Any) -> Context:
    return Context(Request(**fields), {}, np.zeros(1, np.float32))


def pool(*names: str) -> tuple[Candidate, ...]:
    return tuple(Candidate(name=name, provider="p", model=name) for name in names)


def test_a_guard_that_fails_permits_nothing_quotes_nothing_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    asked = context(messages=(Message("user", "the secret prompt"),))
    with caplog.at_level(logging.ERROR):
        ((one, two),) = Guards([Broken()]).check([asked], pool("a", "b"))
    assert [reason.code for reason in one] == ["fine", "guard_error"]
    assert [reason.code for reason in two] == ["guard_error"]
    assert "broken" in caplog.text
    assert "secret" not in caplog.text + two[0].detail


def test_an_estimate_guard_that_fails_permits_nothing_either() -> None:
    guards = Guards([], [Broken()])
    standing = guards.check([context(), context()], pool("a"))
    assert standing == [((),), ((),)]
    estimate = Estimate(*(np.ones((2, 1)) for _ in range(5)))
    for ((*_, last),) in guards.check_estimates([context(), context()], pool("a"), estimate, standing):
        assert last.code == "guard_error"


def test_one_failing_request_of_a_batch_leaves_the_others_alone() -> None:
    class Picky:
        name = "picky"

        def check(self, context: Context, candidates: Sequence[Candidate]) -> Iterable[Objection]:
            return [] if context.request.tenant else [(7, Reason(self.name, "far", "no such candidate"))]

    first, second = Guards([Picky()]).check([context(), context(tenant="t")], pool("a"))
    assert first[0][0].code == "guard_error"
    assert second == ((),)


def test_a_candidate_one_guard_stands_against_is_graded_but_for_it() -> None:
    guards = Guards([Addressed(), Access({"acme": ("a",)})])
    (standing,) = guards.check([context(tenant="acme", model="c")], pool("a", "b", "c"))
    rows = [Considered(name, reasons, 0, 0, 0, 0, 0, 0, 0) for name, reasons in zip("abc", standing, strict=True)]
    assert [row.grade for row in rows] == ["but for addressed", "forbidden", "but for access"]


def test_every_guard_is_timed() -> None:
    guards = Configuration().guards()
    standing = guards.check([context(), context()], pool("a"))
    guards.check_estimates([context()], pool("a"), Estimate(*(np.ones((1, 1)) for _ in range(5))), standing[:1])
    hard = {"addressed": 2, "access": 2, "capability": 2, "health": 2, "trust": 2, "rules": 2}
    assert guards.calls == {**hard, "limits": 1}
    assert all(guards.seconds[name] > 0 for name in guards.calls)


def test_without_guards_everything_is_permitted() -> None:
    assert Guards().check([context()], pool("a", "b")) == [((), ())]
