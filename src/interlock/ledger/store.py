"""The SQLite file: its schema, how it is opened, who may write, and what each of SQLite's errors means to an operator.

    rows          the chain; triggers forbid changing or deleting
    attachments   beside the rows, erasable; a trigger forbids changing
    checkpoints   the chain's hash every so many rows, chained among themselves
    snapshots     states of the policy and of the learner's trust, named <seq>-<hash of the policy's state>

One process writes at a time: the writer holds an advisory lock on `<file>.lock`, which the system releases when the
process dies, however it dies. Any number of processes may read.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from ..errors import LedgerCorrupt, LedgerError

APPLICATION = 0x494C4B31  # "ILK1", in the file's header
VERSION = 1
OLDEST_SQLITE = (3, 37, 0)  # STRICT tables

SCHEMA = f"""
CREATE TABLE rows(
    seq INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, decision_id TEXT NOT NULL, tenant TEXT NOT NULL,
    body BLOB NOT NULL, prev BLOB NOT NULL, hash BLOB NOT NULL
) STRICT;
CREATE INDEX rows_of_decision ON rows(decision_id, seq) WHERE decision_id != '';
CREATE INDEX rows_of_tenant ON rows(tenant, seq) WHERE tenant != '';
CREATE INDEX rows_of_audit ON rows(seq) WHERE kind = 'audit';
CREATE TABLE attachments(
    seq INTEGER NOT NULL, name TEXT NOT NULL, salt BLOB NOT NULL, blob BLOB NOT NULL, PRIMARY KEY(seq, name)
) STRICT;
CREATE TABLE checkpoints(
    seq INTEGER PRIMARY KEY, at REAL NOT NULL, hash BLOB NOT NULL, mark BLOB NOT NULL
) STRICT;
CREATE TABLE snapshots(
    version TEXT PRIMARY KEY, seq INTEGER NOT NULL, at REAL NOT NULL, maker TEXT NOT NULL, state BLOB NOT NULL,
    trust BLOB NOT NULL, mark BLOB NOT NULL
) STRICT;
CREATE TRIGGER rows_stay BEFORE DELETE ON rows BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER rows_keep BEFORE UPDATE ON rows BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER attachments_keep BEFORE UPDATE ON attachments
    BEGIN SELECT RAISE(ABORT, 'attachments are erased, never changed'); END;
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
"""

MEANING = {
    "SQLITE_FULL": "the disk is full (or the file's size limit is reached); free space, nothing written so far is lost",
    "SQLITE_READONLY": "the file or its directory is not writable",
    "SQLITE_BUSY": "another program holds the database locked (a SQLite shell, a backup?); close it",
    "SQLITE_LOCKED": "another connection holds the table locked",
    "SQLITE_NOTADB": "the file is not a SQLite database",
    "SQLITE_CANTOPEN": "the file cannot be opened; does its directory exist and may this user read and write it?",
    "SQLITE_IOERR": "the operating system failed to read or write the file",
    "SQLITE_TOOBIG": "a record is larger than SQLite's limit of 1 GB",
}


def explained(error: sqlite3.Error, path: Path) -> LedgerError:
    """SQLite's error in an operator's words, with SQLite's own name of it. Damage becomes LedgerCorrupt with seq 0."""
    name = getattr(error, "sqlite_errorname", None) or "SQLITE_ERROR"
    if name.startswith("SQLITE_CORRUPT"):
        return LedgerCorrupt(f"{path}: the database file is damaged ({error})", 0)
    meaning = next((text for prefix, text in MEANING.items() if name.startswith(prefix)), "unexpected database error")
    return LedgerError(f"{path}: {meaning} [{name}: {error}]")


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """SQLite's errors inside become LedgerErrors."""
    try:
        yield
    except sqlite3.ProgrammingError as error:
        raise LedgerError(f"{path}: the ledger was closed while it was read ({error})") from error
    except sqlite3.Error as error:
        raise explained(error, path) from error


