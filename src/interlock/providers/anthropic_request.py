"""An OpenAI chat request as a request to Anthropic's Messages API.

What cannot be expressed there is `Unsupported`, with the field's name, rather than dropped: the router then asks the
next candidate. Dropped in silence are only fields that do not bear on the answer's content, and `seed`, which OpenAI
itself calls best effort.

Source: Anthropic API reference, `POST /v1/messages`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ..errors import Rejected, Unsupported
from .base import Call
from .wire import limit_of, messages_of

Block = dict[str, Any]

IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
NATIVE = ("temperature", "top_p", "top_k", "thinking", "cache_control", "context_management", "mcp_servers",
          "container")  # fmt: skip
TRANSLATED = ("messages", "model", "max_tokens", "max_completion_tokens", "stop", "tools", "tool_choice",
              "parallel_tool_calls", "response_format", "reasoning_effort", "output_config", "user")  # fmt: skip
IRRELEVANT = ("stream", "stream_options", "seed", "store", "metadata", "service_tier", "prompt_cache_key",
              "prompt_cache_retention", "safety_identifier")  # fmt: skip
MEANS_NOTHING: Mapping[str, Any] = {"n": 1, "logprobs": False, "top_logprobs": 0, "presence_penalty": 0,
                                    "frequency_penalty": 0, "logit_bias": {}, "modalities": ["text"],
                                    "verbosity": "medium"}  # fmt: skip


def translate(call: Call, default_max_tokens: int) -> dict[str, Any]:
    """The JSON to post. Raises `Unsupported`, or `Rejected` for a request that is not in the OpenAI shape either."""
    try:
        return _translate(call, default_max_tokens)
    except (AttributeError, KeyError, TypeError) as error:
        raise Rejected(f"the request is not in the OpenAI chat shape ({type(error).__name__})") from None


def untranslated(call: Call) -> dict[str, Any]:
    """The JSON to post for a request that came in this dialect: as it came, with the candidate's model and options."""
    assert call.request.native is not None
    options = call.candidate.options
    _check(options)
    body = {**call.request.native.body, "model": call.candidate.model}
    body.update({name: options[name] for name in NATIVE if name in options})
    if limit := options.get("max_completion_tokens", options.get("max_tokens")):
        body["max_tokens"] = limit
    if config := output_config(options):
        body["output_config"] = {**(body.get("output_config") or {}), **config}
    if options.get("reasoning_effort") == "none":
        body["thinking"] = {"type": "disabled"}
    return body


