"""The pipeline: deciding changes nothing, doing is recorded, and whoever is forbidden is never chosen."""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interlock.checks.explorations import AWKWARD
from interlock.decision import NO_PROMISE
from interlock.errors import LedgerError, NotFound, Overloaded, Refused, RequestError
from interlock.exploration import EXPLORATIONS
from interlock.guards import Guards, Objection
from interlock.ledger import SqliteLedger, Ticket
from interlock.ledger.records import Record
from interlock.objectives import OBJECTIVES, Promise
from interlock.plan import Served
from interlock.policy import Policy
from interlock.router import Router
from interlock.types import (
    Array,
    Candidate,
    Chunk,
    Context,
    Decision,
    Feedback,
    Limits,
    Message,
    Outcome,
    Reason,
    Request,
)

RULE = {"name": "no-secrets", "when": "signals.tokens > 0.0", "forbid": ["cheap"], "because": "cheap may not see this"}


def ask(text: str = "What is 2 + 2?", **fields: Any) -> Request:
    return Request(messages=(Message("user", text),), **fields)


def score(decision: str, score: float, source: str = "person") -> Feedback:
    return Feedback(decision=decision, at=1.7e9, score=score, source=source)


def timeless(decision: Decision) -> bytes:
    """A decision without what the clock says, comparable although it holds NaN."""
    signals = {name: msgspec.structs.replace(signal, seconds=0.0) for name, signal in decision.signals.items()}
    vector = decision.vector.tolist()
    plain = msgspec.structs.replace(decision, at=0.0, seconds=0.0, signals=signals, vector=np.zeros(0, np.float32))
    rows = tuple(plain.considered)
    return msgspec.msgpack.encode([msgspec.structs.asdict(plain) | {"vector": vector, "considered": rows}])


def rows(router: Router, kind: str | None = None) -> list[Record]:
    router.ledger.flush().wait(30)
    return [row.record for row in router.ledger.rows(kind=kind)]