class SqliteDatabase:
    """See database.Database. Raises LedgerError when there is no ledger at `path`."""

    def __init__(self, path: Path, text: type[str] | type[bytes] = str) -> None:
        self.path, self.name = path, str(path)
        self._connection = open_reader(path, text)
        self._lock = threading.Lock()

    def fetch(self, query: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with self._lock, explaining(self.path):
            return self._connection.execute(query, parameters).fetchall()

    def stream(self, query: str, parameters: Sequence[Any] = ()) -> Iterator[Any]:
        with explaining(self.path):
            for row in self._connection.execute(query, parameters):  # noqa: UP028 - `yield from` would close the cursor
                yield row

    @contextmanager
    def consistent(self) -> Iterator[None]:
        self.fetch("BEGIN")
        try:
            yield
        finally:
            with suppress(LedgerError):  # what was found wrong inside says more
                self.fetch("ROLLBACK")

    def size(self) -> int:
        (pages,), (size,) = self.fetch("PRAGMA page_count")[0], self.fetch("PRAGMA page_size")[0]
        return int(pages * size)

    def check_structure(self) -> str:
        found = [row[0] for row in self.fetch("PRAGMA integrity_check(3)")]
        problems = [text.decode(errors="replace") if isinstance(text, bytes) else str(text) for text in found]
        return "" if problems == ["ok"] else "; ".join(problems)

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def open_writer(path: Path, busy_seconds: float = 5.0) -> sqlite3.Connection:
    """A connection for the writer thread, of a file that is made when there is none. Raises LedgerError."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise LedgerError(f"SQLite {sqlite3.sqlite_version} is too old; the ledger needs 3.37 or later")
    try:
        connection = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
        try:
            if _is_new(connection, path):
                connection.executescript(f"PRAGMA journal_mode = WAL; BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA synchronous = NORMAL")
            # A file that cannot be written says so now. BEGIN IMMEDIATE alone succeeds on a read-only one.
            connection.executescript(f"BEGIN IMMEDIATE; PRAGMA user_version = {VERSION}; ROLLBACK;")
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise explained(error, path) from error
    return connection


def open_reader(path: Path, text: type[str] | type[bytes] = str) -> sqlite3.Connection:
    """A read-only connection, for one thread at a time. Raises LedgerError when there is no ledger at `path`."""
    if not path.exists():
        raise LedgerError(f"{path}: there is no ledger here")
    try:
        where = f"{path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(where, uri=True, isolation_level=None, check_same_thread=False)
        try:
            connection.text_factory = text
            if _is_new(connection, path):
                raise LedgerError(f"{path}: the database is empty, it is not a ledger")
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise explained(error, path) from error
    return connection


def _is_new(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the database is empty. Raises LedgerError when it is somebody else's, or of another version."""
    application, version, tables = (
        connection.execute(query).fetchone()[0]
        for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
    )
    if not tables:
        return True
    if application != APPLICATION:
        raise LedgerError(f"{path}: this SQLite database belongs to another program, it is not a ledger")
    if version != VERSION:
        old = "export it with the interlock that made it, and import that"
        advice = "use a newer interlock" if version > VERSION else old
        raise LedgerError(f"{path}: the ledger has schema version {version}, this interlock reads {VERSION}; {advice}")
    return False


class WriterLock:
    """Exclusive among processes and within one. Raises LedgerError naming the process that writes already."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(path.name + ".lock")
        self._file: IO[str] | None = None
        try:
            file = open(self.path, "a+")  # noqa: SIM115 - held open: the lock lives as long as the file
        except OSError as error:
            raise LedgerError(f"{self.path}: the lock file cannot be opened ({error.strerror})") from error
        try:
            lock_file(file)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise LedgerError(
                f"{path}: process {holder} writes this ledger already; one process writes, any number may read"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Safe to call twice. The file stays: removing it would let two processes lock two different files."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


if sys.platform == "win32":
    import msvcrt

    def lock_file(file: IO[Any]) -> None:
        """Exclusive until the file is closed, which the system does for a process that dies. Raises OSError."""
        file.seek(1 << 30)  # a byte past the content, so that the holder's name stays readable
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def lock_file(file: IO[Any]) -> None:
        """Exclusive until the file is closed, which the system does for a process that dies. Raises OSError."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
