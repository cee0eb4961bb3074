"""uvicorn's HTTP connection, with a shortcut for the data plane.

The routes of the data plane (`routes`) are answered from here, without ASGI scopes, queues and callables;
every other request takes uvicorn's own way into the cold application. Keep-alive, pipelining, flow control and graceful
shutdown stay uvicorn's. Added for both kinds: limits on the size of headers and bodies, and time limits for idle
connections and for clients that send a request too slowly.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..errors import InterlockError, RequestError, TooLarge
from .dialects import error_body
from .exchange import JSON, STATUS, Exchange, Handler
from .replies import as_json, retry_headers

log = logging.getLogger("interlock.gateway")

CLIENT_LEFT = 499  # in metrics only: nobody is there to read a status
LINGER = 2.0  # seconds in which a refused client may read why before the connection goes


Routes = Mapping[bytes, tuple[str, Handler]]  # path -> its name in metrics, what answers there
Observe = Callable[[str, int, float], None]  # name, status, seconds


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Sizes in bytes, times in seconds. `idle`: between requests; `receive`: from the first byte of a request to
    its last; `send`: without the client taking a byte of what waits for it."""

    body: int = 8 * 1024 * 1024
    head: int = 64 * 1024
    idle: float = 75.0
    receive: float = 60.0
    send: float = 60.0


class MethodNotAllowed(RequestError):
    status, code = 405, "method_not_allowed"


class HeadTooLarge(RequestError):
    status, code = 431, "headers_too_large"


class TooSlow(RequestError):
    status, code = 408, "request_timeout"