class Held:
    """A ledger whose decisions stay on the way until `release` or `fail`."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self.ledger, self.held = ledger, list[Ticket]()

    def put(self, record: Record, *rest: Any, **more: Any) -> Ticket:
        if not isinstance(record, Decision):
            return self.ledger.put(record, *rest, **more)
        self.held.append(Ticket())
        return self.held[-1]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ledger, name)


# Deciding


async def test_deciding_changes_nothing(scripted: Any) -> None:
    router = scripted.router(policy={"exploration": {"kind": "thompson"}})
    await router.route(ask())
    circuits, served, plan = copy.deepcopy(router.plan.board.circuits), router.served, router.plan
    state, before = served.policy.state(), rows(router)
    for _ in range(3):
        router.decide([ask(), ask("forbidden", model="none")])
    assert len(rows(router)) == len(before) == 2
    assert router.plan.board.circuits == circuits
    assert router.plan is plan
    assert router.served is served
    assert served.policy.state() == state
    assert all(len(script.calls) <= 1 for script in plan.executor.providers.values())


@given(texts=st.lists(st.text(max_size=200), min_size=1, max_size=9), seed=st.integers(0, 2**31))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_decision_depends_on_request_seed_and_snapshot_alone(
    scripted: Any, texts: list[str], seed: int
) -> None:
    if not scripted.routers:
        scripted.router(policy={"exploration": {"kind": "softmax", "temperature": 0.5}})
    router = scripted.routers[0]
    requests = [ask(text, id=f"il-{i}", seed=seed) for i, text in enumerate(texts)]
    together = [timeless(decision) for decision in router.decide(requests)]
    assert together == [timeless(decision) for decision in router.decide(requests)]
    alone = [timeless(decision) for request in requests for decision in router.decide([request])]
    assert together == alone, "a batch of n is n batches of one"


async def test_seed_and_id_draw(scripted: Any) -> None:
    router = scripted.router(policy={"exploration": {"kind": "softmax", "temperature": 1.0}})

    def chosen(seed: int) -> list[str | None]:
        return [one.chosen for one in router.decide([ask(id=f"il-{i}", seed=seed) for i in range(64)])]

    assert chosen(1) == chosen(1) != chosen(2)
    assert set(chosen(1)) == {"cheap", "good"}


async def test_no_request_no_decision(scripted: Any) -> None:
    assert scripted.router().decide([]) == []


async def test_requests_of_one_tick_are_decided_together(scripted: Any) -> None:
    router = scripted.router()
    sizes: list[int] = []
    read = router.plan.reader.read
    router.plan.reader.read = lambda requests: sizes.append(len(requests)) or read(requests)
    answers = await asyncio.gather(*(router.route(ask(str(i))) for i in range(12)))
    assert sizes == [12]
    assert len({answer.decision.id for answer in answers}) == 12


# Never the forbidden


class Wild:
    """An estimator whose every number is drawn from awkward and ordinary values."""

    revocable = True

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random

    def predict(self, vectors: Array, candidates: Sequence[str], prior: Array) -> tuple[Array, Array]:
        return self.values(len(vectors), len(candidates)), self.values(len(vectors), len(candidates))

    def values(self, n: int, k: int) -> Array:
        strewn = self.random.random((n, k)) < self.random.choice([0.0, 0.3, 1.0])
        return np.where(strewn, self.random.choice(AWKWARD, (n, k)), self.random.random((n, k)))


@dataclass
class Forbidding:
    """A guard that rules out a drawn share of the candidates, by request id so that the test knows whom."""

    share: float
    seed: int
    name: str = "drawn"

    def forbids(self, request: Request, i: int) -> bool:
        return bool(np.random.default_rng([self.seed, int(request.id[3:]), i]).random() < self.share)

    def check(self, context: Context, candidates: Sequence[Candidate]) -> list[Objection]:
        out = [i for i in range(len(candidates)) if self.forbids(context.request, i)]
        return [(i, Reason(self.name, "drawn", "ruled out")) for i in out]


CANDIDATES = [
    {"name": f"c{i}", "provider": "near" if i % 2 else "far", "model": f"m{i}", **known}
    for i, known in enumerate([{"quality": 0.7}, {}, {"price": {"in": 1, "out": 1}}, {"quality": 0.2}, {}])
]


async def test_no_forbidden_candidate_is_ever_chosen_whatever_is_estimated(scripted: Any) -> None:
    router = scripted.router(candidates=CANDIDATES)
    guards, plan, decided = router.plan.guards, router.plan, 0

    @given(
        seed=st.integers(0, 2**31),
        share=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
        objective=st.sampled_from(list(OBJECTIVES.values())),
        exploration=st.sampled_from(list(EXPLORATIONS.values())),
        limit=st.sampled_from([Limits(), Limits(min_quality=0.5), Limits(max_cost=0.01)]),
    )
    @settings(max_examples=150, deadline=None)
    def run(seed: int, share: float, objective: Any, exploration: Any, limit: Limits) -> None:
        nonlocal decided
        drawn = Forbidding(share, seed)
        router.plan = replace(plan, guards=Guards([*guards.guards, drawn], guards.estimate_guards))
        wild: Any = Wild(np.random.default_rng(seed))
        router.served = Served(Policy(wild, objective(), exploration()), "wild")
        requests = [ask(id=f"il-{i}", seed=seed, limits=limit) for i in range(16)]
        for request, decision in zip(requests, router.decide(requests), strict=True):
            decided += 1
            for i, row in enumerate(decision.considered):
                assert not drawn.forbids(request, i) or (not row.permitted and row.probability == 0)
                assert row.permitted or (row.probability == 0 and row.candidate != decision.chosen)
                if row.permitted and limit.min_quality is not None:
                    assert limit.min_quality <= row.quality < math.inf
                if row.permitted and limit.max_cost is not None:
                    assert -math.inf < row.cost <= limit.max_cost
                if row.probability > 0 and not decision.degraded:
                    assert math.isfinite(row.utility)
            permitted = [row for row in decision.considered if row.permitted]
            assert (decision.chosen is None) == (not permitted)
            total = sum(row.probability for row in decision.considered)
            assert math.isclose(total, 1.0 if permitted else 0.0, abs_tol=1e-9)
            assert decision.probability > 0 or decision.chosen is None
            outside = [NO_PROMISE] if objective is Promise else []
            assert decision.degraded in ("", "default_order", *outside)

    run()
    assert decided >= 150 * 16


# Doing


@pytest.mark.parametrize("stream", [False, True])
async def test_no_answer_is_complete_before_its_decision_is_recorded(scripted: Any, stream: bool) -> None:
    router = scripted.router()
    held = Held(router.ledger)
    router.ledger = held
    run = await router.start(ask(stream=stream))
    if stream:
        assert (await anext(run)).text == "yes", "what is not the last piece need not wait"
    last = asyncio.create_task(anext(run))
    for _ in range(50):
        await asyncio.sleep(0)
    assert run.candidate is not None
    assert not last.done(), "the provider has answered, the ledger has not"
    held.held[0].settle(1)
    chunk = await last
    assert chunk.finish == "stop"
    with pytest.raises(StopAsyncIteration):
        await anext(run)
    assert run.outcome.error == ""


async def test_a_stream_without_a_last_piece_does_not_end_before_either(scripted: Any) -> None:
    router = scripted.router()
    held = Held(router.ledger)
    router.ledger = held

    async def send(call: Any) -> Any:
        yield Chunk(b"yes", "yes")

    router.plan.executor.providers["far"].send = send
    run = await router.start(ask(stream=True))
    assert (await anext(run)).text == "yes"
    end = asyncio.create_task(anext(run, None))
    for _ in range(50):
        await asyncio.sleep(0)
    assert not end.done()
    held.held[0].settle(1)
    assert await end is None


async def test_an_answer_whose_decision_cannot_be_recorded_is_not_given(scripted: Any) -> None:
    router = scripted.router()
    held = Held(router.ledger)
    router.ledger = held
    answer = asyncio.create_task(router.route(ask()))
    while not held.held:
        await asyncio.sleep(0)
    held.held[0].settle(error=LedgerError("the disk is full"))
    with pytest.raises(LedgerError, match="the disk is full"):
        await answer
    (outcome,) = rows(router, "outcome")
    assert isinstance(outcome, Outcome)
    assert outcome.error == "ledger_error"
    assert outcome.cost > 0, "it was paid for all the same"


async def test_an_answer_leaves_its_decision_and_its_outcome(scripted: Any) -> None:
    router = scripted.router()
    answer = await router.route(ask(tenant="acme"))
    assert (answer.text, answer.raw) == ("yes.", b"yes.")
    decision, outcome = rows(router)
    assert isinstance(decision, Decision)
    assert isinstance(outcome, Outcome)
    assert (decision.id, decision.tenant, decision.chosen) == (answer.decision.id, "acme", "good")
    assert outcome == answer.outcome
    assert (outcome.candidate, outcome.error) == ("good", "")
    assert outcome.cost == pytest.approx(2e-6 * 5)
    assert decision.config == router.plan.settings.hash


async def test_a_failed_answer_is_recorded_with_every_step(scripted: Any) -> None:
    router = scripted.router()
    for script in router.plan.executor.providers.values():
        script.fails = Overloaded("full")
    with pytest.raises(Overloaded):
        await router.route(ask())
    (outcome,) = rows(router, "outcome")
    assert isinstance(outcome, Outcome)
    assert [(step.candidate, step.why, step.error) for step in outcome.steps] == [
        ("good", "chosen", "provider_overloaded"),
        ("cheap", "fallback", "provider_overloaded"),
    ]
    assert outcome.error == "provider_overloaded"


async def test_a_caller_who_leaves_is_recorded(scripted: Any) -> None:
    router = scripted.router()
    script = router.plan.executor.providers["far"]
    script.gate = asyncio.Event()
    answer = asyncio.create_task(router.route(ask()))
    while not script.calls:
        await asyncio.sleep(0)
    answer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answer
    (outcome,) = rows(router, "outcome")
    assert isinstance(outcome, Outcome)
    assert outcome.error == "cancelled"
    assert router.plan.board.circuits["good"].ordinary == 0, "its slot is free again"


async def test_a_decision_is_carried_out_on_the_plan_it_was_made_on(scripted: Any) -> None:
    router = scripted.router()
    old = router.plan
    decide = router._decide_in_tick._function

    def decide_then_swap(requests: Sequence[Request]) -> Any:
        decided = decide(requests)
        router.plan = replace(old, candidates=(), executor=None)
        return decided

    router._decide_in_tick._function = decide_then_swap
    assert (await router.route(ask())).text == "yes."
    router.plan = old


# Refusing


async def test_a_refusal_lists_every_candidates_reasons_and_is_recorded(scripted: Any) -> None:
    router = scripted.router(
        guards={"rules": [RULE], "access": {"tenants": {"acme": ["cheap"]}}},
    )
    with pytest.raises(Refused) as refused:
        await router.route(ask(tenant="acme", id="il-refused"))
    assert refused.value.decision_id == "il-refused"
    assert set(refused.value.reasons) == {"cheap", "good"}
    assert all(refused.value.reasons.values())
    assert "cheap may not see this" in str(refused.value)
    assert router.ledger.has("il-refused"), "recorded before the caller hears of it"
    (refusal,) = rows(router, "refusal")
    assert isinstance(refusal, Decision)
    assert refusal.chosen is None
    assert [row.grade for row in refusal.considered] == ["but for rules", "but for access"]
    assert not any(script.calls for script in router.plan.executor.providers.values())


async def test_fallback_never_crosses_a_guard(scripted: Any) -> None:
    router = scripted.router(guards={"rules": [RULE]})
    router.plan.executor.providers["far"].fails = Overloaded("full")
    with pytest.raises(Overloaded):
        await router.route(ask())
    assert not router.plan.executor.providers["near"].calls


# Degrading


class Unknowing(Wild):
    """NaN for those named, 0.5 for the others."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def predict(self, vectors: Array, candidates: Sequence[str], prior: Array) -> tuple[Array, Array]:
        row = [math.nan if name in self.names else 0.5 for name in candidates]
        return np.array([row] * len(vectors)), np.zeros((len(vectors), len(candidates)))


