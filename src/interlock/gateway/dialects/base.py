"""What a dialect is: a request's way in, and an answer's way out, whole or as events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from ...errors import Garbled, InterlockError, RequestError
from ...types import Native

Json = dict[str, Any]


class Dialect(Protocol):
    """How the callers of one API speak. It keeps no state: one instance serves all requests.

    `body` are the fields of its requests that are looked at, as a struct: for checks, and for the API's description.
    """

    @property
    def body(self) -> type[msgspec.Struct]: ...

    def request(self, asked: Json, headers: Mapping[bytes, bytes]) -> tuple[Json, Native | None]:
        """The body of the chat request that asks the same, and the caller's own where a provider may speak it too.

        Raises `RequestError` for what is wrong, or cannot be asked in chat and of nobody else either.
        """
        ...

    def whole(self, completion: bytes, asked: Json, id: str) -> bytes:
        """A `chat.completion` as this API answers; `asked` is the caller's own body, `id` the decision's."""
        ...

    def stream(self, asked: Json, id: str) -> Events:
        """A translator for one streamed answer."""
        ...

    def error(self, error: InterlockError) -> bytes:
        """The body of an error response."""
        ...


class Events(Protocol):
    """Translates one stream, chunk by chunk; what it returns is written as it is, often nothing.

    `final` is the whole answer after `end`, of an API that keeps answers; else empty.
    """

    final: bytes

    def read(self, chunk: bytes) -> bytes:
        """Server-sent events for one `chat.completion.chunk`."""
        ...

    def end(self) -> bytes:
        """What is said when the answer is whole."""
        ...

    def fail(self, error: InterlockError) -> bytes:
        """What is said when it breaks off."""
        ...


class Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct):
    """A whole call, or a piece of the one with this index."""

    id: str | None = None
    index: int = 0
    function: Function | None = None

    @property
    def named(self) -> Function:
        return self.function or Function()


class Delta(msgspec.Struct):
    """What a chunk, or a whole message, adds: text, a refusal, reasoning, signed reasoning blocks, pieces of calls."""

    content: str | list[Json] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    thinking_blocks: list[Json] | None = None
    tool_calls: list[ToolCall] | None = None

    @property
    def text(self) -> str:
        """The content; some providers give it in parts, with the text in those that have one."""
        if isinstance(self.content, list):
            return "".join(part["text"] for part in self.content if isinstance(part.get("text"), str))
        return self.content or ""


class Cached(msgspec.Struct):
    cached_tokens: int | None = None


class Reasoned(msgspec.Struct):
    reasoning_tokens: int | None = None


class Counted(msgspec.Struct):
    """A chat usage."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: Cached | None = None
    completion_tokens_details: Reasoned | None = None


class Choice(msgspec.Struct):
    index: int = 0
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None


class Completion(msgspec.Struct):
    """What the dialects read of a `chat.completion` and of its chunks."""

    id: str = ""
    model: str = ""
    created: int = 0
    choices: list[Choice] = []
    usage: Counted | None = None

    @property
    def first(self) -> Choice:
        return next((choice for choice in self.choices if choice.index == 0), Choice())


_decode = msgspec.json.Decoder(Completion).decode


def read_completion(raw: bytes) -> Completion:
    """Raises `Garbled`."""
    try:
        return _decode(raw)
    except msgspec.MsgspecError as error:
        raise garbled(error) from None


def garbled(error: Exception) -> Garbled:
    return Garbled(f"the answer is not in the OpenAI chat shape: {error}")


def event(name: str, data: Mapping[str, Any]) -> bytes:
    """One server-sent event with a name and JSON data."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(data))


def counted(usage: Counted | None) -> tuple[int, int, int, int]:
    """Input, output, cached and reasoning tokens of a chat usage; 0 for what it does not say."""
    usage = usage or Counted()
    cached = usage.prompt_tokens_details and usage.prompt_tokens_details.cached_tokens
    reasoning = usage.completion_tokens_details and usage.completion_tokens_details.reasoning_tokens
    return usage.prompt_tokens or 0, usage.completion_tokens or 0, cached or 0, reasoning or 0


def refused(param: str, problem: str) -> RequestError:
    """For what no candidate could be asked."""
    return RequestError(f"{param}: {problem}", param=param, code="unsupported")
