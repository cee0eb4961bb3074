"""Anthropic's Messages API, as its callers speak it: POST /v1/messages.

A provider of that API gets the request as it came, and its answer goes back as it comes (`Native`). For all others
content blocks become parts, `tool_use` becomes a tool call and `tool_result` a tool message, and back. What has no
counterpart in chat (server tools, citations, fields nobody knows) is named in `Native.only`, and a guard keeps such a
request from everyone else. Left out for others are only what could not serve them: thinking blocks that another
provider signed in turns that are over, how much to think (the candidate's own budget says that), cache breakpoints.
While tools are being called, signed thinking is named in `Native.signed`. Thinking that nobody signed, from a candidate
that does not, is left out for providers of that API, which would refuse it.

Source: Anthropic API reference, Messages and Streaming Messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from ...errors import InterlockError, Refused, RequestError
from ...types import Native
from ..parse import Extensions, Tokens, convert
from .base import Choice, Completion, Counted, Delta, Json, counted, event, read_completion

STOP = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
SAME = ("model", "stream", "temperature", "top_p", "top_k", "interlock")
ELSEWHERE = ("messages", "system", "max_tokens", "stop_sequences", "tools", "tool_choice", "metadata",
             "output_config", "thinking", "cache_control", "service_tier")  # fmt: skip
ERRORS = {
    401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error", 529: "overloaded_error",
}  # fmt: skip
BETAS = re.compile(rb"[A-Za-z0-9._, -]{1,1024}")


class Turn(msgspec.Struct):
    role: Literal["user", "assistant"]
    content: str | list[Json]


class CountBody(msgspec.Struct, kw_only=True):
    """The fields that are looked at when only the tokens are counted."""

    messages: list[Turn]
    model: str = "auto"
    system: str | list[Json] | None = None
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0, le=1 << 31)] | None = None
    tools: list[Json] | None = None
    tool_choice: Json | None = None
    metadata: Json | None = None
    output_config: Json | None = None
    thinking: Json | None = None
    interlock: Extensions | None = None


class MessagesBody(CountBody, kw_only=True):
    """The fields that are looked at."""

    max_tokens: Tokens


class Messages:
    body = MessagesBody

    def request(self, asked: Json, headers: Mapping[bytes, bytes]) -> tuple[Json, Native | None]:
        fields = convert(asked, MessagesBody)
        only = [name for name in asked if name not in SAME and name not in ELSEWHERE and asked[name] is not None]
        chat: Json = {name: asked[name] for name in SAME if asked.get(name) is not None}
        chat["max_completion_tokens"] = fields.max_tokens
        chat["messages"] = [*_system(fields.system, only), *_conversation(fields.messages, only)]
        if fields.stop_sequences:
            chat["stop"] = fields.stop_sequences
        tools = [tool for i, declared in enumerate(fields.tools or ()) for tool in _tool(declared, i, only)]
        if tools:
            chat["tools"] = tools
            chat.update(_tool_choice(fields.tool_choice))
        chat.update(_output(fields.output_config, only))
        if isinstance(user := (fields.metadata or {}).get("user_id"), str):
            chat["user"] = user
        if fields.stream:
            chat["stream_options"] = {"include_usage": True}
        own = {name: value for name, value in asked.items() if name != "interlock"}
        own["messages"] = [turn for given in asked["messages"] if (turn := _without_unsigned(given)) is not None]
        betas = headers.get(b"anthropic-beta", b"")
        return chat, Native(
            "messages",
            own,
            tuple(only),
            betas.decode() if BETAS.fullmatch(betas) else "",
            tuple(_signed(fields.messages)),
        )

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

    final = b""

    def __init__(self, id: str) -> None:
        self._id, self._begun = id, False
        self._index = -1
        self._open: Any = None  # "text", "thinking", or the index of a tool call
        self._choice = Choice()
        self._usage: Counted | None = None

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
        text = delta.text + (delta.refusal or "")
        if text:
            yield from self._start("text", {"type": "text", "text": ""})
            yield self._delta({"type": "text_delta", "text": text})
        for piece in delta.tool_calls or ():
            id = piece.id or f"call_{self._id}_{piece.index}"
            block = {"type": "tool_use", "id": id, "name": piece.named.name or "", "input": {}}
            yield from self._start(piece.index, block)
            if piece.named.arguments:
                yield self._delta({"type": "input_json_delta", "partial_json": piece.named.arguments})

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


# Requests: what has no words in chat goes into `only`


def _system(given: str | list[Json] | None, only: list[str]) -> list[Json]:
    if not given:
        return []
    if isinstance(given, str):
        return [{"role": "system", "content": given}]
    parts = [part for i, block in enumerate(given) for part in _part(block, f"system[{i}]", only)]
    return [{"role": "system", "content": parts}] if parts else []


def _conversation(turns: Sequence[Turn], only: list[str]) -> Iterator[Json]:
    for i, turn in enumerate(turns):
        if isinstance(turn.content, str):
            yield {"role": turn.role, "content": turn.content}
        else:
            yield from (_said if turn.role == "assistant" else _asked)(turn.content, f"messages[{i}].content", only)


def _asked(blocks: Sequence[Json], where: str, only: list[str]) -> Iterator[Json]:
    """A user's turn: tool results are messages of their own, and come first, as chat wants them."""
    parts = []
    for i, block in enumerate(blocks):
        if block.get("type") == "tool_result":
            text = _text_of(block.get("content") or "", f"{where}[{i}].content", only)
            failed = "Error: " if block.get("is_error") else ""
            yield {"role": "tool", "tool_call_id": str(block.get("tool_use_id", "")), "content": failed + text}
        else:
            parts += _part(block, f"{where}[{i}]", only)
    if parts:
        yield {"role": "user", "content": parts}