def policy_over(estimator: Any) -> Policy:
    return Policy(estimator, OBJECTIVES["weighted"](), EXPLORATIONS["greedy"]())


async def test_the_declared_order_decides_when_nothing_is_finite(scripted: Any) -> None:
    order = {"exploration": {"kind": "greedy"}, "default_order": ["good"]}
    router = scripted.router(policy=order)
    router.adopt(policy_over(Unknowing("cheap", "good")), "7-bad")
    (decision,) = router.decide([ask()])
    assert (decision.chosen, decision.degraded, decision.snapshot) == ("good", "default_order", "7-bad")
    assert decision.probability == 1.0
    (limited,) = router.decide([ask(limits=Limits(min_quality=0.1))])
    assert limited.chosen is None, "the order never overrides a limit"


async def test_who_has_no_finite_estimate_is_left_out_with_a_reason(scripted: Any) -> None:
    router = scripted.router()
    router.adopt(policy_over(Unknowing("good")), "8-half")
    (decision,) = router.decide([ask()])
    assert (decision.chosen, decision.degraded) == ("cheap", "")
    good = decision.row("good")
    assert good is not None
    assert [reason.code for reason in good.reasons] == ["not_finite"]


async def test_an_adopted_snapshot_serves_and_says_how_it_is_degraded(scripted: Any) -> None:
    router = scripted.router()
    router.adopt(policy_over(Unknowing()), "9-old", "last_good")
    answer = await router.route(ask())
    assert (answer.decision.snapshot, answer.decision.degraded) == ("9-old", "last_good")


