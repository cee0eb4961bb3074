"""The embedded pool behind the seam, over two untrained models of the family's smallest shape."""

import asyncio
import json
import time

import msgspec
import numpy as np
import pytest

from interlock.errors import NoSuchModel, Overloaded, Rejected, TimedOut, TooLong, Unsupported, WeightsError
from interlock.pocket import PocketConfig
from interlock.pocket.weights import save
from interlock.providers import Pocket
from interlock.types import Capability, Message


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Random weights answer nothing right, but they answer, count, stream and stop like trained ones."""
    path = tmp_path_factory.mktemp("weights")
    config = PocketConfig(24, 1, 2, context=96)
    draw = np.random.default_rng(0)
    for name in ("ant", "bee"):
        tensors = {key: draw.normal(0, 0.3, shape).astype(np.float32) for key, shape in config.shapes().items()}
        save(path / f"{name}.safetensors", tensors, name=name, config=config)
    return str(path)


@pytest.fixture(scope="module")
def pocket(folder):
    provider = Pocket(path=folder)
    yield provider
    provider.pool.close()


@pytest.fixture
def ask(call):
    def make(prompt="3+4=", *, model="ant-t1", **fields):
        made = call(prompt, **{"max_tokens": 12, **fields})
        return msgspec.structs.replace(made, candidate=msgspec.structs.replace(made.candidate, model=model))

    return make


async def collect(provider, call):
    return [chunk async for chunk in provider.send(call)]


async def test_a_whole_answer(pocket, ask):
    [chunk] = await collect(pocket, ask(body={"logprobs": True, "top_logprobs": 2}))
    answer = json.loads(chunk.raw)
    [choice] = answer["choices"]
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "ant-t1"
    assert choice["message"]["content"] == chunk.text
    assert choice["finish_reason"] == chunk.finish
    assert chunk.finish in ("stop", "length")
    assert answer["usage"]["completion_tokens"] == chunk.usage.output <= 12
    assert answer["usage"]["prompt_tokens"] == chunk.usage.input > 0
    assert chunk.usage.reasoning <= chunk.usage.output
    assert 0.0 <= chunk.confidence <= 1.0
    assert chunk.energy > 0
    assert all(len(token["top_logprobs"]) == 2 for token in choice["logprobs"]["content"])


async def test_a_stream_says_the_same(pocket, ask):
    [whole] = await collect(pocket, ask())
    chunks = await collect(pocket, ask(stream=True, body={"stream_options": {"include_usage": True}}))
    deltas = [json.loads(chunk.raw)["choices"][0]["delta"] for chunk in chunks[:-1]]
    message = json.loads(whole.raw)["choices"][0]["message"]
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == message.get("reasoning_content", "")
    assert deltas[0]["role"] == "assistant"
    assert sum("role" in delta for delta in deltas) == 1
    assert [chunk.finish for chunk in chunks if chunk.finish] == [whole.finish]
    assert chunks[-1].usage.output == whole.usage.output
    assert json.loads(chunks[-1].raw)["usage"]["completion_tokens"] == whole.usage.output
    assert (chunks[-2].confidence, chunks[-2].energy) == (whole.confidence, pytest.approx(whole.energy, rel=0.5))


async def test_usage_is_hidden_from_a_stream_that_did_not_ask(pocket, ask):
    chunks = await collect(pocket, ask(stream=True))
    assert chunks[-1].raw == b""
    assert chunks[-1].usage is not None


async def test_many_at_once(pocket, ask):
    prompts = [f"{number}+1=" for number in range(12)]
    together = await asyncio.gather(*(collect(pocket, ask(prompt, model="ant-t0")) for prompt in prompts))
    alone = [await collect(pocket, ask(prompt, model="ant-t0")) for prompt in prompts]
    assert [chunk.text for [chunk] in together] == [chunk.text for [chunk] in alone]
    assert len({chunk.text for [chunk] in alone}) > 1


async def test_the_same_seed_gives_the_same_answer(pocket, ask):
    body = {"temperature": 1.5, "seed": 5}
    [first], [second] = await collect(pocket, ask(body=body)), await collect(pocket, ask(body=body))
    assert first.text == second.text


async def test_a_deadline_that_passes(pocket, ask):
    late = msgspec.structs.replace(ask(), deadline=time.monotonic() - 1)
    with pytest.raises(TimedOut):
        await collect(pocket, late)


async def test_giving_up_frees_the_model(pocket, ask):
    chunks = pocket.send(ask(stream=True, max_tokens=60))
    await anext(chunks)
    await chunks.aclose()
    for _ in range(500):
        if pocket.pool.stats()["ant"].running == 0:
            break
        await asyncio.sleep(0.01)
    assert pocket.pool.stats()["ant"].running == 0


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"model": "wasp-t1"}, NoSuchModel),
        ({"prompt": "1+" * 200}, TooLong),
        ({"body": {"temperature": 9}}, Rejected),
        ({"body": {"temperature": "hot"}}, Rejected),
        ({"body": {"tools": [{}]}}, Unsupported),
        ({"body": {"n": 2}}, Unsupported),
        ({"body": {"response_format": {"type": "json_object"}}}, Unsupported),
        ({"messages": (Message("user", [{"type": "image_url", "image_url": {"url": "x"}}]),)}, Unsupported),
    ],
)
async def test_what_it_cannot_do(pocket, ask, fields, kind):
    with pytest.raises(kind) as caught:
        await collect(pocket, ask(**fields))
    assert type(caught.value) is kind
    assert "1+1+" not in str(caught.value)


def test_candidates_carry_prices_energy_and_honest_capabilities(pocket):
    by_name = {candidate.name: candidate for candidate in pocket.candidates("local")}
    assert {"ant-t0", "ant-t1", "bee-tN"} <= set(by_name)
    ant = by_name["ant-t0"]
    assert (ant.provider, ant.model, ant.budget, ant.profile.trust) == ("local", "ant-t0", "t0", "private")
    assert ant.profile.price_in > ant.profile.price_cached > 0
    assert ant.profile.joules_per_token > 0
    assert ant.can("tools") is Capability.NO
    assert ant.can("logprobs") is Capability.YES


async def test_a_closed_pool_is_overloaded(folder, ask):
    provider = Pocket(models=["bee"], path=folder)
    assert {candidate.name[:3] for candidate in provider.candidates()} == {"bee"}
    await provider.aclose()
    await provider.aclose()
    with pytest.raises(Overloaded):
        await collect(provider, ask(model="bee-t0"))


def test_weights_that_are_not_there(tmp_path):
    with pytest.raises(WeightsError):
        Pocket(path=str(tmp_path))
