"""The OpenAI dialect of pocket models: what a body asks for, and how results and deltas look on the wire.

The prompt is the text of the last user message. System messages and earlier turns are not shown to the model,
which was trained on single questions, and are therefore not counted in ``usage``.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np

from interlock.errors import InterlockError, RequestError
from interlock.pocket.family import Family, PocketCandidate
from interlock.pocket.requests import Delta, PocketRequest, PocketResult, TokenLogprob
from interlock.pocket.weights import Floats
from interlock.types import Message

Json = dict[str, Any]


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class ChatBody(msgspec.Struct, kw_only=True):
    """The fields of a chat completion that mean something to a pocket model; others are ignored, as vLLM does."""

    model: str
    messages: list[Message]
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    reasoning_effort: str | None = None
    n: int | None = None
    tools: list[Any] | None = None
    response_format: Json | None = None


class EmbeddingBody(msgspec.Struct, kw_only=True):
    """``layer`` and ``pooling`` are additions: which block's output, and whether its mean or its last position."""

    model: str
    input: str | list[str]
    encoding_format: Literal["float", "base64"] = "float"
    layer: int | None = None
    pooling: Literal["mean", "last"] = "mean"


Body = TypeVar("Body", ChatBody, EmbeddingBody)


def read_body(payload: bytes, kind: type[Body]) -> Body:
    """Raises: RequestError, naming the field at fault."""
    try:
        return msgspec.json.decode(payload, type=kind)
    except msgspec.ValidationError as error:
        field = re.search(r"`\$\.?([\w.\[\]]+)`$|field `(\w+)`", str(error))
        raise RequestError(str(error), param=(field[1] or field[2]) if field else None) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"the body is not JSON: {error}") from None


def read_chat(body: ChatBody, family: Family) -> PocketRequest:
    """Raises: RequestError or NotFound, naming the field at fault."""
    candidate = family.resolve(body.model, body.reasoning_effort)
    if body.n not in (None, 1):
        raise RequestError(f"n must be 1, got {body.n}; the budget tN draws and counts several answers", param="n")
    if body.tools:
        raise RequestError("pocket models do not call tools", param="tools")
    if body.response_format and body.response_format.get("type") != "text":
        raise RequestError("pocket models answer in plain text only", param="response_format")
    if body.top_logprobs and not body.logprobs:
        raise RequestError("top_logprobs needs logprobs to be true", param="top_logprobs")
    return PocketRequest(
        candidate=candidate.name,
        prompt=_prompt(body.messages),
        temperature=body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p,
        seed=body.seed,
        max_tokens=body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens,
        stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
        top_logprobs=body.top_logprobs or 0,
    )


def _prompt(messages: Sequence[Message]) -> str:
    last = next((message for message in reversed(messages) if message.role == "user"), None)
    if last is None:
        raise RequestError("messages must hold at least one user message", param="messages")
    for part in last.content if isinstance(last.content, list) else ():
        if part.get("type") not in ("text", "input_text"):
            raise RequestError(f"pocket models read text, not {part.get('type')!r} parts", param="messages")
    return last.text


class ChatAnswer:
    """Renders one chat completion, whole or in chunks."""

    def __init__(self, id: str, candidate: PocketCandidate, fingerprint: str, *, logprobs: bool) -> None:
        self._logprobs = logprobs
        self._head = {"id": id, "created": int(time.time()), "model": candidate.name, "system_fingerprint": fingerprint}

    def whole(self, result: PocketResult) -> Json:
        message = {
            "role": "assistant",
            "content": result.text,
            "reasoning_content": result.reasoning or None,
            "refusal": "<refuse>" if result.refused else None,
        }
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": result.finish_reason,
            "logprobs": self._content(result.tokens),
        }
        return {"object": "chat.completion", **self._head, "choices": [choice], "usage": usage(result),
                "interlock": account(result)}  # fmt: skip

    def opening(self) -> Json:
        return self._chunk({"role": "assistant", "content": ""})

    def chunk(self, delta: Delta) -> Json | None:
        """The chunk that shows a delta, ``None`` if there is nothing to show."""
        shown = {"content": delta.text, "reasoning_content": delta.reasoning}
        shown = {key: text for key, text in shown.items() if text}
        logprobs = self._content(delta.tokens)
        return self._chunk(shown, logprobs=logprobs) if shown or (logprobs and logprobs["content"]) else None

    def closing(self, result: PocketResult) -> Json:
        delta = {"refusal": "<refuse>"} if result.refused else {}
        return self._chunk(delta, finish_reason=result.finish_reason)

    def usage_chunk(self, result: PocketResult) -> Json:
        return {"object": "chat.completion.chunk", **self._head, "choices": [], "usage": usage(result),
                "interlock": account(result)}  # fmt: skip

    def _chunk(self, delta: Json, finish_reason: str | None = None, logprobs: Json | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": logprobs}
        return {"object": "chat.completion.chunk", **self._head, "choices": [choice]}

    def _content(self, tokens: Sequence[TokenLogprob]) -> Json | None:
        """The answer's tokens; special ones have no text and are left out, so that tokens join to the content."""
        if not self._logprobs:
            return None
        shown = [entry for entry in tokens if entry.answering and not _is_special(entry.token)]
        return {"content": [
            {**_token(entry.token, entry.logprob), "top_logprobs": [_token(*pair) for pair in entry.top]}
            for entry in shown
        ]}  # fmt: skip


def usage(result: PocketResult) -> Json:
    counts = result.usage
    return {
        "prompt_tokens": counts.prompt,
        "completion_tokens": counts.completion,
        "total_tokens": counts.prompt + counts.completion,
        "prompt_tokens_details": {"cached_tokens": counts.cached},
        "completion_tokens_details": {"reasoning_tokens": counts.reasoning},
    }


def account(result: PocketResult) -> Json:
    """What an OpenAI client does not know to ask for; ``energy_j`` is a model, not a measurement."""
    return {
        "cost_usd": result.cost_usd,
        "energy_j": result.energy_j,
        "confidence": result.confidence,
        "seed": result.seed,
        "votes": dict(result.votes),
    }


def embeddings(model: str, vectors: Sequence[Floats], tokens: int, encoding: Literal["float", "base64"]) -> Json:
    def encoded(vector: Floats) -> str | list[float]:
        raw = vector.astype("<f4")
        return base64.b64encode(raw.tobytes()).decode() if encoding == "base64" else raw.astype(np.float64).tolist()

    data = [{"object": "embedding", "index": i, "embedding": encoded(vector)} for i, vector in enumerate(vectors)]
    return {"object": "list", "model": model, "data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


def failure(error: InterlockError) -> Json:
    param = error.param if isinstance(error, RequestError) else None
    return {"error": {"message": error.message, "type": error.kind, "param": param, "code": error.code}}


def _token(token: str, logprob: float) -> Json:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def _is_special(token: str) -> bool:
    return len(token) > 2 and token[0] == "<" and token[-1] == ">"
