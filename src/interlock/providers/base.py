"""The seam between interlock and whatever answers: one method.

A provider is any object with `send`. Those of this package, a test's scripted one and a stranger's all go through it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack
from typing import Protocol, runtime_checkable

import msgspec

from ..types import Candidate, Chunk, Request

Chunks = AsyncGenerator[Chunk, None]


class Call(msgspec.Struct, frozen=True):
    """One request to one candidate. `deadline` is a time of `time.monotonic()`, or `None` for no deadline.

    `traceparent` is sent on as the header of that name, where there is one.
    """

    request: Request
    candidate: Candidate
    stream: bool = False
    deadline: float | None = None
    traceparent: str = ""


class Provider(Protocol):
    """Turns a call into the chunks of an answer in the OpenAI chat shape.

    Not streaming: exactly one chunk, whose `raw` is the whole `chat.completion`. Streaming: any number of chunks, each
    `raw` one `chat.completion.chunk` without SSE framing; `raw` is empty for what the caller did not ask to see (the
    usage, as a rule). `usage` counts the whole answer; where several chunks carry one, the last holds.

    Nothing is sent before the first chunk is asked for. Closing the generator, or cancelling the task that awaits it,
    ends the upstream call. `call.deadline` is kept.

    Raises a leaf of `ProviderError` and nothing else; its text quotes neither the prompt nor a key.
    """

    def send(self, call: Call) -> Chunks: ...


@runtime_checkable
class Closable(Protocol):
    """A provider that holds connections or threads; `aclose` gives them back and may be called more than once."""

    async def aclose(self) -> None: ...


async def close_all(providers: Iterable[object]) -> None:
    """Close every provider that can be closed, also when one of them fails; the first failure is raised at the end."""
    async with AsyncExitStack() as stack:
        for provider in providers:
            if isinstance(provider, Closable):
                stack.push_async_callback(provider.aclose)