def _check(fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        known = name in NATIVE or name in TRANSLATED or name in IRRELEVANT
        if not known and value is not None and value != MEANS_NOTHING.get(name, _nothing):
            raise Unsupported(f"the Messages API has no counterpart of {name!r}")


def _translate(call: Call, default_max_tokens: int) -> dict[str, Any]:
    body = {**call.request.body, **call.candidate.options}
    _check(body)
    if (body.get("temperature") or 0) > 1:
        raise Unsupported("the Messages API knows temperatures up to 1")
    system, messages = conversation(messages_of(call.request))
    translated = {
        "model": call.candidate.model,
        "max_tokens": limit_of(body, call.request) or call.candidate.profile.max_output or default_max_tokens,
        "messages": messages,
        "system": system or None,
        "stream": call.stream or None,
        "stop_sequences": [body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop"),
        "tools": [tool(each) for each in body.get("tools") or ()] or None,
        "tool_choice": tool_choice(body),
        "output_config": output_config(body),
        "metadata": {"user_id": body["user"]} if body.get("user") else None,
        **{name: body.get(name) for name in NATIVE},
    }
    if body.get("reasoning_effort") == "none":
        translated["thinking"] = {"type": "disabled"}
    return {name: value for name, value in translated.items() if value is not None}


_nothing = object()


def conversation(messages: Sequence[Any]) -> tuple[list[Block], list[dict[str, Any]]]:
    """System blocks, and turns in which the roles alternate: tool results become part of the user's turn."""
    system: list[Block] = []
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = message.get("role")
        if role in ("system", "developer"):
            system += content(message.get("content"))
            continue
        if role not in ("user", "assistant", "tool"):
            raise Unsupported(f"the Messages API has no role {role!r}")
        blocks = list(_blocks(role, message))
        speaker = "assistant" if role == "assistant" else "user"
        if turns and turns[-1]["role"] == speaker:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": speaker, "content": blocks})
    return system, turns


def _blocks(role: str, message: Mapping[str, Any]) -> Iterator[Block]:
    if role == "tool":
        result = content(message.get("content"))
        yield {"type": "tool_result", "tool_use_id": message.get("tool_call_id"), "content": result}
        return
    if role == "assistant":
        yield from message.get("thinking_blocks") or ()
    yield from content(message.get("content"))
    for call in message.get("tool_calls") or ():
        function = call.get("function")
        if not isinstance(function, Mapping):
            raise Unsupported("the Messages API has function tools only")
        arguments = _object(function.get("arguments") or "{}")
        yield {"type": "tool_use", "id": call.get("id"), "name": function.get("name"), "input": arguments}


def content(value: Any) -> list[Block]:
    """Text or parts as blocks. Empty texts are left out: the Messages API refuses them, and they say nothing."""
    if value is None or value == "":
        return []
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    return [block for part in value for block in _part(part)]


def _part(part: Mapping[str, Any]) -> list[Block]:
    kept = {"cache_control": part["cache_control"]} if part.get("cache_control") else {}
    match part:
        case {"type": "text" | "input_text", "text": str(text)} | {"type": "refusal", "refusal": str(text)}:
            return [{"type": "text", "text": text, **kept}] if text else []
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            return [{"type": "image", "source": _source(url, IMAGES), **kept}]
        case {"type": "file", "file": {"file_data": str(data)}}:
            return [{"type": "document", "source": _source(data, ("application/pdf",)), **kept}]
    raise Unsupported(f"the Messages API has no counterpart of a {str(part.get('type'))[:32]!r} part")


def _source(url: str, allowed: Sequence[str]) -> Block:
    """Where the bytes are: inside the URL, or at an https address that the provider fetches itself."""
    if url.startswith("https://"):
        return {"type": "url", "url": url}
    head, comma, data = url.partition(",")
    kind = head.removeprefix("data:").removesuffix(";base64")
    if not comma or f"data:{kind};base64" != head:
        raise Unsupported("the Messages API takes https and base64 data URLs only")
    if kind not in allowed:
        raise Unsupported(f"the Messages API takes {', '.join(allowed)} here, not {kind[:32]!r}")
    return {"type": "base64", "media_type": kind, "data": data}


def tool(declared: Mapping[str, Any]) -> Block:
    function = declared.get("function")
    if declared.get("type") != "function" or not isinstance(function, Mapping):
        raise Unsupported("the Messages API has function tools only")
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    translated = {"name": function.get("name"), "description": function.get("description"), "input_schema": schema,
                  "strict": function.get("strict") or None}  # fmt: skip
    return {name: value for name, value in translated.items() if value is not None}


def tool_choice(body: Mapping[str, Any]) -> Block | None:
    chosen: Block | None
    match body.get("tool_choice"):
        case None:
            chosen = None
        case "auto" | "none" as word:
            chosen = {"type": word}
        case "required":
            chosen = {"type": "any"}
        case {"type": "function", "function": {"name": str(name)}}:
            chosen = {"type": "tool", "name": name}
        case _:
            raise Unsupported("the Messages API has no counterpart of this 'tool_choice'")
    if body.get("parallel_tool_calls") is False and body.get("tools") and (chosen or {}).get("type") != "none":
        chosen = {**(chosen or {"type": "auto"}), "disable_parallel_tool_use": True}
    return chosen


def output_config(body: Mapping[str, Any]) -> Block | None:
    """The answer's format and the effort put into it; the candidate's own `output_config` wins."""
    config: Block = {}
    match body.get("response_format"):
        case None | {"type": "text"}:
            pass
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            config["format"] = {"type": "json_schema", "schema": schema}
        case _:
            raise Unsupported("the Messages API has no JSON mode without a schema ('response_format')")
    effort = body.get("reasoning_effort")
    if effort not in (None, "none"):
        config["effort"] = "low" if effort == "minimal" else effort
    return {**config, **(body.get("output_config") or {})} or None


def _object(text: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        value = None
    if not isinstance(value, dict):
        raise Unsupported("the Messages API wants a tool call's arguments to be a JSON object")
    return value
