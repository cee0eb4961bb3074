"""The ledger in a PostgreSQL database that many gateways write to.

Every process sends its groups to `append_group` (postgres_schema.py); what is acknowledged is committed there, as
durably as the server's `synchronous_commit` says. While the database does not answer, groups are kept in a spool on
this machine (spool.py), acknowledged once they are synced there, and written in their order when it answers again.
Without a spool a group is tried for `PATIENCE` seconds and then fails, and meanwhile the queue fills up to `Busy`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

from ..errors import LedgerError, LedgerUnreachable
from .database import Query
from .erase import Erasure, erase
from .postgres_schema import APPEND, LEADER, OID
from .postgres_session import AGAIN, Connection, Session, check_version, connect, explained, loop, prepare, wait
from .queued import Ledger
from .reading import Stored
from .records import Entry
from .snapshots import replace
from .spool import Spool
from .verify import verify

log = logging.getLogger("interlock.ledger")

WRITING = 5.0  # seconds for one group
PATIENCE = 10.0  # seconds for a group that cannot be spooled
TEND = 0.25  # seconds between two attempts to write what was spooled
PAGE = 1000  # rows of a stream at a time
BEAT = 1.0  # seconds between two signs of life of the one who leads, and two attempts to lead of the others
SAFETY = 5.0  # seconds after which there is news though nobody announced any


class PostgresDatabase:
    """See database.Database. Raises LedgerError when there is no ledger at `url`."""

    def __init__(self, url: str, text: type[str] | type[bytes] = str) -> None:
        self._session = Session(url, text=text)
        self.name = self._session.name
        try:
            if not self._session.run(partial(check_version, name=self.name)):
                raise LedgerError(f"{self.name}: there is no ledger here")
        except BaseException:
            self._session.close()
            raise

    def fetch(self, query: str, parameters: Sequence[Any] = ()) -> list[Any]:
        return self._session.run(lambda connection: fetched(connection, query, parameters))

    def stream(self, query: str, parameters: Sequence[Any] = ()) -> Iterator[Any]:
        async def open(connection: Connection) -> Any:
            return await connection.cursor(numbered(query), *parameters)

        cursor = self._session.run(open)
        while page := self._session.run(lambda _: cursor.fetch(PAGE)):
            yield from page

    @contextmanager
    def consistent(self) -> Iterator[None]:
        async def begin(connection: Connection) -> Any:
            transaction = connection.transaction(isolation="repeatable_read", readonly=True)
            await transaction.start()
            return transaction

        transaction = self._session.run(begin)
        try:
            yield
        finally:
            with suppress(LedgerError):  # what was found wrong inside says more
                self._session.run(lambda _: transaction.rollback())

    def size(self) -> int:
        tables = "('rows'), ('attachments'), ('checkpoints'), ('snapshots')"
        query = f"SELECT sum(pg_total_relation_size(t::regclass)) FROM (VALUES {tables}) AS tables(t)"
        return int(self.fetch(query)[0][0])

    def check_structure(self) -> str:
        """PostgreSQL has tools of its own for that (pg_amcheck, data checksums)."""
        return ""

    def close(self) -> None:
        self._session.close()


class PostgresAppender:
    """See database.Appender. `folder` is the spool's, None for none."""

    def __init__(self, url: str, checkpoint_every: int = 1024, folder: Path | None = None) -> None:
        self._session = Session(url, patience=WRITING, waits=False)
        self.name, self._every, self._folder = self._session.name, checkpoint_every, folder
        self.writer, self._number = uuid4().hex, 0
        self.degraded = ""
        self._spools: list[Spool] = []
        with ExitStack() as undo:
            undo.callback(self._session.close)
            self._session.run(partial(prepare, name=self.name))
            last = self.query("SELECT seq, hash FROM rows ORDER BY seq DESC LIMIT 1")
            self.head: tuple[int, bytes] = tuple(last[0]) if last else (0, bytes(32))
            if folder is not None:
                self._spools = [Spool.open(folder, self.writer), *Spool.left_behind(folder)]
            undo.pop_all()

    @property
    def spooled(self) -> int:
        """Rows that wait on this machine."""
        return sum(spool.rows for spool in self._spools)

    def append(
        self, entries: Sequence[Entry], durable: bool = False, also: Callable[[Query], None] | None = None
    ) -> Sequence[int]:
        """`also` runs in the same transaction, after the entries; then nothing is spooled."""
        self._number += 1
        try:
            self._drain()
            return self._committed(self.writer, self._number, entries, also)
        except LedgerUnreachable as error:
            if also is not None:
                raise
            if self._spools:
                self._spools[0].add(self._number, entries)
                self._say(error)
                return [0] * len(entries)
        return self._patiently(entries)

    def tend(self) -> float | None:
        """Write what was spooled; until that is done, call again."""
        with suppress(LedgerUnreachable):
            self._drain()
        return TEND if self.spooled else None

    def query(self, query: str, parameters: Sequence[Any] = ()) -> list[Any]:
        return self._session.run(lambda connection: fetched(connection, query, parameters))

    def keep_snapshot(self, snapshot: Stored, keep: int, pinned: Sequence[str]) -> None:
        def store(query: Query) -> None:
            replace(query, snapshot, keep, pinned)
            query("SELECT pg_notify('interlock_' || 'rows'::regclass::oid, '')", ())

        self.append((), also=store)

    def erase(self, *, tenant: str | None, decision: str | None) -> Erasure:
        return erase(self, tenant=tenant, decision=decision)

    def scrub(self) -> bool:
        """PostgreSQL's own log and dead rows are its own matter."""
        return False

    def close(self) -> None:
        with suppress(LedgerError):
            self._drain()
        self._session.close()
        for spool in self._spools:
            spool.close()

    def _committed(
        self, writer: str, number: int, entries: Sequence[Entry], also: Callable[[Query], None] | None = None
    ) -> range:
        call = partial(_append, writer=writer, number=number, every=self._every, entries=entries)
        if also is None:
            first = self._session.run(call)
        else:
            with self._transaction():
                first = self._session.run(call) if entries else 0
                also(self.query)
        if first:
            self.head = (first + len(entries) - 1, b"")
        self._say(None)
        return range(first, first + len(entries))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        async def begin(connection: Connection) -> Any:
            transaction = connection.transaction()
            await transaction.start()
            return transaction

        transaction = self._session.run(begin)
        try:
            yield
        except BaseException:
            with suppress(LedgerError):
                self._session.run(lambda _: transaction.rollback())
            raise
        self._session.run(lambda _: transaction.commit())

    def _drain(self) -> None:
        """Write what was spooled, in its order. Raises LedgerUnreachable while that does not go."""
        for spool in self._spools:
            if not spool.rows:
                continue
            try:
                for number, entries in spool.groups():
                    self._committed(spool.writer, number, entries)
            except LedgerUnreachable:
                raise
            except LedgerError as error:  # it would be lost if this were raised to somebody who cannot keep it
                self._say(error)
                raise LedgerUnreachable(f"what was spooled cannot be written: {error}") from error
            log.warning("%s: %d rows that waited here are written", self.name, spool.rows)
            spool.clear()
        for spool in self._spools[1:]:
            spool.close()
        del self._spools[1:]

    def _patiently(self, entries: Sequence[Entry]) -> Sequence[int]:
        deadline = time.monotonic() + PATIENCE
        while True:
            time.sleep(AGAIN)
            try:
                return self._committed(self.writer, self._number, entries)
            except LedgerUnreachable:
                if time.monotonic() > deadline:
                    raise

    def _say(self, error: LedgerError | None) -> None:
        if error is not None and not self.degraded:
            log.error("the ledger keeps rows on this machine until its database answers: %s", error)
        waits = self._spools and self.spooled
        self.degraded = f"{self.spooled} rows wait on this machine: {error}" if error is not None and waits else ""


