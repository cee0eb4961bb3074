"""The learner: a thread that folds new rows and publishes what came of it as versioned snapshots.

A version is `<last row folded>-<hash of the policy's state>`: it says what was learnt, and the ledger up to that row
gives it again. So the newest few are stored only to start quickly; `rollback` reaches every version there ever was, by
folding it anew if need be and comparing the hash. A rollback pins what is served, in the ledger, so it holds across
restarts; the learner goes on folding meanwhile, and `resume` serves the newest again.

Of many processes that share a ledger one leads: it folds and stores. The others serve what it stores, and obey the same
pins. When it dies another one leads, from the newest stored snapshot on. Should two believe for a moment that they
lead, they fold the same rows into the same snapshots.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, Self, cast

import msgspec

from ..errors import InterlockError, SnapshotError, nearest
from ..ledger import Ledger
from ..ledger.reading import Reading, Stored
from ..ledger.records import Audit
from ..ledger.snapshots import check, pin_since
from .fold import Fold, Learning, Without
from .trust import Trust

log = logging.getLogger("interlock.learner")

BREATH = 0.0005  # seconds between pages, so that the event loop gets Python's lock in between
SHARE = 0.1  # of one core at most: requests come first, so a costly snapshot is published less often
EAGER = 0.5  # instead, until YOUNG events are learnt: the first ones change a policy most, and waiting costs quality
YOUNG = 10_000
LAST_GOOD = "last_good"
STORE_EVERY = 10.0  # seconds between two stored snapshots
SHARED_EVERY = 1.0  # instead, when others serve what is stored


class Servable(Learning, Protocol):
    """A policy that can be handed to the router (see policy.py)."""

    def clone(self) -> Self: ...
    def prepare(self) -> Self: ...


Publish = Callable[[Any, str, str], None]
"""Called with a policy that nobody changes any more, its version, and how it is degraded: "" or "last_good"."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """`served` is what the router was given last, folded at `served_at` (seconds since the epoch, 0 if nothing has been
    learnt), `working` the newest folded, `lag` the rows not folded yet.

    `error` is why the last attempt failed, empty when it went well. `doubted` tenants count less than fully; of those
    in `disregarded` nothing counts from the first row to the last: they were found out after it had been learnt.
    `leading` says whether this process folds; if not, all this is of the snapshot it took over.
    """

    served: str
    served_at: float
    degraded: str
    working: str
    pinned: bool
    seq: int
    lag: int
    learnt: int
    skipped: dict[str, int]
    doubted: dict[str, float]
    disregarded: dict[str, list[int]]
    rebuilds: int
    error: str
    leading: bool
    at: float


class Stopped(Exception):
    """The learner is asked to stop in the middle of a fold."""


class Learner:
    """Folds `ledger` into `policy` (fresh, as configured) and calls `publish` from its thread whenever it has learnt.

    `interval` is the least time between two folds, `store_every` between two stored snapshots, in seconds; the newest
    `keep` stay stored. `step`, `rollback` and `resume` may be called from any thread and wait for a fold in progress.
    `publish` may be None for a process that learns for others.
    """

    def __init__(
        self,
        ledger: Ledger,
        policy: Servable,
        publish: Publish | None,
        *,
        trust: Trust = Trust(),
        without: Without = Without(),
        interval: float = 1.0,
        keep: int = 16,
        store_every: float | None = None,
    ) -> None:
        if store_every is None:
            store_every = SHARED_EVERY if ledger.shared else STORE_EVERY
        self._ledger, self._publish = ledger, publish
        self._interval, self._keep, self._store_every = interval, keep, store_every
        self._fresh, self._policy = policy.clone(), policy
        self._fold = Fold(policy, trust, without)
        self._reading = Reading(ledger.place)
        self._turn = threading.RLock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._served: tuple[Servable, Stored, str] | None = None
        self._error, self._at = "", time.time()
        self._pin, self._pinned_at = pin_since(self._reading, 0, "")
        self._head = self._reading.head()[0]
        self._working = self._newest(self._fold)
        self._stored, self._stored_at = self._working.version, 0.0
        self._leading = not ledger.shared

    def start(self) -> Self:
        """Publish the pinned or the last good snapshot, then fold in a thread of its own.

        When there is none although there are rows to fold, whatever the router serves is better than a policy that
        knows nothing: then the first to be published is the one that has folded them.
        """
        with self._turn:
            unknowing = not self._working.seq and self._head > 0
            if not (self._pin and self._serve_pinned()) and not unknowing:
                self._serve(self._policy.clone(), self._working)
        self._ledger.election.stand()
        self._thread = threading.Thread(target=self._work, name="interlock-learner", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Store what is folded and end the thread. Safe to call twice; to be called before the ledger is closed."""
        self._ledger.election.withdraw()
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._reading.close()

    def step(self) -> bool:
        """Fold what is new; publish and store what came of it. Whether anything was learnt. Raises LedgerError."""
        with self._turn:
            if self._ledger.shared:
                self._obey()
            rebuilds, learnt = self._fold.rebuilds, self._fold.learnt
            self._head = self._reading.head()[0]
            self._fold.advance(self._reading, self._head, self._breathe)
            self._at, self._error = time.time(), ""
            changed = (rebuilds, learnt) != (self._fold.rebuilds, self._fold.learnt)
            if changed:
                self._working = self._fold.snapshot(self._at)
            if self._fold.rebuilds > rebuilds and self._pin and self._reading.snapshot(self._pin) is None:
                self._unpin("its snapshot held what was erased since")
            recovered = self._served is not None and self._served[2] != ""
            stale = self._served is not None and not self._pin and self._served[1].version != self._working.version
            if not self._pin and (changed or recovered or stale or self._served is None):
                self._serve(self._policy.clone(), self._working)
            if self._working.version != self._stored and self._at - self._stored_at >= self._store_every:
                self._store()
            return changed

    def follow(self) -> None:
        """Serve what the one who leads has stored, or what is pinned. Raises LedgerError."""
        with self._turn:
            self._obey()
            fold = Fold(self._fresh.clone(), self._fold.trust, self._fold.without)
            newest = self._newest(fold)
            if newest.seq or not self._working.seq:
                self._fold, self._policy, self._working = fold, cast(Servable, fold.policy), newest
                self._stored = newest.version
            self._head = max(self._head, self._working.seq)
            self._at, self._error = time.time(), ""
            good = self._served is not None and self._served[2] == ""
            if not self._pin and self._working.seq and not (good and self._version() == self._working.version):
                self._serve(self._policy.clone(), self._working)

    def _obey(self) -> None:
        """Serve what somebody pinned or released, here or elsewhere."""
        before = self._pin
        self._pin, self._pinned_at = pin_since(self._reading, self._pinned_at, before)
        if self._pin and self._pin != before and self._version() != self._pin:
            self._serve_pinned()

    def rollback(self, version: str) -> None:
        """Serve `version` from now on, across restarts, until `resume`; learning goes on unserved.

        Raises SnapshotError when there was no such version, or when it cannot be had again since rows were erased.
        """
        with self._turn:
            snapshot = self._reading.snapshot(version) or self._refolded(version)
            policy = self._fresh.clone().restore(check(snapshot).state)
            self._ledger.keep_snapshot(snapshot, self._keep, [version]).wait()
            self._ledger.put(Audit(at=time.time(), action="pin", subject=version), durable=True).wait()
            self._pin = version
            self._serve(policy, snapshot)

    def resume(self) -> None:
        """Serve the newest again. Harmless when nothing is pinned."""
        with self._turn:
            if self._pin:
                self._unpin("")
                self._serve(self._policy.clone(), self._working)

    def status(self) -> Status:
        fold, served = self._fold, self._served
        return Status(
            served="" if served is None else served[1].version,
            served_at=0.0 if served is None or not served[1].seq else served[1].at,
            degraded="" if served is None else served[2],
            working=self._working.version,
            pinned=bool(self._pin),
            seq=fold.seq,
            lag=max(self._head - fold.seq, self._ledger.seq - fold.seq, 0),
            learnt=fold.learnt,
            skipped=dict(fold.skipped),
            doubted=fold.agreement.doubted(),
            disregarded=fold.agreement.disregarded(),
            rebuilds=fold.rebuilds,
            error=self._error,
            leading=self._leading,
            at=self._at,
        )

    def _work(self) -> None:
        failures, spent = 0, 0.0
        while not self._stop.wait(self._rest(spent, failures)):
            began = time.thread_time()
            try:
                self._advance()
                failures, spent = 0, time.thread_time() - began
            except Stopped:
                return
            except Exception as error:  # noqa: BLE001 - the thread goes on; the status and the log say why
                failures = min(failures + 1, 6)
                self._failed(error)
        try:
            with self._turn:
                if self._leading:
                    self._store()
        except InterlockError as error:
            self._failed(error)

    def _advance(self) -> None:
        """Fold if this process leads, else take over what the one who does has stored."""
        election = self._ledger.election
        if election.leading:
            if not self._leading:
                log.info("this process learns from now on")
                self.follow()
                self._leading = True
            self.step()
            return
        if self._leading:
            log.info("another process learns from now on")
            self._leading = False
        if election.news():
            self.follow()

    def _failed(self, error: Exception) -> None:
        """Say so, and that the router serves what was good last."""
        text = str(error) if isinstance(error, InterlockError) else f"{type(error).__name__}: {error}"
        if text != self._error:
            log.error("the learner fails and tries again: %s", text, exc_info=not isinstance(error, InterlockError))
        with self._turn:
            self._error = text
            if self._served is not None and not self._served[2] and not self._pin:
                self._serve(*self._served[:2], LAST_GOOD)

    def _rest(self, spent: float, failures: int) -> float:
        """Seconds until the next step, after one that took `spent` seconds of a core and `failures` in a row."""
        share = EAGER if self._fold.learnt < YOUNG else SHARE
        return max(self._interval * min(1 << failures, 64), spent * (1.0 / share - 1.0))

    def _breathe(self) -> None:
        if self._stop.wait(BREATH):
            raise Stopped

    def _serve(self, policy: Servable, snapshot: Stored, degraded: str = "") -> None:
        if self._publish is not None:
            self._publish(policy.prepare(), snapshot.version, degraded)
        self._served = (policy, snapshot, degraded)

    def _version(self) -> str:
        return "" if self._served is None else self._served[1].version

    def _serve_pinned(self) -> bool:
        try:
            snapshot = self._reading.snapshot(self._pin) or self._refolded(self._pin)
            self._serve(self._fresh.clone().restore(check(snapshot).state), snapshot)
        except SnapshotError as error:
            log.error("the pinned snapshot %s cannot be served, the newest is: %s", self._pin, error)
            self._error, self._pin = str(error), ""
            return False
        return True

    def _unpin(self, reason: str) -> None:
        if reason:
            log.warning("snapshot %s is no longer pinned: %s", self._pin, reason)
        detail = {"reason": reason} if reason else {}
        audit = Audit(at=time.time(), action="resume", subject=self._pin, detail=detail)
        self._ledger.put(audit, durable=True).wait()
        self._pin = ""

    def _store(self) -> None:
        if self._working.seq < self._fold.seq:
            self._working = self._fold.snapshot(time.time())
        self._ledger.keep_snapshot(self._working, self._keep, [self._pin] if self._pin else []).wait()
        self._stored, self._stored_at = self._working.version, time.time()

    def _newest(self, fold: Fold) -> Stored:
        """Let `fold` continue from the newest stored snapshot that is undamaged and its own, else from the start."""
        for version, _, _, maker in self._reading.snapshots():
            stored = self._reading.snapshot(version) if maker == fold.maker else None
            try:
                if stored is not None:
                    fold.resume(stored)
                    return stored
            except SnapshotError as error:
                log.warning("%s; an older one is taken, or the ledger is folded from the start", error)
        return fold.snapshot(time.time())

    def _refolded(self, version: str) -> Stored:
        """A version that is not stored any more, folded again."""
        number = version.partition("-")[0]
        if not number.isdigit() or int(number) > self._reading.head()[0]:
            stored = [name for name, *_ in self._reading.snapshots()]
            raise SnapshotError(f"there is no snapshot {version!r}; {nearest(version, stored)}")
        fold = Fold(self._fresh.clone(), self._fold.trust, self._fold.without)
        fold.advance(self._reading, int(number), self._breathe)
        snapshot = fold.snapshot(time.time())
        if snapshot.version != version:
            raise SnapshotError(
                f"the ledger up to row {number} gives {snapshot.version} now, not {version}: rows were erased since, or"
                " it was made under another configuration"
            )
        return snapshot
