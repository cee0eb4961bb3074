"""The spans of a request, made from its records once it has ended: nothing is measured for them in the request itself.

    chat <model>                        the request, a child of the caller's span
    ├── decide
    │   ├── signals
    │   └── guards and estimate         what is left of the decision
    ├── chat <candidate's model>        one per call that was made
    └── ...

Importing this imports OpenTelemetry.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from ..types import Candidate, Decision, Outcome, Step
from . import names
from .context import Trace, identifier, of_call

Attributes = dict[str, Any]


class Builder:
    """Builds spans of one process's requests, as `resource`."""

    def __init__(self, service: str, version: str) -> None:
        self._resource = Resource.create({names.SERVICE: service, names.VERSION: version})

    def spans(
        self, trace: Trace, decision: Decision, outcome: Outcome | None, candidates: Mapping[str, Candidate]
    ) -> Iterator[ReadableSpan]:
        """All spans of a request; `outcome` is `None` for one that was refused."""
        decided, began = decision.at, decision.at - decision.seconds
        ended = decided if outcome is None else max(decided, outcome.at)
        error = "no_permitted_candidate" if outcome is None else outcome.error
        name = f"{names.CHAT} {decision.model}"
        yield self._span(
            trace, name, trace.root, trace.parent, began, ended, _request(decision, outcome), error, SpanKind.SERVER
        )
        yield from self._decide(trace, decision, began, decided)
        if outcome is None:
            return
        seen = Counter[tuple[str, str]]()
        for step in outcome.steps:
            if step.began is None:
                continue  # it was not made
            span = of_call(decision.id, step.candidate, step.why, seen[step.candidate, step.why])
            seen[step.candidate, step.why] += 1
            candidate = candidates.get(step.candidate)
            start = ended - outcome.latency + step.began
            name = f"{names.CHAT} {step.candidate if candidate is None else candidate.model}"
            about = _call(step, candidate)
            yield self._span(
                trace, name, span, trace.root, start, start + step.seconds, about, step.error, SpanKind.CLIENT
            )

    def _decide(self, trace: Trace, decision: Decision, began: float, decided: float) -> Iterator[ReadableSpan]:
        span = identifier(f"{decision.id}/{names.DECIDE}", 8)
        read = min(decided, began + sum(signal.seconds for signal in decision.signals.values()))
        permitted = sum(row.permitted for row in decision.considered)
        about = {names.PERMITTED: permitted, names.FORBIDDEN: len(decision.considered) - permitted}
        yield self._span(trace, names.DECIDE, span, trace.root, began, decided, about)
        for name, start, end in ((names.SIGNALS, began, read), (names.GUARDS_AND_ESTIMATE, read, decided)):
            yield self._span(trace, name, identifier(f"{decision.id}/{name}", 8), span, start, end, {})

    def _span(
        self,
        trace: Trace,
        name: str,
        span: int,
        parent: int,
        start: float,
        end: float,
        attributes: Attributes,
        error: str = "",
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> ReadableSpan:
        flags = TraceFlags(TraceFlags.SAMPLED)
        above = (
            SpanContext(trace.trace, parent, is_remote=parent == trace.parent, trace_flags=flags) if parent else None
        )
        return ReadableSpan(
            name,
            SpanContext(trace.trace, span, is_remote=False, trace_flags=flags),
            above,
            self._resource,
            {**attributes, names.ERROR: error} if error else attributes,
            kind=kind,
            status=Status(StatusCode.ERROR, error) if error else Status(StatusCode.UNSET),
            start_time=int(start * 1e9),
            end_time=int(end * 1e9),
        )


def _request(decision: Decision, outcome: Outcome | None) -> Attributes:
    about: Attributes = {
        names.OPERATION: names.CHAT,
        names.REQUEST_MODEL: decision.model,
        names.DECISION: decision.id,
        names.TENANT: decision.tenant,
        names.POLICY: decision.policy,
        names.SNAPSHOT: decision.snapshot,
        names.CONFIG: decision.config,
        names.DEGRADED: decision.degraded,
        names.PROBABILITY: decision.probability,
    }
    if decision.chosen is not None:
        about[names.CHOSEN] = decision.chosen
    if outcome is None:
        return about
    if outcome.candidate is not None:
        about[names.CANDIDATE] = outcome.candidate
    if outcome.ttft is not None:
        about[names.FIRST_CHUNK] = outcome.ttft
    if outcome.finish:
        about[names.FINISH] = (outcome.finish,)
    return about | _spent(outcome)


def _call(step: Step, candidate: Candidate | None) -> Attributes:
    about: Attributes = {names.OPERATION: names.CHAT, names.CANDIDATE: step.candidate, names.WHY: step.why}
    if candidate is not None:
        about |= {names.PROVIDER: candidate.provider, names.REQUEST_MODEL: candidate.model}
    return about | _spent(step)


def _spent(of: Outcome | Step) -> Attributes:
    about: Attributes = {names.INPUT: of.usage.input, names.OUTPUT: of.usage.output}
    parts = ((names.CACHED, of.usage.cached), (names.CACHE_WRITE, of.usage.cache_write))
    about |= {name: count for name, count in (*parts, (names.REASONING, of.usage.reasoning)) if count}
    return about | ({names.COST: of.cost} if isfinite(of.cost) else {})
