"""Sends spans to a collector (OTLP over HTTP), in batches and from a thread, never in a request's way.

A request costs an entry in a bounded queue. When the collector is slow or away the newest are dropped and counted.
OpenTelemetry is imported with the first batch: the extra `otel` has it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..types import Candidate, Decision, Outcome
from .context import Trace

if TYPE_CHECKING:
    from .spans import Builder

log = logging.getLogger("interlock.telemetry")

Ended = tuple[Trace, Decision, Outcome | None]


class Exporting:
    """Hears of requests, and runs beside the gateway.

    Args:
        endpoint: the collector's URL for traces, such as `http://127.0.0.1:4318/v1/traces`.
        service: our name in the traces.
        version: ours.
        candidates: by name, at the time of asking.
        sample: share of the requests without a trace of their own that are traced.
        interval: seconds between two batches.
        most: requests that wait for the next batch.

    Raises `ConfigError` when OpenTelemetry is not installed.
    """

    def __init__(
        self,
        endpoint: str,
        service: str,
        version: str,
        candidates: Callable[[], Mapping[str, Candidate]],
        *,
        sample: float = 1.0,
        interval: float = 1.0,
        most: int = 2048,
    ) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            from .spans import Builder
        except ImportError as error:
            problem = f"it needs {error.name or 'opentelemetry'}: pip install 'interlock[otel]'"
            raise ConfigError(problem, path="telemetry.otlp_endpoint") from None
        self.sample, self.dropped = sample, 0
        self._interval, self._most, self._candidates = interval, most, candidates
        self._exporter: Any = OTLPSpanExporter(endpoint=endpoint, timeout=5.0)
        self._builder: Builder = Builder(service, version)
        self._open: dict[str, tuple[Trace, Decision]] = {}
        self._ended: deque[Ended] = deque()

    def decided(self, decision: Decision, header: str) -> None:
        """`header` is the `traceparent` that the request came with."""
        trace = Trace.of(decision.id, header, self.sample)
        if not trace.sampled:
            return
        if decision.chosen is None:
            self._queue((trace, decision, None))
        else:
            self._open[decision.id] = trace, decision

    def ended(self, outcome: Outcome) -> None:
        known = self._open.pop(outcome.decision, None)
        if known is not None:
            self._queue((*known, outcome))

    def _queue(self, ended: Ended) -> None:
        if len(self._ended) < self._most:
            self._ended.append(ended)
        else:
            self.dropped += 1

    async def run(self) -> None:
        """Until cancelled; what waits then is sent first."""
        try:
            while True:
                await asyncio.sleep(self._interval)
                await asyncio.to_thread(self._send)
        finally:
            with suppress(Exception):
                await asyncio.to_thread(self._send)
            self._exporter.shutdown()

    def _send(self) -> None:
        from opentelemetry.sdk.trace import ReadableSpan

        candidates, spans = self._candidates(), list[ReadableSpan]()
        while self._ended:
            trace, decision, outcome = self._ended.popleft()
            spans += self._builder.spans(trace, decision, outcome, candidates)
        if spans:
            result = self._exporter.export(spans)
            if result.name != "SUCCESS":
                log.warning("%d spans could not be delivered", len(spans))
