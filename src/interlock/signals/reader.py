"""Requests to contexts: runs the configured sources in order of need and lays their numbers out as one vector."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, nearest
from ..types import Context, Request, Signal
from .base import Batched, Readings, Source
from .plain import Plain, plain

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
        self._batched = [isinstance(source, Batched) for source in self.sources]
        self._width = len(every)
        self._all_in_order = list(self.columns) == every

    def read(self, requests: Sequence[Request]) -> list[Context]:
        """One context per request, every vector finite float32 of shape (len(columns),). Never raises.

        A signal's `seconds` are the source's time on the whole batch, shared equally. What several sources count
        together is charged to the first of them.
        """
        numbers = np.zeros((len(requests), self._width), np.float32)
        signals: list[dict[str, Signal]] = [{} for _ in requests]
        prompts = [plain(request) for request in requests]
        rows = [row for row, prompt in enumerate(prompts) if prompt is not None]
        if rows:
            batch = Plain([requests[row] for row in rows], [prompt for prompt in prompts if prompt is not None])
            self._read(batch.requests, batch, rows, numbers, signals)
        if len(rows) < len(requests):
            rest = [row for row, prompt in enumerate(prompts) if prompt is None]
            self._read([requests[row] for row in rest], None, rest, numbers, signals)
        vectors = numbers if self._all_in_order else numbers[:, self._picked]
        return [Context(*parts) for parts in zip(requests, signals, vectors, strict=True)]

    def _read(
        self,
        requests: Sequence[Request],
        batch: Plain | None,
        rows: list[int],
        numbers: NDArray[np.float32],
        signals: Sequence[dict[str, Signal]],
    ) -> None:
        """Fill in `signals` and `numbers` in the `rows` of the requests; `batch` is the same requests if all plain."""
        seen: dict[str, Readings] = {}
        began = time.perf_counter()
        all_rows = len(rows) == len(numbers)
        for source, span, batched in zip(self.sources, self._spans, self._batched, strict=True):
            found = self._together(source, batch, seen) if batch is not None and batched else None
            if found is None:
                found = self._one_by_one(source, requests, seen)
            seen[source.name] = found
            numbers[slice(None) if all_rows else rows, span] = found.columns
            ended = time.perf_counter()
            name, seconds, began = source.name, (ended - began) / len(rows), ended
            for row, value, confidence, evidence in zip(
                rows, found.values, found.confidence, found.evidence, strict=True
            ):
                signals[row][name] = Signal(name, value, confidence, evidence, seconds)
        if batch is not None and not np.isfinite(numbers if all_rows else numbers[rows]).all():
            self._read(requests, None, rows, numbers, signals)  # alone, so that whose numbers they are is found out

    def _together(self, source: Source, batch: Plain, seen: Mapping[str, Readings]) -> Readings | None:
        """What a source finds in a batch at once; `None` if it fails: then each request is tried alone."""
        try:
            return cast(Batched, source).read_all(batch, seen)
        except Exception as error:
            logger.warning("signal %s failed on a batch, each request is read alone", source.name, exc_info=error)
            return None

    def _one_by_one(self, source: Source, requests: Sequence[Request], seen: Mapping[str, Readings]) -> Readings:
        columns = np.zeros((len(requests), len(source.columns)), np.float32)
        signals = []
        for i, request in enumerate(requests):
            required = {name: seen[name].one(name, i) for name in source.requires}
            try:
                signal, columns[i] = source.read(request, required)
                if not np.isfinite(columns[i]).all():
                    raise ArithmeticError(f"columns not finite: {columns[i]!r}")
            except Exception as error:  # noqa: BLE001  a source may do anything; the request is routed without it
                signal, columns[i] = self._fault(source, error), 0.0
            signals.append(signal)
        return Readings(
            [s.value for s in signals], columns, [s.confidence for s in signals], [s.evidence for s in signals]
        )

    def _fault(self, source: Source, error: Exception) -> Signal:
        self.failures[source.name] += 1
        logger.warning("signal %s failed (%d so far)", source.name, self.failures[source.name], exc_info=error)
        return Signal(source.name, None, confidence=0.0)


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
