"""Anthropic's answers, whole or as events, in the OpenAI chat shape.

Thinking becomes `reasoning_content`; the signed blocks come back as `thinking_blocks`, so that a caller who returns the
assistant's message in a tool loop returns them too, which the Messages API then requires.

Source: Anthropic API reference, `Message` object and streaming events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ..errors import Garbled
from ..types import Chunk, Usage
from .failures import failure_inside
from .wire import Writer

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def usage_of(counted: Mapping[str, Any]) -> Usage:
    """Anthropic counts what was read from and written to the cache apart; here both are part of the input."""
    cached = counted.get("cache_read_input_tokens") or 0
    written = counted.get("cache_creation_input_tokens") or 0
    return Usage(
        input=(counted.get("input_tokens") or 0) + cached + written,
        output=counted.get("output_tokens") or 0,
        cached=cached,
        cache_write=written,
    )


def whole(raw: bytes) -> Chunk:
    """A complete `message` as one chunk. Raises `Garbled`, or the error that came in its place."""
    message = _document(raw)
    try:
        blocks, usage = message["content"], usage_of(message["usage"])
        text = "".join(block["text"] for block in blocks if block["type"] == "text")
        thoughts = [block for block in blocks if block["type"] in ("thinking", "redacted_thinking")]
        calls = [_tool_call(block, block["input"]) for block in blocks if block["type"] == "tool_use"]
        finish = FINISH.get(message["stop_reason"], "stop")
        fields: dict[str, Any] = {"content": text if text or not calls else None}
        if thoughts:
            fields["reasoning_content"] = "".join(block.get("thinking", "") for block in thoughts)
            fields["thinking_blocks"] = thoughts
        if calls:
            fields["tool_calls"] = calls
        json = Writer(message["id"], message["model"]).completion(fields, finish, usage)
    except (KeyError, TypeError, AttributeError) as error:
        raise Garbled(f"the message lacks or mistypes a field ({type(error).__name__})") from None
    return Chunk(raw=json, text=text, usage=usage, finish=finish)


class Translation:
    """Translates the events of one stream in order. `ended` once the provider has said `message_stop`."""

    def __init__(self, show_usage: bool) -> None:
        self.ended = False
        self._show_usage = show_usage
        self._writer = Writer("", "")
        self._counted: dict[str, Any] = {}
        self._block: dict[str, Any] = {}
        self._tools = -1
        self._arguments = False

    def read(self, raw: bytes) -> list[Chunk]:
        """The chunks that one event gives, often none. Raises `Garbled`, or the error that the event reports."""
        event = _document(raw)
        try:
            return list(self._chunks(event))
        except (KeyError, TypeError, AttributeError) as error:
            raise Garbled(f"an event lacks or mistypes a field ({type(error).__name__})") from None

    def _chunks(self, event: dict[str, Any]) -> Iterator[Chunk]:
        match event["type"]:
            case "message_start":
                message = event["message"]
                self._writer = Writer(message["id"], message["model"])
                self._counted.update(message["usage"])
                yield self._chunk({"role": "assistant", "content": ""})
            case "content_block_start":
                yield from self._open(event["content_block"])
            case "content_block_delta":
                yield from self._extend(event["delta"])
            case "content_block_stop":
                yield from self._shut()
            case "message_delta":
                self._counted.update({name: n for name, n in (event.get("usage") or {}).items() if n is not None})
                if reason := event["delta"].get("stop_reason"):
                    finish = FINISH.get(reason, "stop")
                    yield Chunk(raw=self._writer.delta({}, finish), finish=finish)
            case "message_stop":
                self.ended = True
                usage = usage_of(self._counted)
                yield Chunk(raw=self._writer.usage(usage) if self._show_usage else b"", usage=usage)

    def _open(self, block: dict[str, Any]) -> Iterator[Chunk]:
        self._block = dict(block)
        if block["type"] == "tool_use":
            self._tools += 1
            self._arguments = False
            yield self._chunk({"tool_calls": [{"index": self._tools, **_tool_call(block, None)}]})
        elif block["type"] == "text" and block.get("text"):
            yield self._chunk({"content": block["text"]}, block["text"])

    def _extend(self, delta: dict[str, Any]) -> Iterator[Chunk]:
        match delta["type"]:
            case "text_delta":
                yield self._chunk({"content": delta["text"]}, delta["text"])
            case "input_json_delta":
                self._arguments = self._arguments or bool(delta["partial_json"])
                yield self._argument(delta["partial_json"])
            case "thinking_delta":
                self._block["thinking"] = self._block.get("thinking", "") + delta["thinking"]
                yield self._chunk({"reasoning_content": delta["thinking"]})
            case "signature_delta":
                self._block["signature"] = delta["signature"]

    def _shut(self) -> Iterator[Chunk]:
        kind = self._block.get("type")
        if kind == "tool_use" and not self._arguments:
            yield self._argument("{}")  # a tool without arguments sends none, and "" is not JSON
        elif kind in ("thinking", "redacted_thinking"):
            yield self._chunk({"thinking_blocks": [self._block]})
        self._block = {}

    def _argument(self, piece: str) -> Chunk:
        return self._chunk({"tool_calls": [{"index": self._tools, "function": {"arguments": piece}}]})

    def _chunk(self, delta: dict[str, Any], text: str = "") -> Chunk:
        return Chunk(raw=self._writer.delta(delta), text=text)


def _tool_call(block: Mapping[str, Any], arguments: Any) -> dict[str, Any]:
    encoded = "" if arguments is None else msgspec.json.encode(arguments).decode()
    return {"id": block["id"], "type": "function", "function": {"name": block["name"], "arguments": encoded}}


def _document(raw: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Garbled(f"the answer is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise Garbled("the answer is not a JSON object")
    if document.get("type") == "error":
        raise failure_inside(raw)
    return document
