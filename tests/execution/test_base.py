import asyncio
import gc
import math
import threading

import pytest

from interlock.errors import ConfigError, Garbled, Overloaded, TimedOut
from interlock.execution import Executor, Single
from interlock.types import Candidate, Chunk, Usage


async def drain(run):
    return [chunk async for chunk in run]


async def test_a_success_is_one_outcome(world, answer):
    w = world(a=[answer(["hello"], usage=Usage(1000, 500, 200, 100), seconds=2.0, energy=3.0)])
    run = w.start()
    assert not run.ended
    with pytest.raises(RuntimeError, match="has not ended"):
        _ = run.outcome
    chunks = await drain(run)
    assert [chunk.raw for chunk in chunks] == [b"hello"]
    [outcome] = w.outcomes
    assert outcome is run.outcome
    assert run.ended
    assert (outcome.decision, outcome.candidate, outcome.error, outcome.finish) == ("d1", "a", "", "stop")
    assert outcome.usage == Usage(1000, 500, 200, 100)
    assert outcome.cost == pytest.approx(1500 / 1e6)
    assert (outcome.latency, outcome.ttft, outcome.energy, outcome.quality) == (2.0, None, 3.0, None)
    assert w.ends == [("a", None, None)]
    await run.aclose()
    assert len(w.outcomes) == 1


async def test_time_to_first_token_is_that_of_the_first_chunk_of_a_stream(world, answer):
    w = world(a=[answer(["x", "y"], seconds=1.5)])
    await drain(w.start(stream=True))
    assert w.outcomes[0].ttft == 1.5


async def test_an_unknown_price_makes_the_cost_nan(world, answer):
    w = world(a=[answer()])
    await drain(w.start(price=None))
    assert math.isnan(w.outcomes[0].cost)
    assert math.isnan(w.outcomes[0].steps[0].cost)


async def test_tokens_nobody_counted_make_the_cost_nan_unless_it_is_free(world, answer):
    w = world(a=[answer(usage=None)])
    await drain(w.start())
    assert math.isnan(w.outcomes[0].cost)
    w = world(a=[answer(usage=None)])
    await drain(w.start(price=0.0))
    assert w.outcomes[0].cost == 0.0


async def test_closing_in_the_middle_closes_the_provider_and_is_cancelled(world, answer):
    w = world(a=[answer(["one", "two", "three"])])
    run = w.start(stream=True)
    await anext(run)
    assert w.closed == []
    await run.aclose()
    assert w.closed == ["a"]
    [outcome] = w.outcomes
    assert (outcome.error, outcome.candidate) == ("cancelled", "a")
    assert outcome.steps[0].error == "cancelled"
    assert w.ends == [("a", "cancelled", None)]
    assert w.begun == []
    await run.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(run)
    assert len(w.outcomes) == 1


async def test_closing_before_the_first_chunk_calls_nobody(world, answer):
    w = world(a=[answer()])
    run = w.start()
    await run.aclose()
    assert (w.calls, w.outcomes[0].error, w.outcomes[0].steps) == ([], "cancelled", ())


@pytest.mark.parametrize("stream", [False, True])
async def test_closing_after_the_whole_answer_is_no_cancellation(world, answer, stream):
    w = world(a=[answer(["all"])])
    run = w.start(stream=stream)
    await anext(run)
    await run.aclose()
    assert (w.outcomes[0].error, w.ends) == ("", [("a", None, None)])


class Endless:
    """A provider that never answers, and notices when it is given up."""

    def __init__(self):
        self.begun, self.given_up = asyncio.Event(), asyncio.Event()

    async def send(self, call):
        try:
            self.begun.set()
            if call.stream:
                yield Chunk(raw=b"first", text="first")
            await asyncio.Event().wait()
        finally:
            self.given_up.set()


@pytest.mark.parametrize("stream", [False, True])
async def test_cancelling_the_task_ends_the_call(world, answer, stream):
    w = world(a=[answer()])
    endless = w.send = Endless()
    w.send = endless.send
    task = asyncio.create_task(drain(w.start(stream=stream)))
    await endless.begun.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert endless.given_up.is_set()
    [outcome] = w.outcomes
    assert outcome.error == "cancelled"
    assert w.begun == []


@pytest.mark.parametrize("stream", [False, True])
async def test_a_provider_that_ignores_the_deadline_is_cut_off(world, answer, stream):
    w = world(a=[answer()])
    endless = Endless()
    w.send = endless.send
    with pytest.raises(TimedOut, match="a: the deadline passed"):
        await drain(w.start(stream=stream, deadline=0.01))
    assert endless.given_up.is_set()
    assert w.outcomes[0].error == "provider_timeout"


