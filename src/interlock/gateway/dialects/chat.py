"""OpenAI's chat completions: POST /v1/chat/completions. Everything inside speaks it, so nothing is translated."""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import InterlockError
from ...types import Native
from ..parse import ChatBody
from ..replies import as_json
from .base import Json

DONE = b"data: [DONE]\n\n"


class Chat:
    """The dialect, and the events of its streams: a provider's chunks as they came, and `[DONE]`."""

    body, final = ChatBody, b""

    def request(self, asked: Json, headers: Mapping[bytes, bytes]) -> tuple[Json, Native | None]:
        return asked, None

    def whole(self, completion: bytes, asked: Json, id: str) -> bytes:
        return completion

    def stream(self, asked: Json, id: str) -> Chat:
        return self

    def error(self, error: InterlockError) -> bytes:
        return as_json(error)

    def read(self, chunk: bytes) -> bytes:
        return b"data: %b\n\n" % (chunk if b"\n" not in chunk else chunk.replace(b"\n", b" "))

    def end(self) -> bytes:
        return DONE

    def fail(self, error: InterlockError) -> bytes:
        """Without `[DONE]`: it is not."""
        return b"data: %b\n\n" % as_json(error)
