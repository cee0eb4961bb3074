"""The router for code that is not asynchronous: one event loop in a thread of its own, every call waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, Self, TypeVar

from . import router as core
from .types import Answer, Decision, Feedback, Message, Request

Result = TypeVar("Result")


class Router:
    """`interlock.router.Router` with blocking calls. Use as a context manager, or call `close`."""

    def __init__(self, router: core.Router) -> None:
        self.core = router
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="interlock-loop", daemon=True)
        self._thread.start()

    @classmethod
    def from_config(cls, path: str | None = None) -> Self:
        """See `interlock.router.Router.from_config`."""
        return cls(core.Router.from_config(path))

    def route(self, request: Request | str) -> Answer:
        """Decide, execute and record; a plain string is one user message. Raises `Refused` or a `ProviderError`."""
        return self._wait(self.core.route(self._request(request)))

    def decide(self, requests: Sequence[Request | str]) -> list[Decision]:
        """Decide only: nothing is executed and nothing recorded."""
        return self.core.decide([self._request(request) for request in requests])

    def feedback(self, feedback: Feedback) -> None:
        """Returns once the feedback is durable."""
        self._wait(self.core.feedback(feedback))

    def close(self) -> None:
        """Finish what is queued and release the ledger. Safe to call twice."""
        if not self._loop.is_closed():
            self._wait(self.core.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _wait(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    @staticmethod
    def _request(request: Request | str) -> Request:
        return Request(messages=(Message("user", request),)) if isinstance(request, str) else request

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
