"""A ticket says what became of a write: await it in a coroutine, wait for it in a thread, or hang a callback on it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from typing import Any

from ..errors import InterlockError

_LOCK = threading.Lock()  # shared: it is held for two assignments at a time


class Ticket:
    """`done` once the write is committed or has failed; then `error` is None and `result` what the write gave (for a
    record, its seq), or `error` says why nothing was written.
    """

    __slots__ = ("_callbacks", "done", "error", "result")

    def __init__(self) -> None:
        self.done = False
        self.result: Any = None
        self.error: InterlockError | None = None
        self._callbacks: list[Callable[[Ticket], None]] | None = None

    def add_callback(self, callback: Callable[[Ticket], None]) -> None:
        """Called once, in the ledger's thread, or at once when the write is done already. It must not raise."""
        with _LOCK:
            if not self.done:
                self._callbacks = [*(self._callbacks or ()), callback]
                return
        callback(self)

    def settle(self, result: Any = None, error: InterlockError | None = None) -> None:
        """For the ledger: the write is over."""
        with _LOCK:
            self.result, self.error, self.done = result, error, True
            callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            callback(self)

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
            self.add_callback(lambda _: _wake(loop, settled))
            yield from settled
        return self._outcome()

    def _outcome(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.result


def _wake(loop: asyncio.AbstractEventLoop, settled: asyncio.Future[None]) -> None:
    try:
        loop.call_soon_threadsafe(_set, settled)
    except RuntimeError:  # the loop is closed: nobody waits any more
        return


def _set(settled: asyncio.Future[None]) -> None:
    if not settled.done():
        settled.set_result(None)
