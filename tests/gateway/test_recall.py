"""Answers from the cache, over real sockets: who gets one, what it looks like, and what the ledger says of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from interlock.caching import Cache
from interlock.execution import Recall
from interlock.guards import Access
from interlock.types import Decision, Outcome

from .conftest import Running, Script, Start, keys


def remembering(gateway: Running, semantic: bool = False) -> Running:
    cache = Cache(similarity=0.8 if semantic else 2.0)
    gateway.router.plan.executor.recall = Recall(cache, semantic)
    return gateway


def said(response: httpx.Response) -> str:
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert events.pop() == "[DONE]"
    deltas = [choice["delta"] for event in events for choice in json.loads(event)["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


async def test_without_a_cache_nothing_is_said_of_one(start: Start) -> None:
    async with start() as gateway:
        await gateway.chat()
        assert "x-interlock-cache" not in (await gateway.chat()).headers
        assert len(gateway.script.calls) == 2


async def test_the_same_request_gets_the_same_bytes_for_nothing(start: Start) -> None:
    async with start() as gateway:
        remembering(gateway)
        first, second = await gateway.chat(), await gateway.chat()
        assert [r.headers["x-interlock-cache"] for r in (first, second)] == ["miss", "hit"]
        assert first.content == second.content
        assert first.headers["x-interlock-id"] != second.headers["x-interlock-id"]
        assert second.headers["x-interlock-model"] == "tiny"
        assert float(second.headers["x-interlock-cost"]) == 0
        assert len(gateway.script.calls) == 1
        outcome = await gateway.outcome(second.headers["x-interlock-id"])
        (step,) = outcome.steps
        assert (step.candidate, step.why, step.similarity, step.cost) == ("tiny", "cache", 1.0, 0)
        assert (outcome.candidate, outcome.cost, outcome.usage.output, outcome.cached) == ("tiny", 0, 0, True)
        assert 'interlock_cache_hits_total{candidate="tiny"} 1.0' in gateway.service.metrics.text().decode()


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("then", [False, True])
async def test_whole_and_streamed_requests_share_answers(start: Start, first: bool, then: bool) -> None:
    async with start(Script(words=["hello"])) as gateway:
        remembering(gateway)
        await gateway.chat(stream=first)
        got = await gateway.chat(stream=then, stream_options={"include_usage": True})
        assert got.headers["x-interlock-cache"] == "hit"
        text = said(got) if then else got.json()["choices"][0]["message"]["content"]
        assert text == "hello"
        if then:
            assert json.loads(got.text.split("\n\n")[2].removeprefix("data: "))["usage"]["total_tokens"] == 5


@pytest.mark.parametrize(
    ("control", "hit", "kept"), [("no-cache", False, True), ("no-store", False, False), ("max-age=0", True, True)]
)
async def test_a_caller_may_opt_out(start: Start, control: str, hit: bool, kept: bool) -> None:
    async with start() as gateway:
        remembering(gateway)
        await gateway.chat("known")
        again = await gateway.chat("known", headers={"cache-control": control})
        assert again.headers["x-interlock-cache"] == ("hit" if hit else "miss")
        await gateway.chat("new", headers={"cache-control": control})
        assert ((await gateway.chat("new")).headers["x-interlock-cache"] == "hit") is kept


@pytest.mark.parametrize("changed", [{"temperature": 0.5}, {"model": "large"}, {"vendor": 1}, {"max_tokens": 5}])
async def test_whatever_changes_the_answer_is_another_request(start: Start, changed: dict[str, Any]) -> None:
    async with start() as gateway:
        remembering(gateway)
        await gateway.chat()
        assert (await gateway.chat(**changed)).headers["x-interlock-cache"] == "miss"


async def test_tenants_share_nothing(start: Start) -> None:
    two = keys(("sk-a", "a", "viewer"), ("sk-b", "b", "viewer"))
    async with start(keys=two) as gateway:
        remembering(gateway, semantic=True)
        for _ in range(2):
            for secret in ("sk-a", "sk-b"):
                last = await gateway.chat(headers={"authorization": f"Bearer {secret}"})
        assert last.headers["x-interlock-cache"] == "hit"
        assert len(gateway.script.calls) == 2


async def test_a_candidate_that_guards_forbid_by_now_gives_no_answer(start: Start) -> None:
    async with start() as gateway:
        remembering(gateway)
        await gateway.chat()
        gateway.router.plan.guards.guards += (Access(default=("large",)),)
        again = await gateway.chat()
        assert (again.headers["x-interlock-cache"], again.headers["x-interlock-model"]) == ("miss", "large")
        assert (await gateway.chat("forbidden")).status_code == 422


async def test_other_words_for_the_same_question_hit_and_another_number_does_not(start: Start) -> None:
    async with start() as gateway:
        remembering(gateway, semantic=True)
        await gateway.chat("What is the capital of France?")
        again = await gateway.chat("what's the capital of France, please?")
        assert again.headers["x-interlock-cache"] == "hit"
        (step,) = (await gateway.outcome(again.headers["x-interlock-id"])).steps
        assert step.similarity is not None
        assert 0.8 <= step.similarity < 1
        await gateway.chat("What is 12 times 7?")
        assert (await gateway.chat("What is 12 times 8?")).headers["x-interlock-cache"] == "miss"
        assert (await gateway.chat("What is not the capital of France?")).headers["x-interlock-cache"] == "miss"


async def test_every_request_is_a_decision_and_an_outcome_and_teaches_nothing_of_cost(start: Start) -> None:
    async with start() as gateway:
        remembering(gateway)
        await asyncio.gather(*(gateway.chat(stream=bool(i % 2)) for i in range(20)))
        await gateway.router.ledger.flush()
        records = [row.record for row in gateway.router.ledger.rows()]
        assert sum(isinstance(record, Decision) for record in records) == 20
        outcomes = [record for record in records if isinstance(record, Outcome)]
        assert len(outcomes) == 20
        assert sum(outcome.cached for outcome in outcomes) + len(gateway.script.calls) == 20
        history = await gateway.service.look(lambda history: history.decisions())
        assert sum(past.served is not None for past in history) == len(gateway.script.calls)


async def test_every_dialect_hits_in_its_own_form(start: Start) -> None:
    async with start() as gateway:
        remembering(gateway)
        for path, body in (
            ("/v1/messages", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}),
            ("/v1/responses", {"input": "hi"}),
            ("/v1/completions", {"prompt": "hi"}),
        ):
            for stream in (False, False, True):
                got = await gateway.client.post(path, json={**body, "stream": stream})
                assert "hello world" in got.text.replace("\\n", "")
            assert got.headers["x-interlock-cache"] == "hit", path
        assert len(gateway.script.calls) == 3
