"""The learner publishes what it folds, survives what goes wrong, and takes decisions back to what they were."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interlock.errors import LedgerError, SnapshotError
from interlock.estimators import Ridge
from interlock.exploration import sample
from interlock.learning import learner as learner_module
from interlock.learning.fold import Fold
from interlock.learning.learner import Learner
from interlock.ledger import Reading, Record, SqliteLedger
from interlock.ledger.snapshots import pinned
from interlock.policy import Policy
from interlock.types import Candidate, Context, Profile, Request

Histories = Callable[..., list[Record]]
Fresh = Callable[..., Policy]
Written = Callable[[str, Sequence[Record]], SqliteLedger]
PRICED = Profile(price_in=1.0, price_out=1.0)
POOL = [Candidate(name=name, provider="p", model=name, profile=PRICED) for name in ("small", "large")]


class Router:
    """What the real one does with a published policy: keep it, and decide with it."""

    def __init__(self) -> None:
        self.served: list[tuple[Policy, str, str]] = []
        self.told = threading.Event()

    def __call__(self, policy: Policy, version: str, degraded: str) -> None:
        self.served.append((policy, version, degraded))
        self.told.set()

    @property
    def version(self) -> str:
        return self.served[-1][1]

    def choices(self) -> list[int | None]:
        policy = self.served[-1][0]
        vectors = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
        contexts = [Context(Request(id=f"q{i}"), {}, vector) for i, vector in enumerate(vectors)]
        choice = policy.choose(policy.estimate(contexts, POOL), np.ones((64, 2), dtype=bool))
        return [sample(row, 7, f"q{i}") for i, row in enumerate(choice.probability)]


def put_all(ledger: SqliteLedger, records: Sequence[Record]) -> None:
    for record in records:
        ledger.put(record)
    ledger.flush().wait(10)


@pytest.fixture
def ledger(tmp_path: Path) -> Any:
    with SqliteLedger(tmp_path / "ledger.db", linger=0.0) as ledger:
        yield ledger


def test_it_publishes_what_a_fold_from_the_start_gives(
    ledger: SqliteLedger, fresh: Fresh, histories: Histories
) -> None:
    router = Router()
    learner = Learner(ledger, fresh(), router)
    for seed in range(3):
        put_all(ledger, histories(seed, 20))
        assert learner.step()
        whole = Fold(fresh())
        whole.advance(ledger)
        policy, version, degraded = router.served[-1]
        assert (policy.state(), version, degraded) == (whole.policy.state(), whole.snapshot(0.0).version, "")
    assert not learner.step()
    learner.stop()


def test_the_thread_learns_by_itself_and_stores_before_it_ends(
    ledger: SqliteLedger, fresh: Fresh, histories: Histories
) -> None:
    router = Router()
    learner = Learner(ledger, fresh(), router, interval=0.01).start()
    blank = router.version
    router.told.clear()
    put_all(ledger, histories(1, 20))
    assert router.told.wait(10)
    wait_for(lambda: learner.status().lag == 0)
    learner.stop()
    learner.stop()
    version = learner.status().working
    assert version != blank
    assert ledger.snapshots()[0][0] == version

    again = Router()
    resumed = Learner(ledger, fresh(), again).start()
    assert again.version == version
    assert again.choices() == router.choices()
    resumed.stop()


def test_what_is_served_does_not_change_under_the_router(
    ledger: SqliteLedger, fresh: Fresh, histories: Histories
) -> None:
    router = Router()
    learner = Learner(ledger, fresh(), router)
    put_all(ledger, histories(1, 20))
    learner.step()
    held, before = router.served[-1][0], router.served[-1][0].state()
    put_all(ledger, histories(2, 20))
    learner.step()
    assert held.state() == before != router.served[-1][0].state()
    learner.stop()


@pytest.mark.parametrize("keep", [16, 1], ids=["stored", "folded again"])
def test_a_rollback_restores_earlier_decisions_exactly(
    ledger: SqliteLedger, fresh: Fresh, histories: Histories, keep: int
) -> None:
    router = Router()
    learner = Learner(ledger, fresh(), router, keep=keep, store_every=0.0)
    seen = {}
    for seed in range(4):
        put_all(ledger, histories(seed, 30))
        learner.step()
        seen[router.version] = router.choices()
    assert len({tuple(choices) for choices in seen.values()}) == 4
    newest = router.version
    for version, choices in seen.items():
        learner.rollback(version)
        assert (router.version, router.choices()) == (version, choices)
    first = next(iter(seen))
    learner.rollback(first)

    put_all(ledger, histories(9, 30))
    learner.step()
    assert router.version == first
    assert learner.status().pinned
    assert learner.status().working != newest

    learner.stop()
    again = Router()
    restarted = Learner(ledger, fresh(), again).start()
    assert (again.version, again.choices()) == (first, seen[first])
    restarted.resume()
    assert again.version == restarted.status().working
    assert not restarted.status().pinned
    assert pinned(Reading(ledger.path)) == ""
    restarted.stop()
    assert [row.record.action for row in ledger.rows(kind="audit")][-2:] == ["pin", "resume"]  # type: ignore[union-attr]


def test_a_version_that_never_was_is_refused(ledger: SqliteLedger, fresh: Fresh, histories: Histories) -> None:
    put_all(ledger, histories(1, 20))
    router = Router()
    learner = Learner(ledger, fresh(), router, store_every=0.0)
    learner.step()
    for version in ("nonsense", "999999-abcdefabcdef", router.version[:-1] + "x"):
        with pytest.raises(SnapshotError):
            learner.rollback(version)
    assert not learner.status().pinned
    learner.stop()


def test_erasing_unlearns_and_releases_a_pin_that_knew(
    ledger: SqliteLedger, fresh: Fresh, histories: Histories
) -> None:
    put_all(ledger, histories(1, 40))
    router = Router()
    learner = Learner(ledger, fresh(), router, store_every=0.0)
    learner.step()
    learner.rollback(router.version)
    knew = router.version
    erasure = ledger.forget(tenant="x")
    assert knew in erasure.snapshots
    assert ledger.snapshots() == []
    learner.step()
    whole = Fold(fresh())
    whole.advance(ledger)
    assert router.served[-1][0].state() == whole.policy.state()
    assert not learner.status().pinned
    with pytest.raises(SnapshotError, match="rows were erased"):
        learner.rollback(knew)
    learner.stop()


def test_a_damaged_snapshot_is_passed_over(
    ledger: SqliteLedger, fresh: Fresh, histories: Histories, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router()
    learner = Learner(ledger, fresh(), router, store_every=0.0)
    for seed in range(3):
        put_all(ledger, histories(seed, 20))
        learner.step()
    learner.stop()
    newest, older = (version for version, *_ in ledger.snapshots()[:2])
    ledger._appender.connection.execute("UPDATE snapshots SET state = x'00' WHERE version = ?", (newest,))
    again = Router()
    restarted = Learner(ledger, fresh(), again).start()
    assert again.version == older
    assert newest in caplog.text
    restarted.step()
    assert again.version == newest
    restarted.stop()


def test_another_estimator_learns_from_the_start(ledger: SqliteLedger, fresh: Fresh, histories: Histories) -> None:
    put_all(ledger, histories(1, 20))
    learner = Learner(ledger, fresh(), Router(), store_every=0.0)
    learner.step()
    learner.stop()
    router = Router()
    changed = Learner(ledger, fresh(Ridge(prior_std=2.0)), router).start()
    assert not router.served, "knowing nothing, it leaves the router what it has until it has folded"
    changed.step()
    whole = Fold(fresh(Ridge(prior_std=2.0)))
    whole.advance(ledger)
    assert router.served[-1][0].state() == whole.policy.state()
    changed.stop()


def test_the_first_events_may_cost_more_of_a_core(
    ledger: SqliteLedger, fresh: Fresh, histories: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = Learner(ledger, fresh(), Router(), interval=0.01)
    assert learner._rest(0.2, 0) == pytest.approx(0.2)  # half of a core
    assert learner._rest(0.0, 0) == 0.01
    put_all(ledger, histories(0, 20))
    learner.step()
    monkeypatch.setattr(learner_module, "YOUNG", 1)
    assert learner._rest(0.2, 0) == pytest.approx(1.8)  # a tenth
    assert learner._rest(0.0, 3) == pytest.approx(0.08)


def test_a_failing_fold_is_told_and_the_thread_goes_on(
    ledger: SqliteLedger,
    fresh: Fresh,
    histories: Histories,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    router = Router()
    about = Reading.about
    broken = threading.Event()
    broken.set()

    def fails(self: Reading, *args: Any) -> Any:
        if broken.is_set():
            raise LedgerError("the disk is gone")
        return about(self, *args)

    monkeypatch.setattr(Reading, "about", fails)
    learner = Learner(ledger, fresh(), router, interval=0.01).start()
    with caplog.at_level(logging.ERROR):
        put_all(ledger, histories(1, 20))
        wait_for(lambda: learner.status().error == "the disk is gone")
    wait_for(lambda: router.served[-1][2] == "last_good")
    assert learner.status().degraded == "last_good"
    assert "the disk is gone" in caplog.text
    broken.clear()
    wait_for(lambda: learner.status().lag == 0 and learner.status().error == "")
    wait_for(lambda: router.served[-1][2] == "")
    learner.stop()


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)
