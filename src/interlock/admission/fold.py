"""What every key and tenant has spent, from the ledger's rows alone: how counters survive a killed process.

An outcome counts what its answer cost; where nobody knows, what was reserved, as its decision says. A decision without
an outcome counts nothing: its process died, and its reservation was given back. A decision also says which life of
which process counts it, so that of several that write one ledger each can count its own, and the others what a dead one
has spent.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec

from ..errors import LedgerError
from ..types import time_of
from .money import charge, nano
from .windows import Line, lines

SETTLED_WITHIN = 60.0  # seconds from an outcome's row to its settlement, with much to spare
FORGOTTEN = 24 * 3600.0  # seconds after which a decision is not expected to end any more


class Row(Protocol):
    @property
    def seq(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def body(self) -> bytes: ...


class Readable(Protocol):
    """A ledger, as far as counting needs one."""

    def rows(self, *, since: int, until: int | None) -> Iterable[Row]: ...

    def head(self) -> tuple[int, bytes]: ...

    def written_before(self, at: float) -> int: ...

    def flush(self) -> Awaitable[object]: ...


@dataclass(frozen=True)
class Spent:
    """`by` has what each writer spent, in nano-dollars, on every line that is not over; `late` who ended last."""

    by: dict[str, dict[Line, int]]
    late: set[str]

    @property
    def totals(self) -> dict[Line, int]:
        """What all of them spent."""
        found: Tally[Line] = Tally()
        for totals in self.by.values():
            found.update(totals)
        return dict(found)


class Charge(NamedTuple):
    """One request that ended: whom it concerns, when it came, when it ended, and what it counts in nano-dollars."""

    id: str
    writer: str
    accounts: tuple[str, ...]
    at: float
    ended: float
    amount: int


class _Said(msgspec.Struct):
    """What matters of a decision or of an outcome; everything else is skipped unread."""

    at: float
    id: str = ""
    tenant: str = ""
    key: str = ""
    reserved: float = 0.0
    writer: str = ""
    decision: str = ""
    cost: float = 0.0


class _Body(msgspec.Struct):
    record: _Said


_DECODER = msgspec.msgpack.Decoder(_Body)


def accounts_of(key: str, tenant: str) -> tuple[str, ...]:
    """Whose money a request spends: its key's and its tenant's."""
    return tuple(f"{kind}:{name}" for kind, name in (("key", key), ("tenant", tenant)) if name)


def came(id: str, otherwise: float) -> float:
    """When a request came, which decides its windows: its id says."""
    at = time_of(id)
    return otherwise if at is None else at


def fold(ledger: Readable, now: float, until: int | None = None, since: int = 0) -> Spent:
    """The rows after `since` up to the row `until`. Raises LedgerError."""
    by: defaultdict[str, defaultdict[Line, int]] = defaultdict(lambda: defaultdict(int))
    late = set()
    for one in charges(ledger, until, since):
        if one.ended > now - SETTLED_WITHIN:
            late.add(one.id)
        totals = by[one.writer]
        for line in lines(one.accounts, one.at):
            if line.end > now:
                totals[line] += one.amount
    return Spent({writer: dict(totals) for writer, totals in by.items()}, late)


def charges(ledger: Readable, until: int | None = None, since: int = 0) -> Iterator[Charge]:
    """Every request that began and ended in these rows, in the ledger's order. Raises LedgerError."""
    open: dict[str, tuple[str, tuple[str, ...], float, int]] = {}
    for row in ledger.rows(since=since, until=until):
        if row.kind not in ("decision", "outcome"):
            continue
        try:
            said = _DECODER.decode(row.body).record
        except msgspec.MsgspecError as error:
            raise LedgerError(f"row {row.seq} is no {row.kind}: {error}") from error
        if row.kind == "decision":
            accounts = accounts_of(said.key, said.tenant)
            open[said.id] = said.writer, accounts, came(said.id, said.at), nano(said.reserved)
            if len(open) > 100_000:
                open = {id: found for id, found in open.items() if found[2] > said.at - FORGOTTEN}
        elif (begun := open.pop(said.decision, None)) is not None and begun[1]:
            writer, accounts, at, reserved = begun
            yield Charge(said.decision, writer, accounts, at, said.at, charge(said.cost, reserved))
