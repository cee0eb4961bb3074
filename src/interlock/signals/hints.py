"""Hints: what the caller says about the request, e.g. from the header `x-interlock-hints: task=code`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ..types import Request, Signal
from .base import Reading


@dataclass(frozen=True)
class Hints:
    """`value` is `key=value` pairs joined by `;`, in order of key. `known` lists the values with a column by key."""

    known: Mapping[str, Sequence[str]] = field(default_factory=dict)

    name: ClassVar[str] = "hints"
    requires: ClassVar[tuple[str, ...]] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"{key}={value}" for key, values in self.known.items() for value in values)

    def read(self, request: Request, seen: Mapping[str, Reading]) -> Reading:
        given = {str(key): str(value) for key, value in request.hints.items()}
        columns = [float(given.get(key) == str(value)) for key, values in self.known.items() for value in values]
        return Reading(Signal(self.name, ";".join(f"{key}={given[key]}" for key in sorted(given))), columns)
