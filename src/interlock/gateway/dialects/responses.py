"""OpenAI's Responses API: POST /v1/responses.

Input items become messages, function calls and their outputs tool calls and tool messages; `instructions` is the
first message. An answer becomes output items again: reasoning, a message, function calls. Fields that nobody knows go
through, as in chat; those that are known and that no chat request can express are refused by name. Continuing a stored
response (`previous_response_id`) is the handler's business: it puts the earlier items in front.

Source: OpenAI API reference, Responses and its streaming events.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec

from ...errors import InterlockError, RequestError
from ...types import Native
from ..parse import ROLES, Extensions, Tokens, convert
from ..replies import as_document, as_json
from .base import Completion, Counted, Delta, Json, counted, event, read_completion, refused

OURS = ("input", "instructions", "tools", "tool_choice", "text", "max_output_tokens", "reasoning", "store",
        "previous_response_id", "include", "stream_options")  # fmt: skip
NOT_IN_CHAT: Mapping[str, Any] = {"background": False, "truncation": "disabled", "conversation": None, "prompt": None,
                                  "max_tool_calls": None, "context_management": None}  # fmt: skip
"""Fields that no chat request can express, each with the value that asks for nothing."""
INCLUDED = ("reasoning.encrypted_content",)  # asked for by agent kits of every provider; without reasoning it is empty
PARTS = ("input_text", "output_text", "text")


class ResponsesBody(msgspec.Struct, kw_only=True):
    """The fields that are looked at."""

    input: str | list[Json]
    model: str = "auto"
    instructions: str | None = None
    stream: bool | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    max_output_tokens: Tokens | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    tools: list[Json] | None = None
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = None
    text: Json | None = None
    reasoning: Json | None = None
    include: list[str] | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    interlock: Extensions | None = None


class Responses:
    body = ResponsesBody

    def request(self, asked: Json, headers: Mapping[bytes, bytes]) -> tuple[Json, Native | None]:
        fields = convert(asked, ResponsesBody)
        for name, harmless in NOT_IN_CHAT.items():
            if asked.get(name) not in (None, harmless):
                raise refused(name, f"{name!r} has no counterpart in a routed request")
        if any(each not in INCLUDED for each in fields.include or ()):
            raise refused("include", f"only {', '.join(INCLUDED)} can be included")
        chat = {
            name: value
            for name, value in asked.items()
            if name not in OURS and name not in NOT_IN_CHAT and value is not None
        }
        told = [{"role": "developer", "content": fields.instructions}] if fields.instructions else []
        chat["messages"] = [*told, *conversation(items(fields.input))]
        if fields.tools:
            chat["tools"] = [_tool(tool, i) for i, tool in enumerate(fields.tools)]
            if fields.tool_choice is not None:
                chat["tool_choice"] = _tool_choice(fields.tool_choice)
        if fields.max_output_tokens is not None:
            chat["max_completion_tokens"] = fields.max_output_tokens
        if effort := (fields.reasoning or {}).get("effort"):
            chat["reasoning_effort"] = effort
        if fields.top_logprobs:
            chat["logprobs"] = True
        chat.update(_text(fields.text or {}))
        if fields.stream:
            chat["stream_options"] = {"include_usage": True}
        return chat, None

    def whole(self, completion: bytes, asked: Json, id: str) -> bytes:
        read = read_completion(completion)
        output = list(_output(read.first.message or Delta(), id))
        return msgspec.json.encode(_response(read, asked, id, output, read.first.finish_reason))

    def stream(self, asked: Json, id: str) -> ResponseEvents:
        return ResponseEvents(asked, id)

    def error(self, error: InterlockError) -> bytes:
        return as_json(error)


class ResponseEvents:
    """One streamed response: items follow each other, and each is told of when it opens, grows and is done."""

    def __init__(self, asked: Json, id: str) -> None:
        self._asked, self._id = asked, id
        self._number = 0
        self._read = Completion(created=int(time.time()))
        self._begun = False
        self._finish: str | None = None
        self.final = b""
        self._items: list[Json] = []
        self._kind: Any = None  # "reasoning", "message" or the index of a tool call: which item is open

    def read(self, chunk: bytes) -> bytes:
        read = read_completion(chunk)
        if read.usage:
            self._read.usage = read.usage
        self._read.model = self._read.model or read.model
        self._finish = read.first.finish_reason or self._finish
        return b"".join((*self._begin(), *self._extend(read.first.delta or Delta())))

    def end(self) -> bytes:
        done = b"".join((*self._begin(), *self._close()))
        response = _response(self._read, self._asked, self._id, self._items, self._finish)
        self.final = msgspec.json.encode(response)
        return done + self._say(f"response.{response['status']}", response=response)

    def fail(self, error: InterlockError) -> bytes:
        response = _response(self._read, self._asked, self._id, self._items, None)
        problem = as_document(error)["error"]
        response.update(status="failed", error={"code": problem["code"], "message": problem["message"]})
        return b"".join((*self._begin(), self._say("response.failed", response=response)))

    def _begin(self) -> Iterator[bytes]:
        if self._begun:
            return
        self._begun = True
        response = {**_response(self._read, self._asked, self._id, [], None), "status": "in_progress", "usage": None}
        yield self._say("response.created", response=response)
        yield self._say("response.in_progress", response=response)

    def _extend(self, delta: Delta) -> Iterator[bytes]:
        if delta.reasoning_content:
            yield from self._open("reasoning", {"type": "reasoning", "summary": [], "content": []})
            yield from self._grow("reasoning_text", "reasoning_text", delta.reasoning_content)
        if delta.text:
            yield from self._open("message", {"type": "message", "role": "assistant", "content": []})
            yield from self._grow("output_text", "output_text", delta.text)
        if delta.refusal:
            yield from self._open("message", {"type": "message", "role": "assistant", "content": []})
            yield from self._grow("refusal", "refusal", delta.refusal)
        for piece in delta.tool_calls or ():
            id = piece.id or f"call_{self._id}_{piece.index}"
            call = {"type": "function_call", "call_id": id, "name": piece.named.name or "", "arguments": ""}
            yield from self._open(piece.index, call)
            if piece.named.arguments:
                self._items[-1]["arguments"] += piece.named.arguments
                yield self._about("response.function_call_arguments.delta", delta=piece.named.arguments)

    def _open(self, kind: Any, item: Json) -> Iterator[bytes]:
        if self._kind == kind:
            return
        yield from self._close()
        self._kind = kind
        self._items.append(
            {"id": f"{_PREFIX[item['type']]}_{self._id}_{len(self._items)}", "status": "in_progress", **item}
        )
        yield self._say("response.output_item.added", output_index=len(self._items) - 1, item=self._items[-1])

    def _grow(self, kind: str, name: str, text: str) -> Iterator[bytes]:
        """Add text to the part of this kind, which opens when it is the item's first."""
        parts, field = self._items[-1]["content"], "refusal" if kind == "refusal" else "text"
        if not parts or parts[-1]["type"] != kind:
            parts.append({"type": kind, field: "", **({"annotations": []} if kind == "output_text" else {})})
            yield self._about("response.content_part.added", content_index=len(parts) - 1, part=parts[-1])
        parts[-1][field] += text
        yield self._about(f"response.{name}.delta", content_index=len(parts) - 1, delta=text, **_LOGPROBS.get(kind, {}))

    def _close(self) -> Iterator[bytes]:
        if self._kind is None:
            return
        self._kind, item = None, self._items[-1]
        item["status"] = "completed"
        for i, part in enumerate(item.get("content", ())):
            field = "refusal" if part["type"] == "refusal" else "text"
            text = {field: part[field], **_LOGPROBS.get(part["type"], {})}
            yield self._about(f"response.{part['type']}.done", content_index=i, **text)
            yield self._about("response.content_part.done", content_index=i, part=part)
        if item["type"] == "function_call":
            done = {"arguments": item["arguments"], "name": item["name"]}
            yield self._about("response.function_call_arguments.done", **done)
        yield self._say("response.output_item.done", output_index=len(self._items) - 1, item=item)

    def _about(self, name: str, /, **data: Any) -> bytes:
        return self._say(name, item_id=self._items[-1]["id"], output_index=len(self._items) - 1, **data)

    def _say(self, name: str, /, **data: Any) -> bytes:
        self._number += 1
        return event(name, {"type": name, "sequence_number": self._number - 1, **data})


