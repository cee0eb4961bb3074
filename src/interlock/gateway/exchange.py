"""One request on the data plane and the response to it: bytes in, bytes out, no ASGI in between.

An exchange is made by the connection (`protocol.py`) once a request's headers are in, and handed to a handler when
its body is complete. Responses are written as ready bytes; a stream is one HTTP chunk per `write`, so each event
leaves at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .protocol import Connection

JSON = b"content-type: application/json\r\n"
EVENTS = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"

FLUSH_ABOVE = 16 * 1024  # bytes gathered in one tick

Handler = Callable[["Exchange"], Coroutine[Any, Any, None]]

STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


def header(name: bytes, value: str) -> bytes:
    """One response header line. Control characters and what latin-1 lacks are replaced: no value ends the line."""
    clean = value if value.isprintable() else "".join(c if c.isprintable() else " " for c in value)
    return name + b": " + clean.encode("latin-1", "replace") + b"\r\n"


class Exchange:
    """`headers` has lower-case names; `body` is whole when a handler sees it. A handler calls `respond`, or `begin`,
    `write` and `end`. When the client goes away, the handler's task is cancelled."""

    __slots__ = (
        "_pending",
        "_pending_size",
        "body",
        "chunked",
        "connection",
        "expects_continue",
        "handler",
        "has_turn",
        "headers",
        "keep_alive",
        "name",
        "received",
        "response_complete",
        "started",
        "status",
        "task",
    )

    def __init__(
        self,
        connection: Connection,
        name: str,
        handler: Handler,
        headers: dict[bytes, bytes],
        keep_alive: bool,
        chunked: bool,
        expects_continue: bool,
    ) -> None:
        self.connection, self.name, self.handler, self.headers = connection, name, handler, headers
        self.keep_alive, self.chunked, self.expects_continue = keep_alive, chunked, expects_continue
        self.body = bytearray()
        self.has_turn = self.received = self.started = self.response_complete = False
        self.status = 0
        self._pending: list[bytes] = []
        self._pending_size = 0
        self.task: asyncio.Task[None] | None = None

    def text(self, name: bytes) -> str:
        """A request header as text, `""` when absent."""
        return self.headers.get(name, b"").decode("latin-1").strip()

    def respond(self, status: int, body: bytes, headers: bytes = JSON) -> None:
        """The whole response in one write."""
        self.started, self.status = True, status
        length = b"content-length: %d\r\n\r\n" % len(body)
        self.connection.transport.write(b"".join((self._head(status, headers), length, body)))
        self._finish()

    def begin(self, status: int, headers: bytes) -> None:
        """Start a streamed response. HTTP/1.0 clients get it unchunked, ended by the end of the connection."""
        self.started, self.status = True, status
        framing = b"transfer-encoding: chunked\r\n\r\n" if self.chunked else b"\r\n"
        self._send(self._head(status, headers) + framing)

    def write(self, data: bytes) -> None:
        """One piece of a streamed response. Pieces of one event-loop tick leave together, at its end."""
        self._send(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    def end(self) -> None:
        if self.chunked:
            self._send(b"0\r\n\r\n")
        self._flush()
        self._finish()

    def _send(self, data: bytes) -> None:
        """The event loop makes a system call of every write, so a burst of events is gathered; there is no timer."""
        if not self._pending:
            self.connection.loop.call_soon(self._flush)
        self._pending.append(data)
        self._pending_size += len(data)
        if self._pending_size > FLUSH_ABOVE:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            pending, self._pending, self._pending_size = self._pending, [], 0
            if not self.connection.transport.is_closing():  # the client may have left since the tick began
                self.connection.transport.write(b"".join(pending))

    @property
    def congested(self) -> bool:
        """Whether the client reads more slowly than the answer comes; then `await drained()` before asking for more."""
        return self.connection.flow.write_paused

    async def drained(self) -> None:
        await self.connection.flow.drain()

    def _head(self, status: int, headers: bytes) -> bytes:
        closing = b"" if self.keep_alive else b"connection: close\r\n"
        return b"".join((STATUS[status], self.connection.default_head(), headers, closing))

    def _finish(self) -> None:
        self.response_complete = True
        if not self.keep_alive:
            self.connection.transport.close()
        self.connection.on_response_complete()
