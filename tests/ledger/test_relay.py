"""Workers write an embedded ledger through the one process that may."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from interlock.errors import LedgerError, LedgerUnreachable
from interlock.ledger import Ledger, SqliteLedger, verify
from interlock.ledger.relay import Relay, RelayedLedger
from interlock.ledger.snapshots import sealed

Fill = Callable[[Ledger, int], None]


@pytest.fixture
def owner(path: Path, tmp_path: Path) -> Iterator[SqliteLedger]:
    with SqliteLedger(path, linger=0.0, checkpoint_every=16) as ledger:
        relay = Relay(tmp_path / "l.sock", ledger)
        yield ledger
        relay.close()


async def test_a_worker_writes_and_reads_as_if_the_file_were_its_own(
    owner: SqliteLedger, path: Path, tmp_path: Path, fill: Fill, make: SimpleNamespace
) -> None:
    with RelayedLedger(path, tmp_path / "l.sock", payload=True, linger=0.0) as worker:
        await asyncio.to_thread(fill, worker, 20)
        assert await worker.commit(make.feedback("il-3")) == 57
        assert (await worker.explain("il-3")).prompt is not None
        worker.keep_snapshot(sealed(3, 1.0, "maker", b"state", b"trust"), 5).wait(5)
        assert len(owner.snapshots()) == 1
        assert not worker.election.leading
        assert owner.seq == 57
        with pytest.raises(LedgerError, match="a worker cannot erase"):
            await asyncio.to_thread(lambda: worker.forget(tenant="acme"))
    assert verify(path).rows == 57


def test_many_workers_make_one_chain(owner: SqliteLedger, path: Path, tmp_path: Path, make: SimpleNamespace) -> None:
    workers = [RelayedLedger(path, tmp_path / "l.sock", linger=0.0) for _ in range(3)]

    def write(which: int) -> None:
        tickets = [workers[which].put(make.outcome(f"il-{which}-{i}")) for i in range(200)]
        assert len({ticket.wait(10) for ticket in tickets}) == 200

    threads = [threading.Thread(target=write, args=(which,)) for which in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for worker in workers:
        worker.close()
    assert verify(path).rows == 600


def test_when_the_writer_is_gone_nothing_is_said_to_be_written(
    path: Path, tmp_path: Path, make: SimpleNamespace
) -> None:
    with pytest.raises(LedgerUnreachable, match="nobody writes"), SqliteLedger(path):
        RelayedLedger(path, tmp_path / "none.sock")
    owner = SqliteLedger(path, linger=0.0)
    relay = Relay(tmp_path / "l.sock", owner)
    with RelayedLedger(path, tmp_path / "l.sock", linger=0.0) as worker:
        assert worker.put(make.outcome()).wait(5) == 1
        owner.close()
        with pytest.raises(LedgerError, match="closed"):
            worker.put(make.outcome()).wait(5)
        assert worker.trouble is not None
    relay.close()
    assert verify(path).rows == 1