def _said(blocks: Sequence[Json], where: str, only: list[str]) -> Iterator[Json]:
    texts, calls = [], []
    for i, block in enumerate(blocks):
        match block:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "thinking" | "redacted_thinking"}:
                pass
            case {"type": "tool_use", "id": str(id), "name": str(name)}:
                arguments = msgspec.json.encode(block.get("input") or {}).decode()
                calls.append({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
            case _:
                only.append(_what(block, f"{where}[{i}]"))
    message: Json = {"role": "assistant", "content": "".join(texts) if texts or not calls else None}
    yield message | ({"tool_calls": calls} if calls else {})


def _signed(turns: Sequence[Turn]) -> Iterator[str]:
    """Signed thinking of a turn that is not over: the request ends in the results of the tools that it called."""
    for i in range(len(turns) - 1, -1, -1):
        content = turns[i].content
        if turns[i].role == "user" and (isinstance(content, str) or not all(map(_is_result, content))):
            return
        for j, block in enumerate([] if isinstance(content, str) else content):
            if _thinks(block) and not _unsigned(block):
                yield f"messages[{i}].content[{j}], signed thinking before a tool call"


def _without_unsigned(turn: Json) -> Json | None:
    """A turn as it came but for thinking that nobody signed; `None` when nothing else was said."""
    content = turn["content"]
    if isinstance(content, str) or not any(map(_unsigned, content)):
        return turn
    kept = [block for block in content if not _unsigned(block)]
    return {**turn, "content": kept} if kept else None


def _is_result(block: Json) -> bool:
    return block.get("type") == "tool_result"


def _thinks(block: Json) -> bool:
    return block.get("type") in ("thinking", "redacted_thinking")


def _unsigned(block: Json) -> bool:
    return block.get("type") == "thinking" and not block.get("signature")


def _part(block: Any, where: str, only: list[str]) -> list[Json]:
    match block:
        case {"type": "text", "text": str(text)}:
            return [{"type": "text", "text": text}]
        case {"type": "image", "source": {"type": "base64", "media_type": str(kind), "data": str(data)}}:
            return [{"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}]
        case {"type": "image", "source": {"type": "url", "url": str(url)}}:
            return [{"type": "image_url", "image_url": {"url": url}}]
        case {"type": "document", "citations": {"enabled": True}}:
            only.append(f"{where}.citations")
        case {"type": "document", "source": {"type": "base64", "media_type": str(kind), "data": str(data)}}:
            name = str(block.get("title") or "document.pdf")
            return [{"type": "file", "file": {"filename": name, "file_data": f"data:{kind};base64,{data}"}}]
        case {"type": "document", "source": {"type": "text", "data": str(text)}}:
            return [{"type": "text", "text": text}]
        case _:
            only.append(_what(block, where))
    return []


def _what(block: Any, where: str) -> str:
    """A block in a few words. Raises `RequestError` for one that says not even what it is."""
    if not isinstance(block, Mapping) or not isinstance(block.get("type"), str):
        raise RequestError(f"{where}.type: every block has a type such as 'text'", param=f"{where}.type")
    source = block.get("source")
    kind = source.get("type") if isinstance(source, Mapping) else None
    return f"{where}, a {block['type'][:64]!r} block" + (f" from {str(kind)[:64]!r}" if kind else "")


def _text_of(content: Any, where: str, only: list[str]) -> str:
    """A tool's result: chat has room for text there, and for nothing else."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise RequestError(f"{where}: expected a text or a list of blocks", param=where)
    texts = []
    for i, block in enumerate(content):
        match block:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case _:
                only.append(_what(block, f"{where}[{i}]"))
    return "\n".join(texts)


TOOL = {"type", "name", "description", "input_schema", "strict", "cache_control", "eager_input_streaming"}


def _tool(declared: Json, i: int, only: list[str]) -> list[Json]:
    kind = declared.get("type") or "custom"
    if kind != "custom":
        only.append(f"tools[{i}], the tool {str(kind)[:64]!r}, which runs at the provider")
        return []
    for field in ("name", "input_schema"):
        if not isinstance(declared.get(field), str if field == "name" else dict):
            where = f"tools[{i}].{field}"
            raise RequestError(f"{where}: a tool has a name and an input_schema, an object", param=where)
    only += [f"tools[{i}].{field}" for field in declared if field not in TOOL]
    function = {"name": declared["name"], "description": declared.get("description"),
                "parameters": declared["input_schema"], "strict": declared.get("strict")}  # fmt: skip
    return [{"type": "function", "function": {key: value for key, value in function.items() if value is not None}}]


def _tool_choice(given: Json | None) -> Json:
    words = {"auto": "auto", "any": "required", "none": "none"}
    match given:
        case None:
            return {}
        case {"type": "tool", "name": str(name)}:
            chosen: Any = {"type": "function", "function": {"name": name}}
        case {"type": str(kind)} if kind in words:
            chosen = words[kind]
        case _:
            problem = "tool_choice.type: it is auto, any, none, or tool with its name"
            raise RequestError(problem, param="tool_choice.type")
    one = {"parallel_tool_calls": False} if given.get("disable_parallel_tool_use") else {}
    return {"tool_choice": chosen, **one}


def _output(given: Json | None, only: list[str]) -> Json:
    chat: Json = {}
    for name, value in (given or {}).items():
        match name, value:
            case _, None:
                pass
            case "effort", str(effort):
                chat["reasoning_effort"] = effort
            case "format", {"type": "json_schema", "schema": dict(schema)}:
                chat["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
            case _:
                only.append(f"output_config.{name}")
    return chat


# Answers


def _message(read: Completion, id: str) -> Json:
    return {"id": read.id or f"msg_{id}", "type": "message", "role": "assistant", "model": read.model}


def _stopped(choice: Choice) -> Json:
    return {"stop_reason": STOP.get(choice.finish_reason or "stop", "end_turn"), "stop_sequence": None}


def _usage(usage: Counted | None) -> Json:
    """Anthropic counts what was read from the cache apart from the input; in chat it is part of it."""
    read, written, cached, _ = counted(usage)
    return {"input_tokens": read - cached, "cache_read_input_tokens": cached, "output_tokens": written}


def _blocks(message: Delta) -> Iterator[Json]:
    if message.thinking_blocks:
        yield from message.thinking_blocks
    elif message.reasoning_content:
        yield {"type": "thinking", "thinking": message.reasoning_content, "signature": ""}
    text = message.text + (message.refusal or "")
    if text:
        yield {"type": "text", "text": text}
    for call in message.tool_calls or ():
        yield {"type": "tool_use", "id": call.id, "name": call.named.name, "input": _input(call.named.arguments)}


def _input(arguments: str | None) -> Json:
    try:
        value = msgspec.json.decode(arguments or "{}")
    except msgspec.DecodeError:
        value = None
    return value if isinstance(value, dict) else {"arguments": arguments}


def _error(error: InterlockError) -> Json:
    kind = ERRORS.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    told: Json = {"type": kind, "message": error.message, "code": error.code}
    if isinstance(error, Refused):
        told |= {"reasons": error.reasons, "decision": error.decision_id}
    return {"type": "error", "error": told}
