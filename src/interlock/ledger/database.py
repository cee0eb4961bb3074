"""The seam between the ledger and the database that holds it: what SQLite and PostgreSQL each implement.

The queries are written once, in the SQL that both speak, with `?` for a parameter. A *place* says where a ledger is:
the path of a SQLite file, the URL of a PostgreSQL database, or `env:NAME`, the variable that holds one of them; a URL
may hold a password, so a place is never printed: the `name` of what was opened is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import LedgerError

if TYPE_CHECKING:
    from .erase import Erasure
    from .reading import Stored
    from .records import Entry

Place = Path | str
Query = Callable[[str, Sequence[Any]], list[Any]]
"""Runs a query inside a transaction; its rows."""


class Database(Protocol):
    """Reads a ledger; usable from any thread. Everything raises LedgerError."""

    @property
    def name(self) -> str: ...

    def fetch(self, query: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query, as sequences."""
        ...

    def stream(self, query: str, parameters: Sequence[Any] = ()) -> Iterator[Any]:
        """The rows of a long query, one after another; for one thread, inside `consistent`."""
        ...

    def consistent(self) -> AbstractContextManager[None]:
        """One view of everything, whatever is written meanwhile."""
        ...

    def size(self) -> int:
        """Bytes on disk."""
        ...

    def check_structure(self) -> str:
        """What the database itself finds damaged, "" for nothing."""
        ...

    def close(self) -> None: ...


class Appender(Protocol):
    """Writes a ledger, one group of entries after another; for one thread at a time."""

    @property
    def head(self) -> tuple[int, bytes]:
        """Seq and hash of the last row known to be committed."""
        ...

    @property
    def spooled(self) -> int:
        """Rows that wait on this machine for the database."""
        ...

    @property
    def degraded(self) -> str:
        """How what is appended is kept while the database does not answer; "" while it does."""
        ...

    def append(self, entries: Sequence[Entry], durable: bool = False) -> Sequence[int]:
        """The seqs of the entries, committed all or none; 0 for one kept until the database answers.

        Raises LedgerError, and then nothing was written.
        """
        ...

    def keep_snapshot(self, snapshot: Stored, keep: int, pinned: Sequence[str]) -> None:
        """Store it (again is no error) and drop all but the newest `keep` and the `pinned`."""
        ...

    def erase(self, *, tenant: str | None, decision: str | None) -> Erasure: ...

    def tend(self) -> float | None:
        """Do what is due without a write; seconds until it should be called again, None: only after a write."""
        ...

    def close(self) -> None: ...


class Election(Protocol):
    """Which of the processes that share a ledger learns from it."""

    def stand(self) -> None:
        """This process would learn, from now on until `withdraw`."""
        ...

    def withdraw(self) -> None: ...

    @property
    def leading(self) -> bool: ...

    def news(self) -> bool:
        """Whether snapshots may have been stored or pinned elsewhere since the last call."""
        ...


def located(place: Place) -> Place:
    """The place behind `env:NAME`, any other as it is. Raises LedgerError when the variable is not set."""
    if not isinstance(place, str) or not place.startswith("env:"):
        return place
    name = place.removeprefix("env:")
    if not os.environ.get(name):
        raise LedgerError(f"the environment variable {name}, which should say where the ledger is, is not set")
    return os.environ[name]


def is_url(place: Place) -> bool:
    return isinstance(place, str) and re.match(r"postgres(ql)?://", place) is not None


def open_database(place: Place, text: type[str] | type[bytes] = str) -> Database:
    """The ledger at `place`, to read; its texts as `text`. Raises LedgerError when there is none."""
    place = located(place)
    if is_url(place):
        from .postgres import PostgresDatabase

        return PostgresDatabase(str(place), text)
    from .store import SqliteDatabase

    return SqliteDatabase(_path(place), text)


def _path(place: Place) -> Path:
    if "://" in str(place):
        scheme = str(place).partition("://")[0]
        raise LedgerError(f"a ledger is a SQLite file or a postgresql:// URL, {scheme}:// is neither")
    return Path(place)
