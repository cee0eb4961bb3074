"""Over time: every request, call and error is in one interval, quantiles are those of their interval."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from interlock.gateway.history import History
from interlock.gateway.traffic import traffic
from interlock.types import Candidate, Decision, Outcome, Step

POOL = tuple(Candidate(name=name, provider=provider, model=name) for name, provider in (("a", "p"), ("b", "q")))


def history(answers: list[tuple[float, float, bool]]) -> History:
    """Answers of `a` at a time with a latency; where it failed, `b` answered."""
    made = History()
    for i, (at, latency, failed) in enumerate(answers):
        made.add(
            Decision(
                id=f"d{i}", at=at, tenant="", session="", model="auto", considered=(), chosen="a", policy="",
                snapshot="", config="", seed=0,
            )
        )  # fmt: skip
        steps = (Step("a", "chosen", error="provider_timeout" if failed else "", seconds=latency),)
        steps += (Step("b", "next", seconds=0.5),) if failed else ()
        made.add(
            Outcome(
                decision=f"d{i}",
                at=at,
                candidate=steps[-1].candidate,
                steps=steps,
                cost=0.25,
                latency=latency,
                ttft=0.1,
            )
        )
    return made


@given(
    st.lists(st.tuples(st.floats(1e9, 1e9 + 1e6), st.floats(0.001, 100), st.booleans()), min_size=1, max_size=60),
    st.integers(3, 100),
)
def test_nothing_is_lost_whatever_the_times(answers: list[tuple[float, float, bool]], points: int) -> None:
    found = traffic(history(answers).decisions(), POOL, {}, points)
    failed = sum(bad for _, _, bad in answers)
    p, q = found["providers"]
    assert len(found["at"]) <= points
    assert found["since"] <= min(at for at, _, _ in answers)
    assert found["until"] >= max(at for at, _, _ in answers)
    assert sum(found["all"]["requests"]) == sum(p["calls"]) == len(answers)
    assert sum(found["all"]["cost"]) == 0.25 * len(answers)
    assert (sum(p["errors"]), sum(q["calls"])) == (failed, failed)
    assert p["codes"] == ({"provider_timeout": failed} if failed else {})
    assert [value is None for value in found["all"]["latency"]["p50"]] == [n == 0 for n in found["all"]["requests"]]


def test_an_interval_has_its_own_quantiles() -> None:
    early = [(1000.0 + i / 100, float(i), False) for i in range(1, 21)]
    found = traffic(history([*early, (1030.0, 7.0, True)]).decisions(), POOL, {}, 10)
    latency = found["all"]["latency"]
    assert found["width"] == 5
    assert latency["p50"][0] == 10.5
    assert latency["p95"][0] == np.quantile(np.arange(1, 21), 0.95)
    assert latency["p50"][-1] == 7.0
    assert found["providers"][0]["latency"]["p50"][-1] is None  # it did not answer there
    assert found["providers"][1]["total"] == {"calls": 1, "errors": 0, "p50": 0.5, "p95": 0.5}


def test_an_idle_gateway_has_providers_and_no_times() -> None:
    breakers = {"a": {"breaker": "open", "resting": 3.0, "last_error": "provider_timeout"}}
    found = traffic([], POOL, breakers)
    assert found["at"] == []
    assert found["since"] is None
    assert found["providers"][0]["candidates"] == [{"name": "a", **breakers["a"]}]
