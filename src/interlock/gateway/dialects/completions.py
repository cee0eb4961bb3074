"""OpenAI's legacy completions: POST /v1/completions. A prompt is one user message; an answer is its text.

Source: OpenAI API reference, Completions (legacy).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec

from ...errors import InterlockError, RequestError
from ...types import Native
from ..parse import Extensions, Tokens, convert
from ..replies import as_json
from .base import Delta, Json, garbled, refused
from .chat import DONE

DEFAULT_TOKENS = 16  # the API's own
MEANS_NOTHING: Mapping[str, Any] = {"suffix": "", "echo": False, "best_of": 1}
OURS = ("prompt", "suffix", "echo", "best_of", "logprobs", "max_tokens")


class CompletionBody(msgspec.Struct):
    """The fields that are looked at; all others are chat's, and pass."""

    prompt: str | list[str]
    model: str = "auto"
    stream: bool | None = None
    max_tokens: Tokens | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=5)] | None = None
    suffix: str | None = None
    echo: bool | None = None
    best_of: int | None = None
    interlock: Extensions | None = None


class Token(msgspec.Struct):
    token: str = ""
    logprob: float = 0.0
    top_logprobs: list[Json] = []


class Logprobs(msgspec.Struct):
    content: list[Token] | None = None


class Choice(msgspec.Struct):
    index: int = 0
    message: Delta | None = None
    delta: Delta | None = None
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class Completion(msgspec.Struct):
    """What is read of a `chat.completion` and of its chunks."""

    id: str = ""
    model: str = ""
    created: int = 0
    choices: list[Choice] = []
    usage: Json | None = None


_decode = msgspec.json.Decoder(Completion).decode


def _read(raw: bytes) -> Completion:
    try:
        return _decode(raw)
    except msgspec.MsgspecError as error:
        raise garbled(error) from None


class Completions:
    body = CompletionBody

    def request(self, asked: Json, headers: Mapping[bytes, bytes]) -> tuple[Json, Native | None]:
        fields = convert(asked, CompletionBody)
        for name, harmless in MEANS_NOTHING.items():
            if asked.get(name) not in (None, harmless):
                raise refused(name, f"{name!r} has no counterpart in chat; leave it out")
        prompts = [fields.prompt] if isinstance(fields.prompt, str) else fields.prompt
        if len(prompts) != 1:
            problem = f"prompt: {len(prompts)} prompts; send one in each request"
            raise RequestError(problem, param="prompt", code="unsupported")
        chat = {name: value for name, value in asked.items() if name not in OURS}
        chat["messages"] = [{"role": "user", "content": prompts[0]}]
        chat["max_tokens"] = fields.max_tokens or DEFAULT_TOKENS
        if fields.logprobs is not None:
            chat.update({"logprobs": True} | ({"top_logprobs": fields.logprobs} if fields.logprobs else {}))
        return chat, None

    def whole(self, completion: bytes, asked: Json, id: str) -> bytes:
        return msgspec.json.encode(_completion(_read(completion), Offsets(), id))

    def stream(self, asked: Json, id: str) -> CompletionEvents:
        return CompletionEvents(id)

    def error(self, error: InterlockError) -> bytes:
        return as_json(error)


class CompletionEvents:
    """One streamed completion: a chunk for every chunk, and `[DONE]`."""

    final = b""

    def __init__(self, id: str) -> None:
        self._id, self._offsets = id, Offsets()

    def read(self, chunk: bytes) -> bytes:
        return b"data: %b\n\n" % msgspec.json.encode(_completion(_read(chunk), self._offsets, self._id))

    def end(self) -> bytes:
        return DONE

    def fail(self, error: InterlockError) -> bytes:
        return b"data: %b\n\n" % as_json(error)


class Offsets(dict[int, int]):
    """How many characters of each choice's text there were before."""

    def __missing__(self, index: int) -> int:
        return 0


def _completion(read: Completion, offsets: Offsets, id: str) -> Json:
    head = {"id": read.id or f"cmpl-{id}", "object": "text_completion", "created": read.created, "model": read.model}
    counted = {} if read.usage is None else {"usage": read.usage}
    return {**head, "choices": list(_choices(read.choices, offsets)), **counted}


def _choices(choices: list[Choice], offsets: Offsets) -> Iterator[Json]:
    for choice in choices:
        text = (choice.message or choice.delta or Delta()).text
        logprobs = None if choice.logprobs is None else _logprobs(choice.logprobs, offsets[choice.index])
        offsets[choice.index] += len(text)
        yield {"text": text, "index": choice.index, "logprobs": logprobs, "finish_reason": choice.finish_reason}


def _logprobs(given: Logprobs, offset: int) -> Json:
    made: Json = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    for token in given.content or ():
        made["tokens"].append(token.token)
        made["token_logprobs"].append(token.logprob)
        made["top_logprobs"].append({top["token"]: top["logprob"] for top in token.top_logprobs})
        made["text_offset"].append(offset)
        offset += len(token.token)
    return made
