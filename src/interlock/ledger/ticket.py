"""A ticket says what became of a write: await it in a coroutine, wait for it in a thread, or hang a callback on it."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from typing import Any

from ..errors import InterlockError

Waiter = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]

_LOCK = threading.Lock()  # shared: it is held for two assignments at a time


class Ticket:
    """`done` once the write is committed or has failed; then `error` is None and `result` what the write gave (for a
    record, its seq), or `error` says why nothing was written.
    """

    __slots__ = ("_callbacks", "_waiters", "done", "error", "result")

    def __init__(self) -> None:
        self.done = False
        self.result: Any = None
        self.error: InterlockError | None = None
        self._callbacks: list[Callable[[Ticket], None]] = []
        self._waiters: list[Waiter] = []

    def add_callback(self, callback: Callable[[Ticket], None]) -> None:
        """Called once, in the ledger's thread, or at once when the write is done already. It must not raise."""
        with _LOCK:
            if not self.done:
                self._callbacks.append(callback)
                return
        callback(self)

    def settle(self, result: Any = None, error: InterlockError | None = None) -> None:
        """For the ledger: the write is over."""
        settle_all([self], [result], error)

    def wait(self, timeout: float | None = None) -> Any:
        """Block until done; the result. Raises the error of a failed write, TimeoutError after `timeout` seconds."""
        settled = threading.Event()
        self.add_callback(lambda _: settled.set())
        if not settled.wait(timeout):
            raise TimeoutError(f"the ledger has not written this within {timeout} s")
        return self._outcome()

    def __await__(self) -> Generator[Any, None, Any]:
        if not self.done:
            loop = asyncio.get_running_loop()
            settled: asyncio.Future[None] = loop.create_future()
            with _LOCK:
                waits = not self.done
                if waits:
                    self._waiters.append((loop, settled))
            if waits:
                yield from settled
        return self._outcome()

    def _outcome(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.result


def settle_all(tickets: Sequence[Ticket], results: Sequence[Any], error: InterlockError | None = None) -> None:
    """For the ledger: a group of writes is over. Every event loop that waits for some of them is woken once."""
    callbacks: list[tuple[Callable[[Ticket], None], Ticket]] = []
    waiters: defaultdict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = defaultdict(list)
    with _LOCK:
        for ticket, result in zip(tickets, results, strict=True):
            ticket.result, ticket.error, ticket.done = result, error, True
            callbacks += [(callback, ticket) for callback in ticket._callbacks]
            for loop, settled in ticket._waiters:
                waiters[loop].append(settled)
    for callback, ticket in callbacks:
        callback(ticket)
    for loop, futures in waiters.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_set, futures)


def _set(futures: Sequence[asyncio.Future[None]]) -> None:
    for settled in futures:
        if not settled.done():
            settled.set_result(None)
