"""What the handlers share: the router, and what the gateway keeps beside it. Everything here belongs to one event
loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar, cast

from .. import __version__
from ..admission import Lease
from ..errors import NotFound
from ..identity import Identity
from ..learning.learner import Learner
from ..ledger import Audit, Ledger, Record
from ..router import Router
from ..telemetry import Exporting
from ..types import Decision, Feedback, Outcome, Request
from . import explain
from .admission import Admission
from .exposition import gathered
from .front import Front
from .gauges import Gauges
from .history import WINDOW, History
from .hub import Hub
from .metrics import Metrics
from .models import Catalogue
from .response_store import ResponseStore
from .shadow import Second, shadowing
from .tap import Tap

Result = TypeVar("Result")
Background = Callable[["Service"], Coroutine[Any, Any, None]]

SNAPSHOT_EVERY = 0.5  # seconds
ROWS_PER_DECISION = 4  # decision, outcome, feedback, and some room: how far back the history reads at first


@dataclass(frozen=True)
class Reload:
    """How the last attempt to load the configuration ended; `error` is empty when it serves."""

    at: float
    error: str = ""


class Service:
    """One gateway. Use as an async context manager around the time in which it serves; it closes the router.

    `background` are coroutines that run beside it for that time. A `worker` has a number and the sockets of all.
    """

    def __init__(
        self,
        router: Router,
        front: Front,
        background: Sequence[Background] = (),
        worker: tuple[int, Mapping[int, Path]] | None = None,
    ) -> None:
        self.router, self.front, self._worker = router, front, worker
        self.metrics, self.hub = Metrics(), Hub()
        self.admission = Admission(front, self.metrics.admission)
        kept = router.plan.settings.responses
        self.stored = ResponseStore(kept.path, kept.retention_s, kept.entries, kept.max_bytes)
        self.reload = Reload(time.time())
        self.exporting = exporting(router)
        self._background, self._tasks = background, set[asyncio.Task[None]]()
        self._history, self._looking = History(), asyncio.Lock()
        self._open: dict[str, str] = {}  # decisions under way -> tenant, since an outcome does not say whose it is
        self._problem = "starting"
        self.watched: Path | None = None
        """The configuration file, where there is one."""
        self.second: Second | None = None
        """The shadow policy, where one is configured."""
        self.metrics.watch(Gauges(self))

    def identify(self, headers: Mapping[bytes, bytes]) -> Identity:
        """Whose request this is, by its headers (names in lower case). Raises `Unauthorized`."""
        return self.admission.identify(headers)

    async def admit(self, identity: Identity, request: Request) -> Lease:
        """Set aside what the request may cost; settle the lease in any case.

        Raises `OverBudget`, `Throttled`, `CounterUnreachable`.
        """
        return await self.admission.admit(identity, request)

    @property
    def models(self) -> Catalogue:
        return self.front.models

    @property
    def learner(self) -> Learner:
        """Raises `NotFound` when learning is switched off."""
        if self.router.learner is None:
            raise NotFound("learning is switched off (learner.enabled in the configuration)")
        return self.router.learner

    async def __aenter__(self) -> Self:
        self.router.ledger = cast(Ledger, Tap(self.router.ledger, self._hear))
        await self.admission.open(self.router.ledger)
        self._tasks = {asyncio.create_task(run(self)) for run in (tell_of_snapshots, shadowing, *self._background)}
        if self.exporting is not None:
            self._tasks.add(asyncio.create_task(self.exporting.run()))
        self._problem = ""
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.admission.close()
        self.stored.close()
        await self.router.close()

    async def adopt(self, front: Front) -> None:
        """Serve by another configuration from now on. Raises `LedgerError`."""
        await self.admission.adopt(front)
        self.front = front

    async def audit(self, who: Identity, action: str, subject: str, detail: Mapping[str, Any]) -> None:
        """Say in the ledger what is about to be done, and by which key. Raises `LedgerError`."""
        said = {"by": who.key, **detail}
        await self.router.ledger.commit(Audit(at=time.time(), action=action, subject=subject, detail=said))

    def drain(self) -> None:
        """No new work should come: not ready any more, and pages that listen are let go."""
        self._problem = "draining"
        self.hub.close()

    def problems(self) -> list[str]:
        """Why requests should go elsewhere; empty when ready."""
        trouble = self.router.ledger.trouble
        return [text for text in (self._problem, trouble and f"the ledger cannot write: {trouble}") if text]

    async def exposition(self) -> bytes:
        """The metrics, of all workers if there are several."""
        own = self.metrics.text()
        return own if self._worker is None else await gathered(own, *self._worker)

    def breakers(self) -> dict[str, dict[str, Any]]:
        """Each candidate's circuit: its state, how long it asked to rest (seconds), and its last error."""
        board = self.router.plan.board
        return {
            name: {"breaker": board.state(name), "resting": board.resting(name), "last_error": circuit.last_error}
            for name, circuit in list(board.circuits.items())
        }

    def config(self) -> dict[str, Any]:
        """The settings that serve, without secrets, and how the last attempt to load them ended."""
        front, last = self.front, self.reload
        return {
            "settings": front.settings,
            "hash": front.hash,
            "file": None if self.watched is None else str(self.watched),
            "reload": {"at": last.at, "ok": not last.error, "error": last.error},
        }

    async def owned(self, decision: str, tenant: str | None) -> None:
        """Raises `NotFound` when the decision is another tenant's. `None` owns everything."""
        if tenant is not None and (await self.router.ledger.explain(decision)).decision.tenant != tenant:
            raise NotFound(f"no decision {decision!r} in the ledger", param="id")

    async def look(self, see: Callable[[History], Result]) -> Result:
        """`see` the recent past, brought up to date with the ledger; in a thread, one at a time."""
        async with self._looking:
            return await asyncio.to_thread(self._catch_up, see)

    def _catch_up(self, see: Callable[[History], Result]) -> Result:
        ledger, history = self.router.ledger, self._history
        since = max(history.seq, ledger.head()[0] - ROWS_PER_DECISION * WINDOW)
        for row in ledger.rows(since=since):
            history.add(row.record)
            history.seq = row.seq
        return see(history)

    def _hear(self, record: Record, request: Request | None = None) -> None:
        if self.exporting is not None and isinstance(record, Decision):
            self.exporting.decided(record, "" if request is None else request.traceparent)
        elif self.exporting is not None and isinstance(record, Outcome):
            self.exporting.ended(record)
        if isinstance(record, Decision):
            self.metrics.decision(record)
            if record.chosen is not None:
                self._open[record.id] = record.tenant
            self.hub.publish("decision", lambda: explain.decision(record), record.tenant)
        elif isinstance(record, Outcome):
            self.metrics.outcome(record)
            self.hub.publish("outcome", lambda: record, self._open.pop(record.decision, ""))
        elif isinstance(record, Feedback):
            self.metrics.feedback(record)
            self.hub.publish("feedback", lambda: explain.feedback(record), record.tenant)


async def tell_of_snapshots(service: Service) -> None:
    """Publish an event whenever another snapshot serves. The learner swaps it from its own thread."""
    known = service.router.served.snapshot
    while True:
        await asyncio.sleep(SNAPSHOT_EVERY)
        served = service.router.served
        if served.snapshot != known:
            known = served.snapshot
            service.hub.publish("snapshot", partial(dict, snapshot=known, degraded=served.degraded, at=time.time()))


def exporting(router: Router) -> Exporting | None:
    """What sends traces, if a collector is configured. Raises `ConfigError`."""
    own = router.plan.settings.telemetry
    if not own.otlp_endpoint:
        return None
    return Exporting(
        own.otlp_endpoint,
        own.service_name,
        __version__,
        lambda: router.plan.executor.candidates,
        sample=own.sample,
        interval=own.interval_s,
        most=own.queue,
    )
