"""Anthropic's Messages API, asked and answered in the OpenAI chat shape; and in its own, when the caller speaks it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar

import msgspec

from ..errors import Garbled
from ..types import Chunk
from .anthropic_answer import Translation, whole
from .anthropic_request import translate, untranslated
from .base import Call, Chunks
from .failures import failure
from .http import Client, Limits
from .sse import Events
from .wire import wants_usage


@dataclass
class Anthropic:
    """The Messages API.

    Attributes:
        api_key: sent as `x-api-key`.
        base_url: up to and including `/v1`.
        version: of the API, sent as `anthropic-version`.
        max_tokens: cap on the answer when neither the caller nor the candidate's profile states one; the API wants one.
        headers: further headers of every request, `anthropic-beta` for example.
        ca_file: trusted certificates instead of the system's.
        link_local: permit link-local addresses and those of clouds' metadata services.
        limits: sizes, timeouts and the number of connections.
    """

    api_key: str = field(default="", repr=False)
    base_url: str = "https://api.anthropic.com/v1"
    version: str = "2023-06-01"
    max_tokens: int = 4096
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_file: str = ""
    link_local: bool = False
    limits: Limits = field(default_factory=Limits)

    speaks: ClassVar[str] = "messages"

    def __post_init__(self) -> None:
        self._client = Client(self.base_url, self.limits, ca_file=self.ca_file, link_local=self.link_local)
        self._endpoint = lru_cache(64)(self._endpoint_for)

    def _endpoint_for(self, betas: str) -> bytes:
        fixed = {"content-type": "application/json", "anthropic-version": self.version, "x-api-key": self.api_key}
        own = {name.lower(): value for name, value in self.headers.items()}
        asked = {"anthropic-beta": ",".join(filter(None, (own.get("anthropic-beta"), betas)))} if betas else {}
        return self._client.endpoint("POST", "/messages", {**fixed, **own, **asked})

    async def send(self, call: Call) -> Chunks:
        own = call.request.native
        native = own is not None and own.dialect == self.speaks
        body = msgspec.json.encode(untranslated(call) if native else translate(call, self.max_tokens))
        endpoint = self._endpoint(own.betas if own is not None and native else "")
        response = await self._client.send(
            endpoint, body, stream=call.stream, deadline=call.deadline, traceparent=call.traceparent
        )
        try:
            if response.status != 200:
                raise failure(response.status, response.headers, await response.read())
            if not call.stream:
                raw = await response.read()
                chunk = whole(raw)
                yield msgspec.structs.replace(chunk, native=raw) if native else chunk
                return
            events, translation = Events(), Translation(wants_usage(call.request))
            while data := await response.chunk():
                for name, event in events.feed(data):
                    chunks = translation.read(event)
                    for chunk in _as_said(chunks, name, event) if native else chunks:
                        yield chunk
                if translation.ended:
                    response.release()
                    return
            raise Garbled("the stream ended before the answer did")
        finally:
            response.close()

    async def aclose(self) -> None:
        await self._client.aclose()


def _as_said(chunks: list[Chunk], name: bytes, event: bytes) -> list[Chunk]:
    """What an event gave, with the event itself in the first of them; in an empty one when it gave nothing."""
    first, *rest = chunks or [Chunk(b"")]
    said = b"".join(b"data: %b\n" % line for line in event.split(b"\n"))
    return [msgspec.structs.replace(first, native=b"event: %b\n%b\n" % (name, said)), *rest]
