"""Prometheus metrics. Base units (seconds, tokens, USD), and labels only from closed sets: routes, candidates, guards,
signals, error codes. Nothing a caller can choose ever becomes a label.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from .. import __version__
from ..types import Decision, Feedback, Outcome
from .counting import Counter, Histogram

SHORT = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
LONG = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


class Metrics(Collector):
    """What is counted as it happens; `watch` adds what is looked up at a scrape. For the event loop's thread."""

    def __init__(self) -> None:
        self._requests = Counter("interlock_requests", "Answered requests.", "route", "status")
        self._request_seconds = Histogram(
            "interlock_request_seconds", "From the whole request to the last byte of the answer.", LONG, "route"
        )
        self._decisions = Counter("interlock_decisions", "Decisions.", "candidate", "degraded")
        self._refusals = Counter("interlock_refusals", "Refused requests, under each guard in the way.", "guard")
        self._decision_seconds = Histogram("interlock_decision_seconds", "Time to decide one request.", SHORT)
        self._signal_seconds = Counter("interlock_signal_seconds", "Time spent reading a signal.", "signal")
        self._steps = Counter("interlock_steps", "Calls to candidates; error is empty for none.", "candidate", "error")
        self._tokens = Counter("interlock_tokens", "Tokens as the providers count them.", "candidate", "kind")
        self._cost = Counter("interlock_cost_usd", "What the answers cost, in USD.", "candidate")
        self._answer_seconds = Histogram("interlock_answer_seconds", "Time a whole answer took.", LONG, "candidate")
        self._ttft_seconds = Histogram("interlock_ttft_seconds", "Time to the first token.", LONG, "candidate")
        self._cache_hits = Counter("interlock_cache_hits", "Answers that the cache gave.", "candidate")
        self._feedback = Counter("interlock_feedback", "Feedback recorded.", "kind")
        self._admissions = Counter(
            "interlock_admission",
            "Requests refused for a budget or a rate, and soft budgets exceeded.",
            "event",
            "scope",
            "limit",
        )
        self._reloads = Counter("interlock_config_reloads", "Reloads of the configuration.", "result")
        for result in ("ok", "failed"):
            self._reloads.add((result,), 0)
        self._registry = CollectorRegistry()
        self._registry.register(self)
        Gauge("interlock_build_info", "Always 1.", ("version",), registry=self._registry).labels(__version__).set(1)

    def watch(self, collector: Collector) -> None:
        self._registry.register(collector)

    def collect(self) -> Iterable[Metric]:
        return [own.collect() for own in vars(self).values() if isinstance(own, Counter | Histogram)]

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def request(self, route: str, status: int, seconds: float) -> None:
        self._requests.add((route, str(status)))
        self._request_seconds.observe(seconds, (route,))

    def decision(self, decision: Decision) -> None:
        self._decision_seconds.observe(decision.seconds)
        for name, signal in decision.signals.items():
            self._signal_seconds.add((name,), signal.seconds)
        if decision.chosen is not None:
            self._decisions.add((decision.chosen, decision.degraded))
        else:
            for guard in {reason.guard for row in decision.considered for reason in row.reasons}:
                self._refusals.add((guard,))

    def outcome(self, outcome: Outcome) -> None:
        if outcome.cached:
            self._cache_hits.add((outcome.candidate or "",))
            return
        for step in outcome.steps:
            candidate, usage = step.candidate, step.usage
            self._steps.add((candidate, step.error))
            if isfinite(step.cost):  # an unknown price makes an unknown cost
                self._cost.add((candidate,), step.cost)
            self._tokens.add((candidate, "input"), usage.input)
            self._tokens.add((candidate, "output"), usage.output)
            if usage.cached:
                self._tokens.add((candidate, "cached"), usage.cached)
            if usage.cache_write:
                self._tokens.add((candidate, "cache_write"), usage.cache_write)
            if usage.reasoning:
                self._tokens.add((candidate, "reasoning"), usage.reasoning)
        if outcome.candidate is not None:
            self._answer_seconds.observe(outcome.latency, (outcome.candidate,))
            if outcome.ttft is not None:
                self._ttft_seconds.observe(outcome.ttft, (outcome.candidate,))

    def feedback(self, feedback: Feedback) -> None:
        self._feedback.add(("revoked" if feedback.revoked else "score",))

    def admission(self, event: str, scope: str, limit: str) -> None:
        """`event` is budget, rate or warning; `scope` key or tenant; `limit` the window or the rate."""
        self._admissions.add((event, scope, limit))

    def reload(self, ok: bool) -> None:
        self._reloads.add(("ok" if ok else "failed",))