# Feedback


async def test_feedback_is_durable_when_it_returns(scripted: Any, tmp_path: Path) -> None:
    router = scripted.router()
    answer = await router.route(ask())
    await router.feedback(score(answer.decision.id, 1.0))
    assert [row.decision for row in router.ledger.rows(kind="feedback")] == [answer.decision.id]


async def test_feedback_may_overtake_its_own_decision(scripted: Any) -> None:
    router = scripted.router()
    run = await router.start(ask())
    await router.feedback(score(run.decision.id, 0.0))
    assert [row.kind for row in router.ledger.rows()] == ["decision", "feedback"]
    await run.aclose()


async def test_feedback_on_an_unknown_decision_is_not_found(scripted: Any) -> None:
    router = scripted.router()
    with pytest.raises(NotFound, match="il-nobody"):
        await router.feedback(score("il-nobody", 1.0))
    assert rows(router) == []


@pytest.mark.parametrize("source", ["good", "far", "m2", "cheap"])
async def test_no_model_scores_itself(scripted: Any, source: str) -> None:
    router = scripted.router()
    answer = await router.route(ask())
    with pytest.raises(RequestError, match="may never score itself"):
        await router.feedback(score(answer.decision.id, 1.0, source))
    assert rows(router, "feedback") == []


async def test_nobody_speaks_with_the_routers_own_voice(scripted: Any) -> None:
    """Verdicts that come with an outcome are beyond doubt; a tenant's are not."""
    router = scripted.router()
    answer = await router.route(ask())
    with pytest.raises(RequestError, match="the router itself"):
        await router.feedback(score(answer.decision.id, 1.0, "outcome"))


@pytest.mark.parametrize("wrong", [-0.1, 1.5, math.nan, math.inf])
async def test_a_score_that_would_teach_nothing_is_refused(scripted: Any, wrong: float) -> None:
    router = scripted.router()
    answer = await router.route(ask())
    with pytest.raises(RequestError, match="outside 0 to 1"):
        await router.feedback(score(answer.decision.id, wrong))
    assert rows(router, "feedback") == []


async def test_the_whole_text_of_a_streamed_answer(scripted: Any) -> None:
    answer = await scripted.router().route(ask(stream=True))
    assert answer.text == "yes."
    assert isinstance(answer.outcome.ttft, float)


async def test_chunks_pass_through_unchanged(scripted: Any) -> None:
    run = await scripted.router().start(ask(stream=True))
    chunks: list[Chunk] = [chunk async for chunk in run]
    assert [chunk.raw for chunk in chunks] == [b"yes", b"."]
