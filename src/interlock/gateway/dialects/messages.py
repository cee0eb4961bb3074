"""Anthropic's Messages API, as its callers speak it: POST /v1/messages.

Content blocks become parts, `tool_use` becomes a tool call and `tool_result` a tool message; thinking blocks stay with
the message, so that a provider that signed them gets them back. An answer's tool calls become `tool_use` blocks again.

Source: Anthropic API reference, Messages and Streaming Messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ...errors import InterlockError, RequestError
from .base import Choice, Completion, Delta, Json, counted, event, read_completion

STOP = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
SAME = ("model", "stream", "temperature", "top_p", "top_k", "thinking", "service_tier", "interlock")
ELSEWHERE = ("messages", "system", "max_tokens", "stop_sequences", "tools", "tool_choice", "metadata",
             "output_config")  # fmt: skip
ERRORS = {
    401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error", 529: "overloaded_error",
}  # fmt: skip


class Messages:
    """The dialect. It keeps no state: one instance serves all requests."""

    def request(self, body: Json) -> Json:
        for name in body:
            if name not in SAME and name not in ELSEWHERE:
                raise _refused(name, f"{name!r} has no counterpart in a routed request")
        for name in ("messages", "max_tokens"):
            if name not in body:
                raise RequestError(f"{name}: missing field", param=name)
        chat: Json = {name: body[name] for name in SAME if name in body}
        chat["max_completion_tokens"] = body["max_tokens"]
        chat["messages"] = [*_system(body.get("system")), *_conversation(body["messages"])]
        if body.get("stop_sequences"):
            chat["stop"] = body["stop_sequences"]
        if body.get("tools"):
            chat["tools"] = [_tool(declared, i) for i, declared in enumerate(_list(body["tools"], "tools"))]
        chat.update(_tool_choice(body.get("tool_choice")))
        chat.update(_output(body.get("output_config")))
        if user := (body.get("metadata") or {}).get("user_id"):
            chat["user"] = user
        if body.get("stream"):
            chat["stream_options"] = {"include_usage": True}
        return chat

    def whole(self, completion: bytes, asked: Json, id: str) -> bytes:
        read = read_completion(completion)
        choice = read.first
        blocks = list(_blocks(choice.message or Delta()))
        return msgspec.json.encode(
            {**_message(read, id), "content": blocks, **_stopped(choice), "usage": _usage(read.usage)}
        )

    def stream(self, asked: Json, id: str) -> MessageEvents:
        return MessageEvents(id)

    def error(self, error: InterlockError) -> bytes:
        return msgspec.json.encode(_error(error))


class MessageEvents:
    """One streamed message. Blocks follow each other: what belongs to another one closes the one that is open."""

    def __init__(self, id: str) -> None:
        self._id, self._begun = id, False
        self._index = -1
        self._open: Any = None  # "text", "thinking", or the index of a tool call
        self._choice = Choice()
        self._usage: Json | None = None

    def read(self, chunk: bytes) -> bytes:
        read = read_completion(chunk)
        self._usage = read.usage or self._usage
        choice = read.first
        if choice.finish_reason:
            self._choice = choice
        return b"".join((*self._begin(read), *self._extend(choice.delta or Delta())))

    def end(self) -> bytes:
        delta = {"type": "message_delta", "delta": _stopped(self._choice), "usage": _usage(self._usage)}
        last = (event("message_delta", delta), event("message_stop", {"type": "message_stop"}))
        return b"".join((*self._begin(Completion()), *self._close(), *last))

    def fail(self, error: InterlockError) -> bytes:
        return event("error", _error(error))

    def _begin(self, read: Completion) -> Iterator[bytes]:
        if self._begun:
            return
        self._begun = True
        message = {
            **_message(read, self._id),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage(None),
        }
        yield event("message_start", {"type": "message_start", "message": message})

    def _extend(self, delta: Delta) -> Iterator[bytes]:
        if delta.reasoning_content:
            yield from self._start("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            yield self._delta({"type": "thinking_delta", "thinking": delta.reasoning_content})
        for block in delta.thinking_blocks or ():
            if self._open == "thinking" and block.get("signature"):
                yield self._delta({"type": "signature_delta", "signature": block["signature"]})
            elif block.get("type") == "redacted_thinking":
                yield from self._start(None, block)
        text = (delta.content or "") + (delta.refusal or "")
        if text:
            yield from self._start("text", {"type": "text", "text": ""})
            yield self._delta({"type": "text_delta", "text": text})
        for piece in delta.tool_calls or ():
            function = piece.get("function") or {}
            if piece.get("id"):
                block = {"type": "tool_use", "id": piece["id"], "name": function.get("name", ""), "input": {}}
                yield from self._start(piece.get("index", 0), block)
            if function.get("arguments"):
                yield self._delta({"type": "input_json_delta", "partial_json": function["arguments"]})

    def _start(self, kind: Any, block: Json) -> Iterator[bytes]:
        if kind is not None and self._open == kind:
            return
        yield from self._close()
        self._index += 1
        self._open = kind
        data = {"type": "content_block_start", "index": self._index, "content_block": block}
        yield event("content_block_start", data)
        if kind is None:
            self._open = "whole"

    def _delta(self, delta: Json) -> bytes:
        return event("content_block_delta", {"type": "content_block_delta", "index": self._index, "delta": delta})

    def _close(self) -> Iterator[bytes]:
        if self._open is not None:
            self._open = None
            yield event("content_block_stop", {"type": "content_block_stop", "index": self._index})


# Requests


def _system(given: Any) -> list[Json]:
    if not given:
        return []
    if isinstance(given, str):
        return [{"role": "system", "content": given}]
    return [
        {"role": "system", "content": [_part(block, f"system[{i}]") for i, block in enumerate(_list(given, "system"))]}
    ]


def _conversation(given: Any) -> Iterator[Json]:
    for i, message in enumerate(_list(given, "messages")):
        where = f"messages[{i}]"
        if not isinstance(message, Mapping) or message.get("role") not in ("user", "assistant"):
            raise _refused(f"{where}.role", "a message's role is user or assistant; instructions go into `system`")
        content = message.get("content")
        if isinstance(content, str):
            yield {"role": message["role"], "content": content}
            continue
        blocks = _list(content, f"{where}.content")
        yield from (_said if message["role"] == "assistant" else _asked)(blocks, f"{where}.content")


def _asked(blocks: Sequence[Any], where: str) -> Iterator[Json]:
    """A user's turn: tool results are messages of their own, and come first, as chat wants them."""
    parts = []
    for i, block in enumerate(blocks):
        if block.get("type") == "tool_result":
            content = block.get("content") or ""
            text = content if isinstance(content, str) else _text_of(content, f"{where}[{i}].content")
            failed = "Error: " if block.get("is_error") else ""
            yield {"role": "tool", "tool_call_id": str(block.get("tool_use_id", "")), "content": failed + text}
        else:
            parts.append(_part(block, f"{where}[{i}]"))
    if parts:
        yield {"role": "user", "content": parts}


