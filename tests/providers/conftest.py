"""A TCP server that plays a script: what a provider does wrong is written down byte by byte."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from interlock.providers import Call
from interlock.types import Candidate, Message, Request

Play = Callable[["Peer"], Awaitable[None]]


@dataclass
class Peer:
    """The server's side of one connection. `requests` of the server collects what was received."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    server: Server

    async def receive(self) -> tuple[bytes, bytes]:
        """The next request's head and body. Raises `IncompleteReadError` when the client is gone."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        body = await self.reader.readexactly(length)
        self.server.requests.append((head, body))
        return head, body

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes, status: str = "200 OK", headers: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
        await self.write(head.encode() + body)

    async def begin_stream(self) -> None:
        await self.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")

    async def piece(self, data: bytes) -> None:
        await self.write(b"%x\r\n%b\r\n" % (len(data), data))

    async def end_stream(self) -> None:
        await self.write(b"0\r\n\r\n")

    async def gone(self) -> None:
        """Until the client closes its side."""
        while await self.reader.read(65536):
            pass

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class Server:
    play: Play
    port: int = 0
    connections: int = 0
    requests: list[tuple[bytes, bytes]] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(self.handle(reader, writer)))

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        try:
            await self.play(Peer(reader, writer, self))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.gone.append(number)
            writer.close()


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Play], Awaitable[Server]]]:
    """`await serve(play)` starts a server that plays `play` on every connection."""
    running: list[tuple[Server, asyncio.Server]] = []

    async def start(play: Play) -> Server:
        server = Server(play)
        listener = await asyncio.start_server(server.accept, "127.0.0.1", 0)
        running.append((server, listener))
        server.port = listener.sockets[0].getsockname()[1]
        return server

    yield start
    for server, listener in running:
        listener.close()
        for task in server.tasks:
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)


@pytest.fixture
def completion() -> Callable[..., bytes]:
    return make_completion


@pytest.fixture
def call() -> Callable[..., Call]:
    return make_call


def make_completion(text: str = "hello", **fields: Any) -> bytes:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return json.dumps({"id": "c1", "object": "chat.completion", "choices": [choice], "usage": usage, **fields}).encode()


def make_call(
    prompt: str = "hi", *, stream: bool = False, deadline: float | None = None, options: Any = None, **fields: Any
) -> Call:
    request = Request(**{"messages": (Message("user", prompt),), "stream": stream, **fields})
    candidate = Candidate(name="m", provider="p", model="served-name", options=options or {})
    return Call(request, candidate, stream, deadline)
