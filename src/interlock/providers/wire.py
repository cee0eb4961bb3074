"""The OpenAI chat shape: what is read out of it, and how it is written by providers that speak something else.

Reading takes only the fields named here and leaves the provider's bytes as they came, so that unknown fields survive.
Source: OpenAI API reference, `chat/completions` objects.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..errors import Garbled
from ..types import Chunk, Message, Request, Usage

NULL = msgspec.Raw(b"null")


class CachedTokens(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class ReasoningTokens(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None


class UsageShape(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: CachedTokens | None = None
    completion_tokens_details: ReasoningTokens | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek's name for the cached tokens

    def usage(self) -> Usage:
        cached = self.prompt_tokens_details and self.prompt_tokens_details.cached_tokens
        reasoning = self.completion_tokens_details and self.completion_tokens_details.reasoning_tokens
        return Usage(
            input=self.prompt_tokens or 0,
            output=self.completion_tokens or 0,
            cached=cached or self.prompt_cache_hit_tokens or 0,
            reasoning=reasoning or 0,
        )


class TokenShape(msgspec.Struct, gc=False):
    logprob: float = 0.0


class LogprobsShape(msgspec.Struct, gc=False):
    content: list[TokenShape] | None = None


class TextShape(msgspec.Struct, gc=False):
    content: Any = None

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else ""


class ChoiceShape(msgspec.Struct):
    index: int = 0
    message: TextShape | None = None
    delta: TextShape | None = None
    finish_reason: str | None = None
    logprobs: LogprobsShape | None = None


class AnswerShape(msgspec.Struct):
    choices: list[ChoiceShape] | None = None
    usage: UsageShape | None = None
    error: msgspec.Raw = NULL


_decode = msgspec.json.Decoder(AnswerShape).decode


class Reader:
    """Reads one answer: the whole of it, or the pieces of a stream in order.

    `show_usage` says whether the caller asked for the usage chunk of a stream. Raises `Garbled`.
    """

    def __init__(self, show_usage: bool = True) -> None:
        self.finish = ""
        self._show_usage = show_usage
        self._logprob, self._tokens = 0.0, 0

    def read(self, raw: bytes) -> Chunk | msgspec.Raw:
        """The chunk, or the provider's own error object when it sent one instead."""
        try:
            answer = _decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            # The error's own text names the field at fault and quotes no value.
            raise Garbled(f"the answer is not in the OpenAI chat shape: {error}") from None
        if answer.error != NULL:
            return answer.error
        if answer.choices is None:
            raise Garbled("the answer is not in the OpenAI chat shape: it has no `choices`")
        first = next((choice for choice in answer.choices if choice.index == 0), None)
        usage = None if answer.usage is None else answer.usage.usage()
        if first is None:
            return Chunk(raw=raw if self._show_usage or usage is None else b"", usage=usage)
        if first.logprobs is not None and first.logprobs.content:
            self._logprob += math.fsum(token.logprob for token in first.logprobs.content)
            self._tokens += len(first.logprobs.content)
        finish = first.finish_reason or ""
        self.finish = finish or self.finish
        text = first.message or first.delta
        return Chunk(
            raw=raw,
            text=text.text if text is not None else "",
            usage=usage,
            finish=finish,
            confidence=self._confidence() if finish or first.message is not None else None,
        )

    def _confidence(self) -> float | None:
        """The geometric mean of the answer's token probabilities; `None` without `logprobs`."""
        return math.exp(min(0.0, self._logprob / self._tokens)) if self._tokens else None


def messages_of(request: Request) -> Sequence[Any]:
    """The conversation as JSON values: the caller's own `messages` when the body holds them, else the request's."""
    own = request.body.get("messages")
    return own if isinstance(own, Sequence) and not isinstance(own, str) else [_message(m) for m in request.messages]


def _message(message: Message) -> dict[str, Any]:
    fields = {"role": message.role, "content": message.content, "name": message.name,
              "tool_calls": message.tool_calls, "tool_call_id": message.tool_call_id}  # fmt: skip
    return {name: value for name, value in fields.items() if value is not None or name == "content"}


def limit_of(body: Mapping[str, Any], request: Request) -> int | None:
    """The most tokens the caller wants, by whichever of the three names it is given."""
    limit = body.get("max_completion_tokens", body.get("max_tokens", request.max_tokens))
    return limit if isinstance(limit, int) else None


def usage_json(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


class Writer:
    """Writes the JSON of one answer in the OpenAI chat shape, for a provider that speaks another."""

    def __init__(self, id: str, model: str, created: int | None = None) -> None:
        self._head = {"id": id, "created": int(time.time()) if created is None else created, "model": model}

    def completion(self, message: Mapping[str, Any], finish: str, usage: Usage | None, **extra: Any) -> bytes:
        """A whole `chat.completion`; `extra` fields that are not `None` go into its only choice."""
        choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **_known(extra)}
        counted = {} if usage is None else {"usage": usage_json(usage)}
        return msgspec.json.encode({**self._head, "object": "chat.completion", "choices": [choice], **counted})

    def delta(self, delta: Mapping[str, Any], finish: str | None = None, **extra: Any) -> bytes:
        """One `chat.completion.chunk`."""
        choice = {"index": 0, "delta": delta, "finish_reason": finish, **_known(extra)}
        return msgspec.json.encode({**self._head, "object": "chat.completion.chunk", "choices": [choice]})

    def usage(self, usage: Usage) -> bytes:
        """The last chunk of a stream whose caller asked for the usage."""
        body = {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": usage_json(usage)}
        return msgspec.json.encode(body)


def _known(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def wants_usage(request: Request) -> bool:
    """Whether a streaming caller asked to see the usage chunk."""
    options = request.body.get("stream_options")
    return isinstance(options, Mapping) and bool(options.get("include_usage"))
