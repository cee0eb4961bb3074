"""The ledger remembers: every decision, outcome, feedback and refusal, append-only and hash-chained."""

from __future__ import annotations

from typing import Protocol

from ..types import Request
from .reading import Case, Reading, Row, Stored
from .records import Audit, Record
from .sqlite import SqliteLedger
from .ticket import Ticket
from .verify import Report, verify

__all__ = [
    "Audit",
    "Case",
    "Ledger",
    "Reading",
    "Record",
    "Report",
    "Row",
    "SqliteLedger",
    "Stored",
    "Ticket",
    "verify",
]


class Ledger(Protocol):
    """What the pipeline needs of a ledger."""

    def put(
        self, record: Record, request: Request | None = None, *, answer: str | None = None, durable: bool = False
    ) -> Ticket:
        """Queue a record without waiting. Raises Busy, LedgerClosed."""
        ...

    async def commit(self, record: Record) -> int:
        """Append a record and return its seq once it is durable. Raises Busy, LedgerClosed, LedgerError."""
        ...

    async def knows(self, decision: str) -> bool: ...

    async def explain(self, decision: str) -> Case:
        """The decision with its outcome and feedback. Raises NotFound."""
        ...

    def close(self) -> None: ...
