"""The server: uvicorn with the gateway's connections, limits and shutdown."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial

import uvicorn

from . import app, endpoints
from .answering import Answering
from .count_tokens import CountTokens
from .decide import Decide
from .dialects import Chat, Completions, Messages
from .embed import Embeddings
from .judge import Judge
from .protocol import Connection, HttpLimits, Routes
from .responding import Responding
from .service import Service

SWEEP_EVERY = 10  # uvicorn ticks of 0.1 s


class Server(uvicorn.Server):
    """`server.run()` serves until a signal; `drain` is how long (seconds) `/readyz` says no before connections are
    refused, so that a load balancer can look away first; `ready` is called when requests are answered."""

    def __init__(self, config: uvicorn.Config, service: Service, drain: float, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._service, self._drain, self._ready = service, drain, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def on_tick(self, counter: int) -> bool:
        if counter % SWEEP_EVERY == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.sweep(now)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.drain()
        await asyncio.sleep(self._drain)
        await super().shutdown(sockets)

    @property
    def port(self) -> int:
        """The port that is listened on, also when it was asked for as 0."""
        bound: int = self.servers[0].sockets[0].getsockname()[1]
        return bound


def build(
    service: Service,
    host: str = "127.0.0.1",
    port: int = 8400,
    *,
    limits: HttpLimits | None = None,
    grace: int = 30,
    drain: float = 0.0,
    ready: Callable[[], None] = lambda: None,
) -> Server:
    """A server for `service`. After a signal, open answers get `grace` seconds to finish."""
    hot: Routes = {
        b"/v1/chat/completions": ("chat", Answering(service, Chat())),
        b"/v1/messages": ("messages", Answering(service, Messages())),
        b"/v1/messages/count_tokens": ("count_tokens", CountTokens(service)),
        b"/v1/responses": ("responses", Responding(service)),
        b"/v1/completions": ("completions", Answering(service, Completions())),
        b"/v1/embeddings": ("embeddings", Embeddings(service)),
        b"/v1/route": ("route", Decide(service)),
        b"/v1/feedback": ("feedback", Judge(service)),
    }
    cold = app.build(service, endpoints.ENDPOINTS, [path.decode() for path in hot])
    connection = partial(Connection, routes=hot, limits=limits or HttpLimits(), observe=service.metrics.request)
    config = uvicorn.Config(
        cold,
        host=host,
        port=port,
        http=connection,  # type: ignore[arg-type]  # uvicorn calls it, no more
        ws="none",
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=grace,
    )
    return Server(config, service, drain, ready)
