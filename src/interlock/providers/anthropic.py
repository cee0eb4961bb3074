"""Anthropic's Messages API, asked and answered in the OpenAI chat shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from ..errors import Garbled
from .anthropic_answer import Translation, whole
from .anthropic_request import translate
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
        limits: sizes, timeouts and the number of connections.
    """

    api_key: str = field(default="", repr=False)
    base_url: str = "https://api.anthropic.com/v1"
    version: str = "2023-06-01"
    max_tokens: int = 4096
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_file: str = ""
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self._client = Client(self.base_url, self.limits, ca_file=self.ca_file)
        fixed = {"content-type": "application/json", "anthropic-version": self.version, "x-api-key": self.api_key}
        self._endpoint = self._client.endpoint("POST", "/messages", {**fixed, **self.headers})

    async def send(self, call: Call) -> Chunks:
        body = msgspec.json.encode(translate(call, self.max_tokens))
        response = await self._client.send(self._endpoint, body, stream=call.stream, deadline=call.deadline)
        try:
            if response.status != 200:
                raise failure(response.status, response.headers, await response.read())
            if not call.stream:
                yield whole(await response.read())
                return
            events, translation = Events(), Translation(wants_usage(call.request))
            while data := await response.chunk():
                for _, event in events.feed(data):
                    for chunk in translation.read(event):
                        yield chunk
                if translation.ended:
                    response.release()
                    return
            raise Garbled("the stream ended before the answer did")
        finally:
            response.close()

    async def aclose(self) -> None:
        await self._client.aclose()