class Connection(HttpToolsProtocol):
    """One client connection."""

    def __init__(self, *args: Any, routes: Routes, limits: HttpLimits, observe: Observe, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.routes, self.limits, self.observe = routes, limits, observe
        self.head_size = 0
        self.refused = False
        self.since = self.loop.time()  # when the wait for the client began
        self.receiving = False
        self.unsent, self.unsent_since = 0, self.since

    # From the transport

    def data_received(self, data: bytes) -> None:
        if not self.refused:
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        for exchange in (self.cycle, *(cycle for cycle, _ in self.pipeline)):
            if isinstance(exchange, Exchange):
                exchange.response_complete = True
                if exchange.task is not None:
                    exchange.task.cancel()
        self.pipeline.clear()
        if isinstance(self.cycle, Exchange):
            self.cycle = None  # type: ignore[assignment]
        super().connection_lost(exc)

    # From the parser

    def on_message_begin(self) -> None:
        self.url, self.headers, self.expect_100_continue, self.head_size = b"", [], False, 0
        self.since, self.receiving = self.loop.time(), True

    def on_url(self, url: bytes) -> None:
        self._measure_head(len(url))
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._measure_head(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.refused:
            return
        route = self.routes.get(self.url.split(b"?", 1)[0])
        if route is None:
            self._take_the_cold_way()
        elif self.parser.get_method() != b"POST":
            self.refuse(MethodNotAllowed("this path takes POST"), b"allow: POST\r\n")
        else:
            self._open(*route)

    def on_body(self, body: bytes) -> None:
        exchange = self.cycle
        if self.refused:
            return
        if not isinstance(exchange, Exchange):
            super().on_body(body)
        elif len(exchange.body) + len(body) > self.limits.body:
            self.refuse(self._too_large())
        else:
            exchange.body += body

    def on_message_complete(self) -> None:
        self.receiving = False
        exchange = self.cycle
        if self.refused:
            return
        if not isinstance(exchange, Exchange):
            super().on_message_complete()
        else:
            exchange.received = True
            self._run_when_due(exchange)

    # The way of a request

    def _open(self, name: str, handler: Handler) -> None:
        headers = dict(self.headers)
        length = headers.get(b"content-length", b"0")
        if int(length) > self.limits.body:
            self.refuse(self._too_large())
            return
        before = self.cycle
        modern = self.parser.get_http_version() == "1.1"
        keep = modern and self.parser.should_keep_alive()
        exchange = Exchange(self, name, handler, headers, keep, modern, self.expect_100_continue)
        self.cycle = exchange  # type: ignore[assignment]
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """It is this request's turn on the connection. uvicorn calls it too, when a pipelined request comes up."""
        if not isinstance(cycle, Exchange):
            super()._start_asgi_task(cycle, app)
            return
        cycle.has_turn = True
        if cycle.expects_continue and not cycle.received:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._run_when_due(cycle)

    def _run_when_due(self, exchange: Exchange) -> None:
        if exchange.has_turn and exchange.received and exchange.task is None:
            exchange.task = task = self.loop.create_task(self._run(exchange))
            self.tasks.add(task)

    async def _run(self, exchange: Exchange) -> None:
        """Carry out one exchange. Whatever goes wrong ends in a response, or, once one has begun, in a closed
        connection."""
        began = self.loop.time()
        try:
            await exchange.handler(exchange)
        except asyncio.CancelledError:
            exchange.status = exchange.status or CLIENT_LEFT
            self.transport.close()
            raise
        except InterlockError as error:
            self._fail(exchange, error)
        except Exception as error:
            log.exception("a handler failed", exc_info=error)
            self._fail(exchange, InterlockError("an internal error; the server's log has the details"))
        finally:
            self.observe(exchange.name, exchange.status, self.loop.time() - began)
            if exchange.task is not None:
                self.tasks.discard(exchange.task)

    def _fail(self, exchange: Exchange, error: InterlockError) -> None:
        if exchange.started:
            log.error("an answer broke off: %s", error)
            self.transport.abort()
        else:
            exchange.respond(error.status, as_json(error), JSON + retry_headers(error))

    def _take_the_cold_way(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        self.since = self.loop.time()
        super().on_response_complete()
        self._unset_keepalive_if_required()  # `sweep` closes idle connections without a timer per response

    # Limits

    def _measure_head(self, size: int) -> None:
        self.head_size += size
        if self.head_size > self.limits.head and not self.refused:
            self.refuse(HeadTooLarge(f"the request line and headers exceed {self.limits.head} bytes"))

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body exceeds {self.limits.body} bytes; send less, or raise server.max_body_bytes")

    def send_400_response(self, msg: str) -> None:
        self.refuse(RequestError("this is not valid HTTP/1.1", code="invalid_http"))

    def refuse(self, error: RequestError, headers: bytes = b"") -> None:
        """Answer without hearing the request out: the rest is discarded, so that the client can read the answer
        first."""
        self.refused, self.receiving = True, False
        if self.cycle is not None and not self.cycle.response_complete and self._is_started(self.cycle):
            self.transport.abort()  # a response is under way; a second one inside it would be taken for a part of it
            return
        body = error_body(error, self.url)
        length = b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(b"".join((STATUS[error.status], self.default_head(), headers, JSON, length, body)))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER, self.transport.close)

    @staticmethod
    def _is_started(cycle: Any) -> bool:
        return cycle.task is not None if isinstance(cycle, Exchange) else True

    def sweep(self, now: float) -> None:
        """Called about once a second: close a connection that is idle, or whose request does not get finished."""
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent != self.unsent:
            self.unsent, self.unsent_since = unsent, now
        elif now - self.unsent_since > self.limits.send:
            self.transport.abort()  # an answer that nobody reads would hold its slots, and its provider's, for ever
        if self.refused:
            return
        if self.receiving:
            if now - self.since > self.limits.receive:
                self.refuse(TooSlow(f"the request was not complete after {self.limits.receive:g} seconds"))
        elif (self.cycle is None or self.cycle.response_complete) and now - self.since > self.limits.idle:
            self.transport.close()

    def default_head(self) -> bytes:
        """The headers of every response (the date), as uvicorn renews them once a second."""
        return _joined(self.server_state.default_headers)


_cache: tuple[object, bytes] = ((), b"")


def _joined(headers: list[tuple[bytes, bytes]]) -> bytes:
    global _cache
    if _cache[0] is not headers:
        _cache = headers, b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    return _cache[1]
