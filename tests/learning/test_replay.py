"""Replay: the same policy gives the same probabilities, nobody looks ahead, and what cannot be answered is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from interlock.errors import LedgerError, RequestError, SnapshotError
from interlock.estimators import Constant, Ridge
from interlock.exploration import UCB, Exploration, Greedy, Softmax
from interlock.learning.fold import Fold
from interlock.learning.replay import Replayed, Unanswerable, after, always, logged, quality, read_history, replay
from interlock.learning.trust import Trust
from interlock.learning.verdict import LOGGED, Terms, compare
from interlock.ledger import Reading, Record, SqliteLedger
from interlock.objectives import CheapestAbove, Weighted
from interlock.policy import Policy
from interlock.types import (
    CACHE,
    Candidate,
    Considered,
    Context,
    Decision,
    Feedback,
    Outcome,
    Profile,
    Reason,
    Request,
    Signal,
    Step,
    Usage,
)

POOL = tuple(
    Candidate(name=name, provider="p", model=name, profile=Profile(price_in=price, price_out=price, output_tokens=20.0))
    for name, price in (("small", 1.0), ("large", 10.0))
)
D, N, BATCH = 3, 400, 20
RIGHT = {"small": 0.55, "large": 0.85}
COST = {"small": 1e-4, "large": 1e-3}


def policy(exploration: Exploration = Softmax(0.2), estimator: Any = None) -> Policy:
    return Policy(estimator or Ridge(), Weighted(cost=100.0), exploration, columns=[f"x{i}" for i in range(D)])


def live(path: Path, own: Policy, n: int = N, learn: bool = True) -> np.ndarray:
    """What a gateway does, request by request; the probabilities it decided with."""
    rng = np.random.default_rng(0)
    probabilities = []
    with SqliteLedger(path, linger=0.0) as ledger:
        reading, fold, version = Reading(path), Fold(own, Trust(earned=False)), "0-0"
        for i in range(n):
            if i % BATCH == 0 and learn:
                ledger.flush().wait(30)
                fold.advance(reading)
                version = f"{fold.seq}-x"
            vector = rng.normal(size=D).astype(np.float32)
            signals = {"tokens": Signal("tokens", 20.0), "task": Signal("task", "hard" if i % 3 else "easy")}
            estimate = own.estimate([Context(Request(), signals, vector)], POOL)
            choice = own.choose(estimate, np.ones((1, 2), dtype=np.bool_))
            c = int(rng.choice(2, p=choice.probability[0]))
            probabilities.append(choice.probability[0])
            columns = [getattr(estimate, name)[0] for name in estimate.__struct_fields__]
            considered = tuple(
                Considered(
                    name.name, (), *(float(column[k]) for column in columns), 0.0, float(choice.probability[0, k])
                )
                for k, name in enumerate(POOL)
            )
            decision = Decision(
                id=f"il-{i}", at=1e9 + i, tenant="acme", session="", model="auto", considered=considered,
                chosen=POOL[c].name, policy="p", snapshot=version if learn else "none", config="c", seed=0,
                signals=signals, vector=vector,
            )  # fmt: skip
            name = POOL[c].name
            step = Step(name, "chosen", usage=Usage(20, 20), cost=COST[name], seconds=0.1)
            outcome = Outcome(
                decision=decision.id, at=1e9 + i, candidate=name, steps=(step,), usage=Usage(20, 20), cost=COST[name]
            )
            score = float(rng.random() < RIGHT[name])
            ledger.put(decision)
            ledger.put(outcome)
            ledger.put(Feedback(decision=decision.id, at=1e9 + i, score=score, source="judge"))
        ledger.flush().wait(30)
        reading.close()
    return np.array(probabilities)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    path = tmp_path_factory.mktemp("replay") / "ledger.db"
    return path, live(path, policy())


@pytest.fixture
def reading(ledger: tuple[Path, np.ndarray]) -> Iterator[Reading]:
    opened = Reading(ledger[0])
    yield opened
    opened.close()


BLIND = Trust(earned=False)


def test_the_same_policy_gives_the_same_probabilities(ledger: tuple[Path, np.ndarray], reading: Reading) -> None:
    done = replay(reading, read_history(reading, BLIND), policy(), POOL, BLIND)
    assert done.names == ("small", "large")
    np.testing.assert_allclose(done.probability, ledger[1], atol=1e-12)


def test_its_value_is_the_logged_one_and_fixed_policies_are_what_they_would_have_been(reading: Reading) -> None:
    answer = compare(reading, policy(), POOL, trust=BLIND, fixed=["small", "large"])
    own, same, *fixed = answer.contenders
    assert own.name == LOGGED
    assert answer.scored == answer.decisions == N
    assert same.overlap.effective == pytest.approx(N)
    for measure in ("quality", "cost", "utility"):
        assert same.values[measure].low <= own.values[measure].mean <= same.values[measure].high
    for contender, name in zip(fixed, RIGHT, strict=True):
        assert contender.name == f"always {name}"
        assert not contender.refused
        assert contender.values["quality"].low <= RIGHT[name] <= contender.values["quality"].high
        assert contender.values["cost"].mean == pytest.approx(COST[name], rel=0.1)
        assert contender.overlap.effective < N


def test_nobody_looks_ahead(tmp_path: Path) -> None:
    """Turning every later answer around changes nothing before."""
    one, two = tmp_path / "one.db", tmp_path / "two.db"
    live(one, policy(), 100)
    records = [row.record for row in Reading(one).rows()]
    with SqliteLedger(two, linger=0.0) as copied:
        blobs = Reading(one).attachments(list(range(1, len(records) + 1)), "vector")
        for i, record in enumerate(records):
            if isinstance(record, Decision):
                record = msgspec.structs.replace(record, vector=np.frombuffer(blobs[i + 1]["vector"], np.float32))
            if isinstance(record, Feedback) and i >= 180:
                record = msgspec.structs.replace(record, score=1.0 - record.score)
            copied.put(record)
        copied.flush().wait(30)
    done = []
    for path in (one, two):
        reading = Reading(path)
        done.append(replay(reading, read_history(reading), policy(), POOL, BLIND).probability)
        reading.close()
    np.testing.assert_array_equal(done[0][:60], done[1][:60])
    assert np.abs(done[0][80:] - done[1][80:]).max() > 0


def test_a_ledger_that_was_not_learnt_from_can_teach_the_replayed(tmp_path: Path) -> None:
    live(tmp_path / "l.db", policy(), 200, learn=False)
    reading = Reading(tmp_path / "l.db")
    done = replay(reading, read_history(reading), policy(), POOL, BLIND)
    assert np.ptp(done.probability[:20, 0]) < 0.02, "nothing is known yet"
    assert np.ptp(done.probability[100:, 0]) > 0.02
    reading.close()


def test_a_deterministic_log_refuses_and_says_which_requests_are_the_trouble(tmp_path: Path) -> None:
    live(tmp_path / "l.db", policy(UCB(0.1)), 200)
    reading = Reading(tmp_path / "l.db")
    answer = compare(reading, policy(Greedy()), POOL, trust=BLIND, fixed=["small", "large"])
    refused = [contender for contender in answer.contenders if contender.refused]
    assert refused
    for contender in refused:
        assert not contender.values
        assert "had no chance in the log" in contender.refused
        assert {trouble.group for trouble in contender.overlap.trouble} <= {"easy", "hard"}
        assert contender.overlap.trouble[0].examples[0].startswith("il-")
    reading.close()


def test_since_a_moment_only_later_decisions_count_but_all_are_learnt(
    ledger: tuple[Path, np.ndarray], reading: Reading
) -> None:
    history = read_history(reading, BLIND, since=1e9 + 300)
    assert len(history.past) == 100
    done = replay(reading, history, policy(), POOL, BLIND)
    np.testing.assert_allclose(done.probability, ledger[1][300:], atol=1e-12)


def test_a_snapshot_is_judged_on_what_it_has_not_learnt(reading: Reading) -> None:
    fold = Fold(policy(), BLIND)
    fold.advance(reading, 600)
    stored = fold.snapshot(0.0)
    history = after(read_history(reading, BLIND), stored)
    assert len(history.past) == 200
    assert history.left_out == {"were learnt by the snapshot": 200}
    done = replay(reading, history, policy(), POOL, BLIND, snapshot=stored)
    assert done.probability.shape == (200, 2)
    fold.advance(reading)
    with pytest.raises(Unanswerable, match="has learnt from all of these decisions"):
        after(read_history(reading), fold.snapshot(0.0))
    with pytest.raises(SnapshotError, match="'9-nine' is not stored"):
        compare(reading, policy(), POOL, snapshot="9-nine")


def test_what_the_log_never_had_is_refused_precisely(reading: Reading) -> None:
    history = read_history(reading)
    new = Candidate(name="larger", provider="p", model="m")
    with pytest.raises(Unanswerable, match=r"'larger' was never considered in this ledger.*did you mean 'large'"):
        replay(reading, history, policy(), (*POOL, new))
    done = replay(reading, history, policy(), POOL[:1])
    assert not done.probability[:, 1].any(), "fewer candidates are no trouble"
    with pytest.raises(Unanswerable, match="'smal' was never considered"):
        always(done, "smal")
    wide = Policy(Ridge(), Weighted(), Greedy(), columns=["a", "b"])
    with pytest.raises(Unanswerable, match="vectors have 3 columns, the policy reads 2"):
        replay(reading, history, wide, POOL)
    with pytest.raises(RequestError, match="no method 'drr'"):
        Terms(method="drr")


def test_a_candidate_outside_the_replayed_pool_can_still_be_fixed(reading: Reading) -> None:
    done = always(replay(reading, read_history(reading), policy(), POOL[:1]), "large")
    assert (done.probability[:, 1] == 1.0).all()


def test_utility_is_only_known_for_a_sum(reading: Reading) -> None:
    threshold = Policy(Constant(), CheapestAbove(0.7), Softmax(0.5))
    answer = compare(reading, threshold, POOL, trust=BLIND)
    assert answer.measures == ("quality", "cost", "latency")


def test_decisions_that_say_nothing_are_left_out_and_counted(make: Any, written: Any) -> None:
    cascade = msgspec.structs.replace(
        make.outcome("il-up", "large"), steps=(Step("small", "chosen"), Step("large", "escalation"))
    )
    cancelled = msgspec.structs.replace(make.outcome("il-gone"), error="cancelled")
    records: Sequence[Record] = [
        *(make.decision(id) for id in ("il-ok", "il-up", "il-open", "il-gone", "il-failed", "il-again")),
        make.outcome("il-ok"),
        msgspec.structs.replace(make.outcome("il-again"), steps=(Step("small", CACHE, similarity=0.9),)),
        cascade,
        cancelled,
        msgspec.structs.replace(make.outcome("il-failed"), candidate=None, error="provider_timeout"),
        make.score("il-ok", 1.0, "judge"),
        make.score("il-ok", 0.0, "small"),
        make.score("il-ok", 0.4, "person"),
        make.score("il-ok", 0.4, "person", revoked=True),
    ]
    history = read_history(Reading(written("odd", records).path), Trust(barred=frozenset({"p"})))
    assert history.left_out == {
        "went up a cascade, where the choice does not decide who answers": 1,
        "were answered from the cache, where the choice does not decide who answers": 1,
        "have no outcome": 1,
        "were cancelled by their caller": 1,
    }
    assert [past.quality for past in history.past] == [1.0, 0.0], (
        "its own word does not count; a failure is worth nothing"
    )


def test_an_empty_ledger_and_none_at_all(written: Any, make: Any, tmp_path: Path) -> None:
    reading = Reading(written("empty", []).path)
    with pytest.raises(Unanswerable, match="nothing can be replayed: it has no decisions there"):
        read_history(reading)
    unscored = Reading(written("unscored", [make.decision("il-1"), make.outcome("il-1")]).path)
    history = read_history(unscored)
    own = Replayed(("small", "large"), np.array([[1.0, 0.0]]), np.array([[True, True]]))
    with pytest.raises(Unanswerable, match="0 decisions are scored"):
        logged(history, own, quality)
    with pytest.raises(LedgerError):
        Reading(tmp_path / "nowhere.db")


def test_who_the_guards_forbade_stays_forbidden(written: Any, make: Any) -> None:
    decision = make.decision("il-1")
    rows = tuple(
        msgspec.structs.replace(row, reasons=(Reason(guard, "code", "detail"),))
        for row, guard in zip(decision.considered, ("policy", "access"), strict=True)
    )
    forbidden = msgspec.structs.replace(decision, considered=rows)
    reading = Reading(written("forbidden", [forbidden, make.outcome("il-1")]).path)
    done = replay(reading, read_history(reading), Policy(Constant(), Weighted(), Greedy()), POOL)
    assert done.permitted.tolist() == [[True, False]], "who only lacked an estimate may have one now"
    assert done.probability.tolist() == [[1.0, 0.0]]