class Watch:
    """See database.Election: a session that hears of new snapshots, and holds the advisory lock of whoever learns.

    PostgreSQL frees the lock when the process that holds it dies or its connection breaks, so somebody else leads
    within seconds. For a moment two may believe that they lead: both fold the same rows into the same snapshots.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.leading = False
        self._standing = False
        self._news, self._heard = True, time.monotonic()
        self._task = asyncio.run_coroutine_threadsafe(self._watch(), loop())

    def stand(self) -> None:
        self._standing = True

    def withdraw(self) -> None:
        self._standing = self.leading = False

    def news(self) -> bool:
        found = self._news or time.monotonic() - self._heard > SAFETY
        if found:
            self._news, self._heard = False, time.monotonic()
        return found

    def close(self) -> None:
        async def ended() -> None:
            task = asyncio.wrap_future(self._task)
            task.cancel()
            await asyncio.wait([task])

        self.leading = False
        wait(ended())

    def _hear(self, *_: Any) -> None:
        self._news = True

    async def _watch(self) -> None:
        while True:
            try:
                await self._session()
            except Exception as error:  # noqa: BLE001 - watching goes on; the writer says what is wrong
                log.info("nobody announces snapshots: %s", explained(error, "the ledger's database"))
            await asyncio.sleep(AGAIN)

    async def _session(self) -> None:
        connection = None
        try:
            async with asyncio.timeout(WRITING):
                connection = await connect(self._url)
                oid = await connection.fetchval(OID)
                await connection.add_listener(f"interlock_{oid}", self._hear)
            self._news = True
            number = oid - (1 << 32) if oid >= 1 << 31 else oid
            held = False
            while True:
                async with asyncio.timeout(WRITING):
                    if self._standing and not held:
                        held = await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", LEADER, number)
                    elif held and not self._standing:
                        held = not await connection.fetchval("SELECT pg_advisory_unlock($1, $2)", LEADER, number)
                    else:
                        await connection.fetchval("SELECT 1")
                self.leading = held and self._standing
                await asyncio.sleep(BEAT)
        finally:
            self.leading = False
            if connection is not None:
                connection.terminate()


class PostgresLedger(Ledger):
    """The ledger in the database at `url`, its tables made when there are none. Other options are those of `Ledger`.

    `spool` is the folder where rows wait while the database does not answer, None for none. Raises LedgerError: the
    database does not answer, it is not a ledger; LedgerCorrupt when the rows since the last checkpoint do not verify.
    """

    _appender: PostgresAppender

    def __init__(
        self,
        url: str,
        *,
        payload: bool = False,
        capacity: int = 16384,
        linger: float = 0.005,
        rest: float = 0.005,
        checkpoint_every: int = 1024,
        spool: Path | None = None,
    ) -> None:
        with ExitStack() as undo:
            appender = PostgresAppender(url, checkpoint_every, spool)
            undo.callback(appender.close)
            verify(url, full=False)
            self._watch = Watch(url)
            undo.callback(self._watch.close)
            options: dict[str, Any] = {"payload": payload, "capacity": capacity, "linger": linger, "rest": rest}
            super().__init__(url, appender, election=self._watch, **options)
            undo.pop_all()

    def close(self) -> None:
        self._watch.close()
        super().close()


async def _append(connection: Connection, writer: str, number: int, every: int, entries: Sequence[Entry]) -> int:
    columns = list(zip(*((e.at, e.kind, e.decision, e.tenant, e.body) for e in entries), strict=True))
    attached = ((i, a.name, a.salt, a.blob) for i, e in enumerate(entries) for a in e.attachments)
    beside = list(zip(*attached, strict=True))
    first: int = await connection.fetchval(APPEND, writer, number, every, *columns, *(beside or [()] * 4))
    return first


async def fetched(connection: Connection, query: str, parameters: Sequence[Any]) -> list[Any]:
    if any(isinstance(value, str) and "\0" in value for value in parameters):
        return []  # PostgreSQL's text cannot hold it, so no row has it
    found: list[Any] = await connection.fetch(numbered(query), *parameters)
    return found


@cache
def numbered(query: str) -> str:
    """PostgreSQL's parameters are $1, $2 and so on where the ledger's queries have `?`."""
    numbers = count(1)
    return re.sub(r"\?", lambda _: f"${next(numbers)}", query)
