"""What changed: in a file on disk, and between two configurations."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from .settings import Settings


def redacted(settings: Settings) -> dict[str, Any]:
    """The settings as plain data for people to read.

    Secrets are references, so they may stand. Header values may not: a short digest shows whether they differ.
    """
    plain: dict[str, Any] = msgspec.to_builtins(settings)
    for provider in plain["providers"].values():
        headers = provider["headers"].items()
        provider["headers"] = {name: f"sha256:{_digest(value.encode())[:8]}" for name, value in headers}
    return plain


class Change(NamedTuple):
    """One value: where, what it was and what it is. What is not there is `ABSENT`."""

    path: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.path}: {self.before} -> {self.after}"


def changes(old: Settings, new: Settings) -> list[Change]:
    """What changed, value by value, with dotted paths; none that could carry a secret."""
    before, after = _flat(redacted(old)), _flat(redacted(new))
    return [
        Change(path, before.get(path, ABSENT), after.get(path, ABSENT))
        for path in sorted(before.keys() | after.keys())
        if before.get(path, _NOTHING) != after.get(path, _NOTHING)
    ]


def diff(old: Settings, new: Settings) -> list[str]:
    """The same for people, one line a value."""
    return [str(change) for change in changes(old, new)]


ABSENT = "(absent)"
_NOTHING = object()


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Leaves by dotted path. What has a name is listed by it, so that an insertion leaves the others alone."""
    if isinstance(value, dict):
        items = [(f"{path}.{key}".lstrip("."), inner) for key, inner in value.items()]
    elif isinstance(value, list | tuple):
        named = [inner.get("name", i) if isinstance(inner, dict) else i for i, inner in enumerate(value)]
        items = [(f"{path}[{name}]", inner) for name, inner in zip(named, value, strict=True)]
    else:
        return {path: value}
    return {key: leaf for name, inner in items for key, leaf in _flat(inner, name).items()}


class Watch:
    """Notices that a file was changed. `changed()` is cheap: it reads only when the time or size differ."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp, self._content = self._look(), self._read()

    def changed(self) -> bool:
        """True once for each change of content. A file that vanished counts as changed once."""
        stamp = self._look()
        if stamp == self._stamp:
            return False
        self._stamp, before = stamp, self._content
        self._content = self._read()
        return self._content != before

    def _look(self) -> tuple[int, int, int] | None:
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def _read(self) -> str | None:
        try:
            return _digest(self.path.read_bytes())
        except OSError:
            return None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
