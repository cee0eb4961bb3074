"""A ledger: a queue, one thread that writes what is in it in groups, and a database.

`put` costs about a microsecond and never waits. The thread takes what has gathered, encodes and hashes it and commits
it in one transaction (group commit), so the cost of a commit is shared by everything that arrived during the last one.
When the queue is full the caller gets `Busy`: back-pressure, not loss.

What is promised when:
    `put`     once its ticket is done: survives the death of the process; a power cut may take SQLite's last moments
    `commit`  once it has returned: also survives a power cut (SQLite: synchronous=FULL for the group it is in)
When a group cannot be written (disk full, file locked) every ticket in it gets the error, it is logged and counted, and
the chain continues from the last committed row with the next group.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self

from ..errors import Busy, InterlockError, LedgerClosed, LedgerError
from ..types import Decision, Outcome, Request
from .database import Appender, Election, Place
from .erase import Erasure
from .reading import Case, Reading, Stored
from .records import Entry, Record, encode
from .ticket import Ticket, settle_all

log = logging.getLogger("interlock.ledger")

GROUP = 1024  # writes in one transaction at most
KNOWN = 100_000  # decisions that wait for the database and can be judged meanwhile, at most
RESTS = 4  # so that writing takes a fifth of one core at most, while it is not overrun


class Write(NamedTuple):
    """A record to append; `decision` is the id under which it can be known before it is committed."""

    ticket: Ticket
    make: Callable[[], Entry]
    durable: bool
    decision: str


class Job(NamedTuple):
    """Anything else that needs the appender, in its turn."""

    ticket: Ticket
    run: Callable[[Appender], Any]


class Alone:
    """The election of a process that no other shares the ledger with."""

    leading = True

    def stand(self) -> None: ...
    def withdraw(self) -> None: ...
    def news(self) -> bool:
        return False


class Ledger(Reading):
    """What the pipeline writes to, and everything a `Reading` can do. `appender` is its own from now on.

    `payload` keeps prompts, answers, evidence and notes as erasable attachments. `capacity` bounds the queue, `linger`
    (seconds) is how long a first write waits for company, `rest` the longest pause after a group: the thread rests
    `RESTS` times as long as the group took, so that groups grow with the load and a lone write does not wait.

    `failed` counts the writes that were not written, `trouble` is the last group's error, None when it went well.
    `shared` says that other processes may write this ledger too; `election` which of them learns from it.
    """

    def __init__(
        self,
        place: Place,
        appender: Appender,
        *,
        payload: bool = False,
        capacity: int = 16384,
        linger: float = 0.005,
        rest: float = 0.005,
        election: Election | None = None,
    ) -> None:
        self._payload, self._capacity, self._linger, self._rest = payload, capacity, linger, rest
        self._appender = appender
        super().__init__(place)
        self.shared, self.election = election is not None, election or Alone()
        self._queue: queue.SimpleQueue[Write | Job | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        self._uncommitted: set[str] = set()
        self._spooled: list[str] = []  # of those, what waits on this machine
        self.failed = 0
        self.trouble: InterlockError | None = None
        self._thread = threading.Thread(target=self._work, name="interlock-ledger", daemon=True)
        self._thread.start()

    @property
    def seq(self) -> int:
        """The last row's that is known to be committed; when others write too, there may be later ones."""
        return self._appender.head[0]

    @property
    def waiting(self) -> int:
        """Writes in the queue."""
        return self._queue.qsize()

    def put(
        self, record: Record, request: Request | None = None, *, answer: str | None = None, durable: bool = False
    ) -> Ticket:
        """Queue a record; returns at once. A decision's `request`, an outcome's `answer` are kept if `payload`.

        Raises Busy when the queue is full, but never for an outcome: it follows a decision that was let in, and what
        has been spent must not be lost. Raises LedgerClosed after `close`. What else goes wrong is in the ticket's
        `error`.
        """
        decision = record.id if isinstance(record, Decision) else ""
        make = partial(encode, record, request, answer, self._payload)
        return self._enqueue(Write(Ticket(), make, durable, decision), refusable=not isinstance(record, Outcome))

    async def commit(self, record: Record) -> int:
        """Append and wait until the disk has it; the row's seq. Raises what `put` raises, and LedgerError."""
        seq: int = await self.put(record, durable=True)
        return seq

    async def knows(self, decision: str) -> bool:
        """Whether there is such a decision, be it still on its way to the file."""
        return decision in self._uncommitted or await asyncio.to_thread(self.has, decision)

    async def explain(self, decision: str) -> Case:
        """`decision(id)` for coroutines; sees what was put before. Raises NotFound."""
        if decision in self._uncommitted or self.waiting:
            await self.flush()
        return await asyncio.to_thread(self.decision, decision)

    def flush(self) -> Ticket:
        """A ticket that is done once everything put before is written, or has failed."""
        return self._enqueue(Job(Ticket(), lambda _: None))

    def forget(self, *, tenant: str | None = None, decision: str | None = None) -> Erasure:
        """Erase the attachments (prompt, answer, quotes, vector) of a tenant's or of one decision's rows so far.

        Blocks until the content is gone (see erase.py). An audit row says what was erased; the chain still verifies.
        Snapshots that may have learned from it go too. Raises NotFound when there is no such tenant or decision.
        """
        found: Erasure = self._enqueue(
            Job(Ticket(), lambda appender: appender.erase(tenant=tenant, decision=decision))
        ).wait()
        return found

    def append(self, entries: Sequence[Entry], durable: bool = False) -> Sequence[int]:
        """Append what another process has encoded, as one group; blocks until it is committed. Raises LedgerError."""
        found: Sequence[int] = self._enqueue(Job(Ticket(), lambda appender: appender.append(entries, durable))).wait()
        return found

    def keep_snapshot(self, snapshot: Stored, keep: int, pinned: Sequence[str] = ()) -> Ticket:
        """Store a snapshot and drop all but the newest `keep` and the `pinned`."""
        return self._enqueue(Job(Ticket(), lambda appender: appender.keep_snapshot(snapshot, keep, pinned)))

    @property
    def spooled(self) -> int:
        """Rows that wait on this machine for the database; they are acknowledged, and not lost by a restart."""
        return self._appender.spooled

    @property
    def degraded(self) -> str:
        """How writes are kept while the database does not answer, "" while it does."""
        return self._appender.degraded

    def close(self) -> None:
        """Write what is queued, then release the database. Safe to call twice, from any thread."""
        with self._gate:
            first, self._closed = not self._closed, True
            if first:
                self._queue.put(None)
        self._thread.join()
        if first:
            super().close()
            self._appender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _enqueue(self, item: Write | Job, refusable: bool = True) -> Ticket:
        with self._gate:
            if self._closed:
                raise LedgerClosed(f"{self.name}: the ledger is closed")
            if refusable and self._queue.qsize() >= self._capacity:
                raise Busy(
                    f"{self._capacity} records wait to be written to the ledger; try again shortly", retry_after=0.5
                )
            if isinstance(item, Write) and item.decision:
                self._uncommitted.add(item.decision)
            self._queue.put(item)
        return item.ticket

    def _work(self) -> None:
        """The thread: groups of writes, and jobs in their turn, until `close`."""
        rested = 0.0
        while (first := self._first()) is not None:
            if isinstance(first, Write) and not first.durable:
                pause = max(self._linger, rested - time.monotonic())
                if pause > 0:
                    time.sleep(pause)
            began = time.monotonic()
            writes: list[Write] = []
            item: Write | Job | None = first
            while isinstance(item, Write):
                writes.append(item)
                item = self._next() if len(writes) < GROUP else None
            self._write(writes)
            if isinstance(item, Job):
                self._run(item)
            took = time.monotonic() - began
            rested = began + took + min(RESTS * took, self._rest)
        log.debug("%s: closed at row %d", self.name, self.seq)

    def _first(self) -> Write | Job | None:
        """The next item; the appender is tended while there is none."""
        while True:
            try:
                due = self._appender.tend()
                if due is None and self._spooled:
                    self._forget_committed(())
                return self._queue.get(timeout=due)
            except queue.Empty:
                continue

    def _next(self) -> Write | Job | None:
        """What waits already. The closing mark is put back: it must end the outer loop."""
        try:
            item = self._queue.get_nowait()
        except queue.Empty:
            return None
        if item is None:
            self._queue.put(None)
        return item

    def _write(self, writes: Sequence[Write]) -> None:
        tickets: list[Ticket] = []
        entries: list[Entry] = []
        for write in writes:
            try:
                entries.append(write.make())
                tickets.append(write.ticket)
            except Exception as error:  # noqa: BLE001 - one bad record must not fail its group; its ticket raises it
                self._fail([write.ticket], _as_ledger_error(error))
        try:
            seqs = self._appender.append(entries, any(write.durable for write in writes)) if entries else range(0)
        except Exception as error:  # noqa: BLE001 - the thread goes on; every ticket raises it
            self.trouble = _as_ledger_error(error)
            self._fail(tickets, self.trouble)
        else:
            self.trouble = None
            settle_all(tickets, seqs)
        self._forget_committed([write.decision for write in writes if write.decision])

    def _forget_committed(self, decisions: Sequence[str]) -> None:
        """Drop from what is known without the database what the database has by now; some that wait for it stay."""
        if self._appender.spooled and len(self._uncommitted) < KNOWN:
            self._spooled += decisions
        else:
            self._uncommitted.difference_update(decisions, self._spooled)
            self._spooled.clear()

    def _run(self, job: Job) -> None:
        try:
            job.ticket.settle(job.run(self._appender))
        except Exception as error:  # noqa: BLE001 - the thread goes on; the ticket raises it
            job.ticket.settle(error=_as_ledger_error(error))

    def _fail(self, tickets: Sequence[Ticket], error: InterlockError) -> None:
        self.failed += len(tickets)
        log.error("%d records were not written: %s", len(tickets), error)
        settle_all(tickets, [None] * len(tickets), error)


def _as_ledger_error(error: Exception) -> InterlockError:
    if isinstance(error, InterlockError):
        return error
    log.error("unexpected error while writing the ledger", exc_info=error)
    return LedgerError(f"{type(error).__name__} while writing: {error}")
