"""Signals: named facts about a request. One file a source; only those a configuration refers to are built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, cast

from ..errors import ConfigError, nearest
from .base import Reading, Source
from .reader import Reader

_CLASSES = {
    "tokens": "Tokens",
    "language": "Language",
    "structure": "Structure",
    "readability": "Readability",
    "keywords": "Keywords",
    "embedding": "Embedding",
    "task": "TaskHead",
    "difficulty": "Difficulty",
    "shape": "Shape",
    "modality": "Modality",
    "pii": "PersonalData",
    "hints": "Hints",
}


class _Sources(Mapping[str, type[Any]]):
    """Name to class; a source's module is imported when it is first asked for."""

    def __getitem__(self, name: str) -> type[Any]:
        attribute = _CLASSES[name]
        return cast(type[Any], getattr(import_module(f".{name}", __name__), attribute))

    def __iter__(self) -> Any:
        return iter(_CLASSES)

    def __len__(self) -> int:
        return len(_CLASSES)


SOURCES: Mapping[str, type[Any]] = _Sources()


def build(
    names: Iterable[str], settings: Mapping[str, Mapping[str, Any]] | None = None, vector: Sequence[str] = ()
) -> Reader:
    """A reader of the named signals, of those the vector refers to, and of whatever these require.

    `settings` holds constructor arguments by signal. Raises `ConfigError` for unknown names and unusable settings.
    """
    wanted = [*dict.fromkeys([*names, *(entry.split(".")[0] for entry in vector)])]
    built: dict[str, Source] = {}
    while wanted:
        name = wanted.pop(0)
        if name in built:
            continue
        if name not in SOURCES:
            raise ConfigError(f"there is no signal {name!r}; {nearest(name, list(SOURCES))}", path="signals")
        try:
            built[name] = SOURCES[name](**(settings or {}).get(name, {}))
        except TypeError as error:
            raise ConfigError(str(error), path=f"signals.{name}") from error
        wanted += built[name].requires
    return Reader(list(built.values()), vector)


__all__ = ["SOURCES", "Reader", "Reading", "Source", "build"]