def _said(blocks: Sequence[Any], where: str) -> Iterator[Json]:
    texts, thoughts, calls = [], [], []
    for i, block in enumerate(blocks):
        match block.get("type"):
            case "text":
                texts.append(str(block.get("text", "")))
            case "thinking" | "redacted_thinking":
                thoughts.append(block)
            case "tool_use":
                arguments = msgspec.json.encode(block.get("input") or {}).decode()
                function = {"name": block.get("name"), "arguments": arguments}
                calls.append({"id": block.get("id"), "type": "function", "function": function})
            case kind:
                raise _refused(f"{where}[{i}].type", f"an assistant's {kind!r} block cannot be routed")
    message: Json = {"role": "assistant", "content": "".join(texts) if texts or not calls else None}
    if calls:
        message["tool_calls"] = calls
    if thoughts:
        message["thinking_blocks"] = thoughts
    yield message


def _part(block: Any, where: str) -> Json:
    kept = (
        {"cache_control": block["cache_control"]} if isinstance(block, Mapping) and block.get("cache_control") else {}
    )
    match block:
        case {"type": "text", "text": str(text)}:
            return {"type": "text", "text": text, **kept}
        case {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}:
            return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}, **kept}
        case {"type": "image", "source": {"type": "url", "url": str(url)}}:
            return {"type": "image_url", "image_url": {"url": url}, **kept}
        case {"type": "document", "source": {"type": "base64", "media_type": kind, "data": data}}:
            name = str(block.get("title") or "document.pdf")
            return {"type": "file", "file": {"filename": name, "file_data": f"data:{kind};base64,{data}"}, **kept}
        case {"type": "document", "source": {"type": "text", "data": str(text)}}:
            return {"type": "text", "text": text, **kept}
    kind = block.get("type") if isinstance(block, Mapping) else type(block).__name__
    raise _refused(f"{where}.type", f"a {kind!r} block cannot be routed")


