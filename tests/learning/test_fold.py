"""A fold from the start is what the live learner has, bit for bit; leaving somebody out is as if he had never been."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.errors import SnapshotError
from interlock.estimators import Constant, Logistic, Ridge
from interlock.learning import fold as fold_module
from interlock.learning import trust as trust_module
from interlock.learning import verdicts as verdicts_module
from interlock.learning.fold import Fold, Without
from interlock.learning.trust import Trust
from interlock.ledger import Reading, Record, SqliteLedger
from interlock.policy import Event, Policy
from interlock.types import CACHE, Decision, Feedback, Step

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


class BrokenOff(Exception):
    pass


def break_off() -> None:
    raise BrokenOff


def draw_sizes(data: st.DataObject, patch: pytest.MonkeyPatch, pages: Sequence[int] = (1, 7, 64)) -> None:
    patch.setattr(fold_module, "PAGE", data.draw(st.sampled_from(pages)))
    patch.setattr(fold_module, "APART", data.draw(st.sampled_from([3, 20])))
    patch.setattr(fold_module, "POINTS", data.draw(st.integers(1, 3)))


def check_live(data: st.DataObject, records: list[Record], blank: Callable[[], Policy]) -> Fold:
    """Write and fold with any boundaries, restarts and interruptions; compare with a fold from the start at the end."""
    with TemporaryDirectory() as folder, SqliteLedger(Path(folder) / "ledger.db", linger=0.0) as ledger:
        live, left = Fold(blank()), records
        while left:
            size = data.draw(st.integers(1, max(1, len(records) // 3)))
            for record in left[:size]:
                ledger.put(record)
            left = left[size:]
            ledger.flush().wait(10)
            if data.draw(st.booleans()):
                with suppress(BrokenOff):
                    live.advance(ledger, breathe=break_off)
            else:
                live.advance(ledger)
            if data.draw(st.booleans()):
                live = Fold(blank()).resume(live.snapshot(1.0))
        live.advance(ledger)
        whole = fold(ledger, blank())
        assert live.policy.state() == whole.policy.state()
        assert live.agreement.state() == whole.agreement.state()
        assert (live.seq, live.learnt, live.skipped, live.heard) == (
            whole.seq,
            whole.learnt,
            whole.skipped,
            whole.heard,
        )
        assert live.snapshot(0.0).version == whole.snapshot(0.0).version
        return whole


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
    draw_sizes(data, monkeypatch_module)
    check_live(data, histories(seed, 40), lambda: fresh(estimator_like(estimator)))


@pytest.fixture(scope="module")
def suspicious() -> Iterator[pytest.MonkeyPatch]:
    """A short memory and little patience, so that short streams are enough to find liars out; `quarrels` has three."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trust_module, "MEMORY", 32)
        patch.setattr(trust_module, "PATIENCE", 0.3)
        yield patch


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), data=st.data())
def test_going_back_for_liars_leaves_no_trace_of_when_the_learner_ran(
    estimator: Any, seed: int, data: st.DataObject, suspicious: pytest.MonkeyPatch, fresh: Fresh, quarrels: Histories
) -> None:
    """Also where what a liar was found out by is withdrawn later, and where the learner is stopped on its way back."""
    draw_sizes(data, suspicious, pages=[4, 16, 64])
    check_live(data, quarrels(seed, 120), lambda: fresh(estimator_like(estimator)))


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_what_a_liar_taught_before_it_was_found_out_is_unlearnt(
    estimator: Any, suspicious: pytest.MonkeyPatch, fresh: Fresh, quarrels: Histories, written: Written
) -> None:
    """Each score disregarded is among those not trusted, however much it counted at first."""
    records = quarrels(0, 400, revoke=False)
    suspicious.setattr(fold_module, "PAGE", 16)
    suspicious.setattr(fold_module, "APART", 64)
    made = fold(written("l", records), fresh(estimator_like(estimator)))
    found = made.agreement.disregarded()
    assert set(found) == {"x", "y", "z"}
    assert made.rebuilds == len(made.agreement.verdicts) <= 4
    given = {row: record for row, record in enumerate(records, 1) if isinstance(record, Feedback)}
    first = min(row for row, record in given.items() if record.tenant == "x")
    assert found["x"][0] == first, "it has lied from the start"
    assert found["z"][0] > len(records) // 4, "it has not, and what it said then still counts"
    dropped = [r for row, r in given.items() if r.tenant in found and found[r.tenant][0] <= row <= found[r.tenant][1]]
    assert made.skipped["not trusted"] >= len(dropped) > 20
    assert made.learnt + made.skipped["not trusted"] == len(given)


@pytest.mark.parametrize("seed", range(6))
def test_nobody_honest_is_found_out(
    seed: int, suspicious: pytest.MonkeyPatch, fresh: Fresh, quarrels: Histories, written: Written
) -> None:
    made = fold(written("l", quarrels(seed, 300, revoke=False)), fresh())
    assert "x" in made.agreement.disregarded()
    assert set(made.agreement.disregarded()) <= {"x", "y", "z"}


