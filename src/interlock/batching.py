"""Gather what arrives together, tick after tick of the event loop, and handle it in one call.

Numpy's call overhead and the cache misses on the policy's matrices are then shared by all of it: a decision costs a
third in a batch of sixteen. There is no timer: a batch is handled in the first tick that brings nothing more, so a lone
request waits for no longer than one more look at the sockets.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

log = logging.getLogger("interlock.batching")

TICKS = 8  # of growth at most

Item = TypeVar("Item")
Result = TypeVar("Result")


class Tick(Generic[Item, Result]):
    """`await tick(item)` gives what `function(items)` made of it. Usable from any number of event loops.

    When a batch fails, its items are handled one by one: an exception reaches only those who cause it.
    """

    def __init__(self, function: Callable[[Sequence[Item]], Sequence[Result]]) -> None:
        self._function = function
        self._waiting: dict[asyncio.AbstractEventLoop, list[tuple[Item, asyncio.Future[Result]]]] = {}

    def __call__(self, item: Item) -> asyncio.Future[Result]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        batch = self._waiting.get(loop)
        if batch is None:
            batch = self._waiting[loop] = []
            loop.call_soon(self._handle, loop, 0, TICKS)
        batch.append((item, future))
        return future

    def _handle(self, loop: asyncio.AbstractEventLoop, known: int, ticks: int) -> None:
        """Handle the batch if it has not grown beyond `known`, or not soon enough for `ticks` more."""
        size = len(self._waiting[loop])
        if size > known and ticks:
            loop.call_soon(self._handle, loop, size, ticks - 1)
            return
        waiting = [(item, future) for item, future in self._waiting.pop(loop) if not future.cancelled()]
        if waiting:
            self._settle(waiting)

    def _settle(self, waiting: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = self._function([item for item, _ in waiting])
        except Exception as error:
            if len(waiting) == 1:
                waiting[0][1].set_exception(error)
                return
            log.error("a batch of %d failed, each is tried alone", len(waiting), exc_info=error)
            for one in waiting:
                self._settle([one])
            return
        for (_, future), result in zip(waiting, results, strict=True):
            future.set_result(result)
