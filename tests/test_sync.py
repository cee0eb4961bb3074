"""The blocking facade: from any number of threads, with or without an event loop around, closed once and for all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from interlock import sync
from interlock.errors import LedgerClosed, NotFound, Refused
from interlock.ledger import SqliteLedger
from interlock.types import Feedback, Message, Request

CONFIG = """
providers:
  far: {kind: openai, base_url: "http://127.0.0.1:9/v1"}
candidates:
  - {name: good, provider: far, model: m, price: {in: 1, out: 1}, quality: 0.9}
vector: [structure]
ledger: {path: "%s"}
learner: {interval_s: 0.02}
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "interlock.yaml"
    path.write_text(CONFIG % (tmp_path / "ledger.db"))
    return str(path)


@pytest.fixture
def router(config: str, script: Any) -> Iterator[sync.Router]:
    with sync.Router.from_config(config) as router:
        router.core.plan.executor.providers["far"] = script
        yield router


def feedback(decision: str) -> Feedback:
    return Feedback(decision=decision, at=1.7e9, score=1.0, source="person")


def test_ask_judge_and_look(router: sync.Router) -> None:
    answer = router.route("What is 2 + 2?")
    assert answer.text == "yes."
    router.feedback(feedback(answer.decision.id))
    first, second = router.decide(["one", Request(messages=(Message("user", "two"),), tenant="acme")])
    assert (first.chosen, second.tenant) == ("good", "acme")
    assert [row.kind for row in router.core.ledger.rows()] == ["decision", "outcome", "feedback"]


def test_errors_reach_the_caller(router: sync.Router) -> None:
    with pytest.raises(Refused):
        router.route(Request(messages=(Message("user", "hi"),), model="nobody"))
    with pytest.raises(NotFound):
        router.feedback(feedback("il-nobody"))


def test_many_threads(router: sync.Router) -> None:
    def work(i: int) -> str:
        answer = router.route(str(i))
        router.feedback(feedback(answer.decision.id))
        (decision,) = router.decide([str(i)])
        assert decision.chosen == "good"
        return answer.decision.id

    with ThreadPoolExecutor(8) as threads:
        ids = set(threads.map(work, range(64)))
    assert len(ids) == 64
    kinds = [row.kind for row in router.core.ledger.rows()]
    assert [kinds.count(kind) for kind in ("decision", "outcome", "feedback")] == [64, 64, 64]


async def test_inside_an_event_loop(config: str, script: Any) -> None:
    """As in a notebook: the caller's thread runs a loop already."""
    with sync.Router.from_config(config) as router:
        router.core.plan.executor.providers["far"] = script
        assert router.route("hi").text == "yes."


def test_closing_twice_from_many_threads(router: sync.Router, config: str) -> None:
    router.route("hi")
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: router.close(), range(4)))
    router.close()
    for call in (lambda: router.route("hi"), lambda: router.decide(["hi"]), lambda: router.feedback(feedback("il-1"))):
        with pytest.raises(LedgerClosed, match="closed"):
            call()
    with SqliteLedger(router.core.plan.settings.ledger.path) as ledger:
        assert [row.kind for row in ledger.rows()] == ["decision", "outcome"]
    assert "interlock-loop" not in {thread.name for thread in threading.enumerate()}


def test_closing_lets_calls_of_other_threads_finish(router: sync.Router, script: Any) -> None:
    script.gate = asyncio.Event()
    with ThreadPoolExecutor(2) as threads:
        answer = threads.submit(router.route, "hi")
        while not script.calls:
            threading.Event().wait(0.005)
        closing = threads.submit(router.close)
        while not router._closed:
            threading.Event().wait(0.005)
        assert not closing.done()
        router._loop.call_soon_threadsafe(script.gate.set)
        assert answer.result(60).text == "yes."
        closing.result(60)


def test_a_caller_who_is_interrupted_leaves_nothing_behind(
    router: sync.Router, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.gate = asyncio.Event()

    def interrupted(future: Any, timeout: float | None = None) -> Any:
        while not script.calls:
            threading.Event().wait(0.005)
        raise KeyboardInterrupt

    monkeypatch.setattr("concurrent.futures.Future.result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        router.route("hi")
    monkeypatch.undo()
    router.decide(["hi"])  # the loop has seen the cancellation by now
    router.core.ledger.flush().wait(30)
    (outcome,) = router.core.ledger.rows(kind="outcome")
    assert outcome.record.error == "cancelled"


def test_a_closing_that_fails_says_so_and_ends_the_thread(config: str, script: Any) -> None:
    router = sync.Router.from_config(config)

    async def stuck() -> None:
        raise OSError("stuck")

    script.aclose = stuck
    router.core.plan.executor.providers["far"] = script
    with pytest.raises(OSError, match="stuck"):
        router.close()
    router.close()
    assert not router._thread.is_alive()
