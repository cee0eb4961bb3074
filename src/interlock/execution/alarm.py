"""A deadline for a generator that is awaited piece by piece.

`asyncio.timeout` would cost a timer per piece, and around a `yield` it would interrupt whoever consumes the pieces. One
timer per call does here, and it interrupts only while the provider is being waited for.
"""

from __future__ import annotations

import asyncio

from ..errors import TimedOut


class Alarm:
    """Rings after `seconds`; between `on` and `off` that cancels the current task, and `rang` says that it did."""

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(max(0.0, seconds), self._ring)
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._due = self._interrupted = False

    def on(self) -> None:
        """Waiting begins. Raises `TimedOut` when the time is over already."""
        if self._due:
            raise TimedOut("the deadline passed")
        task = self._task = asyncio.current_task(self._loop)
        if task is not None:
            self._cancelling = task.cancelling()

    def off(self) -> None:
        self._task = None

    def rang(self) -> bool:
        """Whether a cancellation just caught was the alarm's alone, and not also somebody else's."""
        return self._interrupted and self._task is not None and self._task.uncancel() <= self._cancelling

    def stop(self) -> None:
        self._timer.cancel()

    def _ring(self) -> None:
        self._due = True
        if self._task is not None:
            self._interrupted = True
            self._task.cancel()