def test_a_tenant_that_agrees_again_counts_again(
    suspicious: pytest.MonkeyPatch, fresh: Fresh, quarrels: Histories, written: Written
) -> None:
    made = fold(written("l", quarrels(3, 400, revoke=False)), fresh())
    assert "x" in made.agreement.disregarded()
    assert made.agreement.doubted().get("x", 1.0) == 1.0, "it has told the truth in the second half"


def test_an_erasure_takes_a_verdict_back_that_rested_on_it(
    suspicious: pytest.MonkeyPatch, fresh: Fresh, quarrels: Histories, written: Written
) -> None:
    ledger = written("l", quarrels(1, 200))
    live = fold(ledger, fresh())
    assert "x" in live.agreement.disregarded()
    ledger.forget(tenant="x")
    live.advance(ledger)
    assert "x" not in live.agreement.disregarded()
    whole = fold(ledger, fresh())
    assert (live.policy.state(), live.agreement.state()) == (whole.policy.state(), whole.agreement.state())


def test_liars_that_take_turns_cannot_make_it_fold_without_end(
    make: Any, suspicious: pytest.MonkeyPatch, fresh: Fresh, written: Written
) -> None:
    """Another one or two every 90 decisions: the rows folded in all stay within a multiple of the ledger."""
    suspicious.setattr(fold_module, "PAGE", 8)
    suspicious.setattr(fold_module, "APART", 32)
    random = np.random.default_rng(0)
    records: list[Record] = []
    for i in range(1500):
        liar = i > 60 and random.random() < 0.4
        vector = random.choice([-1.0, 1.0], size=3)
        tenant = f"liar{i // 90}{random.choice(['a', 'b'])}" if liar else "acme"
        score = 0.5 + (-0.5 if liar else 0.5) * vector[0]
        row = make.decision(str(i), tenant)
        records += [msgspec.structs.replace(row, vector=vector.astype(np.float32)), make.score(str(i), score)]
    pages = []
    made = Fold(fresh())
    made.advance(written("l", records), breathe=lambda: pages.append(made.seq))
    assert 3 <= made.rebuilds <= 20
    assert 8 * len(pages) < (1 + verdicts_module.AGAIN) * len(records)


@pytest.mark.parametrize("estimator", [Ridge(), Logistic()], ids=repr)
def test_a_snapshot_outlives_a_change_of_the_pool_unless_somebody_concerned_has_judged(
    estimator: Any, fresh: Fresh, histories: Histories, written: Written
) -> None:
    ledger = written("l", histories(2, 40))
    before = Trust(barred=frozenset({"pocket", "small"}))
    snapshot = fold(ledger, fresh(type(estimator)()), trust=before).snapshot(0.0)
    larger = Trust(barred=frozenset({"pocket", "small", "third"}))
    resumed = Fold(fresh(type(estimator)()), larger).resume(snapshot)
    assert resumed.seq == snapshot.seq
    assert resumed.snapshot(0.0) == fold(ledger, fresh(type(estimator)()), trust=larger).snapshot(0.0)
    for barred in ({"pocket", "small", "judge"}, {"pocket"}):
        with pytest.raises(SnapshotError, match="others were barred"):
            Fold(fresh(type(estimator)()), Trust(barred=frozenset(barred))).resume(snapshot)


def test_too_many_sources_to_remember_make_a_change_of_the_pool_fold_anew(
    make: Any, fresh: Fresh, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold_module, "SOURCES", 2)
    ledger = written("l", [make.decision("a"), *(make.score("a", 1.0, source=f"s{i}") for i in range(3))])
    snapshot = fold(ledger, fresh()).snapshot(0.0)
    assert Fold(fresh()).resume(snapshot).heard is None
    with pytest.raises(SnapshotError, match="others were barred"):
        Fold(fresh(), Trust(barred=frozenset({"new"}))).resume(snapshot)


def estimator_like(estimator: Any) -> Any:
    return type(estimator)(forgetting=estimator.forgetting)


@pytest.fixture(scope="module")
def monkeypatch_module() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("liars", [False, True])
def test_without_a_tenant_is_as_if_it_had_never_been(
    estimator: Any,
    seed: int,
    liars: bool,
    suspicious: pytest.MonkeyPatch,
    monkeypatch: pytest.MonkeyPatch,
    fresh: Fresh,
    histories: Histories,
    quarrels: Histories,
    written: Written,
) -> None:
    records = quarrels(seed, 150) if liars else histories(seed, 60)
    monkeypatch.setattr(verdicts_module, "AGAIN", 2)  # so that some have to wait
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


def test_an_answer_from_the_cache_teaches_nothing_of_what_answers_consume(make: Any, written: Written) -> None:
    again = msgspec.structs.replace(make.outcome("a"), steps=(Step("small", CACHE, similarity=1.0),))
    heard = Heard()
    fold(written("l", [make.decision("a"), again, make.score("a", 1.0)]), heard)
    assert [(event.kind, event.candidate) for event in heard.events] == [("score", "small")]


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