_PREFIX = {"message": "msg", "reasoning": "rs", "function_call": "fc"}
_LOGPROBS: Mapping[str, Json] = {"output_text": {"logprobs": []}}


# Requests


def items(given: str | list[Json]) -> list[Json]:
    """The input as items: a text is one user message."""
    return [{"type": "message", "role": "user", "content": given}] if isinstance(given, str) else given


def conversation(given: list[Json]) -> Iterator[Json]:
    """Items as messages; calls that follow each other are one assistant's message."""
    calls: list[Json] = []
    for i, item in enumerate(given):
        kind = item.get("type") or "message"
        if kind == "function_call":
            calls.append(_call(item, f"input[{i}]"))
            continue
        if calls:
            yield {"role": "assistant", "content": None, "tool_calls": calls}
            calls = []
        if kind == "message":
            role = item.get("role")
            if role not in ROLES:
                where = f"input[{i}].role"
                raise RequestError(f"{where}: it is user, assistant, system or developer", param=where)
            yield {"role": role, "content": _content(item.get("content"), f"input[{i}].content")}
        elif kind == "function_call_output":
            output = _content(item.get("output"), f"input[{i}].output")
            yield {"role": "tool", "tool_call_id": str(item.get("call_id", "")), "content": output}
        elif kind != "reasoning":  # chat has no way to hand reasoning back, and models are made to do without
            raise refused(f"input[{i}].type", f"a {str(kind)[:64]!r} item cannot be routed")
    if calls:
        yield {"role": "assistant", "content": None, "tool_calls": calls}


