"""CPU time of one upstream call in our HTTP client, httpx and aiohttp, against one fast local server.

    python benchmarks/http_client.py [--smoke] [--connections 16] [--requests 1500] [--rounds 7]

The server runs in its own process, so only the client's CPU is counted. Rounds are interleaved and the ratio of each
round is taken before the median, so that other work on the machine falls on all alike. Needs httpx and aiohttp; a
client that is not installed is left out and said to be.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.util import find_spec
from multiprocessing.connection import Connection
from typing import Any

import httptools
import uvloop

from interlock.execution import Executor, Single
from interlock.providers import Call, OpenAI
from interlock.providers.http import Client
from interlock.types import Candidate, Considered, Decision, Message, Request

REQUEST = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 750}]}).encode()
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "y" * 350}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 180, "completion_tokens": 80, "total_tokens": 260},
    }
).encode()
PIECE = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'
PIECES = 32
LAST = b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

Once = Callable[[], Awaitable[None]]


class Upstream(asyncio.Protocol):
    """Answers every POST at once: `/whole` with one JSON document, anything else with a stream of events."""

    def connection_made(self, transport: Any) -> None:
        self.transport, self.parser = transport, httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.whole = url.startswith(b"/whole")

    def on_message_complete(self) -> None:
        if self.whole:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            self.transport.write(head % len(ANSWER) + ANSWER)
            return
        self.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        asyncio.get_running_loop().create_task(self.stream())

    async def stream(self) -> None:
        for piece in (*[PIECE] * PIECES, LAST):
            self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await asyncio.sleep(0)
        self.transport.write(b"0\r\n\r\n")


def run_upstream(pipe: Connection) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


class Breakerless:
    def begin(self, candidate: str) -> bool:
        return True

    def end(self, candidate: str, error: str | None, seconds: float, retry_after: float | None = None) -> None:
        pass


async def ours(url: str, stream: bool, connections: int, stack: AsyncExitStack) -> dict[str, Once]:
    """The bare client, the provider on top of it, and a whole run (breaker, deadline, step, outcome) on top of that."""
    client = Client(url)
    endpoint = client.endpoint("POST", "/stream" if stream else "/whole", {"content-type": "application/json"})
    provider = OpenAI(url + ("/stream" if stream else "/whole"))
    candidate = Candidate(name="m", provider="p", model="m")
    request = Request(messages=(Message("user", "x" * 750),), stream=stream)
    row = Considered("m", (), 0.5, 0.1, 0.0, 0.1, 0.0, 1.0, 1.0)
    decision = Decision(id="d", at=0, tenant="", session="", model="auto", considered=(row,), chosen="m", policy="",
                        snapshot="", config="", seed=0)  # fmt: skip
    executor = Executor({"p": provider}, [candidate], Single(), Breakerless())
    stack.push_async_callback(provider.aclose)
    stack.push_async_callback(client.aclose)

    async def bare() -> None:
        await (await client.send(endpoint, REQUEST, stream=stream)).read()

    async def through_provider() -> None:
        async for _ in provider.send(Call(request, candidate, stream)):
            pass

    async def through_run() -> None:
        async for _ in executor.start(request, decision):
            pass

    return {"ours": bare, "ours + provider": through_provider, "ours + provider + run": through_run}


async def httpx(url: str, stream: bool, connections: int, stack: AsyncExitStack) -> dict[str, Once]:
    import httpx

    limits = httpx.Limits(max_connections=connections)
    client = await stack.enter_async_context(httpx.AsyncClient(limits=limits, timeout=60))

    async def once() -> None:
        if stream:
            async with client.stream("POST", url + "/stream", content=REQUEST) as response:
                async for _ in response.aiter_bytes():
                    pass
        else:
            (await client.post(url + "/whole", content=REQUEST)).read()

    return {"httpx": once}


async def aiohttp(url: str, stream: bool, connections: int, stack: AsyncExitStack) -> dict[str, Once]:
    import aiohttp

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections))
    client = await stack.enter_async_context(session)

    async def once() -> None:
        async with client.post(url + ("/stream" if stream else "/whole"), data=REQUEST) as response:
            if stream:
                async for _ in response.content.iter_any():
                    pass
            else:
                await response.read()

    return {"aiohttp": once}


async def cpu_per_call(once: Once, calls: int, connections: int) -> float:
    """Microseconds of this process's CPU time, `connections` calls being under way at any time."""
    left = iter(range(calls))

    async def worker() -> None:
        for _ in left:
            await once()

    began = time.process_time()
    await asyncio.gather(*(worker() for _ in range(connections)))
    return (time.process_time() - began) / calls * 1e6


async def compare(url: str, stream: bool, options: argparse.Namespace) -> None:
    async with AsyncExitStack() as stack:
        clients = await ours(url, stream, options.connections, stack)
        for make in (httpx, aiohttp):
            if find_spec(make.__name__) is None:
                print(f"({make.__name__} is not installed and left out)")
            else:
                clients |= await make(url, stream, options.connections, stack)
        calls = options.requests // (5 if stream else 1)
        for once in clients.values():
            await cpu_per_call(once, options.connections * 2, options.connections)
        rounds = [
            {name: await cpu_per_call(once, calls, options.connections) for name, once in clients.items()}
            for _ in range(options.rounds)
        ]
    what = f"a stream of {PIECES + 1} pieces" if stream else "a whole answer"
    print(f"\n{what}, {options.connections} connections, {options.rounds} rounds of {calls} calls")
    print(f"{'':24}{'CPU us per call':>16}{'x ours':>10}")
    for name in clients:
        middle = statistics.median(each[name] for each in rounds)
        ratio = statistics.median(each[name] / each["ours"] for each in rounds)
        print(f"{name:24}{middle:16.1f}{ratio:10.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a few calls, to see that it runs")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--requests", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    if options.smoke:
        options.requests, options.rounds = 200, 2
    here, there = multiprocessing.Pipe()
    upstream = multiprocessing.Process(target=run_upstream, args=(there,), daemon=True)
    upstream.start()
    url = f"http://127.0.0.1:{here.recv()}"
    try:
        for stream in (False, True):
            uvloop.run(compare(url, stream, options))
    finally:
        upstream.terminate()


if __name__ == "__main__":
    main()
