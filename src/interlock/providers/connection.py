"""One HTTP/1.1 client connection on the event loop's own callbacks: no task and, when busy, no timer per request.

A `Connection` parses; a `Response` is the exchange going on over it. A timer that is already pending is left alone when
the limit moves further away, and looks again when it fires: a busy connection makes a new one every few seconds only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import httptools

from ..errors import Garbled, ProviderError, TimedOut, Unreachable

HIGH_WATER = 64 * 1024
LOW_WATER = 16 * 1024
DRAIN_SECONDS = 1.0


@dataclass(frozen=True)
class Limits:
    """What a client puts up with. Times in seconds, sizes in bytes.

    Attributes:
        connections: the most connections to the origin; further requests wait in line.
        connect: for the TCP and TLS handshakes.
        first_byte: from the request until the answer begins.
        between: between two pieces of an answer that has begun.
        idle: how long an unused connection is kept.
        head: status line and headers.
        body: the whole answer.
    """

    connections: int = 64
    connect: float = 5.0
    first_byte: float = 300.0
    between: float = 60.0
    idle: float = 20.0
    head: int = 64 * 1024
    body: int = 64 * 1024 * 1024


class Response:
    """An answer on its way. `status` and `headers` (lower-case names) are set once `begun`, the body follows."""

    __slots__ = ("_connection", "_paused", "_pieces", "_size", "_waiter", "begun", "complete", "deadline", "error",
                 "headers", "received", "stale", "status", "streaming")  # fmt: skip

    def __init__(self, connection: Connection, streaming: bool, deadline: float) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.begun = self.complete = self.stale = False
        self.streaming, self.deadline = streaming, deadline
        self.received = 0
        self.error: ProviderError | None = None
        self._connection = connection
        self._pieces: list[bytes] = []
        self._size = 0
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def awaited(self) -> bool:
        return self._waiter is not None

    async def ready(self) -> None:
        """Until the headers are there (streaming), or the whole answer. Raises `ProviderError`."""
        while not (self.begun if self.streaming else self.complete):
            if self.error is not None:
                raise self.error
            await self._wait()

    async def read(self) -> bytes:
        """The rest of the body."""
        pieces = []
        while piece := await self.chunk():
            pieces.append(piece)
        return b"".join(pieces)

    async def chunk(self) -> bytes:
        """What has arrived of the body, at least one byte, or `b""` at its end.

        Raises `Garbled` when the answer breaks off, `TimedOut` when it stops coming.
        """
        while not self._pieces:
            if self.complete:
                return b""
            if self.error is not None:
                raise self.error
            self._connection.expect_more()
            await self._wait()
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        self._unpause()
        return data

    def close(self) -> None:
        """Give the answer up. An unfinished one costs its connection, which tells the provider to stop."""
        if not self.complete and self.error is None:
            self._connection.abort()

    def release(self) -> None:
        """Nothing more is wanted, but the end is near: keep the connection if it comes within a second."""
        if not self.complete and self.error is None:
            self._unpause()
            self._connection.drain()

    def _unpause(self) -> None:
        if self._paused:
            self._paused = False
            self._connection.resume()

    async def _wait(self) -> None:
        self._waiter = self._connection.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        if self.streaming:
            self.wake()
            if self._size > HIGH_WATER and not self._paused:
                self._paused = True
                self._connection.pause()

    def finish(self) -> None:
        self.complete = True
        self._unpause()  # now, since the connection may soon carry another exchange
        self.wake()

    def fail(self, error: ProviderError) -> None:
        self.error = error
        self.wake()


class Connection(asyncio.Protocol):
    """Carries one exchange at a time. `on_free` is told when it can carry the next, `on_lost` when it never will."""

    def __init__(
        self, limits: Limits, on_free: Callable[[Connection], None], on_lost: Callable[[Connection], None]
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._limits, self._on_free, self._on_lost = limits, on_free, on_lost
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._response: Response | None = None
        self._draining = self._informational = self._framed = self._trailing = False
        self._timer: asyncio.TimerHandle | None = None
        self._expires = 0.0

    # What the pool and the response ask for

    def begin(self, message: bytes, streaming: bool, deadline: float) -> Response:
        """Send a whole request. A connection that has died meanwhile gives a response that has failed and is stale."""
        response = Response(self, streaming, deadline)
        if self._transport is None or self._transport.is_closing():
            response.stale = True
            response.fail(Unreachable("the connection was closed"))
            return response
        self._response, self._framed = response, False
        self._expire_at(min(self.loop.time() + self._limits.first_byte, deadline))
        self._transport.write(message)
        return response

    def expect_more(self) -> None:
        if self._response is not None:
            self._expire_at(min(self.loop.time() + self._limits.between, self._response.deadline))

    def pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def drain(self) -> None:
        self._draining = True
        self._expire_at(self.loop.time() + DRAIN_SECONDS)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is None:
            self.abort()  # bytes that nobody asked for: what follows could be taken for another request's answer
            return
        response.received += len(data)
        if response.received > self._limits.body + self._limits.head:
            self._give_up(Garbled(f"the answer exceeds {self._limits.body} bytes"))
            return
        if not response.begun and response.received > self._limits.head + len(data):
            self._give_up(Garbled(f"the answer's head exceeds {self._limits.head} bytes"))
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._give_up(Garbled(f"the answer is not HTTP/1.1 ({type(error).__name__})"))
            return
        if self._trailing:
            self.abort()
        elif self._response is not None and not self._draining:
            self.expect_more()

    def eof_received(self) -> None:
        if self._response is not None and self._response.begun and not self._framed:
            self._complete(keep=False)  # neither length nor chunks: the body ends with the connection

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        response, self._response = self._response, None
        if response is not None:
            if response.received:
                response.fail(Garbled("the answer was cut off"))
            else:
                response.fail(Unreachable("the connection was closed before the answer began"))
        self._on_lost(self)

    # Called by the parser

    def on_message_begin(self) -> None:
        self._trailing = self._response is None

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._response is not None and not self._response.begun:
            self._response.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        response = self._response
        if response is None:
            return
        status = self._parser.get_status_code()
        self._informational = 100 <= status < 200
        if self._informational:
            response.headers.clear()
            return
        if response.headers.get(b"content-encoding", b"identity") != b"identity":
            self._give_up(Garbled("the answer is compressed, which was not asked for"))
            return
        response.status, response.begun = status, True
        self._framed = b"content-length" in response.headers or b"transfer-encoding" in response.headers
        if response.streaming:
            response.wake()

    def on_body(self, body: bytes) -> None:
        if self._response is not None and not self._draining:
            self._response.add(body)

    def on_message_complete(self) -> None:
        if self._informational:
            self._informational = False
        elif self._response is not None:
            self._complete(keep=self._parser.should_keep_alive())

    # The ends of an exchange

    def _complete(self, keep: bool) -> None:
        response, self._response = self._response, None
        self._draining = False
        if response is not None:
            response.finish()
        if keep:
            self._expire_at(self.loop.time() + self._limits.idle)
            self._on_free(self)
        elif self._transport is not None:
            self._transport.close()

    def _give_up(self, error: ProviderError) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.fail(error)
        self.abort()

    def _expire_at(self, when: float) -> None:
        self._expires = when
        if self._timer is None or self._timer.when() > when:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_at(when, self._look_at_the_clock)

    def _look_at_the_clock(self) -> None:
        self._timer = None
        response, now = self._response, self.loop.time()
        if now < self._expires:
            self._expire_at(self._expires)
        elif response is None or self._draining:
            self.abort()
        elif response.awaited:
            late = "the deadline passed" if now >= response.deadline else "the provider was silent for too long"
            self._give_up(TimedOut(late))
        else:
            self._expire_at(now + self._limits.between)  # it is the reader who is slow