def _call(item: Json, where: str) -> Json:
    match item:
        case {"call_id": str(id), "name": str(name)}:
            arguments = item.get("arguments") or "{}"
            return {"id": id, "type": "function", "function": {"name": name, "arguments": str(arguments)}}
    raise RequestError(f"{where}: a function call has a call_id and a name", param=where)


def _content(given: Any, where: str) -> Any:
    if isinstance(given, str) or given is None:
        return given or ""
    if not isinstance(given, list):
        raise RequestError(f"{where}: expected a text or a list of parts", param=where)
    parts = [_part(part, f"{where}[{i}]") for i, part in enumerate(given)]
    return "".join(p["text"] for p in parts) if all(p["type"] == "text" for p in parts) else parts


def _part(part: Any, where: str) -> Json:
    match part:
        case {"type": kind, "text": str(text)} if kind in PARTS:
            return {"type": "text", "text": text}
        case {"type": "refusal", "refusal": str(text)}:
            return {"type": "text", "text": text}
        case {"type": "input_image", "image_url": str(url)}:
            detail = {"detail": part["detail"]} if part.get("detail") else {}
            return {"type": "image_url", "image_url": {"url": url, **detail}}
        case {"type": "input_file", "file_data": str(data)}:
            return {"type": "file", "file": {"filename": str(part.get("filename", "file")), "file_data": data}}
        case {"type": "input_audio", "input_audio": dict(audio)}:
            return {"type": "input_audio", "input_audio": audio}
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    raise refused(where, f"a {str(kind)[:64]!r} part cannot be routed")


def _tool(declared: Json, i: int) -> Json:
    if declared.get("type") != "function":
        kind = str(declared.get("type"))[:64]
        raise refused(f"tools[{i}].type", f"the tool {kind!r} runs at one provider only; function tools can be routed")
    if not isinstance(declared.get("name"), str):
        raise RequestError(f"tools[{i}].name: a function has a name", param=f"tools[{i}].name")
    names = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": {name: declared[name] for name in names if declared.get(name) is not None}}


def _tool_choice(given: Any) -> Any:
    match given:
        case "auto" | "none" | "required":
            return given
        case {"type": "function", "name": str(name)}:
            return {"type": "function", "function": {"name": name}}
    raise refused("tool_choice", "it is auto, none, required, or a function by name")


def _text(given: Mapping[str, Any]) -> Json:
    chat: Json = {"verbosity": given["verbosity"]} if given.get("verbosity") else {}
    match given.get("format"):
        case None | {"type": "text"}:
            pass
        case {"type": "json_object"}:
            chat["response_format"] = {"type": "json_object"}
        case {"type": "json_schema", "schema": dict(schema), **rest}:
            chat["response_format"] = {"type": "json_schema", "json_schema": {**rest, "schema": schema}}
        case _:
            raise refused("text.format", "it is text, json_object, or json_schema with a schema")
    return chat


# Answers


def _output(message: Delta, id: str) -> Iterator[Json]:
    made: list[Json] = []
    if message.reasoning_content:
        part = {"type": "reasoning_text", "text": message.reasoning_content}
        made.append({"type": "reasoning", "summary": [], "content": [part]})
    parts: list[Json] = []
    if message.text:
        parts.append({"type": "output_text", "text": message.text, "annotations": []})
    if message.refusal:
        parts.append({"type": "refusal", "refusal": message.refusal})
    if parts or not message.tool_calls:
        made.append({"type": "message", "role": "assistant", "content": parts})
    for call in message.tool_calls or ():
        called = {"name": call.named.name, "arguments": call.named.arguments or "{}"}
        made.append({"type": "function_call", "call_id": call.id, **called})
    for i, item in enumerate(made):
        yield {"id": f"{_PREFIX[item['type']]}_{id}_{i}", "status": "completed", **item}


def _response(read: Completion, asked: Json, id: str, output: list[Json], finish: str | None) -> Json:
    cut = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(finish or "")
    return {
        "id": f"resp_{id}",
        "object": "response",
        "created_at": read.created or int(time.time()),
        "status": "incomplete" if cut else "completed",
        "error": None,
        "incomplete_details": {"reason": cut} if cut else None,
        "instructions": asked.get("instructions"),
        "max_output_tokens": asked.get("max_output_tokens"),
        "metadata": asked.get("metadata") or {},
        "model": read.model or asked.get("model") or "auto",
        "output": output,
        "parallel_tool_calls": asked.get("parallel_tool_calls", True),
        "previous_response_id": asked.get("previous_response_id"),
        "reasoning": asked.get("reasoning") or {"effort": None, "summary": None},
        "store": asked.get("store", True),
        "temperature": asked.get("temperature"),
        "text": asked.get("text") or {"format": {"type": "text"}},
        "tool_choice": asked.get("tool_choice") or "auto",
        "tools": asked.get("tools") or [],
        "top_p": asked.get("top_p"),
        "truncation": "disabled",
        "usage": _usage(read.usage),
        "user": asked.get("user"),
    }


def _usage(usage: Counted | None) -> Json | None:
    if usage is None:
        return None
    read, written, cached, reasoning = counted(usage)
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": read + written,
    }
