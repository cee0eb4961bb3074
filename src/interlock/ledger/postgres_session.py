"""A connection to PostgreSQL that is opened again when it was lost, for callers that are threads.

asyncpg runs on one event loop in a thread of its own, shared by everything in the process. What goes wrong becomes a
LedgerError; `LedgerUnreachable` when trying again later may help: no connection, a restart, a standby, no space.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ..errors import ConfigError, LedgerError, LedgerUnreachable
from .postgres_schema import OLDEST_SERVER, SCHEMA, SETUP, VERSION

try:
    import asyncpg  # type: ignore[import-untyped,unused-ignore]
except ImportError:
    raise ConfigError(
        "a ledger in PostgreSQL needs asyncpg: pip install 'interlock[postgres]'", path="ledger"
    ) from None

T = TypeVar("T")
Connection = Any  # asyncpg.Connection

CONNECT = 3.0  # seconds for a new connection, all of it
AGAIN = 0.25  # seconds between two attempts
LATER = ("08", "53", "57P", "25006", "40", "55P03")  # SQLSTATEs that another attempt may not meet
SERVER = {
    "search_path": "interlock",
    "application_name": "interlock",
    "default_transaction_isolation": "read committed",  # append_group must see what was committed while it waited
    "tcp_keepalives_idle": "3",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "2",
    "idle_in_transaction_session_timeout": "60s",
}


@cache
def loop() -> asyncio.AbstractEventLoop:
    made = asyncio.new_event_loop()
    threading.Thread(target=made.run_forever, name="interlock-postgres", daemon=True).start()
    return made


def wait(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it on the shared loop; blocks this thread."""
    return asyncio.run_coroutine_threadsafe(coroutine, loop()).result()


class Session:
    """One connection. `patience` is how long (seconds) the server may take for one piece of work.

    `waits` says whether to wait for a new connection even while the database is known not to answer.
    """

    def __init__(
        self, url: str, *, text: type[str] | type[bytes] = str, patience: float = 60.0, waits: bool = True
    ) -> None:
        self.url, self.name, self._text = url, shown(url), text
        self._patience, self._waits = patience, waits
        self._connection: Connection = None
        self._attempt: asyncio.Task[None] | None = None
        self._problem: LedgerError | None = None  # why there is no connection
        self._tried = 0.0
        self._turn = asyncio.Lock()

    def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Raises LedgerError; LedgerUnreachable when the database does not answer."""
        return wait(self.work(work))

    async def work(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """The same, for coroutines on the shared loop."""
        async with self._turn:
            connection = await self._connected()
            try:
                async with asyncio.timeout(self._patience):
                    return await work(connection)
            except BaseException as error:
                problem = explained(error, self.name)
                if isinstance(problem, LedgerUnreachable) or not isinstance(error, Exception):
                    connection.terminate()
                if isinstance(error, Exception):
                    raise problem from error
                raise

    def close(self) -> None:
        wait(self._close())

    async def _close(self) -> None:
        if self._attempt is not None:
            self._attempt.cancel()
            await asyncio.wait([self._attempt])
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None

    async def _connected(self) -> Connection:
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        now = asyncio.get_running_loop().time()
        if self._attempt is None or (self._attempt.done() and now >= self._tried + AGAIN):
            self._tried = now
            self._attempt = asyncio.create_task(self._connect())
        await asyncio.wait([self._attempt], timeout=CONNECT if self._waits or self._problem is None else 0.0)
        if self._problem is not None:
            raise self._problem
        if not self._attempt.done():
            raise LedgerUnreachable(f"{self.name}: no connection after {CONNECT:g} seconds")
        return self._connection

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(CONNECT):
                self._connection = await connect(self.url, self._text)
        except Exception as error:  # noqa: BLE001 - raised to whoever wants the connection
            self._problem = explained(error, self.name)
        else:
            self._problem = None


async def connect(url: str, text: type[str] | type[bytes] = str) -> Connection:
    """A connection to a database that holds a ledger or may get one. Raises LedgerError and what asyncpg raises."""
    connection = await asyncpg.connect(url, server_settings=SERVER, command_timeout=None)
    try:
        if text is bytes:
            await connection.set_type_codec(
                "text", schema="pg_catalog", encoder=str.encode, decoder=bytes, format="binary"
            )
    except BaseException:
        connection.terminate()
        raise
    return connection


async def check_version(connection: Connection, name: str) -> bool:
    """Whether there is a ledger. Raises LedgerError when there is another version of it, or something else."""
    server = await connection.fetchval("SELECT current_setting('server_version_num')::integer")
    encoding = await connection.fetchval("SELECT current_setting('server_encoding')::name")
    if server < OLDEST_SERVER:
        raise LedgerError(f"{name}: PostgreSQL {server // 10000} is too old; the ledger needs {OLDEST_SERVER // 10000}")
    if encoding != "UTF8":
        raise LedgerError(f"{name}: the database's encoding is {encoding}; the ledger needs one with UTF8")
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'interlock'")
    if not tables:
        return False
    if "ledger" not in {table for (table,) in tables}:
        raise LedgerError(f"{name}: its schema `interlock` belongs to another program, it is not a ledger")
    version = await connection.fetchval("SELECT version FROM ledger")
    if version != VERSION:
        old = "migrate it to a SQLite file with the interlock that made it, and that file here"
        advice = "use a newer interlock" if version > VERSION else old
        raise LedgerError(f"{name}: the ledger has schema version {version}, this interlock reads {VERSION}; {advice}")
    return True


async def prepare(connection: Connection, name: str) -> None:
    """Make the tables if there are none. Raises LedgerError."""
    if not await check_version(connection, name):
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", SETUP)  # another gateway may start too
            if not await check_version(connection, name):
                await connection.execute(SCHEMA)


def explained(error: BaseException, name: str) -> LedgerError:
    if isinstance(error, LedgerError):
        return error
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        unreachable = state.startswith(LATER)
        if state in ("42501", "42P01"):  # without USAGE a schema seems empty
            return LedgerError(f"{name}: this user may not do that in the schema `interlock` ({error})")
        text = f"{name}: {type(error).__name__} [{state}]: {error}"
        return LedgerUnreachable(text) if unreachable else LedgerError(text)
    if isinstance(error, TimeoutError):
        return LedgerUnreachable(f"{name}: the database does not answer in time")
    if isinstance(error, OSError | asyncpg.InterfaceError):
        return LedgerUnreachable(f"{name}: the database cannot be reached ({error or type(error).__name__})")
    return LedgerError(f"{name}: {type(error).__name__}: {error}")


def shown(url: str) -> str:
    """The URL without its password and options."""
    parts = urlsplit(url)
    host = (parts.netloc.rpartition("@")[2]) or "localhost"
    user = parts.username or ""
    return f"postgresql://{f'{user}@' if user else ''}{host}{parts.path}"
