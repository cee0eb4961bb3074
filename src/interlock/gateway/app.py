"""Everything that is not the data plane: a small Starlette application over the same `Service`.

Who may see what: where there are keys, a tenant sees its own decisions and events; operators see all, and only they may
steer. Probes, metrics and the page's files need no key.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import InterlockError, NotFound, RequestError, nearest
from ..identity import Identity
from .dialects import error_body
from .service import Service

WEB = Path(__file__).parent / "web"
SECURITY = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}

Endpoint = Callable[[Service, Request], Awaitable[Any]]


def caller(service: Service, request: Request) -> Identity:
    """Raises `Unauthorized`."""
    return service.identify(dict(request.headers.raw))


class SecurityHeaders:
    """The page loads nothing from anywhere else, and nobody frames it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY)
            await send(message)

        await self._app(scope, receive, sending if scope["type"] == "http" else send)


def build(service: Service, endpoints: Mapping[tuple[str, str], Endpoint], hot: Iterable[str]) -> Starlette:
    """The application: `endpoints` maps (method, path) to what answers there; a document becomes JSON.

    `hot` are the paths that the connection answers itself; they are only known here to be named when a path is
    misspelt.
    """
    known = sorted({path for _, path in endpoints} | set(hot))

    def missing(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = request.url.path
        if error.status_code == 404:
            return _json(404, _written(NotFound(f"no path {path!r} here; {nearest(path, known)}"), path))
        problem = RequestError(f"{request.method} {path}: {error.detail}", code=_code(error.status_code))
        return _json(error.status_code, _written(problem, path), error.headers)

    def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, InterlockError)
        return _json(error.status, _written(error, request.url.path))

    def routes(under: str) -> list[BaseRoute]:
        return [
            Route(path.removeprefix(under), _answering(service, endpoint), methods=[method])
            for (method, path), endpoint in endpoints.items()
            if path.startswith("/v1") == bool(under)
        ]

    return Starlette(
        routes=[Mount("/v1", routes=routes("/v1")), *routes(""), Mount("/", StaticFiles(directory=WEB, html=True))],
        middleware=[Middleware(SecurityHeaders)],
        exception_handlers={HTTPException: missing, InterlockError: refused},
        lifespan=_lifespan(service),
    )


def _answering(service: Service, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        document = await endpoint(service, request)
        return document if isinstance(document, Response) else _json(200, msgspec.json.encode(document))

    return answer


def _lifespan(service: Service) -> Callable[[Starlette], Any]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with service:
            yield

    return lifespan


def _json(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body, status, headers, media_type="application/json")


def _written(error: InterlockError, path: str) -> bytes:
    return error_body(error, path.encode())


def _code(status: int) -> str:
    return {405: "method_not_allowed"}.get(status, "invalid_request")


def stream(events: AsyncIterator[bytes]) -> StreamingResponse:
    """Server-sent events."""
    return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-cache"})
