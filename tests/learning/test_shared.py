"""Learners that share a ledger: one folds, the others serve what it stores; pins hold for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from interlock.learning import learner as module
from interlock.learning.fold import Fold
from interlock.learning.learner import Learner
from interlock.ledger import Ledger, Record, open_ledger
from interlock.policy import Policy

Histories = Callable[..., list[Record]]
Fresh = Callable[..., Policy]
MOVES_WITHIN = 10.0  # seconds


class Gateway:
    """A ledger of its own over the shared database, a learner, and what it publishes."""

    def __init__(self, place: str, policy: Policy) -> None:
        self.ledger = open_ledger(place, linger=0.0)
        self.served: list[tuple[bytes, str]] = []
        self.learner = Learner(self.ledger, policy, self.publish, interval=0.05)

    def publish(self, policy: Any, version: str, degraded: str) -> None:
        self.served.append((policy.state(), version))

    @property
    def version(self) -> str:
        return self.served[-1][1] if self.served else ""

    @property
    def leads(self) -> bool:
        return self.learner.status().leading

    def close(self) -> None:
        self.learner.stop()
        self.ledger.close()


@pytest.fixture
def pair(postgres: Any, fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Gateway]]:
    """Two gateways, of which the first leads."""
    monkeypatch.setattr(module, "SHARED_EVERY", 0.0)
    place = postgres.database()
    with ExitStack() as held:
        gateways = []
        for _ in range(2):
            made = Gateway(place, fresh())
            held.callback(made.close)
            made.learner.start()
            gateways.append(made)
            eventually(lambda: gateways[0].leads)
        yield gateways


def eventually(holds: Callable[[], Any], patience: float = 20.0) -> None:
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def put_all(ledger: Ledger, records: Sequence[Record]) -> None:
    for record in records:
        ledger.put(record)
    ledger.flush().wait(10)


def caught_up(gateway: Gateway) -> bool:
    return gateway.version.partition("-")[0] == str(gateway.ledger.head()[0])


def test_all_serve_the_snapshots_of_the_one_who_learns(pair: list[Gateway], fresh: Fresh, histories: Histories) -> None:
    first, second = pair
    for seed, writer in enumerate([first, second]):
        put_all(writer.ledger, histories(seed, 20))
        eventually(lambda: caught_up(first) and caught_up(second))
        whole = Fold(fresh())
        whole.advance(first.ledger)
        assert first.served[-1] == second.served[-1] == (whole.policy.state(), whole.snapshot(0.0).version)
    assert first.leads
    assert not second.leads
    assert second.learner.status().learnt == first.learner.status().learnt > 0


def test_another_goes_on_when_the_leader_is_gone(pair: list[Gateway], fresh: Fresh, histories: Histories) -> None:
    first, second = pair
    put_all(first.ledger, histories(0, 20))
    eventually(lambda: caught_up(second))
    first.close()
    put_all(second.ledger, histories(1, 20))
    eventually(lambda: second.leads and caught_up(second), MOVES_WITHIN)
    whole = Fold(fresh())
    whole.advance(second.ledger)
    assert second.served[-1] == (whole.policy.state(), whole.snapshot(0.0).version)


def test_a_pin_holds_for_all_whoever_sets_it(pair: list[Gateway], histories: Histories) -> None:
    first, second = pair
    put_all(first.ledger, histories(0, 20))
    eventually(lambda: caught_up(first) and caught_up(second))
    early = first.version
    put_all(first.ledger, histories(1, 20))
    eventually(lambda: caught_up(first) and caught_up(second))
    for gateway in pair:
        gateway.learner.rollback(early)
        eventually(lambda: first.version == second.version == early)
        put_all(second.ledger, histories(2, 5))
        time.sleep(0.5)
        assert (first.version, second.version) == (early, early)
        assert first.learner.status().pinned
        assert second.learner.status().pinned
        gateway.learner.resume()
        eventually(lambda: first.version == second.version == first.learner.status().working != early)


def test_erasing_unlearns_everywhere(pair: list[Gateway], fresh: Fresh, histories: Histories) -> None:
    first, second = pair
    put_all(first.ledger, histories(0, 40))
    eventually(lambda: caught_up(second))
    second.ledger.forget(tenant="x")
    eventually(lambda: caught_up(first) and caught_up(second))
    whole = Fold(fresh())
    whole.advance(first.ledger)
    assert second.served[-1][0] == first.served[-1][0] == whole.policy.state()
