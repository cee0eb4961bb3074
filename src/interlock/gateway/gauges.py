"""What metrics say of the present, looked up at each scrape: breakers, ledger, policy, snapshot, listeners.

A scrape is answered on the event loop, so all of it comes from memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from .service import Service

STATES = ("closed", "open", "half_open")


class Gauges(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service

    def describe(self) -> Iterable[Metric]:
        """Nothing before the first scrape: the router may not be there yet."""
        return ()

    def collect(self) -> Iterable[Metric]:
        service = self._service
        yield self._breakers()
        yield self._guards()
        queue = GaugeMetricFamily("interlock_ledger_queue", "Records waiting to be written.")
        queue.add_metric((), service.router.ledger.waiting)
        yield queue
        failed = CounterMetricFamily("interlock_ledger_failures", "Records that could not be written.")
        failed.add_metric((), service.router.ledger.failed)
        yield failed
        runs = GaugeMetricFamily("interlock_runs_open", "Answers in the making.")
        runs.add_metric((), sum(not run.ended for run in service.router.plan.runs))
        yield runs
        tasks = GaugeMetricFamily("interlock_tasks", "Tasks of the event loop.")
        tasks.add_metric((), len(asyncio.all_tasks()))
        yield tasks
        spooled = GaugeMetricFamily("interlock_ledger_spooled", "Rows on this machine that wait for the database.")
        spooled.add_metric((), service.router.ledger.spooled)
        yield spooled
        yield self._snapshot()
        yield self._failures()
        listeners = GaugeMetricFamily("interlock_event_listeners", "Open streams of /v1/events.")
        listeners.add_metric((), service.hub.listeners)
        yield listeners
        degraded = GaugeMetricFamily(
            "interlock_counter_degraded", "1 while budgets and rates cannot be counted together with other workers."
        )
        degraded.add_metric((), float(service.admission.degraded))
        yield degraded
        dropped = CounterMetricFamily("interlock_events_dropped", "Events lost to slow listeners.")
        dropped.add_metric((), service.hub.dropped)
        yield dropped

    def _snapshot(self) -> Metric:
        learner = self._service.router.learner
        family = GaugeMetricFamily(
            "interlock_snapshot_age_seconds", "Since the serving snapshot was folded; absent before one."
        )
        if learner is not None and (at := learner.status().served_at):
            family.add_metric((), time.time() - at)
        return family

    def _failures(self) -> Metric:
        family = CounterMetricFamily(
            "interlock_policy_failures", "Exceptions of the policy; the default order decides.", labels=("stage",)
        )
        for stage, count in self._service.router.failsafe.failures.items():
            family.add_metric((stage,), count)
        return family

    def _breakers(self) -> Metric:
        family = GaugeMetricFamily(
            "interlock_breaker_state", "1 for the state a candidate is in.", labels=("candidate", "state")
        )
        for name, breaker in self._service.breakers().items():
            for state in STATES:
                family.add_metric((name, state), float(state == breaker["breaker"]))
        return family

    def _guards(self) -> Metric:
        family = CounterMetricFamily("interlock_guard_seconds", "Time spent in a guard.", labels=("guard",))
        for name, seconds in self._service.router.plan.guards.seconds.items():
            family.add_metric((name,), seconds)
        return family
