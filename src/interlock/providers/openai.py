"""Anything that speaks OpenAI's chat completions: OpenAI itself, vLLM, SGLang, llama.cpp, Ollama, another gateway.

The caller's fields are forwarded untouched and the provider's JSON comes back untouched; interlock replaces `model`,
sets the candidate's options and asks every stream for its usage.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..errors import Garbled, ProviderError
from ..types import Chunk
from .base import Call, Chunks
from .failures import failure, failure_inside
from .http import Client, Limits, Response
from .sse import Events
from .wire import Reader, messages_of, wants_usage


@dataclass
class OpenAI:
    """An OpenAI-compatible endpoint.

    Attributes:
        base_url: up to and including `/v1`.
        api_key: sent as a bearer token; empty sends none.
        headers: further headers of every request.
        ca_file: trusted certificates instead of the system's.
        link_local: permit link-local addresses and those of clouds' metadata services.
        limits: sizes, timeouts and the number of connections.
    """

    base_url: str = "https://api.openai.com/v1"
    api_key: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_file: str = ""
    link_local: bool = False
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self._client = Client(self.base_url, self.limits, ca_file=self.ca_file, link_local=self.link_local)
        key = {"authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        fixed = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        self._endpoint = self._client.endpoint("POST", "/chat/completions", {**fixed, **key, **self.headers})

    async def send(self, call: Call) -> Chunks:
        reader = Reader(show_usage=wants_usage(call.request))
        body = msgspec.json.encode(payload(call))
        response = await self._client.send(
            self._endpoint, body, stream=call.stream, deadline=call.deadline, traceparent=call.traceparent
        )
        try:
            if response.status != 200:
                raise failure(response.status, response.headers, await response.read())
            if not call.stream:
                yield understand(reader, await response.read())
                return
            if response.headers.get(b"content-type", b"").startswith(b"application/json"):
                understand(reader, await response.read())
                raise Garbled("a stream was asked for, one JSON document came")
            async with aclosing(self._stream(response, reader)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            response.close()

    async def _stream(self, response: Response, reader: Reader) -> Chunks:
        """The chunk that ends the answer is held until the usage is there, which follows at once.

        So a caller who leaves at the answer's end cannot take its usage along, and one whose provider breaks off in
        between has the whole answer.
        """
        events, last = Events(), None
        while True:
            try:
                data = await response.chunk()
            except ProviderError:
                if last is None:
                    raise
                yield last
                return
            for _, event in events.feed(data):
                if event == b"[DONE]":
                    response.release()
                    if last is not None:
                        yield last
                    return
                chunk = understand(reader, event)
                if last is not None:
                    yield last if chunk.usage is None else msgspec.structs.replace(last, usage=chunk.usage)
                    last = None
                if chunk.finish and chunk.usage is None:
                    last = chunk
                else:
                    yield chunk
            if not data:
                break
        if last is not None:
            yield last
        elif not reader.finish:
            raise Garbled("the stream ended before the answer did")

    async def aclose(self) -> None:
        await self._client.aclose()


def payload(call: Call) -> dict[str, Any]:
    """The request's JSON: the caller's body, then what interlock decides, then the candidate's options."""
    request, candidate = call.request, call.candidate
    body: dict[str, Any] = {**request.body, "messages": messages_of(request), "model": candidate.model}
    if request.max_tokens is not None and "max_completion_tokens" not in body:
        body.setdefault("max_tokens", request.max_tokens)
    if request.seed is not None:
        body.setdefault("seed", request.seed)
    body.update(candidate.options)
    options = body.pop("stream_options", None)
    if call.stream:
        body["stream"] = True
        body["stream_options"] = {**(options if isinstance(options, Mapping) else {}), "include_usage": True}
    else:
        body.pop("stream", None)
    return body


def understand(reader: Reader, raw: bytes) -> Chunk:
    """The chunk in `raw`. Raises the provider's own error when it sent one instead."""
    chunk = reader.read(raw)
    if isinstance(chunk, Chunk):
        return chunk
    raise failure_inside(chunk)