async def test_a_slow_reader_is_told_of_the_deadline_and_not_interrupted(world, answer):
    w = world(a=[answer(["one", "two"])])
    run = w.start(stream=True, deadline=0.01)
    await anext(run)
    await asyncio.sleep(0.03)
    with pytest.raises(TimedOut, match="a: the deadline passed"):
        await anext(run)
    assert w.closed == ["a"]


async def test_a_provider_that_says_nothing_is_garbled(world, answer):
    w = world(a=[answer([])], b=[answer(["b"])])
    assert [chunk.text for chunk in await drain(w.start(stream=True))] == ["b"]
    assert w.outcomes[0].steps[0].error == Garbled.code


async def test_a_provider_may_fail_before_it_makes_a_generator(world, answer):
    w = world(a=[answer()], b=[answer()])

    def send(call):
        raise Overloaded("at once")

    w.send = send
    with pytest.raises(Overloaded):
        await drain(w.start())
    assert [end[1] for end in w.ends] == ["provider_overloaded"] * 2


async def test_an_outcome_callback_that_fails_is_heard_once(world, answer):
    w = world(a=[answer()])
    run = w.start()
    told = []

    def fail(outcome):
        told.append(outcome)
        raise RuntimeError("the ledger is closed")

    run._on_done = fail
    with pytest.raises(RuntimeError, match="ledger"):
        await drain(run)
    await run.aclose()
    assert len(told) == 1


async def test_a_refusal_cannot_be_carried_out(world, answer):
    w = world(a=[answer()])
    with pytest.raises(ValueError, match="refusal"):
        w.start(forbidden=["a"])


async def test_the_chosen_candidate_is_first_whatever_its_utility(world, answer):
    w = world(a=[answer()], b=[answer(error=Overloaded("x"))], c=[answer()])
    await drain(w.start(chosen="b", rows={"a": {"utility": math.nan}}))
    assert w.calls == ["b", "c"]


def test_a_candidate_needs_its_provider(world, answer):
    with pytest.raises(ConfigError, match="did you mean 'local'"):
        Executor({"local": object()}, [Candidate(name="x", provider="locl", model="x")], Single(), world())


async def test_candidates_of_unknown_utility_follow_the_declared_order(world, answer):
    """As all do after the default order has chosen; what is known of one still comes first."""
    down = [answer(error=Overloaded("x"))]
    unknown = {"utility": math.nan}
    w = world(a=down, b=down, c=down, d=[answer()])
    rows = dict.fromkeys("abcd", unknown)
    await drain(w.start(chosen="c", rows=rows, default_order=["c", "b", "a"]))
    assert w.calls == ["c", "b", "a", "d"]
    w = world(a=down, b=down, c=down, d=[answer()])
    await drain(w.start(chosen="c", rows=rows | {"a": {"utility": 0.1}}, forbidden=["b"], default_order=["d", "b"]))
    assert w.calls == ["c", "a", "d"]


async def settled(w):
    async with asyncio.timeout(10):
        while not w.outcomes:
            await asyncio.sleep(0.001)
    return w.outcomes


async def test_a_run_forgotten_half_way_is_closed_by_its_loop(world, answer):
    w = world(a=[answer(["one", "two"])])
    runs = [w.start(stream=True)]
    await anext(runs[0])
    with pytest.warns(ResourceWarning, match="d1"):
        runs.clear()
    gc.collect()
    [outcome] = await settled(w)
    assert (outcome.error, [step.error for step in outcome.steps]) == ("cancelled", ["cancelled"])
    assert w.closed == ["a"]


async def test_a_run_collected_in_another_thread_tells_nobody_there(world, answer):
    w, told = world(a=[answer(["one", "two"])]), []
    runs = [w.start(stream=True, on_done=lambda _: told.append(threading.get_ident()))]
    await anext(runs[0])

    def collect():
        with pytest.warns(ResourceWarning, match="d1"):
            runs.clear()
        gc.collect()

    await asyncio.to_thread(collect)
    await settled(w)
    assert told == [threading.get_ident()]


def test_a_run_forgotten_after_its_loop_only_warns(world, answer):
    w, runs = world(a=[answer(["one", "two"])]), []

    async def begin():
        runs.append(w.start(stream=True))

    asyncio.run(begin())
    with pytest.warns(ResourceWarning, match="d1"):
        runs.clear()
    gc.collect()
    assert w.outcomes == []
