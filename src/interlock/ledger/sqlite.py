"""The embedded ledger: one SQLite file, written by one process."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from .append import SqliteAppender
from .queued import Ledger
from .store import WriterLock
from .verify import verify


class SqliteLedger(Ledger):
    """The ledger in the file `path`, made when there is none. `options` are those of `Ledger`.

    Raises LedgerError: another process writes this file, it is not a ledger, it cannot be written; LedgerCorrupt when
    the rows since the last checkpoint do not verify.
    """

    _appender: SqliteAppender

    def __init__(
        self,
        path: Path | str,
        *,
        payload: bool = False,
        capacity: int = 16384,
        linger: float = 0.005,
        rest: float = 0.005,
        checkpoint_every: int = 1024,
        busy_seconds: float = 5.0,
    ) -> None:
        self.path = Path(path)
        self._writer_lock = WriterLock(self.path)
        with ExitStack() as undo:
            undo.callback(self._writer_lock.release)
            appender = SqliteAppender(self.path, checkpoint_every, busy_seconds)
            undo.callback(appender.close)
            verify(self.path, full=False)
            super().__init__(self.path, appender, payload=payload, capacity=capacity, linger=linger, rest=rest)
            undo.pop_all()

    def close(self) -> None:
        super().close()
        self._writer_lock.release()