def _text_of(blocks: Any, where: str) -> str:
    parts = [_part(block, f"{where}[{i}]") for i, block in enumerate(_list(blocks, where))]
    if any(part["type"] != "text" for part in parts):
        raise _refused(where, "a tool's result must be text to be routed")
    return "\n".join(part["text"] for part in parts)


def _tool(declared: Any, i: int) -> Json:
    if not isinstance(declared, Mapping) or declared.get("type", "custom") != "custom":
        raise _refused(f"tools[{i}].type", f"the server tool {declared.get('type')!r} runs at one provider only")
    function = {"name": declared.get("name"), "description": declared.get("description"),
                "parameters": declared.get("input_schema"), "strict": declared.get("strict")}  # fmt: skip
    return {"type": "function", "function": {key: value for key, value in function.items() if value is not None}}


def _tool_choice(given: Any) -> Json:
    if given is None:
        return {}
    words = {"auto": "auto", "any": "required", "none": "none"}
    match given:
        case {"type": "tool", "name": str(name)}:
            chosen: Any = {"type": "function", "function": {"name": name}}
        case {"type": str(kind)} if kind in words:
            chosen = words[kind]
        case _:
            raise _refused("tool_choice.type", "it is auto, any, none or tool")
    one = {"parallel_tool_calls": False} if given.get("disable_parallel_tool_use") else {}
    return {"tool_choice": chosen, **one}


def _output(given: Any) -> Json:
    if not given:
        return {}
    chat: Json = {}
    match given.get("format"):
        case None:
            pass
        case {"type": "json_schema", "schema": schema}:
            chat["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        case _:
            raise _refused("output_config.format", "only json_schema can be routed")
    if given.get("effort"):
        chat["reasoning_effort"] = given["effort"]
    return chat


def _list(value: Any, where: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise RequestError(f"{where}: expected a list", param=where)
    return value


def _refused(param: str, problem: str) -> RequestError:
    return RequestError(f"{param}: {problem}", param=param, code="unsupported")


# Answers


def _message(read: Completion, id: str) -> Json:
    return {"id": read.id or f"msg_{id}", "type": "message", "role": "assistant", "model": read.model}


def _stopped(choice: Choice) -> Json:
    return {"stop_reason": STOP.get(choice.finish_reason or "stop", "end_turn"), "stop_sequence": None}


def _usage(usage: Json | None) -> Json:
    """Anthropic counts what was read from the cache apart from the input; in chat it is part of it."""
    read, written, cached, _ = counted(usage)
    return {"input_tokens": read - cached, "cache_read_input_tokens": cached, "output_tokens": written}


def _blocks(message: Delta) -> Iterator[Json]:
    if message.thinking_blocks:
        yield from message.thinking_blocks
    elif message.reasoning_content:
        yield {"type": "thinking", "thinking": message.reasoning_content, "signature": ""}
    text = (message.content or "") + (message.refusal or "")
    if text:
        yield {"type": "text", "text": text}
    for call in message.tool_calls or ():
        function = call.get("function") or {}
        yield {"type": "tool_use", "id": call.get("id"), "name": function.get("name"), "input": _input(function)}


def _input(function: Mapping[str, Any]) -> Json:
    try:
        value = msgspec.json.decode(function.get("arguments") or "{}")
    except msgspec.DecodeError:
        value = None
    return value if isinstance(value, dict) else {"arguments": function.get("arguments")}


def _error(error: InterlockError) -> Json:
    kind = ERRORS.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": error.message, "code": error.code}}
