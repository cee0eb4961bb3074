"""Secrets stand in the environment; a configuration only says where."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import nearest
from .document import Document, Place


def secret(reference: str, document: Document, place: Place, environment: Mapping[str, str]) -> str:
    """The value behind `env:NAME`. Raises `ConfigError` for a secret written out, or a variable that is not set."""
    if not reference.startswith("env:"):
        raise document.error("write `env:NAME` and put the secret into that environment variable", *place)
    name = reference.removeprefix("env:")
    value = environment.get(name, "")
    if not value:
        hint = nearest(name, [known for known in environment if known.endswith(("KEY", "TOKEN", "SECRET"))])
        close = f"; {hint}" if hint.startswith("did") else ""
        raise document.error(f"the environment variable {name} is not set{close}", *place)
    return value
