"""A fold from the start is what the live learner has, bit for bit; leaving somebody out is as if he had never been."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.errors import SnapshotError
from interlock.estimators import Constant, Ridge
from interlock.learning import fold as fold_module
from interlock.learning.fold import Fold, Without
from interlock.learning.trust import Trust
from interlock.ledger import Reading, Record, SqliteLedger
from interlock.policy import Event, Policy
from interlock.types import Decision, Feedback

ESTIMATORS = [Ridge(), Ridge(forgetting=0.98), Constant(), Constant(forgetting=0.9)]
Histories = Callable[..., list[Record]]
Fresh = Callable[..., Policy]
Written = Callable[..., SqliteLedger]


def fold(reading: Reading, policy: Any, without: Without = Without(), trust: Trust = Trust()) -> Fold:
    made = Fold(policy, trust, without)
    made.advance(reading)
    return made


class Heard:
    """A policy that notes what it is taught."""

    revocable = True

    def __init__(self) -> None:
        self.events: list[Event] = []

    def learn(self, event: Event) -> None:
        self.events.append(event)

    def state(self) -> bytes:
        return b"%d" % len(self.events)

    def restore(self, state: bytes) -> Heard:
        self.events = self.events[: int(state)]
        return self

    @property
    def scores(self) -> list[tuple[str, float, float]]:
        return [(event.candidate, event.score, event.weight) for event in self.events if event.kind == "score"]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), data=st.data())
def test_live_with_any_boundaries_equals_from_the_start(
    estimator: Any,
    seed: int,
    data: st.DataObject,
    monkeypatch_module: pytest.MonkeyPatch,
    fresh: Fresh,
    histories: Histories,
) -> None:
    """Batches, pages, points to go back to, and restarts from a snapshot leave no trace in the state."""
    monkeypatch_module.setattr(fold_module, "PAGE", data.draw(st.sampled_from([1, 7, 64])))
    monkeypatch_module.setattr(fold_module, "APART", data.draw(st.sampled_from([3, 20])))
    monkeypatch_module.setattr(fold_module, "POINTS", data.draw(st.integers(1, 3)))
    with TemporaryDirectory() as folder, SqliteLedger(Path(folder) / "ledger.db", linger=0.0) as ledger:
        live = Fold(fresh(estimator_like(estimator)))
        left = histories(seed, 40)
        while left:
            size = data.draw(st.integers(1, 40))
            for record in left[:size]:
                ledger.put(record)
            left = left[size:]
            ledger.flush().wait(10)
            live.advance(ledger)
            if data.draw(st.booleans()):
                live = Fold(fresh(estimator_like(estimator))).resume(live.snapshot(1.0))
        whole = fold(ledger, fresh(estimator_like(estimator)))
        assert live.policy.state() == whole.policy.state()
        assert live.agreement.state() == whole.agreement.state()
        assert (live.seq, live.learnt, live.skipped) == (whole.seq, whole.learnt, whole.skipped)
        assert live.snapshot(0.0).version == whole.snapshot(0.0).version


def estimator_like(estimator: Any) -> Any:
    return type(estimator)(forgetting=estimator.forgetting)


@pytest.fixture(scope="module")
def monkeypatch_module() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
@pytest.mark.parametrize("seed", range(3))
def test_without_a_tenant_is_as_if_it_had_never_been(
    estimator: Any, seed: int, fresh: Fresh, histories: Histories, written: Written
) -> None:
    records = histories(seed, 60)
    decisions_of_x = {record.id for record in records if isinstance(record, Decision) and record.tenant == "x"}
    others = [r for r in records if not ({getattr(r, "id", ""), getattr(r, "decision", "")} & decisions_of_x)]
    others = [r for r in others if not (isinstance(r, Feedback) and r.tenant == "x")]
    with_x, never_x = written("with", records), written("never", others)
    left_out = fold(with_x, fresh(estimator_like(estimator)), Without(tenants=frozenset({"x"})))
    never = fold(never_x, fresh(estimator_like(estimator)))
    assert left_out.policy.state() == never.policy.state()
    assert left_out.policy.state() != fold(with_x, fresh(estimator_like(estimator))).policy.state()


def test_without_a_source(fresh: Fresh, histories: Histories, written: Written) -> None:
    records = histories(4, 60)
    others = [r for r in records if not (isinstance(r, Feedback) and r.source == "judge")]
    left_out = fold(written("with", records), fresh(), Without(sources=frozenset({"judge"})))
    assert left_out.policy.state() == fold(written("never", others), fresh()).policy.state()


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_an_erased_tenant_leaves_the_live_state(
    estimator: Any, fresh: Fresh, histories: Histories, written: Written
) -> None:
    ledger = written("ledger", histories(5, 60))
    live = fold(ledger, fresh(estimator_like(estimator)))
    before = live.policy.state()
    ledger.forget(tenant="x")
    live.advance(ledger)
    assert live.rebuilds == 1
    assert live.policy.state() == fold(ledger, fresh(estimator_like(estimator))).policy.state() != before
    assert live.skipped["erased"] > 0


def test_the_last_score_from_a_source_counts(make: Any, written: Written) -> None:
    a = make.decision("a")
    ledger = written("l", [a, make.outcome("a"), make.score("a", 0.2), make.score("a", 0.9), make.score("a", 0.9)])
    heard = Heard()
    fold(ledger, heard)
    assert heard.scores == [("small", 0.2, 1.0), ("small", 0.2, -1.0), ("small", 0.9, 1.0)]


def test_a_revoked_score_is_taken_back_with_its_own_weight(make: Any, written: Written) -> None:
    trust = Trust(sources={"person": 0.25})
    ledger = written("l", [make.decision("a"), make.score("a", 0.2), make.score("a", 0.0, revoked=True)])
    heard = Heard()
    fold(ledger, heard, trust=trust)
    assert heard.scores == [("small", 0.2, 0.25), ("small", 0.2, -0.25)]


def test_a_score_goes_to_who_answered_even_when_it_came_first(make: Any, written: Written) -> None:
    ledger = written("l", [make.decision("a"), make.score("a", 1.0), make.outcome("a", "large")])
    heard = Heard()
    fold(ledger, heard)
    assert heard.scores == [("small", 1.0, 1.0), ("small", 1.0, -1.0), ("large", 1.0, 1.0)]


def test_nobody_judges_himself(make: Any, written: Written) -> None:
    scores = [make.score("a", 1.0, source=source) for source in ("small", "large", "pocket", "person")]
    heard = Heard()
    made = fold(written("l", [make.decision("a"), *scores]), heard, trust=Trust(barred=frozenset({"pocket"})))
    assert heard.scores == [("small", 1.0, 1.0)]
    assert made.skipped == {"judges itself": 3}


def test_scores_are_clipped_and_no_number_is_no_score(make: Any, written: Written) -> None:
    scores = [make.score("a", score, source=f"s{i}") for i, score in enumerate((7.0, -3.0, np.nan, np.inf))]
    heard = Heard()
    fold(written("l", [make.decision("a"), *scores]), heard)
    assert heard.scores == [("small", 1.0, 1.0), ("small", 0.0, 1.0)]


def test_what_teaches_nothing_is_counted_by_reason(make: Any, written: Written) -> None:
    class Fragile(Heard):
        def learn(self, event: Event) -> None:
            if event.candidate == "large":
                raise ZeroDivisionError("odd")
            super().learn(event)

    records = [
        make.decision("a"),
        make.score("a", 1.0, source="worthless"),
        make.decision("refused", chosen=None),
        make.score("refused", 1.0),
        make.score("unknown", 1.0),
        make.decision("b", chosen="large"),
        make.score("b", 1.0),
        make.score("a", 1.0),
    ]
    heard = Fragile()
    made = fold(written("l", records), heard, trust=Trust(sources={"worthless": 0.0}))
    assert made.skipped == {"not trusted": 1, "refused": 1, "no such decision": 1, "failed: ZeroDivisionError": 1}
    assert len(heard.scores) == made.learnt == 1


def test_each_answered_call_teaches_what_it_consumed(make: Any, written: Written) -> None:
    heard = Heard()
    fold(written("l", [make.decision("a"), make.cascade("a")]), heard)
    assert [(event.candidate, event.usage.output, event.latency, event.ttft) for event in heard.events] == [
        ("small", 7, 0.25, None),
        ("large", 30, 1.5, None),
    ]
    assert {event.prompt_tokens for event in heard.events} == {20.0}


def test_a_garbled_row_is_left_out_and_counted(make: Any, written: Written) -> None:
    ledger = written("l", [make.decision("a"), make.score("a", 1.0), make.decision("b"), make.score("b", 1.0)])
    connection = ledger._appender.connection
    connection.executescript("DROP TRIGGER rows_keep; UPDATE rows SET body = x'c1' WHERE seq = 2;")
    heard = Heard()
    made = fold(ledger, heard)
    assert (made.skipped, heard.scores) == ({"garbled": 1}, [("small", 1.0, 1.0)])


def test_a_snapshot_of_another_fold_is_refused(make: Any, fresh: Fresh, written: Written) -> None:
    ledger = written("l", [make.decision("a"), make.score("a", 1.0)])
    snapshot = fold(ledger, fresh()).snapshot(0.0)
    with pytest.raises(SnapshotError, match="other trust"):
        Fold(fresh(), Trust(sources={"person": 0.5})).resume(snapshot)
    with pytest.raises(SnapshotError, match="another estimator"):
        Fold(fresh(Constant())).resume(snapshot)
    assert Fold(fresh()).resume(snapshot).seq == 2


def test_an_estimator_that_forgets_goes_back_to_a_near_point(
    make: Any, fresh: Fresh, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold_module, "PAGE", 10)
    monkeypatch.setattr(fold_module, "APART", 20)
    records: list[Record] = []
    for i in range(200):
        records += [make.decision(str(i)), make.outcome(str(i)), make.score(str(i), i % 2)]
    ledger = written("l", records)
    live = fold(ledger, fresh(Ridge(forgetting=0.99)))
    before = [point.seq for point in live._points]
    ledger.put(make.score("190", 0.5)).wait(5)
    live.advance(ledger)
    assert live.rebuilds == 1
    assert live.learnt == 400
    assert [point.seq for point in live._points if point.seq < 570] == [seq for seq in before if seq < 570]
    assert any(point.seq > 500 for point in live._points)
    assert live.policy.state() == fold(ledger, fresh(Ridge(forgetting=0.99))).policy.state()
