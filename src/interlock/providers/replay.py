"""Recorded answers as a provider, and the recorder that makes them.

A recording is one line of JSON: the call's key, and the chunks it gave or the error it raised. The key is a digest, so
a file of recordings holds answers but no prompts.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec

from .. import errors
from ..errors import ConfigError, ProviderError, Rejected
from ..types import Chunk
from .base import Call, Chunks, Provider, close_all
from .openai import payload

KINDS = {
    kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ProviderError)
}


class Recording(msgspec.Struct, frozen=True, omit_defaults=True):
    """`error` is the code of the `ProviderError` that ended the answer; `chunks` may precede it."""

    key: str
    chunks: list[Chunk] = []
    error: str = ""
    retry_after: float | None = None


def key_of(call: Call) -> str:
    """SHA-256 of what is sent: candidate, conversation, parameters, whether streaming. Not who asked, nor when."""
    sent = {"candidate": call.candidate.name, "stream": call.stream, "body": payload(call)}
    return sha256(msgspec.json.encode(sent, order="deterministic")).hexdigest()


@dataclass
class Replay:
    """Answers from a file of recordings; the last recording of a call counts. Raises `ConfigError` for a bad file.

    A call without a recording is `Rejected`: no other candidate should silently answer in its place.
    """

    path: str

    def __post_init__(self) -> None:
        self._recordings: dict[str, Recording] = {}
        try:
            lines = Path(self.path).read_bytes().splitlines()
        except OSError as error:
            raise ConfigError(f"cannot read the recordings: {error.strerror}", file=self.path) from error
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                recording = msgspec.json.decode(line, type=Recording)
            except msgspec.MsgspecError as error:
                raise ConfigError(f"not a recording: {error}", file=self.path, line=number) from error
            self._recordings[recording.key] = recording

    async def send(self, call: Call) -> Chunks:
        key = key_of(call)
        recording = self._recordings.get(key)
        if recording is None:
            raise Rejected(
                f"no recording of this {'streamed ' if call.stream else ''}call ({key[:12]}) among the "
                f"{len(self._recordings)} in {self.path}; wrap the live provider in Recorder to make one"
            )
        for chunk in recording.chunks:
            yield chunk
        if recording.error:
            kind = KINDS.get(recording.error, ProviderError)
            raise kind("as recorded", retry_after=recording.retry_after)


@dataclass
class Recorder:
    """`inner`, with every call appended to `path` once it has ended. A call that is given up is not recorded."""

    inner: Provider
    path: str

    async def send(self, call: Call) -> Chunks:
        chunks: list[Chunk] = []
        try:
            async with aclosing(self.inner.send(call)) as answer:
                async for chunk in answer:
                    chunks.append(chunk)
                    yield chunk
        except ProviderError as error:
            self._append(Recording(key_of(call), chunks, error.code, error.retry_after))
            raise
        self._append(Recording(key_of(call), chunks))

    async def aclose(self) -> None:
        await close_all([self.inner])

    def _append(self, recording: Recording) -> None:
        with Path(self.path).open("ab") as file:
            file.write(msgspec.json.encode(recording) + b"\n")
