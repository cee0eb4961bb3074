"""An OpenAI-compatible upstream that misbehaves on real sockets, and a client that does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

ABSURD = ("-5", "1e12", "Wed, 21 Oct 2015 07:28:00 GMT", "soon", "nan", "0", "99999999999999999999999")
WORDS = ("one ", "two ", "three ", "four")


@dataclass
class Injector:
    """Serves one port. Each call suffers a fault drawn from `rates` (name -> weight); `ok` is an ordinary answer."""

    rates: dict[str, float]
    seed: int = 0
    calls: Counter[str] = field(default_factory=Counter)  # by model
    faults: Counter[str] = field(default_factory=Counter)
    without_usage: int = 0  # streams that were not asked for their usage
    open: int = 0
    port: int = 0

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            keep = True
            while keep:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
                body = json.loads(await reader.readexactly(length))
                self.calls[body["model"]] += 1
                stream = bool(body.get("stream"))
                self.without_usage += stream and not body.get("stream_options", {}).get("include_usage")
                fault = self._dice.choices(list(self.rates), list(self.rates.values()))[0]
                self.faults[fault] += 1
                keep = await getattr(self, f"on_{fault}")(Wire(reader, writer, stream, self._dice))
        self.open -= 1
        writer.close()

    # Each gives whether the connection can carry another call.

    async def on_ok(self, wire: Wire) -> bool:
        return await wire.answer()

    async def on_latency(self, wire: Wire) -> bool:
        await asyncio.sleep(self._dice.uniform(0.05, 0.4))
        return await wire.answer()

    async def on_reset_before(self, wire: Wire) -> bool:
        return wire.reset()

    async def on_reset_after(self, wire: Wire) -> bool:
        await wire.begin()
        return wire.reset()

    async def on_truncated(self, wire: Wire) -> bool:
        """JSON that ends too early in a well-formed message; as a stream, one that ends without its end."""
        if not wire.stream:
            return await wire.whole(COMPLETION[: len(COMPLETION) // 2])
        await wire.begin()
        await wire.end()
        return True

    async def on_malformed(self, wire: Wire) -> bool:
        """Events that are none: bare text, broken JSON, another JSON value, an unknown field."""
        if not wire.stream:
            return await wire.whole(self._dice.choice([b"<html>502</html>", b"", b"[1, 2]", b"\xff\xfe{}", b"{}"]))
        await wire.begin()
        await wire.piece(
            self._dice.choice([b"hello\n\ndata: {\n\n", b"data: [1]\n\n", b"data: {}\n\n", b"data: \xff\n\n"])
        )
        await wire.end()
        return True

    async def on_limited(self, wire: Wire) -> bool:
        after = self._dice.choice(ABSURD)
        return await wire.whole(b'{"error": {"message": "slow down"}}', "429 Too Many Requests", after)

    async def on_storm(self, wire: Wire) -> bool:
        status = self._dice.choice(["500 Internal Server Error", "502 Bad Gateway", "503 Service Unavailable"])
        return await wire.whole(b"oops", status)

    async def on_broke(self, wire: Wire) -> bool:
        return await wire.whole(b'{"error": {"message": "pay first"}}', "402 Payment Required")

    async def on_half_open(self, wire: Wire) -> bool:
        """Accepted, read, never answered."""
        return await wire.silence()

    async def on_stall(self, wire: Wire) -> bool:
        await wire.begin()
        return await wire.silence()

    async def on_error_event(self, wire: Wire) -> bool:
        error = b'{"error": {"message": "it broke", "type": "server_error"}}'
        if not wire.stream:
            return await wire.whole(error)
        await wire.begin()
        await wire.piece(b"data: " + error + b"\n\n")
        await wire.end()
        return True


COMPLETION = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "".join(WORDS)}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9},
    }
).encode()


def event(delta: dict[str, str], finish: str | None = None) -> bytes:
    document = {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return b"data: " + json.dumps(document).encode() + b"\n\n"


@dataclass
class Wire:
    """The server's side of one call."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    stream: bool
    dice: random.Random

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def whole(self, body: bytes, status: str = "200 OK", retry_after: str = "") -> bool:
        more = f"retry-after: {retry_after}\r\n" if retry_after else ""
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{more}content-length: {len(body)}\r\n\r\n"
        await self.send(head.encode() + body)
        return True

    async def begin(self) -> None:
        """The first bytes: of a stream its head and first event, of a whole answer a part of it."""
        if self.stream:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            await self.send(head)
            await self.piece(event({"role": "assistant", "content": WORDS[0]}))
        else:
            await self.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(COMPLETION), COMPLETION[:20]))

    async def piece(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        await self.send(b"0\r\n\r\n")

    async def answer(self) -> bool:
        if not self.stream:
            return await self.whole(COMPLETION)
        await self.begin()
        for word in WORDS[1:]:
            await self.piece(event({"content": word}))
        await self.piece(event({}, "stop"))
        usage = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
        await self.piece(b"data: " + json.dumps({"id": "c", "choices": [], "usage": usage}).encode() + b"\n\n")
        await self.piece(b"data: [DONE]\n\n")
        await self.end()
        return True

    def reset(self) -> bool:
        reset(self.writer)
        return False

    async def silence(self) -> bool:
        """Until the client gives up."""
        while await self.reader.read(65536):
            pass
        return False


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST rather than FIN."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.asynccontextmanager
async def injecting(*injectors: Injector) -> AsyncIterator[None]:
    """The injectors listen on free ports of this process."""
    tasks: set[asyncio.Task[None]] = set()

    def accept(handle: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(handle(reader, writer))
            tasks.add(task)  # type: ignore[arg-type]
            task.add_done_callback(tasks.discard)

        return accepted

    servers = []
    for injector in injectors:
        servers.append(await asyncio.start_server(accept(injector.handle), "127.0.0.1", 0, backlog=1024))
        injector.port = servers[-1].sockets[0].getsockname()[1]
    try:
        yield
    finally:
        for server in servers:
            server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def dribble(host: str, port: int, until: asyncio.Event) -> bytes:
    """A slow-loris client: a request byte by byte, never to its end. What it was told before the connection closed."""
    reader, writer = await asyncio.open_connection(host, port)
    told = asyncio.ensure_future(reader.read())
    with contextlib.suppress(ConnectionError):
        for byte in b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-padding: " + b"a" * 10_000:
            if told.done() or until.is_set():
                break
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.05)
        await asyncio.wait([told], timeout=5)
    writer.close()
    try:
        return told.result() if told.done() else b""
    except ConnectionError:
        return b""
