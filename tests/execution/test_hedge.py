"""A second request beside a slow one: who answers, what is cancelled, what it costs. Real time, a few milliseconds."""

import asyncio
import math
from dataclasses import dataclass, field

import pytest

from interlock.errors import Overloaded, ProviderError, Rejected
from interlock.execution import Executor, Fallback, RetryBudget, Single
from interlock.guards import Board
from interlock.types import Candidate, Chunk, Considered, Decision, Profile, Reason, Request, Usage

SOON, LATE, NEVER = 0.0, 0.1, 30.0
HEDGED = Fallback(hedge_after=0.02, max_attempts=9, backoff=0.0)


@dataclass
class Race:
    """One provider; `runners` says how long each candidate takes and how it ends."""

    runners: dict[str, tuple[float, ProviderError | None]]
    calls: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    outcomes: list = field(default_factory=list)

    async def send(self, call):
        name = call.candidate.name
        self.calls.append(name)
        seconds, error = self.runners[name]
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        if error is not None:
            raise error
        if call.stream:
            yield Chunk(raw=name.encode(), text=name)
        yield Chunk(raw=name.encode(), text=name, usage=Usage(1_000_000, 0), finish="stop")

    def start(self, *, forbidden=(), stream=False, fallback=HEDGED, budget=None):
        pool = [
            Candidate(
                name=name, provider="p", model=name, quota_domain=name, profile=Profile(price_in=1.0, price_out=1.0)
            )
            for name in self.runners
        ]
        board = Board()
        board.register(self.runners)
        considered = tuple(
            Considered(name, (Reason("g", "no", "no"),) if name in forbidden else (), *[math.nan] * 5, -i, 0.5)
            for i, name in enumerate(self.runners)
        )
        decision = Decision(
            id="d1", at=0.0, tenant="", session="", model="auto", considered=considered,
            chosen=next(iter(self.runners)), policy="p", snapshot="s", config="c", seed=0,
        )  # fmt: skip
        executor = Executor({"p": self}, pool, Single(), board, fallback, budget)
        return executor.start(Request(stream=stream), decision, self.outcomes.append)

    @property
    def story(self):
        return [(step.candidate, step.why, step.error) for step in self.outcomes[-1].steps]


async def text_of(run):
    return "".join([chunk.text async for chunk in run])


@pytest.mark.parametrize("stream", [False, True])
async def test_the_one_who_is_first_answers_and_the_other_is_cancelled(stream):
    race = Race({"a": (NEVER, None), "b": (SOON, None)})
    run = race.start(stream=stream)
    assert set(await text_of(run)) == {"b"}
    assert race.cancelled == ["a"]
    assert race.story == [("a", "chosen", "cancelled"), ("b", "hedge", "")]
    assert run.candidate.name == run.outcome.candidate == "b"
    assert run.outcome.cost == 1.0


async def test_nobody_else_is_asked_while_the_first_is_quick():
    race = Race({"a": (SOON, None), "b": (SOON, None)})
    assert await text_of(race.start()) == "a"
    assert race.calls == ["a"]


async def test_the_first_may_still_win():
    race = Race({"a": (LATE, None), "b": (NEVER, None)})
    assert await text_of(race.start()) == "a"
    assert race.cancelled == ["b"]


async def test_both_costs_count_when_both_answer():
    race = Race({"a": (0.05, None), "b": (0.05 - 0.02, None)})
    run = race.start()
    await text_of(run)
    answered = [step for step in run.outcome.steps if not step.error]
    assert run.outcome.cost == sum(step.cost for step in answered) >= 1.0


async def test_a_forbidden_candidate_is_never_asked():
    race = Race({"a": (LATE, None), "b": (SOON, None), "c": (SOON, None)})
    assert await text_of(race.start(forbidden=["b"])) == "c"
    assert "b" not in race.calls


async def test_a_failed_hedge_leaves_the_first_running():
    race = Race({"a": (LATE, None), "b": (SOON, Overloaded("x"))})
    assert await text_of(race.start()) == "a"


async def test_when_both_fail_the_third_answers_and_nobody_is_asked_twice():
    race = Race({"a": (LATE, Overloaded("x")), "b": (SOON, Overloaded("y")), "c": (SOON, None)})
    assert await text_of(race.start()) == "c"
    assert race.calls == ["a", "b", "c"]


async def test_an_error_that_is_the_callers_ends_the_race():
    race = Race({"a": (LATE, Rejected("x")), "b": (SOON, Overloaded("y")), "c": (SOON, None)})
    with pytest.raises(Rejected):
        await text_of(race.start())
    assert race.calls == ["a", "b"]


async def test_an_early_failure_falls_back_as_ever():
    race = Race({"a": (SOON, Overloaded("x")), "b": (SOON, None)})
    assert await text_of(race.start()) == "b"
    assert race.story == [("a", "chosen", "provider_overloaded"), ("b", "fallback", "")]


async def test_hedges_are_drawn_from_the_retry_budget():
    race = Race({"a": (LATE, None), "b": (SOON, None)})
    assert await text_of(race.start(budget=RetryBudget(share=0.0, floor=0.0))) == "a"
    assert race.calls == ["a"]
    assert ("b", "hedge", "retry_budget") in race.story


async def test_a_caller_who_leaves_ends_both():
    race = Race({"a": (NEVER, None), "b": (NEVER, None)})
    task = asyncio.create_task(text_of(race.start()))
    while len(race.calls) < 2:
        await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert sorted(race.cancelled) == ["a", "b"]
    assert race.outcomes[0].error == "cancelled"
    assert asyncio.all_tasks() == {asyncio.current_task()}
