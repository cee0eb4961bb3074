"""A keep-alive pool of HTTP/1.1 connections to one origin.

Requests beyond the connection limit wait first in, first out, no longer than their deadline. There are no redirects, no
proxies, no cookies and no compression: a provider's API needs none, and some are ways to send a prompt elsewhere.
"""

from __future__ import annotations

import asyncio
import math
import re
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from ..errors import ConfigError, ProviderError, TimedOut, Unreachable
from .address import resolve
from .connection import Connection, Limits, Response

__all__ = ["Client", "Limits", "Response"]

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VISIBLE = re.compile(r"[\x20-\x7e\t]*")


class Client:
    """Sends requests to one origin.

    Args:
        base_url: `http://` or `https://`, a host, and an optional port and path prefix.
        limits: sizes and times.
        ca_file: a file of trusted certificates instead of the system's.
        link_local: permit link-local addresses and those of clouds' metadata services.

    Raises `ConfigError` for a URL or header that cannot be sent.
    """

    def __init__(
        self, base_url: str, limits: Limits | None = None, *, ca_file: str = "", link_local: bool = False
    ) -> None:
        self.limits = limits or Limits()
        self.base_url = base_url
        self._host, self._port, self._tls, self._authority, self._prefix = parse(base_url)
        self._ca_file, self._link_local = ca_file, link_local
        self._context: ssl.SSLContext | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle: list[Connection] = []
        self._connections: set[Connection] = set()  # idle or in use; each holds one of the slots counted in _open
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._open = 0

    def endpoint(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        """The fixed part of a request's head, made once and given to every `send`."""
        lines = [f"{method} {self._prefix}{path} HTTP/1.1", f"host: {self._authority}"]
        for name, value in headers.items():
            if not TOKEN.fullmatch(name) or not VISIBLE.fullmatch(value):
                raise ConfigError(f"header {name!r} holds a character that cannot be sent (a line break, perhaps)")
            lines.append(f"{name.lower()}: {value}")
        return "\r\n".join([*lines, "accept-encoding: identity", "content-length: "]).encode("ascii")

    async def send(
        self,
        endpoint: bytes,
        body: bytes = b"",
        *,
        stream: bool = False,
        deadline: float | None = None,
        traceparent: str = "",
    ) -> Response:
        """The response, with its headers (`stream`) or whole. `deadline` is a time of `time.monotonic()`.

        A kept-alive connection that is found dead before anything is sent is replaced. One that dies afterwards is
        `Unreachable`, since the provider may have begun to work: whether to ask again is for the fallback table. The
        caller reads the body, or gives it up with `close`.

        Raises:
            Unreachable: no connection, or it was closed before the answer began.
            TimedOut: the deadline or one of the limits passed.
            Garbled: the answer is not HTTP, too large, or was cut off.
        """
        trace = b"traceparent: %b\r\n" % traceparent.encode() if traceparent else b""
        message = b"%b%d\r\n%b\r\n%b" % (endpoint, len(body), trace, body)
        end = math.inf if deadline is None else deadline
        for again in (False, True):
            connection = await self._acquire(end, fresh=again)
            response = connection.begin(message, stream, end)
            try:
                await response.ready()
                return response
            except ProviderError:
                if again or not response.stale:
                    raise
            except BaseException:
                response.close()
                raise
        raise AssertionError("the second attempt returns or raises")

    async def aclose(self) -> None:
        """Close every connection; exchanges under way fail with `Unreachable` or `Garbled`."""
        for connection in self._connections:
            connection.abort()

    async def _acquire(self, end: float, fresh: bool) -> Connection:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # connections live and die with their loop
            self._loop, self._open = loop, 0
            self._idle, self._connections, self._waiting = [], set(), deque()
        if self._idle and fresh:
            self._idle.pop(0).abort()
        elif self._idle:
            return self._idle.pop()
        if self._open >= self.limits.connections:
            handed = await self._wait_in_line(loop, min(end, loop.time() + self.limits.first_byte))
            return handed or await self._connect(loop, end)
        self._open += 1
        return await self._connect(loop, end)

    async def _wait_in_line(self, loop: asyncio.AbstractEventLoop, end: float) -> Connection | None:
        """A free connection, or `None` and with it the right to open one."""
        place: asyncio.Future[Connection | None] = loop.create_future()
        self._waiting.append(place)
        timer = loop.call_at(end, _leave_line, place)
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self._pass_on(place.result())
            raise
        finally:
            timer.cancel()

    async def _connect(self, loop: asyncio.AbstractEventLoop, end: float) -> Connection:
        """Opens a connection for a slot that is already counted, and gives the slot back when that fails."""
        made: list[Connection] = []

        def build() -> Connection:
            made.append(Connection(self.limits, self._freed, self._lost))
            return made[-1]

        try:
            async with asyncio.timeout(min(self.limits.connect, end - loop.time())):
                await self._open_transport(loop, build)
        except BaseException as error:
            for connection in made:
                connection.abort()
            self._pass_on(None)
            if isinstance(error, TimeoutError):
                raise TimedOut(f"no connection to {self._authority} in time") from error
            if isinstance(error, OSError):
                cause = error.strerror or type(error).__name__
                raise Unreachable(f"cannot connect to {self._authority}: {cause}") from error
            raise
        self._connections.add(made[-1])
        return made[-1]

    async def _open_transport(self, loop: asyncio.AbstractEventLoop, build: Callable[[], Connection]) -> None:
        """To the first address that answers; each was looked at, so no name can point elsewhere in between."""
        context, trouble = self._tls_context(), OSError("it has no address")
        for address in await resolve(self._host, self._port, self._link_local):
            try:
                name = self._host if context is not None else None
                await loop.create_connection(build, address, self._port, ssl=context, server_hostname=name)
                return
            except OSError as error:
                trouble = error
        raise trouble

    def _tls_context(self) -> ssl.SSLContext | None:
        if self._tls and self._context is None:
            self._context = ssl.create_default_context(cafile=self._ca_file or None)
        return self._context

    def _freed(self, connection: Connection) -> None:
        self._pass_on(connection)

    def _lost(self, connection: Connection) -> None:
        if connection not in self._connections:
            return  # it never came into use, or belonged to another loop: its slot is not counted
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._pass_on(None)

    def _pass_on(self, connection: Connection | None) -> None:
        """Hand a connection, or the slot of one that is gone, to whoever waits longest."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(connection)
                return
        if connection is None:
            self._open -= 1
        else:
            self._idle.append(connection)


def _leave_line(place: asyncio.Future[Connection | None]) -> None:
    if not place.done():
        place.set_exception(TimedOut("every connection was busy until the deadline"))


def parse(base_url: str) -> tuple[str, int, bool, str, str]:
    """Host, port, whether TLS, the `host` header and the path prefix of a base URL. Raises `ConfigError`."""

    def wrong(problem: str) -> ConfigError:
        return ConfigError(f"base_url {problem}; give for example 'http://127.0.0.1:8000/v1'", path="base_url")

    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError as error:
        raise wrong(f"is malformed ({error})") from error
    if parts.scheme not in ("http", "https"):
        raise wrong(f"has the scheme {parts.scheme!r}, not http or https")
    if not parts.hostname:
        raise wrong("names no host")
    if parts.username or parts.password:
        raise wrong("holds credentials; put them in api_key")
    if parts.query or parts.fragment:
        raise wrong("has a query or fragment")
    if not all(0x21 <= ord(letter) <= 0x7E for letter in base_url):
        raise wrong("holds a space or a character outside ASCII")
    tls = parts.scheme == "https"
    host = parts.hostname
    authority = parts.netloc.rpartition("@")[2]
    return host, port or (443 if tls else 80), tls, authority, parts.path.rstrip("/")
