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
    """`await tick(item)` gives what `function(items)` made of it; an exception reaches everyone who waited."""

    def __init__(self, function: Callable[[Sequence[Item]], Sequence[Result]]) -> None:
        self._function = function
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []

    def __call__(self, item: Item) -> asyncio.Future[Result]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._handle)
        self._waiting.append((item, future))
        return future

    def _handle(self) -> None:
        waiting, self._waiting = self._waiting, []
        waiting = [(item, future) for item, future in waiting if not future.cancelled()]
        if not waiting:
            return
        try:
            results = self._function([item for item, _ in waiting])
        except Exception as error:
            log.error("a batch of %d failed", len(waiting), exc_info=error)
            for _, future in waiting:
                future.set_exception(error)
            return
        for (_, future), result in zip(waiting, results, strict=True):
            future.set_result(result)
