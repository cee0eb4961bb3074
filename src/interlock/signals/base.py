"""What a source of signals is: one named fact read from a request, with the numbers it adds to the vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log1p
from typing import NamedTuple, Protocol

from ..types import Request, Signal, Vector


class Reading(NamedTuple):
    """What a source found: the signal, and a finite number for each of the source's columns."""

    signal: Signal
    columns: Sequence[float] | Vector = ()


class Source(Protocol):
    """Reads one signal. Implementations are dataclasses; their fields are the settings a configuration may give.

    `columns` names the numbers it contributes to the vector, bounded to about [0, 1]; `requires` names the sources it
    builds on, whose readings of the same request it finds in `seen`. `read` is pure and may raise: the reader copes.
    """

    @property
    def name(self) -> str: ...

    @property
    def columns(self) -> tuple[str, ...]: ...

    @property
    def requires(self) -> tuple[str, ...]: ...

    def read(self, request: Request, seen: Mapping[str, Reading]) -> Reading: ...


def log_scale(count: float, most: float) -> float:
    """A count as a number in [0, 1]: 0 for none, 1 from `most` on, steps even on the logarithm between."""
    return min(1.0, log1p(count) / log1p(most))
