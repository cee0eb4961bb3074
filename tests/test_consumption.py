"""Consumption: the profile first, then what was measured; unknown stays unknown."""

from __future__ import annotations

import numpy as np
import pytest

from interlock.consumption import Consumption
from interlock.types import Candidate, Context, Profile, Request, Signal, Usage

VECTOR = np.zeros(3)


def candidate(name: str = "a", **profile: float) -> Candidate:
    return Candidate(name=name, provider="p", model="m", profile=Profile(**profile))


def context(tokens: float = 100.0, max_tokens: int | None = None) -> Context:
    request = Request(max_tokens=max_tokens)
    return Context(request, {"tokens": Signal("tokens", tokens)}, np.zeros(3, np.float32))


def predict(consumption: Consumption, who: Candidate, where: Context | None = None) -> dict[str, float]:
    expected = consumption.predict([where or context()], [who], VECTOR[None, :])
    return {name: float(array[0, 0]) for name, array in expected._asdict().items()}


def learnt(n: int, *, out: int, **measured: float) -> Consumption:
    consumption = Consumption()
    latency, ttft, energy = (measured.get(name) for name in ("latency", "ttft", "energy"))
    for _ in range(n):
        consumption.learn("a", VECTOR, 100.0, Usage(input=150, output=out), latency, ttft, energy)
    return consumption


def test_the_profile_is_believed_at_first() -> None:
    who = candidate(
        price_in=1.0, price_out=2.0, output_tokens=50, ttft=0.2, tokens_per_second=100.0, joules_per_token=3.0
    )
    got = predict(Consumption(), who)
    assert got["input_tokens"] == 100.0
    assert got["output_tokens"] == pytest.approx(50, rel=0.3)
    assert got["cost"] == pytest.approx((100.0 * 1.0 + got["output_tokens"] * 2.0) / 1e6)
    assert got["latency"] == pytest.approx(0.2 + got["output_tokens"] / 100.0)
    assert got["energy"] == pytest.approx(3.0 * got["output_tokens"])


def test_what_nobody_knows_stays_unknown() -> None:
    got = predict(Consumption(), candidate())
    assert np.isnan([got["cost"], got["latency"], got["energy"]]).all()
    assert np.isfinite(got["output_tokens"])
    assert np.isnan(predict(learnt(50, out=10, latency=1.0, energy=5.0), candidate())["cost"]), "a price is not learnt"


def test_a_free_candidate_costs_nothing() -> None:
    assert predict(Consumption(), candidate(price_in=0.0, price_out=0.0))["cost"] == 0.0


def test_outcomes_outweigh_the_profile() -> None:
    who = candidate(
        price_in=1.0, price_out=1.0, output_tokens=1000, ttft=9.0, tokens_per_second=1.0, joules_per_token=100.0
    )
    got = predict(learnt(300, out=20, latency=1.1, ttft=0.1, energy=40.0), who)
    assert got["output_tokens"] == pytest.approx(20, rel=0.15)
    assert got["input_tokens"] == pytest.approx(150, rel=0.05), "its tokenizer counts half as much again as ours"
    assert got["latency"] == pytest.approx(1.1, rel=0.25)
    assert got["energy"] == pytest.approx(40.0, rel=0.25)


def test_tokens_depend_on_the_request() -> None:
    rng = np.random.default_rng(0)
    consumption, vectors = Consumption(), rng.normal(size=(400, 3))
    for vector in vectors:
        consumption.learn("a", vector, 0.0, Usage(output=200 if vector[0] > 0 else 10), None, None, None)
    where = [context(), context()]
    expected = consumption.predict(where, [candidate()], np.array([[1.5, 0.0, 0.0], [-1.5, 0.0, 0.0]]))
    assert expected.output_tokens[0, 0] > 5 * expected.output_tokens[1, 0]


@pytest.mark.parametrize(("asked", "most"), [(5, 100.0), (None, 5.0), (5, None)])
def test_no_more_tokens_than_allowed(asked: int | None, most: float | None) -> None:
    who = Candidate(name="a", provider="p", model="m", profile=Profile(max_output=None if most is None else int(most)))
    assert predict(learnt(50, out=500), who, context(max_tokens=asked))["output_tokens"] <= 5.0


def test_hostile_measurements_do_no_harm() -> None:
    consumption = learnt(50, out=20, latency=1.0, ttft=0.1, energy=2.0)
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        consumption.learn("a", VECTOR, bad, Usage(input=0, output=0), bad, bad, bad)
        consumption.learn("a", VECTOR, bad, Usage(input=1, output=20), 1.0, bad, bad)
    got = predict(consumption, candidate(price_in=1.0, price_out=1.0))
    assert np.isfinite(list(got.values())).all()


def test_state_is_a_fold() -> None:
    first = learnt(30, out=20, latency=1.0, ttft=0.1, energy=2.0)
    copy = Consumption().restore(first.state())
    for one in (first, copy):
        one.learn("b", VECTOR + 1.0, 10.0, Usage(input=12, output=7), 0.5, None, None)
    assert first.state()["rates"] == copy.state()["rates"]
    both = [predict(one, candidate("b", price_in=1.0, price_out=1.0)) for one in (first, copy)]
    assert np.array_equal(*(list(one.values()) for one in both), equal_nan=True)
