"""Answers given before, to be given again: to the same request, or to one that asks the same in other words.

A tenant sees its own answers only: the tenant is part of every key, and so a partition of every search. Two requests
are the same when everything that changes the answer is: the model asked for, the whole conversation and every field of
the body but those named in `NO_MATTER`. For a *similar* one all of that agrees except the last user message, whose
embedding is near and to which `same_question` finds no difference.

Bounded in entries, bytes and age; in memory, one a process. It knows nothing of HTTP and of routing.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..types import Message, Request
from .same_question import difference

NO_MATTER = frozenset(
    ("stream", "stream_options", "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key")
)
"""Fields of a body that do not change what is answered. Every other one is part of the key, unknown ones included."""

ENTRY_OVERHEAD = 1024  # bytes, beside the answer and the prompt


class Kept(msgspec.Struct, frozen=True):
    """An answer: the provider's whole JSON, which decision it was, who gave it, when, and to which prompt."""

    raw: bytes
    decision: str
    candidate: str
    at: float
    prompt: str


class Hit(msgspec.Struct, frozen=True):
    """A kept answer and how near its prompt is: 1 for the same request, else the cosine of the two."""

    kept: Kept
    similarity: float


class _Neighbourhood:
    """Requests of one tenant that agree in everything but the last user message: their vectors, and their keys."""

    def __init__(self, width: int) -> None:
        self.vectors: NDArray[np.float32] = np.zeros((8, width), np.float32)
        self.keys: list[bytes] = []

    def add(self, key: bytes, vector: NDArray[np.float32]) -> None:
        if len(self.keys) == len(self.vectors):
            self.vectors = np.concatenate([self.vectors, np.zeros_like(self.vectors)])
        self.vectors[len(self.keys)] = vector
        self.keys.append(key)

    def remove(self, key: bytes) -> None:
        """The last one takes the place of the one that goes."""
        place, last = self.keys.index(key), len(self.keys) - 1
        self.vectors[place], self.keys[place] = self.vectors[last], self.keys[last]
        self.keys.pop()


@dataclass
class Cache:
    """`similarity` is the least cosine of a similar prompt; above 1 only the same request counts.

    `ttl` in seconds; `entries` and `size` (bytes) are upper bounds, the least recently used goes first.
    """

    ttl: float = 3600.0
    entries: int = 10_000
    size: int = 256 * 1024 * 1024
    similarity: float = 2.0
    nearest: int = 5
    clock: Callable[[], float] = time.time
    held: int = field(default=0, init=False)
    """Bytes held."""
    _kept: OrderedDict[bytes, tuple[Kept, bytes]] = field(default_factory=OrderedDict, init=False, repr=False)
    _near: dict[bytes, _Neighbourhood] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, request: Request, vector: NDArray[np.float32] | None = None) -> Hit | None:
        """`vector` (d,), of length 1, is the last user message's embedding; without it only the same request counts."""
        same, around = keys(request)
        kept = self._fresh(same)
        if kept is not None:
            return Hit(kept, 1.0)
        near = self._near.get(around)
        if vector is None or near is None or self.similarity > 1:
            return None
        cosines = near.vectors[: len(near.keys)] @ vector
        for place in np.argsort(-cosines)[: self.nearest]:
            if cosines[place] < self.similarity:
                break
            kept = self._fresh(near.keys[place], touch=False)
            if kept is not None and not difference(request.prompt, kept.prompt):
                self._kept.move_to_end(near.keys[place])
                return Hit(kept, float(cosines[place]))
        return None

    def put(self, request: Request, kept: Kept, vector: NDArray[np.float32] | None = None) -> None:
        """Keep an answer, in place of an older one to the same request."""
        same, around = keys(request)
        self._drop(same)
        size = _size(kept)
        if size > self.size:
            return
        self._kept[same] = kept, around
        self.held += size
        if vector is not None and self.similarity <= 1:
            self._near.setdefault(around, _Neighbourhood(len(vector))).add(same, vector)
        while len(self._kept) > self.entries or self.held > self.size:
            self._drop(next(iter(self._kept)))

    def clear(self) -> None:
        self._kept.clear()
        self._near.clear()
        self.held = 0

    def _fresh(self, key: bytes, touch: bool = True) -> Kept | None:
        found = self._kept.get(key)
        if found is None or found[0].at + self.ttl < self.clock():
            return None  # a stale one goes when its place is needed, or with the next answer to the same request
        if touch:
            self._kept.move_to_end(key)
        return found[0]

    def _drop(self, key: bytes) -> None:
        found = self._kept.pop(key, None)
        if found is None:
            return
        kept, around = found
        self.held -= _size(kept)
        near = self._near.get(around)
        if near is not None and key in near.keys:
            near.remove(key)
            if not near.keys:
                del self._near[around]


def keys(request: Request) -> tuple[bytes, bytes]:
    """(the request's key, that of all requests which differ in the last user message at most), 32 bytes each."""
    fields = {name: value for name, value in request.body.items() if name not in NO_MATTER and name != "messages"}
    dialect = None if request.native is None else [request.native.dialect, request.native.only]
    frame = [request.tenant, request.model, request.max_tokens, request.seed, fields, sorted(request.needs), dialect]
    last = max((i for i, message in enumerate(request.messages) if message.role == "user"), default=-1)
    rest = [message for i, message in enumerate(request.messages) if i != last]
    asked = _asked(request.messages[last]) if last >= 0 else None
    around = _hash([frame, last, rest, asked[1] if asked else None])
    return _hash([around, asked]), around


def _asked(message: Message) -> tuple[str, Any]:
    """A message's text, and everything else of it: images must be the same even where words may differ."""
    parts = message.content if isinstance(message.content, list) else []
    other = [part for part in parts if part.get("type") not in ("text", "input_text")]
    return message.text, [message.name, other, isinstance(message.content, str)]


def _hash(value: Any) -> bytes:
    return hashlib.sha256(_ENCODER.encode(value)).digest()


def _size(kept: Kept) -> int:
    return len(kept.raw) + 4 * len(kept.prompt) + ENTRY_OVERHEAD


_ENCODER = msgspec.msgpack.Encoder(order="deterministic")
