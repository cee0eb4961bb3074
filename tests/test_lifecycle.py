"""A running router takes another configuration, or none, and ends; nothing under way or learnt is lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from interlock import assembly, lifecycle
from interlock.errors import ConfigError, LedgerClosed, LedgerError, WeightsError
from interlock.ledger import SqliteLedger
from interlock.router import Router
from interlock.types import Feedback, Message, Request

LEARNING = {"enabled": True, "interval_s": 0.02}
FAR = {"kind": "openai", "base_url": "http://127.0.0.1:9/v1"}
OTHER = {"kind": "openai", "base_url": "http://127.0.0.1:9/v2"}
CHEAPEST = {"exploration": {"kind": "greedy"}, "objective": {"kind": "weighted", "quality": 0.0, "cost": 1000.0}}


def ask(text: str = "What is 2 + 2?", **fields: Any) -> Request:
    return Request(messages=(Message("user", text),), **fields)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


async def taught(router: Router, *scores: float) -> None:
    """Answers with feedback, until a snapshot that has learnt them serves."""
    for score in scores:
        answer = await router.route(ask())
        await router.feedback(Feedback(decision=answer.decision.id, at=1.7e9, score=score, source="person"))
    await until(lambda: router.served.snapshot.split("-")[0] == str(router.ledger.seq))


@pytest.fixture
def learners() -> Callable[[], int]:
    """How many learners run that did not before the test."""
    before = set(threading.enumerate())
    return lambda: sum(thread.name == "interlock-learner" for thread in set(threading.enumerate()) - before)


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "LOOK_EVERY", 0.01)


async def test_a_reload_serves_from_the_next_decision_on(scripted: Any) -> None:
    router = scripted.router()
    assert router.decide([ask()])[0].chosen == "good"
    settings = scripted.settings(policy=CHEAPEST)
    await router.reload(settings)
    (decision,) = router.decide([ask()])
    assert (decision.chosen, decision.config) == ("cheap", settings.hash)


async def test_a_provider_whose_settings_stay_runs_on_and_breakers_keep_their_state(scripted: Any) -> None:
    router = scripted.router()
    before = dict(router.plan.executor.providers)
    circuit = router.plan.board.circuits["good"]
    await router.reload(scripted.settings(providers={"near": OTHER, "far": FAR}))
    after = router.plan.executor.providers
    assert after["far"] is before["far"]
    assert after["near"] is not before["near"]
    assert router.plan.board.circuits["good"] is circuit
    await until(lambda: before["near"].closed == 1)
    assert before["far"].closed == 0
    assert (await router.route(ask())).text == "yes."


async def test_a_run_under_way_ends_on_the_old_plan_before_its_provider_is_closed(scripted: Any) -> None:
    router = scripted.router()
    script = router.plan.executor.providers["far"]
    script.gate = asyncio.Event()
    answer = asyncio.create_task(router.route(ask()))
    await until(lambda: bool(script.calls))
    await router.reload(scripted.settings(providers={"near": FAR, "far": OTHER}))
    await router.reload(scripted.settings(providers={"near": OTHER, "far": OTHER}))  # the chain waits for both
    await asyncio.sleep(0.1)
    assert script.closed == 0
    script.gate.set()
    assert (await answer).text == "yes."
    await until(lambda: script.closed == 1)


async def test_closing_closes_what_a_reload_has_dropped(scripted: Any) -> None:
    router = scripted.router()
    dropped, kept = (router.plan.executor.providers[name] for name in ("near", "far"))
    run = await router.start(ask())  # never ends: the dropped provider waits for it
    await router.reload(scripted.settings(providers={"near": OTHER, "far": FAR}))
    await router.close()
    assert (dropped.closed, kept.closed) == (1, 1)
    await router.close()
    assert dropped.closed == 1
    with pytest.raises(LedgerClosed):
        await run.aclose()


@pytest.mark.parametrize("learning", [False, True])
async def test_a_configuration_that_cannot_be_built_changes_nothing(
    scripted: Any, monkeypatch: pytest.MonkeyPatch, learning: bool
) -> None:
    router = scripted.router(learner=LEARNING if learning else {"enabled": False})
    if learning:
        await taught(router, 1.0)
    plan, served, learner = router.plan, router.served, router.learner

    def damaged(*_: Any) -> None:
        raise WeightsError("the weight file is damaged")

    monkeypatch.setattr(assembly, "provider_of", damaged)
    with pytest.raises(WeightsError):
        await router.reload(scripted.settings(providers={"near": OTHER, "far": FAR}))
    assert (router.plan, router.served, router.learner) == (plan, served, learner)
    if learning:
        await taught(router, 0.0)


async def test_when_the_new_learner_cannot_start_the_old_configuration_learns_on(
    scripted: Any, learners: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    router = scripted.router(learner=LEARNING)
    await taught(router, 1.0)
    plan, config = router.plan, router.plan.config
    start, made = lifecycle.start_learner, []

    def failing_once(*arguments: Any) -> Any:
        made.append(arguments)
        if len(made) == 1:
            raise LedgerError("the file is locked")
        return start(*arguments)

    monkeypatch.setattr(lifecycle, "start_learner", failing_once)
    with pytest.raises(LedgerError, match="locked"):
        await router.reload(scripted.settings(learner=LEARNING, policy=CHEAPEST))
    assert router.plan is plan
    assert router.decide([ask()])[0].config == config
    await taught(router, 0.0, 1.0)
    assert learners() == 1


async def test_another_ledger_needs_a_restart(scripted: Any) -> None:
    """Else an operator who switches the storing of prompts off would believe it to be off."""
    router = scripted.router()
    path = router.plan.settings.ledger.path
    with pytest.raises(ConfigError, match="restart") as wrong:
        await router.reload(scripted.settings(ledger={"path": path, "payload": True}))
    assert wrong.value.path == "ledger"


async def test_another_objective_keeps_what_was_learnt(scripted: Any, learners: Callable[[], int]) -> None:
    router = scripted.router(learner=LEARNING)
    await taught(router, *[0.0] * 12)
    before, learner = router.served, router.learner
    expected = router.decide([ask()])[0].row("good")
    weights = {"exploration": {"kind": "greedy"}, "objective": {"kind": "weighted", "quality": 2.0}}
    await router.reload(scripted.settings(learner=LEARNING, policy=weights))
    assert router.served.snapshot == before.snapshot
    assert router.served.policy.state() == before.policy.state()
    found = router.decide([ask()])[0].row("good")
    assert expected is not None
    assert found is not None
    assert found.quality == expected.quality < 0.9, "it has learnt that the better one is not"
    assert router.learner is not learner
    await taught(router, 1.0)
    assert learners() == 1


async def test_another_candidate_does_not_make_the_router_forget(scripted: Any) -> None:
    """A state is of the candidates that occur in the rows: the snapshot stays, and nothing is folded again."""
    router = scripted.router(learner=LEARNING | {"interval_s": 3600.0})
    router.learner.step()
    for _ in range(12):
        answer = await router.route(ask())
        await router.feedback(Feedback(decision=answer.decision.id, at=1.7e9, score=0.0, source="person"))
    await asyncio.to_thread(router.learner.step)
    before, working = router.served.policy.state(), router.learner.status().working
    pool = [{"name": name, "provider": "far", "model": name, "quality": 0.9} for name in ("good", "third")]
    await router.reload(scripted.settings(learner=LEARNING | {"interval_s": 3600.0}, candidates=pool))
    known = router.decide([ask()])[0].row("good")
    assert known is not None
    assert known.quality < 0.5
    assert router.served.policy.state() == before
    assert router.learner.status().working == router.served.snapshot == working
    assert router.learner.status().lag == 0


async def test_another_estimator_learns_from_the_ledger_anew(scripted: Any) -> None:
    router = scripted.router(learner=LEARNING)
    await taught(router, *[0.0] * 6)
    constant = {"exploration": {"kind": "greedy"}, "estimator": {"kind": "constant"}}
    await router.reload(scripted.settings(learner=LEARNING, policy=constant))
    await until(lambda: router.learner is not None and router.learner.status().seq == router.ledger.seq)
    assert router.decide([ask()])[0].policy.startswith("constant+")
    assert router.learner is not None
    assert router.learner.status().learnt > 0


async def test_learning_can_be_switched_off_and_on(scripted: Any, learners: Callable[[], int]) -> None:
    router = scripted.router(learner=LEARNING)
    await router.reload(scripted.settings())
    assert router.learner is None
    assert learners() == 0
    await router.reload(scripted.settings(learner=LEARNING))
    await taught(router, 1.0)


async def test_requests_and_reloads_at_once(scripted: Any, learners: Callable[[], int]) -> None:
    """Estimates of one layout never meet a policy of another, and no request is lost."""
    router = scripted.router(learner=LEARNING)
    script = router.plan.executor.providers["far"]
    layouts = [["structure"], ["tokens", "structure"]]
    reloading = True

    async def keep_asking() -> int:
        answered = 0
        while reloading:
            answer = await router.route(ask())
            assert answer.decision.chosen == "good"
            answered += 1
        return answered

    askers = [asyncio.create_task(keep_asking()) for _ in range(4)]
    for turn in range(6):
        await router.reload(scripted.settings(vector=layouts[(turn + 1) % 2], learner=LEARNING))
    reloading = False
    assert all(await asyncio.gather(*askers))
    assert router.plan.executor.providers["far"] is script
    assert learners() == 1


async def test_a_cancelled_reload_still_ends_and_closing_waits_for_it(
    scripted: Any, learners: Callable[[], int]
) -> None:
    router = scripted.router(learner=LEARNING)
    settings = scripted.settings(learner=LEARNING, policy=CHEAPEST)
    reloading = asyncio.create_task(router.reload(settings))
    while not router.changing.locked():
        await asyncio.sleep(0)
    reloading.cancel()
    await asyncio.gather(reloading, router.close(), return_exceptions=True)
    assert reloading.cancelled()
    assert router.plan.config == settings.hash
    assert learners() == 0


async def test_closing_twice_and_at_once(scripted: Any) -> None:
    router = scripted.router(learner=LEARNING)
    await router.route(ask())
    await asyncio.gather(router.close(), router.close())
    await router.close()
    with pytest.raises(LedgerClosed):
        await router.route(ask())
    with SqliteLedger(router.plan.settings.ledger.path) as again:
        assert [row.kind for row in again.rows()] == ["decision", "outcome"]


async def test_the_ledger_is_closed_even_if_a_provider_cannot_be(scripted: Any) -> None:
    router = scripted.router()

    async def stuck() -> None:
        raise OSError("stuck")

    router.plan.executor.providers["far"].aclose = stuck
    with pytest.raises(OSError, match="stuck"):
        await router.close()
    with SqliteLedger(router.plan.settings.ledger.path):
        pass
    del router.plan.executor.providers["far"].aclose


async def test_a_router_that_cannot_be_finished_lets_the_ledger_go(
    scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise LedgerError("the snapshots cannot be read")

    monkeypatch.setattr(assembly, "start_learner", broken)
    with pytest.raises(LedgerError, match="snapshots"):
        assembly.from_settings(scripted.settings(), Router)
    with SqliteLedger(scripted.settings().ledger.path):
        pass
