"""The pocket server as its users meet it: a process, the OpenAI client, clients that come at once or go away."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from interlock.pocket.config import PocketConfig
from interlock.pocket.tokenizer import EOS, encode
from interlock.pocket.weights import save, write_manifest

MAIN = "from interlock.cli.pocket import app; app()"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights: a model that never ends by itself, so that every request is under way as long as it is asked."""
    folder, config, rng = tmp_path_factory.mktemp("weights"), PocketConfig(96, 3, 4), np.random.default_rng(0)
    tensors = {name: np.ones(shape, np.float32) for name, shape in config.shapes().items()}
    for name, tensor in tensors.items():
        if tensor.ndim == 2:
            tensors[name] = rng.standard_normal(tensor.shape, np.float32) / np.float32(tensor.shape[1] ** 0.5)
    tensors["head"] *= 4
    tensors["head"][EOS] = 0
    save(folder / "random.safetensors", tensors, name="random", config=config)
    write_manifest(folder)
    return folder


def start(weights: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-c", MAIN, "serve", "--weights", str(weights), "--port", "0", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout
    line = process.stdout.readline()
    assert "http://" in line, process.stderr.read() if process.stderr else ""
    return process, line.split()[-1]


def stop(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    return errors


@pytest.fixture(scope="module")
def address(weights: Path) -> Iterator[str]:
    process, address = start(weights)
    yield address
    assert stop(process) == ""


@pytest.fixture
async def client(address: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        yield client


async def ask(client: openai.AsyncOpenAI, i: int, **fields: object) -> openai.types.chat.ChatCompletion:
    messages = [{"role": "user", "content": f"Sort these letters: {'D A C B ' * (i % 7)}and add {i}."}]
    sampled = {"temperature": 1.0, "seed": i} if i % 2 else {}
    arguments = {"model": "random-t0", "messages": messages, "max_tokens": 10 + i, "logprobs": True, **sampled}
    return await client.chat.completions.create(**{**arguments, **fields})  # type: ignore[call-overload, no-any-return]


async def metric(address: str, name: str) -> float:
    async with httpx.AsyncClient() as http:
        text = (await http.get(f"{address}/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    return families[name].samples[0].value


async def test_32_concurrent_requests_equal_one_at_a_time(client: openai.AsyncOpenAI) -> None:
    alone = [await ask(client, i) for i in range(32)]
    together = await asyncio.gather(*(ask(client, i) for i in range(32)))
    for i, (one, other) in enumerate(zip(alone, together, strict=True)):
        assert one.choices == other.choices  # text, finish reason and every log-probability
        assert one.usage
        assert other.usage
        assert one.usage.completion_tokens == other.usage.completion_tokens == 10 + i
        text = f"Sort these letters: {'D A C B ' * (i % 7)}and add {i}."
        assert one.usage.prompt_tokens == other.usage.prompt_tokens == len(encode(text)) + 2


async def test_a_stream_arrives_in_parts_that_add_up(client: openai.AsyncOpenAI) -> None:
    whole = await ask(client, 9, max_tokens=400)
    stream = await ask(client, 9, max_tokens=400, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]  # type: ignore[attr-defined]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == 400
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) > 1


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_goes_away_frees_its_slot(address: str, stream: bool) -> None:
    body = {"model": "random-t0", "messages": [{"role": "user", "content": "x"}], "stream": stream}
    before = await metric(address, "vllm:generation_tokens")
    for _ in range(5):
        if stream:  # leave after the first event
            async with (
                httpx.AsyncClient(timeout=5) as http,
                http.stream("POST", f"{address}/v1/chat/completions", json=body) as answer,
            ):
                await anext(answer.aiter_lines())
        else:  # leave before there is anything
            async with httpx.AsyncClient(timeout=httpx.Timeout(5, read=0.005)) as http:
                with pytest.raises(httpx.ReadTimeout):
                    await http.post(f"{address}/v1/chat/completions", json=body)
    async with asyncio.timeout(10):
        while await metric(address, "vllm:num_requests_running"):
            await asyncio.sleep(0.01)
    # Had they run to their end, each would have generated 509 tokens.
    assert await metric(address, "vllm:generation_tokens") - before < 5 * 509


async def test_a_full_queue_is_a_429_with_retry_after(weights: Path) -> None:
    process, address = start(weights, "--slots", "1", "--max-queue", "2")
    try:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
            asked = (ask(client, i, max_tokens=400) for i in range(12))
            results = await asyncio.gather(*asked, return_exceptions=True)
            refused = [result for result in results if isinstance(result, openai.RateLimitError)]
            served = [result for result in results if not isinstance(result, Exception)]
            assert len(refused) + len(served) == 12
            assert len(served) >= 3
            assert len(refused) >= 1
            for error in refused:
                assert int(error.response.headers["retry-after"]) >= 1
                assert error.code == "overloaded"
            assert (await ask(client, 3)).choices  # and afterwards it serves again
    finally:
        assert stop(process) == ""


async def test_errors_reach_the_openai_client_as_its_own(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="random-t0"):
        await ask(client, 1, model="random-t00")
    with pytest.raises(openai.BadRequestError, match="512") as refused:
        await ask(client, 1, messages=[{"role": "user", "content": "7" * 600}])
    assert refused.value.code == "context_length_exceeded"
    embedded = await client.embeddings.create(model="random", input="Sort D A.")
    assert len(embedded.data[0].embedding) == 96


def test_an_altered_weight_file_is_not_served(weights: Path, tmp_path: Path) -> None:
    for name in ("random.safetensors", "manifest.json"):
        (tmp_path / name).write_bytes((weights / name).read_bytes())
    with (tmp_path / "random.safetensors").open("r+b") as file:
        file.seek(-7, os.SEEK_END)
        file.write(b"\x55")
    command = [sys.executable, "-c", MAIN, "serve", "--weights", str(tmp_path), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "refusing to serve" in done.stderr


def test_interrupting_a_busy_server_ends_it(weights: Path) -> None:
    process, address = start(weights)
    body = {"model": "random-t0", "messages": [{"role": "user", "content": "x"}], "stream": True}
    with httpx.stream("POST", f"{address}/v1/chat/completions", json=body) as response:
        received = response.iter_bytes()
        next(received)
        process.send_signal(signal.SIGINT)
        with suppress(httpx.RemoteProtocolError):  # cut off in the middle: also an end
            list(received)
    process.communicate(timeout=30)
    assert process.returncode is not None
