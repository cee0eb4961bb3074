"""The ledger remembers: every decision, outcome, feedback and refusal, append-only and hash-chained."""

from __future__ import annotations

from .database import Place
from .queued import Ledger
from .reading import Case, Reading, Row, Stored
from .records import Audit, Record
from .sqlite import SqliteLedger
from .ticket import Ticket
from .verify import Report, verify

__all__ = [
    "Audit",
    "Case",
    "Ledger",
    "Place",
    "Reading",
    "Record",
    "Report",
    "Row",
    "SqliteLedger",
    "Stored",
    "Ticket",
    "verify",
]
