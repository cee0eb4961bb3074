"""The ledger remembers: every decision, outcome, feedback and refusal, append-only and hash-chained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .database import Place, is_url, located
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
    "open_ledger",
    "verify",
]


def open_ledger(place: Place, *, spool: Path | None = None, **options: Any) -> Ledger:
    """The ledger at `place` (see database.py), to write. `spool` is PostgreSQL's, other options those of `Ledger`.

    Raises LedgerError; ConfigError when the place is a URL and asyncpg is not installed.
    """
    place = located(place)
    if is_url(place):
        from .postgres import PostgresLedger

        return PostgresLedger(str(place), spool=spool, **options)
    return SqliteLedger(place, **options)
