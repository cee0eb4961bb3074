"""Personal data that a provider need not see: replaced before a call, put back into its answer.

Each entity becomes a placeholder such as `[EMAIL_1]`, the same wherever it occurs, so that the model can still speak of
it. What the model says of it is restored, also when a stream cuts a placeholder in two. The table exists for the length
of one call, in memory. When the detector fails, nothing is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import msgspec

from .errors import Unmasked
from .providers import Call, Chunks, Provider, close_all
from .signals.pii import Finding, find
from .types import Chunk, Message, Request

VERBATIM = frozenset({"role", "type", "id", "tool_call_id", "index", "model", "url", "data", "file_data", "file_id"})
"""Fields of a request that are structure, or not text."""

Path = tuple[str | int, ...]


@dataclass
class Masking:
    """`inner`, which gets placeholders for entities of `kinds` and whose answers get the entities back.

    Attributes:
        kinds: of `interlock.signals.pii.KINDS`.
        detect: finds the entities in a text.
    """

    inner: Provider
    kinds: Collection[str]
    detect: Callable[[str], Iterator[Finding]] = find

    async def send(self, call: Call) -> Chunks:
        """Raises `Unmasked` when the detector fails, and whatever `inner` does."""
        try:
            table = Table(self.kinds, self.detect, _all_text(call.request))
            request = table.masked(call.request)
        except Unmasked:
            raise
        except Exception as error:  # noqa: BLE001 - its text may quote the prompt
            raise Unmasked(f"personal data could not be masked ({type(error).__name__}); nothing was sent") from None
        restorer = Restorer(table.entities)
        async with aclosing(self.inner.send(msgspec.structs.replace(call, request=request))) as chunks:
            async for chunk in chunks:
                if not table.entities:
                    yield chunk
                elif call.stream:
                    for restored in restorer.piece(chunk):
                        yield restored
                else:
                    yield restorer.whole(chunk)

    async def aclose(self) -> None:
        await close_all([self.inner])


@dataclass
class Table:
    """The entities of one request, by placeholder. None may occur in `text`, which is all that the request says."""

    kinds: Collection[str]
    detect: Callable[[str], Iterator[Finding]]
    text: str
    entities: dict[str, str] = field(default_factory=dict)
    placeholders: dict[str, str] = field(default_factory=dict)

    def masked(self, request: Request) -> Request:
        """The request for the provider: as it was if nothing was found, else in chat and with placeholders.

        Raises `Unmasked` for what only the caller's own dialect can say: its events are not understood here.
        """
        messages = tuple(Message(**self._value(msgspec.structs.asdict(message))) for message in request.messages)
        body, native = self._value(request.body), request.native
        if native is not None:
            self._value(native.body)
        if not self.entities:
            return request
        if native is not None and native.only:
            raise Unmasked(
                f"there is personal data beside {'; '.join(native.only)}, which only {native.dialect} can say"
            )
        return msgspec.structs.replace(request, messages=messages, body=body, native=None)

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return {name: one if name in VERBATIM else self._value(one) for name, one in value.items()}
        return [self._value(one) for one in value] if isinstance(value, list | tuple) else value

    def _text(self, text: str) -> str:
        pieces, end = [], 0
        for found in sorted(self.detect(text), key=lambda found: found.start):
            if found.kind in self.kinds:
                pieces += [text[end : found.start], self._placeholder(found.kind, found.text)]
                end = found.start + len(found.text)
        return "".join([*pieces, text[end:]])

    def _placeholder(self, kind: str, entity: str) -> str:
        if entity not in self.placeholders:
            number = len(self.placeholders) + 1
            while (placeholder := f"[{kind.upper()}_{number}]") in self.text:
                number += 1000
            self.placeholders[entity], self.entities[placeholder] = placeholder, entity
        return self.placeholders[entity]


class Restorer:
    """Puts entities back into one answer in the OpenAI chat shape. What needs no change keeps its bytes."""

    def __init__(self, entities: Mapping[str, str]) -> None:
        self._entities = entities
        self._held: dict[Path, str] = {}  # the beginnings of placeholders, by choice and place in its delta

    def whole(self, chunk: Chunk) -> Chunk:
        return msgspec.structs.replace(chunk, raw=self._bytes(chunk.raw), text=self._restored(chunk.text))

    def piece(self, chunk: Chunk) -> Iterator[Chunk]:
        """The chunk with what can be told of it; before one that ends a choice, what was held back of it."""
        if not chunk.raw:
            yield chunk
            return
        document = msgspec.json.decode(chunk.raw)
        choices = [choice for choice in document.get("choices") or () if isinstance(choice, dict)]
        changed = False
        for choice in choices:
            before = choice.get("delta")
            if isinstance(before, dict):
                choice["delta"] = self._delta(before, (choice.get("index", 0),))
                changed = changed or choice["delta"] != before
        for choice in choices:
            if choice.get("finish_reason") and any(path[0] == choice.get("index", 0) for path in self._held):
                yield from self._rest(document, choice.get("index", 0))
        if not changed:
            yield chunk
            return
        first = next((choice for choice in choices if choice.get("index", 0) == 0), {})
        text = (first.get("delta") or {}).get("content")
        yield msgspec.structs.replace(
            chunk, raw=msgspec.json.encode(document), text=text if isinstance(text, str) else ""
        )

    def _delta(self, value: Any, path: Path) -> Any:
        if isinstance(value, str):
            return self._forward(value, path)
        if isinstance(value, dict):
            return {name: one if name in VERBATIM else self._delta(one, (*path, name)) for name, one in value.items()}
        if isinstance(value, list):
            return [self._delta(one, (*path, _index(one, place))) for place, one in enumerate(value)]
        return value

    def _forward(self, text: str, path: Path) -> str:
        """What of `text` is certain; the rest may be the beginning of a placeholder."""
        text = self._restored(self._held.pop(path, "") + text)
        start = text.rfind("[")
        if start >= 0 and any(name.startswith(text[start:]) for name in self._entities):
            self._held[path] = text[start:]
            return text[:start]
        return text

    def _rest(self, document: Mapping[str, Any], index: Any) -> Iterator[Chunk]:
        """One more chunk for each text of a choice that ended in something that is no placeholder after all."""
        for path in [path for path in self._held if path[0] == index]:
            text = self._held.pop(path)
            choice = {"index": index, "delta": _nested(path[1:], text), "finish_reason": None}
            raw = msgspec.json.encode({**document, "choices": [choice], "usage": None})
            yield Chunk(raw, text if path == (0, "content") else "")

    def _restored(self, text: str) -> str:
        for placeholder, entity in self._entities.items():
            text = text.replace(placeholder, entity)
        return text

    def _bytes(self, raw: bytes) -> bytes:
        """No entity holds a quote or a backslash, so it needs no escape, not even inside a tool call's arguments."""
        for placeholder, entity in self._entities.items():
            raw = raw.replace(placeholder.encode(), entity.encode())
        return raw


def _index(item: Any, place: int) -> int:
    index = item.get("index", place) if isinstance(item, dict) else place
    return index if isinstance(index, int) else place


def _nested(path: Path, text: str) -> Any:
    value: Any = text
    for part in reversed(path):
        value = {part: value} if isinstance(part, str) else [{"index": part, **value}]
    return value


def _all_text(request: Request) -> str:
    return msgspec.json.encode([request.messages, request.body, request.native]).decode()
