"""An answer from the cache in place of a call: the decision is made and recorded as ever, and carried out for nothing.

Guards come first: an answer counts only while the decision permits the candidate that gave it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..caching import Cache, Hit, Kept, joined, split
from ..encoder import Encoder
from ..providers.base import Chunks
from ..providers.wire import usage_json, wants_usage
from ..types import CACHE, Candidate, Chunk, Request, Step, Usage
from .calls import Calls

NO_STORE, NO_CACHE = "no-store", "no-cache"
WHOLE = ("stop", "tool_calls")  # how an answer ends that is worth keeping


@dataclass
class Recall:
    """`semantic`: a request that asks the same in other words counts too."""

    cache: Cache
    semantic: bool = False

    def carry_out(self, calls: Calls, call: Callable[[], Chunks]) -> tuple[Chunks, bool]:
        """The answer's chunks and whether they are recalled: else they are what `call` gives, and kept."""
        request = calls.request
        if request.cache == NO_STORE or (request.native is not None and request.native.only):
            return call(), False
        vector = self._vector(request)
        hit = None if request.cache == NO_CACHE else self.cache.get(request, vector)
        if hit is not None:
            for candidate in calls.permitted:
                if candidate.name == hit.kept.candidate:
                    return replayed(calls, candidate, hit), True
        return self._keeping(calls, call(), vector), False

    def _vector(self, request: Request) -> NDArray[np.float32] | None:
        """The prompt's embedding; `None` where similar prompts are not looked for, or there is nothing to embed."""
        if not self.semantic:
            return None
        vector = Encoder.load().encode_one(request.prompt)
        return vector if vector.any() else None

    async def _keeping(self, calls: Calls, chunks: Chunks, vector: NDArray[np.float32] | None) -> Chunks:
        raws: list[bytes] = []
        usage: Usage | None = None
        finish = ""
        async with aclosing(chunks):
            async for chunk in chunks:
                raws.append(chunk.raw)
                usage, finish = chunk.usage or usage, chunk.finish or finish
                yield chunk
        if finish not in WHOLE or calls.served is None:
            return
        request, counted = calls.request, None if usage is None else usage_json(usage)
        raw = joined(filter(None, raws), counted) if request.stream else raws[-1]
        kept = Kept(raw, calls.decision.id, calls.served.name, self.cache.clock(), request.prompt)
        self.cache.put(request, kept, vector)


async def replayed(calls: Calls, candidate: Candidate, hit: Hit) -> Chunks:
    """The kept answer once more, in the form that is asked for now."""
    calls.served = candidate
    calls.steps.append(Step(candidate=candidate.name, why=CACHE, similarity=hit.similarity))
    raw = hit.kept.raw
    text, finish = _gist(raw)
    if not calls.request.stream:
        yield Chunk(raw, text, finish=finish)
        return
    (said, ended), usage = split(raw)
    yield Chunk(said, text)
    yield Chunk(ended, finish=finish)
    if usage and wants_usage(calls.request):
        yield Chunk(usage)


class _Message(msgspec.Struct):
    content: Any = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice] = []


_read = msgspec.json.Decoder(_Answer).decode


def _gist(raw: bytes) -> tuple[str, str]:
    """An answer's text, and why it ended."""
    first = next(iter(_read(raw).choices), _Choice())
    text = None if first.message is None else first.message.content
    return text if isinstance(text, str) else "", first.finish_reason or ""
