"""Several gateway processes on one machine, on one port, with one ledger and one learner.

Each worker listens on the port for itself (SO_REUSEPORT), and the system shares out the connections. The process that
starts them serves nothing: it starts a worker that died again, ends all on a signal, and, when the ledger is a SQLite
file, writes it for them and learns from it. With a ledger in PostgreSQL each worker writes, and one of them learns.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from ..assembly import build_policy, configured, from_settings, ledger_of, start_learner
from ..config import Settings, Watch, load
from ..errors import InterlockError, LedgerError
from ..learning.learner import Learner
from ..ledger import Ledger
from ..ledger.database import is_url, located
from ..ledger.relay import Relay, RelayedLedger
from ..router import Router
from ..signals import build as build_reader
from .exposition import socket_of, telling
from .front import countable
from .serve import listen, serving, standing, url

log = logging.getLogger("interlock.workers")

LOOK_EVERY = 0.5  # seconds
SHORT = 5.0  # seconds: a worker that died sooner waits before it starts again, each time twice as long
LONGEST = 30.0  # seconds


@dataclass(frozen=True)
class Job:
    """What a worker is told; it crosses to another process."""

    host: str
    port: int
    config: str | None
    place: str | None
    workers: int
    folder: Path
    embedded: Path | None
    watched: Path | None
    log_level: str


@dataclass
class Worker:
    number: int
    process: SpawnProcess
    told: Connection
    began: float = field(default_factory=time.monotonic)
    pause: float = 0.5
    again: float = 0.0  # when to start it again, after it died


def supervise(
    count: int,
    host: str | None,
    port: int | None,
    config: str | None,
    place: str | None,
    watched: Path | None,
    log_level: str,
    ready: Callable[[str, Settings, str, dict[str, Any]], None],
) -> None:
    """Serve with `count` workers until a signal. `ready` is called with the URL, the settings, where they are from, and
    what `standing` says of the first worker.

    Raises ConfigError, LedgerError; LedgerError also when a worker does not start, and then the log says why.
    """
    settings, because = configured(config)
    countable(settings, alone=False)
    own = settings.server
    holder = listen(own.host if host is None else host, own.port if port is None else port, shared=True, takes=False)
    where = located(place or settings.ledger.url or settings.ledger.path)
    with tempfile.TemporaryDirectory(prefix="interlock-") as name, holder:
        folder, embedded = Path(name), None if is_url(where) else Path(where)
        bound = holder.getsockname()
        job = Job(bound[0], bound[1], config, place, count, folder, embedded, watched, log_level)
        with _embedded(settings, place, folder, watched) if embedded is not None else _nothing() as tend:
            _run(job, own.grace_s + own.drain_s, tend, lambda first: ready(url(holder), settings, because, first))


def _run(job: Job, grace: float, tend: Callable[[], None], ready: Callable[[dict[str, Any]], None]) -> None:
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    workers = [_start(job, number) for number in range(job.workers)]
    try:
        told = [_first_words(worker, ended) for worker in workers]
        if told[0] is not None and not ended.is_set():
            ready(told[0])
        while not ended.is_set():
            wait([worker.process.sentinel for worker in workers if worker.process.is_alive()], LOOK_EVERY)
            for worker in workers:
                if not worker.process.is_alive() and not ended.is_set():
                    _again(job, worker)
            tend()
    finally:
        for worker in workers:
            worker.process.terminate()  # a worker drains on SIGTERM
        deadline = time.monotonic() + grace + 5.0
        for worker in workers:
            worker.process.join(max(deadline - time.monotonic(), 0.1))
            worker.process.kill()
            worker.process.join()


def _start(job: Job, number: int) -> Worker:
    told, tells = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=work, args=(job, number, tells), name=f"interlock-worker-{number}")
    process.start()
    tells.close()
    return Worker(number, process, told)


def _first_words(worker: Worker, ended: threading.Event) -> dict[str, Any] | None:
    """What it says once it serves; None when all shall end before. Raises LedgerError when it ends instead."""
    while not worker.told.poll(LOOK_EVERY):
        if ended.is_set():
            return None
    try:
        told = worker.told.recv()
    except EOFError:
        told = f"it ended with exit code {worker.process.exitcode}"
    if isinstance(told, str):
        raise LedgerError(f"worker {worker.number} does not start: {told}")
    return dict(told)


def _again(job: Job, worker: Worker) -> None:
    now = time.monotonic()
    if not worker.again:
        short = now - worker.began < SHORT
        worker.pause = min(2.0 * worker.pause, LONGEST) if short else 0.5
        worker.again = now + (worker.pause if short else 0.0)
        log.error("worker %d ended with exit code %s; it starts again", worker.number, worker.process.exitcode)
    if now >= worker.again:
        new = _start(job, worker.number)
        worker.process, worker.told, worker.began, worker.again = new.process, new.told, new.began, 0.0


def work(job: Job, number: int, tells: Connection) -> None:
    """A worker's whole life. Ends when the process that started it does."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    words = f"%(asctime)s %(levelname)s [{number}] %(name)s: %(message)s"
    logging.basicConfig(level=job.log_level.upper(), format=words)
    try:
        settings, because = configured(job.config)
        book: Ledger | str | None = job.place
        if job.embedded is not None:
            relay = job.folder / "ledger.sock"
            book = RelayedLedger(job.embedded, relay, payload=settings.ledger.payload, linger=0.0)
        router = from_settings(settings, Router, ledger=book, because=because)
        listener = listen(job.host, job.port, shared=True)
    except InterlockError as error:
        tells.send(str(error))
        raise SystemExit(3) from None
    sockets = {other: socket_of(job.folder, other) for other in range(job.workers)}
    serving(
        router,
        listener,
        job.watched,
        lambda _: _tell(tells, router),
        background=[telling(sockets[number])],
        worker=(number, sockets),
    )


def _tell(tells: Connection, router: Router) -> None:
    with suppress(OSError):  # one that was started again is not listened to
        tells.send(standing(router))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _nothing() -> Iterator[Callable[[], None]]:
    yield lambda: None


@contextmanager
def _embedded(
    settings: Settings, place: str | None, folder: Path, watched: Path | None
) -> Iterator[Callable[[], None]]:
    """Write the ledger's file for the workers, and learn from it. The function looks for a new configuration."""
    book = ledger_of(settings, place)
    book.shared = True  # the learner stores often and obeys what workers pin
    relay = Relay(folder / "ledger.sock", book)
    keeper = _Keeper(settings, book, watched)
    try:
        yield keeper.look
    finally:
        keeper.stop()
        relay.close()
        book.close()


class _Keeper:
    """The learner, started anew when the configuration changes."""

    def __init__(self, settings: Settings, book: Ledger, watched: Path | None) -> None:
        self._book, self._path, self._settings = book, watched, settings
        self._watch, self._due = Watch(watched) if watched is not None else None, 0.0
        self._learner = self._started(settings)

    def look(self) -> None:
        if self._watch is None or self._path is None or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._settings.server.reload_every_s
        if not self._watch.changed():
            return
        try:
            settings = load(self._path)
            if settings.ledger == self._settings.ledger:  # else the workers refuse it and say so
                self.stop()
                self._settings, self._learner = settings, self._started(settings)
        except InterlockError as error:
            log.error("the learner goes on with the old configuration: %s", error)

    def stop(self) -> None:
        if self._learner is not None:
            self._learner.stop()

    def _started(self, settings: Settings) -> Learner | None:
        reader = build_reader(settings.signal_names(), settings.signals, settings.vector)
        return start_learner(settings, build_policy(settings, reader), self._book, None)
