"""The router for code that is not asynchronous: one event loop in a thread of its own, every call waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from concurrent import futures
from typing import Any, Self, TypeVar

from . import router as core
from .errors import LedgerClosed
from .types import Answer, Decision, Feedback, Message, Request

Result = TypeVar("Result")


class Router:
    """`interlock.router.Router` with blocking calls, from any thread. Use as a context manager, or call `close`.

    Every call raises `LedgerClosed` once the router is closed.
    """

    def __init__(self, router: core.Router) -> None:
        self.core = router
        self._gate = threading.Lock()
        self._closed = False
        self._calls = set[futures.Future[Any]]()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="interlock-loop", daemon=True)
        self._thread.start()

    @classmethod
    def from_config(cls, path: str | None = None) -> Self:
        """See `interlock.router.Router.from_config`."""
        return cls(core.Router.from_config(path))

    def route(self, request: Request | str) -> Answer:
        """Decide, execute and record; a plain string is one user message. Raises `Refused` or a `ProviderError`."""
        return self._wait(self.core.route(_request(request)))

    def decide(self, requests: Sequence[Request | str]) -> list[Decision]:
        """Decide only: nothing is executed and nothing recorded."""

        async def decide() -> list[Decision]:
            return self.core.decide([_request(request) for request in requests])

        return self._wait(decide())

    def feedback(self, feedback: Feedback) -> None:
        """Returns once the feedback is durable. Raises `NotFound`, or `RequestError` if a model scores itself."""
        self._wait(self.core.feedback(feedback))

    def close(self) -> None:
        """Let calls of other threads finish, then what is queued, and release the ledger. Safe to call twice."""
        with self._gate:
            first, self._closed = not self._closed, True
        if first:
            futures.wait(self._calls.copy())
            try:
                asyncio.run_coroutine_threadsafe(self.core.close(), self._loop).result()
            finally:
                self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:  # cleans up behind what was cancelled
            runner.get_loop().run_forever()

    def _wait(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        with self._gate:
            if self._closed:
                coroutine.close()
                raise LedgerClosed("this router is closed")
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
            self._calls.add(future)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # the caller was interrupted: nobody waits for it any more
            raise
        finally:
            self._calls.discard(future)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _request(request: Request | str) -> Request:
    return Request(messages=(Message("user", request),)) if isinstance(request, str) else request
