"""Requests to contexts: runs the configured sources in order of need and lays their numbers out as one vector."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, nearest
from ..types import Context, Request, Signal
from .base import Reading, Source

logger = logging.getLogger(__name__)


class Reader:
    """Reads every source once per request. `failures` counts, by source, the reads that raised or were not finite.

    `vector` says what the vector holds, in this order: the name of a source stands for all its columns,
    `source.column` for one. `columns` is the resulting layout. Raises `ConfigError` for unknown names.
    """

    def __init__(self, sources: Sequence[Source], vector: Sequence[str]) -> None:
        self.sources = _in_order(sources)
        self.failures: Counter[str] = Counter()
        every = [f"{source.name}.{column}" for source in self.sources for column in source.columns]
        self.columns = _layout(vector, self.sources, every)
        places = {column: place for place, column in enumerate(every)}
        self._picked = np.array([places[column] for column in self.columns], np.intp)
        ends = np.cumsum([len(source.columns) for source in self.sources], dtype=np.intp).tolist()
        self._spans = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        self._width = len(every)

    def read(self, requests: Sequence[Request]) -> list[Context]:
        """One context per request, every vector finite float32 of shape (len(columns),). Never raises."""
        numbers = np.zeros((len(requests), self._width), np.float32)
        signals = [self._signals(request, numbers[row]) for row, request in enumerate(requests)]
        vectors = numbers[:, self._picked]
        return [Context(request, signals[row], vectors[row]) for row, request in enumerate(requests)]

    def _signals(self, request: Request, numbers: NDArray[np.float32]) -> dict[str, Signal]:
        seen: dict[str, Reading] = {}
        signals: dict[str, Signal] = {}
        began = time.perf_counter()
        for source, span in zip(self.sources, self._spans, strict=True):
            try:
                reading = source.read(request, seen)
                if span.stop > span.start:
                    numbers[span] = reading.columns
                    if not np.isfinite(numbers[span]).all():
                        raise ArithmeticError(f"columns not finite: {reading.columns!r}")
            except Exception as error:  # noqa: BLE001  a source may do anything; the request is routed without it
                reading = self._fault(source, error)
                numbers[span] = 0.0
            ended = time.perf_counter()
            seen[source.name] = reading
            signals[source.name] = msgspec.structs.replace(reading.signal, seconds=ended - began)
            began = ended
        return signals

    def _fault(self, source: Source, error: Exception) -> Reading:
        self.failures[source.name] += 1
        logger.warning("signal %s failed (%d so far)", source.name, self.failures[source.name], exc_info=error)
        return Reading(Signal(source.name, None, confidence=0.0), np.zeros(len(source.columns), np.float32))


def _in_order(sources: Sequence[Source]) -> tuple[Source, ...]:
    """The sources, each after those it requires, otherwise in the given order."""
    waiting, ordered = {source.name: source for source in sources}, dict[str, Source]()
    if len(waiting) < len(sources):
        raise ConfigError(f"a signal is given twice: {', '.join(source.name for source in sources)}", path="signals")
    while waiting:
        ready = [s for s in waiting.values() if all(need in ordered for need in s.requires)]
        if not ready:
            needs = "; ".join(f"{s.name} requires {', '.join(s.requires)}" for s in waiting.values())
            raise ConfigError(f"signals that wait for one another or for a missing one: {needs}", path="signals")
        for source in ready:
            ordered[source.name] = waiting.pop(source.name)
    return tuple(ordered.values())


def _layout(vector: Sequence[str], sources: Sequence[Source], every: Sequence[str]) -> tuple[str, ...]:
    whole = {s.name: [f"{s.name}.{column}" for column in s.columns] for s in sources if s.columns}
    layout: list[str] = []
    for entry in vector:
        if entry not in whole and entry not in every:
            raise ConfigError(f"no signal gives {entry!r}; {nearest(entry, [*whole, *every])}", path="vector")
        layout += whole.get(entry, [entry])
    doubled = [column for column, times in Counter(layout).items() if times > 1]
    if doubled:
        raise ConfigError(f"{doubled[0]!r} stands twice in the vector", path="vector")
    return tuple(layout)
