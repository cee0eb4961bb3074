"""Prometheus metrics. Base units (seconds, tokens, USD), and labels only from closed sets: routes, candidates, guards,
signals, error codes. Nothing a caller can choose ever becomes a label.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import isfinite

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.registry import Collector

from .. import __version__
from ..types import Decision, Feedback, Outcome

SHORT = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
LONG = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


class Metrics:
    """What is counted as it happens; `watch` adds what is looked up at a scrape. For the event loop's thread.

    Each field is a metric's `labels`, memoised: finding a child by its labels costs more than counting.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter("interlock_requests", "Answered requests.", "route", "status")
        self._request_seconds = self._histogram(
            "interlock_request_seconds", "From the whole request to the last byte of the answer.", LONG, "route"
        )
        self._decisions = self._counter("interlock_decisions", "Decisions.", "candidate", "degraded")
        self._refusals = self._counter("interlock_refusals", "Refused requests, under each guard in the way.", "guard")
        self._decision_seconds = self._histogram("interlock_decision_seconds", "Time to decide one request.", SHORT)()
        self._signal_seconds = self._counter("interlock_signal_seconds", "Time spent reading a signal.", "signal")
        self._steps = self._counter(
            "interlock_steps", "Calls to candidates; error is empty for none.", "candidate", "error"
        )
        self._tokens = self._counter("interlock_tokens", "Tokens as the providers count them.", "candidate", "kind")
        self._cost = self._counter("interlock_cost_usd", "What the answers cost, in USD.", "candidate")
        self._answer_seconds = self._histogram(
            "interlock_answer_seconds", "Time a whole answer took.", LONG, "candidate"
        )
        self._ttft_seconds = self._histogram("interlock_ttft_seconds", "Time to the first token.", LONG, "candidate")
        self._feedback = self._counter("interlock_feedback", "Feedback recorded.", "kind")
        self._reloads = self._counter("interlock_config_reloads", "Reloads of the configuration.", "result")
        self._reloads("ok"), self._reloads("failed")
        Gauge("interlock_build_info", "Always 1.", ("version",), registry=self._registry).labels(__version__).set(1)

    def _counter(self, name: str, text: str, *labels: str) -> Callable[..., Counter]:
        return cache(Counter(name, text, labels, registry=self._registry).labels)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Callable[..., Histogram]:
        histogram = Histogram(name, text, labels, buckets=buckets, registry=self._registry)
        return cache(histogram.labels) if labels else lambda: histogram

    def watch(self, collector: Collector) -> None:
        self._registry.register(collector)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def request(self, route: str, status: int, seconds: float) -> None:
        self._requests(route, status).inc()
        self._request_seconds(route).observe(seconds)

    def decision(self, decision: Decision) -> None:
        self._decision_seconds.observe(decision.seconds)
        for name, signal in decision.signals.items():
            self._signal_seconds(name).inc(signal.seconds)
        if decision.chosen is not None:
            self._decisions(decision.chosen, decision.degraded).inc()
        else:
            for guard in {reason.guard for row in decision.considered for reason in row.reasons}:
                self._refusals(guard).inc()

    def outcome(self, outcome: Outcome) -> None:
        for step in outcome.steps:
            self._steps(step.candidate, step.error).inc()
            if isfinite(step.cost):  # an unknown price makes an unknown cost
                self._cost(step.candidate).inc(step.cost)
            self._tokens(step.candidate, "input").inc(step.usage.input)
            self._tokens(step.candidate, "output").inc(step.usage.output)
            if step.usage.cached:
                self._tokens(step.candidate, "cached").inc(step.usage.cached)
            if step.usage.cache_write:
                self._tokens(step.candidate, "cache_write").inc(step.usage.cache_write)
            if step.usage.reasoning:
                self._tokens(step.candidate, "reasoning").inc(step.usage.reasoning)
        if outcome.candidate is not None:
            self._answer_seconds(outcome.candidate).observe(outcome.latency)
            if outcome.ttft is not None:
                self._ttft_seconds(outcome.candidate).observe(outcome.ttft)

    def feedback(self, feedback: Feedback) -> None:
        self._feedback("revoked" if feedback.revoked else "score").inc()

    def reload(self, ok: bool) -> None:
        self._reloads("ok" if ok else "failed").inc()
