"""What just happened, told to every page that is open: a bounded queue per listener, oldest events dropped and counted.

`publish` costs nothing while nobody listens, and never waits: a slow page loses events, the data plane loses no time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

QUEUE = 256  # events kept for one slow listener
BEAT = 15.0  # seconds of silence after which a comment shows that the connection lives


@dataclass(slots=True, eq=False)
class Listener:
    """One open page. `tenant` limits it to that tenant's events; `None` sees all."""

    tenant: str | None
    events: deque[bytes] = field(default_factory=lambda: deque(maxlen=QUEUE))
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    dropped: int = 0
    told: int = 0

    def offer(self, event: bytes) -> bool:
        """Queue an event; false when the oldest had to go for it."""
        full = len(self.events) == QUEUE
        self.dropped += full
        self.events.append(event)
        self.wake.set()
        return not full


class Hub:
    """Publishes events as server-sent events. `dropped` counts events lost to slow listeners since the start."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        self._closed = False
        self.dropped = 0

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def publish(self, kind: str, document: Callable[[], Any], tenant: str | None = None) -> None:
        """Tell everyone who may know. `document` is only called when somebody listens. For the event loop's thread.

        An event of a `tenant` goes to that tenant's listeners and to those who see all; without one, to everybody.
        """
        if not self._listeners:
            return
        event = encode(kind, document())
        for listener in self._listeners:
            if tenant is None or listener.tenant is None or listener.tenant == tenant:
                self.dropped += not listener.offer(event)

    async def listen(self, tenant: str | None = None) -> AsyncIterator[bytes]:
        """The events from now on, as SSE bytes. After a gap an event `dropped` says how many were lost."""
        listener = Listener(tenant)
        self._listeners.add(listener)
        try:
            yield b": listening\n\n"
            while not self._closed or listener.events:
                try:
                    await asyncio.wait_for(listener.wake.wait(), BEAT)
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                listener.wake.clear()
                if listener.dropped > listener.told:
                    yield encode("dropped", {"events": listener.dropped - listener.told})
                    listener.told = listener.dropped
                while listener.events:
                    yield listener.events.popleft()
        finally:
            self._listeners.discard(listener)

    def close(self) -> None:
        """End every listener's stream after what it has queued."""
        self._closed = True
        for listener in self._listeners:
            listener.wake.set()


def encode(kind: str, document: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode(document))
