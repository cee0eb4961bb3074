"""Pocket models as a process of their own, with the HTTP face of a real replica.

Routes: /v1/chat/completions, /v1/embeddings, /v1/models, /metrics, /healthz. A client that goes away frees its
slot; a full queue is a 429 with Retry-After; every error has the OpenAI shape.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import msgspec
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from interlock.errors import InterlockError, NotFound, RequestError, TooLarge
from interlock.pocket.handle import Stream
from interlock.pocket.metrics import PoolCollector
from interlock.pocket.openai_wire import (
    ChatAnswer,
    ChatBody,
    EmbeddingBody,
    Json,
    embeddings,
    failure,
    read_body,
    read_chat,
)  # fmt: skip
from interlock.pocket.pool import Pool
from interlock.types import new_id

T = TypeVar("T")

MAX_BODY = 1 << 20
MAX_INPUTS = 256


class EventStream(StreamingResponse):
    """Server-sent events; however the response ends, even before its first byte, the request is cancelled."""

    def __init__(self, events: AsyncIterator[bytes], stream: Stream) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"cache-control": "no-cache"})
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.cancel()


class Replica:
    """The handlers, over one pool."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._registry = CollectorRegistry()
        self._registry.register(PoolCollector(pool))

    async def chat(self, request: Request) -> Response:
        body = read_body(await _body(request), ChatBody)
        asked = read_chat(body, self.pool.family)
        candidate = self.pool.family.candidate(asked.candidate)
        fingerprint = self.pool.family.members[candidate.model].file.sha256[:12]
        answer = ChatAnswer(new_id("chatcmpl"), candidate, fingerprint, logprobs=bool(body.logprobs))
        if body.stream:
            include_usage = body.stream_options is not None and body.stream_options.include_usage
            stream = self.pool.stream(asked)
            events = _events(stream, answer, include_usage)
            return EventStream(events, stream)
        result = await _unless_disconnected(request, self.pool.generate(asked))
        return Response(status_code=499) if result is None else _json(answer.whole(result))

    async def embed(self, request: Request) -> Response:
        body = read_body(await _body(request), EmbeddingBody)
        texts = [body.input] if isinstance(body.input, str) else body.input
        if not 1 <= len(texts) <= MAX_INPUTS:
            raise RequestError(f"input must hold 1 to {MAX_INPUTS} texts, got {len(texts)}", param="input")
        model = self.pool.family.resolve(body.model).model
        hidden = partial(self.pool.hidden_states, model, layer=body.layer, pooling=body.pooling)
        pairs = await asyncio.to_thread(lambda: [hidden(text=text) for text in texts])
        vectors, tokens = [vector for vector, _ in pairs], sum(count for _, count in pairs)
        return _json(embeddings(model, vectors, tokens, body.encoding_format))

    async def models(self, request: Request) -> Response:
        return _json({"object": "list", "data": [_card(name) for name in self._names()]})

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        self.pool.family.resolve(name)
        return _json(_card(name))

    async def metrics(self, request: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    async def health(self, request: Request) -> Response:
        return _json({"status": "ok", "models": list(self.pool.family.members)})

    def _names(self) -> list[str]:
        candidates = self.pool.candidates()
        bare = dict.fromkeys(candidate.adapter or candidate.model for candidate in candidates)
        return [*bare, *(candidate.name for candidate in candidates)]


def build(pool: Pool) -> Starlette:
    """The ASGI application; closing it closes the pool."""
    replica = Replica(pool)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        pool.close()

    return Starlette(
        routes=[
            Route("/v1/chat/completions", replica.chat, methods=["POST"]),
            Route("/v1/embeddings", replica.embed, methods=["POST"]),
            Route("/v1/models", replica.models),
            Route("/v1/models/{name}", replica.model),
            Route("/metrics", replica.metrics),
            Route("/healthz", replica.health),
        ],
        exception_handlers={InterlockError: _on_error, HTTPException: _on_http_error},
        lifespan=lifespan,
    )


def serve(pool: Pool, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Listen until interrupted. Port 0 takes a free one; ``ready`` is told the address once it is bound."""
    with socket.create_server((host, port), backlog=1024) as listener:
        ready(f"http://{host}:{listener.getsockname()[1]}")
        config = uvicorn.Config(build(pool), log_level="warning", access_log=False, timeout_graceful_shutdown=5)
        uvicorn.Server(config).run(sockets=[listener])


async def _events(stream: Stream, answer: ChatAnswer, include_usage: bool) -> AsyncIterator[bytes]:
    yield _event(answer.opening())
    try:
        async for delta in stream:
            chunk = answer.chunk(delta)
            if chunk is not None:
                yield _event(chunk)
    except InterlockError as error:
        yield _event(failure(error))
        return
    yield _event(answer.closing(stream.result))
    if include_usage:
        yield _event(answer.usage_chunk(stream.result))
    yield b"data: [DONE]\n\n"


async def _unless_disconnected(request: Request, work: Awaitable[T]) -> T | None:
    """The result of ``work``, or ``None``, the work cancelled, if the client goes away first."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        working.cancel()
        leaving.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request) -> bytes:
    received = bytearray()
    async for part in request.stream():
        received += part
        if len(received) > MAX_BODY:
            raise TooLarge(f"the body is larger than {MAX_BODY} bytes")
    return bytes(received)


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, InterlockError)
    response = _json(failure(error), error.status)
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        response.headers["retry-after"] = str(round(retry_after))
    return response


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    shaped = NotFound if error.status_code == 404 else RequestError
    return _json(failure(shaped(f"{request.method} {request.url.path}: {error.detail}")), error.status_code)


def _card(name: str) -> Json:
    return {"id": name, "object": "model", "created": 0, "owned_by": "interlock"}


def _json(value: Json, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _event(value: Json) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"
