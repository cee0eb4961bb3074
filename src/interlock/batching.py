"""Gather what arrives in one event-loop tick and handle it in one call.

Numpy's call overhead and the cache misses on the policy's matrices are then shared by all requests of the tick. There
is no timer: a lone request waits for nothing but the end of the current tick.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

log = logging.getLogger("interlock.batching")

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
            loop.call_soon(self._handle, loop)
        batch.append((item, future))
        return future

    def _handle(self, loop: asyncio.AbstractEventLoop) -> None:
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
