"""Who may come in, and on which terms: keys, budgets and rates as they are now, held in memory for the requests.

Virtual keys are looked for once a second, so that one made or revoked by another process (another worker, `interlock
keys`) counts here within that time. Without any key and any tenant's budget nothing is counted, and nothing read.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from ..admission import AdmissionControl, Lease, LocalCounter
from ..admission.redis_counter import CONNECTIONS, RedisCounter
from ..config.settings import AdmissionSettings
from ..errors import ConfigError, InterlockError, LedgerError
from ..identity import Allowance, Identity, KeyStore, SqliteKeys, VirtualKey
from ..identity.key_set import keeping_fresh, refresh
from ..ledger import Audit, Ledger, Place
from ..ledger.database import is_url, located
from ..types import Request, new_id
from .front import Front

log = logging.getLogger("interlock.gateway")

LOOK_EVERY = 1.0  # seconds
NAMED = "count"  # the action of the audit row that gives a ledger its name in Redis


class Admission:
    """`tell` hears of warnings and refusals. Opening it rebuilds the counters from the ledger."""

    def __init__(self, front: Front, tell: Callable[[str, str, str], None]) -> None:
        self._front, self._keyring = front, front.keyring
        self._counter: LocalCounter | RedisCounter = LocalCounter()
        self.control = AdmissionControl(self._counter, front.terms, tell=tell)
        self.store: KeyStore | None = None
        self.virtual: list[VirtualKey] = []
        self._version, self._counting, self._spooled = -1, False, False
        self._ledger: Ledger | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, ledger: Ledger) -> None:
        """Raises `KeyStoreError`, `LedgerError`, `ConfigError`; `CounterUnreachable` when Redis is not there."""
        own = self._front.admission
        self._ledger = ledger
        self.store = keys_of(ledger.place, own.keys)
        self.control.alone = bool(own.redis) or not ledger.shared
        if own.redis:
            self._counter = counter = await redis_counter(own, ledger)
            self.control.counter, self.control.writer = counter, counter.life
            self._spooled = bool(ledger.spooled)
            await counter.start()
            self._begin(counter.run())
            self._begin(counter.recounting())
        await self.look()
        if (tokens := self._front.tokens) is not None and tokens.url:
            await refresh(tokens)
        self._begin(self._watch())
        self._begin(keeping_fresh(lambda: self._front.tokens))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if isinstance(self._counter, RedisCounter) and self._ledger is not None:
            with suppress(InterlockError):
                await self._ledger.flush()
            await self._counter.close(complete=not (self._ledger.spooled or self._ledger.failed))
        if self.store is not None:
            await self.store.close()

    async def adopt(self, front: Front) -> None:
        """Serve by another configuration from now on; `front.admission` must be the same. Raises `LedgerError`."""
        self._front = front
        await self._apply()

    def identify(self, headers: Mapping[bytes, bytes]) -> Identity:
        """Raises `Unauthorized`."""
        return self._keyring.identify(headers)

    async def admit(self, identity: Identity, request: Request) -> Lease:
        """Raises `OverBudget`, `Throttled`, `CounterUnreachable`."""
        return await self.control.admit(identity, request)

    def accounts(self, tenant: str | None = None) -> dict[str, Allowance]:
        """What may be used by each key and each tenant; of one tenant only, if named."""
        found = {f"key:{one.key}": one.allowance for one in self.identities() if tenant is None or one.tenant == tenant}
        listed = self._front.terms.tenants.items()
        return found | {f"tenant:{name}": allowance for name, allowance in listed if tenant in (None, name)}

    def identities(self) -> list[Identity]:
        """Static keys, then virtual ones that were not revoked."""
        return [*self._front.static.values(), *(key.identity for key in self.virtual if key.revoked is None)]

    @property
    def degraded(self) -> bool:
        """Whether what counts for all workers cannot be reached."""
        return not self.control.alone or (isinstance(self._counter, RedisCounter) and self._counter.lost)

    async def look(self) -> None:
        """Take in what has changed among the virtual keys. Raises `KeyStoreError`, `LedgerError`."""
        assert self.store is not None
        loaded = await self.store.load(self._version)
        if loaded is not None:
            self._version, self.virtual = loaded.version, loaded.keys
            await self._apply()

    async def _apply(self) -> None:
        """Counters first: no key is let in before what it has spent is known."""
        keyring = self._front.keyring.with_virtual(self.virtual)
        if not self._counting and not (keyring.open and not self._front.terms.tenants) and self._ledger is not None:
            if isinstance(self._counter, RedisCounter):
                await self._counter.recount()
            elif self.control.alone:
                await self.control.catch_up(self._ledger, self._counter)
            self._counting = True
        self._keyring, self.control.terms = keyring, self._front.terms

    async def _watch(self) -> None:
        trouble = ""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self.look()
                await self._count_late_rows()
            except InterlockError as error:
                if str(error) != trouble:
                    log.error("keys and counters were not brought up to date, what is known goes on: %s", error)
                trouble = str(error)
            else:
                trouble = ""

    async def _count_late_rows(self) -> None:
        """What an earlier life left in the spool was not there when the ledger was folded."""
        counter, ledger = self._counter, self._ledger
        if self._spooled and ledger is not None and not ledger.spooled and isinstance(counter, RedisCounter):
            await counter.recount()
            self._spooled = False

    def _begin(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)


def keys_of(ledger: Place, path: str = "") -> KeyStore:
    """The keys in the file `path`, else those that belong to a ledger: in its database, or in a file beside it."""
    if path:
        return SqliteKeys(path)
    place = located(ledger)
    if is_url(place):
        from ..identity.postgres_store import PostgresKeys

        return PostgresKeys(str(place))
    return SqliteKeys(Path(place).with_name(f"{Path(place).stem}.keys.db"))


async def redis_counter(own: AdmissionSettings, ledger: Ledger) -> RedisCounter:
    """A counter that is not started yet. Raises `ConfigError` when the client is not installed."""
    try:
        from redis.asyncio import BlockingConnectionPool, Redis
    except ImportError:
        raise ConfigError("needs the extra `redis`: pip install 'interlock[redis]'", path="admission.redis") from None
    address = os.environ.get(own.redis.removeprefix("env:"), "") if own.redis.startswith("env:") else own.redis
    pool = BlockingConnectionPool.from_url(
        address, max_connections=CONNECTIONS, timeout=None, socket_connect_timeout=1.0
    )
    return RedisCounter(
        Redis.from_pool(pool),
        await name_of(ledger),
        ledger,
        shared=ledger.shared,
        prefix=own.prefix,
        when_lost=own.when_lost,
    )


async def name_of(ledger: Ledger) -> str:
    """The ledger's own name among those whose money is counted together; the first use gives it one."""
    name = await asyncio.to_thread(_named, ledger)
    if not name:
        await ledger.commit(Audit(at=time.time(), action=NAMED, subject=new_id("l")))
        name = await asyncio.to_thread(_named, ledger)  # somebody else may have been first
    if not name:
        raise LedgerError(f"{ledger.name}: the ledger was given a name, and does not show it; start again")
    return name


def _named(ledger: Ledger) -> str:
    audits = (row.record for row in ledger.rows(kind="audit"))
    return next((one.subject for one in audits if isinstance(one, Audit) and one.action == NAMED), "")


__all__ = ["Admission", "keys_of"]
