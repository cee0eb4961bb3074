"""A ledger that also tells somebody what is being recorded: how metrics and open pages learn of it.

The router writes every decision, outcome and feedback to its ledger; a tap in between hears of each exactly once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ledger import Ledger, Record, Ticket


class Tap:
    """Passes everything through to `ledger`; `hear` is called with each record, and a decision's
    request, on the thread that records it.

    A committed record is heard once it is durable. What `hear` raises reaches whoever records: it must not raise.
    """

    def __init__(self, ledger: Ledger, hear: Callable[..., None]) -> None:
        self.ledger, self._hear = ledger, hear

    def put(self, record: Record, *rest: Any, **more: Any) -> Ticket:
        ticket = self.ledger.put(record, *rest, **more)
        self._hear(record, *rest)
        return ticket

    async def commit(self, record: Record, *rest: Any, **more: Any) -> Any:
        result = await self.ledger.commit(record, *rest, **more)
        self._hear(record)
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ledger, name)
