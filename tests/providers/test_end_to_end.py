"""Whole runs over real sockets: an executor, HTTP providers and servers that misbehave."""

import asyncio
import json
import math

import pytest

from interlock.errors import Garbled, ProviderError
from interlock.execution import Executor, Fallback, Single
from interlock.providers import OpenAI
from interlock.providers.fault import Fault, Faulty, seeded
from interlock.types import Candidate, Considered, Decision, Limits, Message, Profile, Request


class Breakerless:
    def begin(self, candidate):
        return True

    def end(self, candidate, error, seconds, retry_after=None):
        pass


def piece(text, finish=None):
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


async def good(peer):
    while True:
        await peer.receive()
        await peer.begin_stream()
        await peer.piece(piece("fine"))
        await peer.piece(piece("", "stop"))
        await peer.piece(b'data: {"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":1}}\n\n')
        await peer.piece(b"data: [DONE]\n\n")
        await peer.end_stream()


async def resetting(peer):
    await peer.receive()
    peer.reset()


async def half(peer):
    await peer.receive()
    await peer.begin_stream()
    await peer.piece(piece("half"))
    await asyncio.sleep(0.01)
    peer.reset()


async def silent(peer):
    await peer.receive()
    await peer.gone()


async def refusing(peer):
    await peer.receive()
    await peer.answer(b"{}", "429 Too Many Requests", "retry-after: 60\r\n")


def executor_of(**providers):
    profile = Profile(price_in=1.0, price_out=1.0)
    candidates = [Candidate(name=name, provider=name, model=name, profile=profile) for name in providers]
    return Executor(providers, candidates, Single(), Breakerless(), Fallback(backoff=0.0))


def start(executor, deadline=None):
    unknown = (math.nan,) * 5
    rows = tuple(Considered(name, (), *unknown, -i, 0.5) for i, name in enumerate(executor.candidates))
    decision = Decision(id="d", at=0, tenant="", session="", model="auto", considered=rows, chosen=rows[0].candidate,
                        policy="", snapshot="", config="", seed=0)  # fmt: skip
    request = Request(messages=(Message("user", "hi"),), stream=True, limits=Limits(deadline=deadline))
    return executor.start(request, decision)


async def test_from_reset_to_rate_limit_to_an_answer(serve):
    servers = [await serve(play) for play in (resetting, refusing, good)]
    executor = executor_of(**{name: OpenAI(server.url) for name, server in zip("abc", servers, strict=True)})
    run = start(executor)
    assert "".join([chunk.text async for chunk in run]) == "fine"
    assert [(step.candidate, step.why, step.error) for step in run.outcome.steps] == [
        ("a", "chosen", "provider_unreachable"),
        ("a", "retry", "provider_unreachable"),
        ("b", "fallback", "provider_rate_limited"),
        ("c", "fallback", ""),
    ]
    assert run.outcome.cost == pytest.approx(3 / 1e6)


async def test_what_was_forwarded_is_not_replaced(serve):
    broken, fine = await serve(half), await serve(good)
    run = start(executor_of(a=OpenAI(broken.url), b=OpenAI(fine.url)))
    with pytest.raises(Garbled):
        [chunk async for chunk in run]
    assert fine.connections == 0
    assert math.isnan(run.outcome.cost)


async def test_the_deadline_hangs_up_on_a_silent_provider(serve):
    server = await serve(silent)
    run = start(executor_of(a=OpenAI(server.url)), deadline=0.05)
    with pytest.raises(Exception, match="deadline"):
        [chunk async for chunk in run]
    assert run.outcome.error == "provider_timeout"
    for _ in range(200):
        if server.gone:
            break
        await asyncio.sleep(0.01)
    assert server.gone


async def test_a_client_who_leaves_hangs_up_on_the_provider(serve):
    async def endless(peer):
        await peer.receive()
        await peer.begin_stream()
        while True:
            await peer.piece(piece("more"))
            await asyncio.sleep(0.001)

    server = await serve(endless)
    run = start(executor_of(a=OpenAI(server.url)))
    await anext(run)
    await run.aclose()
    assert run.outcome.error == "cancelled"
    for _ in range(200):
        if server.gone:
            break
        await asyncio.sleep(0.01)
    assert server.gone


async def test_a_storm_of_faults_loses_no_run(serve):
    server = await serve(good)
    rates = {
        Fault("reset"): 0.2,
        Fault("reset", after=1): 0.1,
        Fault("rate_limit", 30.0): 0.1,
        Fault("server_error"): 0.1,
        Fault("garbage"): 0.1,
        Fault("truncate", after=2): 0.1,
    }
    names = "abc"
    providers = {name: Faulty(OpenAI(server.url), seeded(rates, seed)) for seed, name in enumerate(names)}
    executor = executor_of(**providers)

    async def one():
        run = start(executor)
        try:
            text = "".join([chunk.text async for chunk in run])
        except ProviderError:
            text = None
        return text, run

    results = await asyncio.gather(*(one() for _ in range(200)))
    for text, run in results:
        assert run.ended
        assert (text == "fine") == (run.outcome.error == "")
        assert sum(step.error != "attempts" for step in run.outcome.steps) <= 4
    served = sum(text == "fine" for text, _ in results)
    assert 80 <= served <= 145  # three calls in ten are spared and a run may make four: 0.56 of 200, five sigma
