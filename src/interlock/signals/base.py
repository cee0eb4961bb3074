"""What a source of signals is: one named fact read from a request, with the numbers it adds to the vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log1p
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from numpy.typing import NDArray

from ..types import Request, Signal, Vector

if TYPE_CHECKING:
    from .plain import Plain


class Reading(NamedTuple):
    """What a source found: the signal, and a finite number for each of the source's columns."""

    signal: Signal
    columns: Sequence[float] | Vector = ()


class Readings(NamedTuple):
    """What a source found in n requests: the parts of each signal, and finite columns (n, c)."""

    values: Sequence[float | str | bool | None]
    columns: NDArray[Any]
    confidence: Sequence[float]
    evidence: Sequence[str]

    def one(self, name: str, i: int) -> Reading:
        return Reading(Signal(name, self.values[i], self.confidence[i], self.evidence[i]), self.columns[i])


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


@runtime_checkable
class Batched(Protocol):
    """A source that also reads plain prompts together, at a fraction of the cost, and finds the same in them.

    What it finds in one request does not depend, to the last bit, on which others it is read with.
    """

    def read_all(self, batch: Plain, seen: Mapping[str, Readings]) -> Readings: ...


def log_scale(count: float, most: float) -> float:
    """A count as a number in [0, 1]: 0 for none, 1 from `most` on, steps even on the logarithm between."""
    return min(1.0, log1p(count) / log1p(most))
