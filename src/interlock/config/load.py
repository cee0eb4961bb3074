"""Read, convert, cross-check. The first mistake is reported, precisely; nothing is guessed or ignored."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from . import checks, fit
from .document import Document
from .environment import secret
from .settings import Settings


def load(path: str | Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings in a file. Raises `ConfigError`."""
    return from_document(Document.read(Path(path)), environment)


def from_document(document: Document, environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from plain values, checked against the families and each other. Raises `ConfigError`."""
    fit.check(document, Settings)
    settings = msgspec.convert(document.data, Settings)
    for check in checks.ALL:
        check(settings, document, environment)
    return settings


__all__ = ["from_document", "load", "secret"]
