"""POST /v1/embeddings: the packaged encoder in the OpenAI shape. The same vectors that routing sees."""

from __future__ import annotations

import asyncio
import base64
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ..encoder import Encoder, excerpt
from ..errors import NotFound, RequestError
from . import parse
from .exchange import Exchange

if TYPE_CHECKING:
    from ..types import Vector
    from .service import Service

MODEL = "interlock-embed"
MOST_TEXTS = 2048  # what the OpenAI API takes at most in one request
INLINE = 20_000  # characters that are encoded on the event loop; more would hold up other requests


class EmbeddingsBody(msgspec.Struct, gc=False):
    input: str | list[Any]
    model: str = MODEL
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None


class Embeddings:
    """The handler. One instance serves all requests."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @cached_property
    def encoder(self) -> Encoder:
        return Encoder.load()

    async def __call__(self, exchange: Exchange) -> None:
        self._service.identify(exchange.headers)
        body = parse.convert(parse.document(exchange.body), EmbeddingsBody)
        if body.model != MODEL:
            raise NotFound(
                f"{body.model!r} makes no embeddings here; use {MODEL!r}", param="model", code="model_not_found"
            )
        texts = _texts(body.input)
        if body.dimensions not in (None, self.encoder.dim):
            problem = f"dimensions: {MODEL} has {self.encoder.dim}, not {body.dimensions}"
            raise RequestError(problem, param="dimensions")
        inline = sum(map(len, texts)) <= INLINE
        vectors, tokens = self._encode(texts) if inline else await asyncio.to_thread(self._encode, texts)
        document = {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": _written(vector, body.encoding_format)}
                for index, vector in enumerate(vectors)
            ],
            "model": MODEL,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
        exchange.respond(200, msgspec.json.encode(document))

    def _encode(self, texts: list[str]) -> tuple[list[Vector], int]:
        """One unit vector per text, and how many pieces were read for them."""
        pieces = [self.encoder.tokenizer.encode(excerpt(text)[0]) for text in texts]
        return [self.encoder.embed(ids) for ids in pieces], sum(map(len, pieces))


def _texts(given: str | list[Any]) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not texts:
        raise RequestError("input: it is empty; send a text or a list of texts", param="input")
    if len(texts) > MOST_TEXTS:
        raise RequestError(f"input: {len(texts)} texts; at most {MOST_TEXTS} in one request", param="input")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            problem = "send text; token ids of another tokenizer mean nothing to this encoder"
            raise RequestError(f"input[{index}]: {problem}", param=f"input[{index}]")
        if not text:
            raise RequestError(f"input[{index}]: it is empty", param=f"input[{index}]")
    return texts


def _written(vector: Vector, form: str) -> list[float] | str:
    """Little-endian float32 in base64, or plain numbers."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if form == "base64" else vector.tolist()
