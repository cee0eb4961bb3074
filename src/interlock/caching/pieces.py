"""An answer in the OpenAI chat shape, from the pieces of its stream to the whole and back. Unknown fields stay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

Json = dict[str, Any]


def joined(chunks: Iterable[bytes], usage: Json | None) -> bytes:
    """The `chat.completion` of which these are the `chat.completion.chunk`s; `usage` where none of them has one."""
    whole: Json = {}
    choices: dict[int, Json] = {}
    for raw in chunks:
        chunk = msgspec.json.decode(raw)
        for choice in chunk.pop("choices", None) or ():
            so_far = choices.setdefault(choice.get("index", 0), {"index": choice.get("index", 0), "message": {}})
            _grow(so_far["message"], choice.pop("delta", None) or {})
            _grow(so_far.setdefault("logprobs", {}), choice.pop("logprobs", None) or {})
            so_far.update({name: value for name, value in choice.items() if value is not None})
        whole.update({name: value for name, value in chunk.items() if value is not None})
    for choice in choices.values():
        choice["logprobs"] = choice["logprobs"] or None
        for call in choice["message"].get("tool_calls") or ():
            call.pop("index", None)
    whole |= {"object": "chat.completion", "choices": [choices[index] for index in sorted(choices)]}
    if usage is not None:
        whole.setdefault("usage", usage)
    return msgspec.json.encode(whole)


def split(raw: bytes) -> tuple[Sequence[bytes], bytes]:
    """A `chat.completion` as chunks: what was said, and why it ended; and beside them the one with the usage.

    The last is empty when the answer states no usage.
    """
    whole = msgspec.json.decode(raw)
    choices, usage = whole.pop("choices"), whole.pop("usage", None)
    head = whole | {"object": "chat.completion.chunk"}
    said, ended = [], []
    for choice in choices:
        delta, finish, index = choice.pop("message", {}), choice.pop("finish_reason", None), choice.get("index", 0)
        if delta.get("tool_calls"):
            delta["tool_calls"] = [{"index": i, **call} for i, call in enumerate(delta["tool_calls"])]
        said.append({**choice, "delta": delta, "finish_reason": None})
        ended.append({"index": index, "delta": {}, "finish_reason": finish})
    pieces = [msgspec.json.encode({**head, "choices": part}) for part in (said, ended)]
    return pieces, b"" if usage is None else msgspec.json.encode({**head, "choices": [], "usage": usage})


def _grow(whole: Json, piece: Json) -> None:
    """Texts are continued, lists go on, calls are told apart by their index; the rest is said once."""
    for name, value in piece.items():
        before = whole.get(name)
        if value is None:
            whole.setdefault(name, None)
        elif name == "tool_calls":
            _grow_calls(whole, value)
        elif isinstance(before, str) and isinstance(value, str) and name not in ("role", "id", "type"):
            whole[name] = before + value
        elif isinstance(before, list) and isinstance(value, list):
            before.extend(value)
        elif isinstance(before, dict) and isinstance(value, dict):
            _grow(before, value)
        else:
            whole[name] = value


def _grow_calls(whole: Json, pieces: Iterable[Json]) -> None:
    calls = whole["tool_calls"] = whole.get("tool_calls") or []
    for piece in pieces:
        index = piece.get("index", 0)
        call = next((call for call in calls if call["index"] == index), None)
        if call is None:
            call = {"index": index}
            calls.append(call)
        _grow(call, piece)
