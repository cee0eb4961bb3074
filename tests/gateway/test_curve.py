"""The curve's estimates of fixed candidates are unbiased: checked against a world in which every candidate's value
is known."""

from __future__ import annotations

import numpy as np
import pytest

from interlock.gateway.curve import curve, values
from interlock.gateway.history import History
from interlock.objectives import CheapestAbove, Objective, Weighted
from interlock.types import Considered, Decision, Feedback, Outcome, Reason

NAMES = ("tiny", "large")
TRUTH = {"tiny": 0.3, "large": 0.8}
COST = {"tiny": 0.0001, "large": 0.001}


def decided(
    i: int, chosen: str, probability: dict[str, float], believed: float = 0.5, forbidden: tuple[str, ...] = ()
) -> Decision:
    no = (Reason("rules", "no", "no"),)
    rows = tuple(
        Considered(n, no if n in forbidden else (), believed, 0.1, COST[n], 0.1, 0.0, 0.0, probability[n])
        for n in NAMES
    )
    return Decision(
        id=f"d{i}", at=float(i), tenant="", session="", model="auto", considered=rows, chosen=chosen, policy="",
        snapshot="", config="", seed=0,
    )  # fmt: skip


def answered(i: int, candidate: str) -> Outcome:
    return Outcome(
        decision=f"d{i}", at=float(i), candidate=candidate, steps=(), cost=COST[candidate], latency=0.1, energy=0.0
    )


def judged(i: int, score: float, source: str = "verifier", revoked: bool = False) -> Feedback:
    return Feedback(decision=f"d{i}", at=float(i), score=score, source=source, revoked=revoked)


def world(n: int, likely: float, believed: float) -> History:
    """n judged decisions; `large` is chosen with probability `likely`, and all estimates say `believed`."""
    rng, history = np.random.default_rng(7), History(n)
    for i in range(n):
        chosen = "large" if rng.random() < likely else "tiny"
        history.add(decided(i, chosen, {"tiny": 1 - likely, "large": likely}, believed))
        history.add(answered(i, chosen))
        history.add(judged(i, float(rng.random() < TRUTH[chosen])))
    return history


@pytest.mark.parametrize("likely", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("believed", [0.0, 0.55, 1.0])
def test_the_estimate_finds_the_truth_whatever_was_believed(likely: float, believed: float) -> None:
    history = world(4000, likely, believed)
    _, fixed = values(history.scored(), NAMES, Weighted(cost=100.0).utility)
    for column, name in enumerate(NAMES):
        truth = TRUTH[name] - 100 * COST[name]
        error = fixed[:, column].std(ddof=1) / np.sqrt(len(fixed))
        assert abs(fixed[:, column].mean() - truth) < 4 * error


def test_what_was_served_is_measured_and_not_estimated() -> None:
    history = world(200, 0.5, 0.9)
    served, _ = values(history.scored(), NAMES, Weighted(cost=100.0).utility)
    expected = [(past.score or 0) - 100 * COST[past.served or ""] for past in history.scored()]
    assert np.allclose(served, expected)


@pytest.mark.parametrize("objective", [Weighted(cost=10.0), CheapestAbove(0.5)])
def test_points_cover_every_judged_decision(objective: Objective) -> None:
    document = curve(world(95, 0.5, 0.5).scored(), objective.utility, points=9)
    assert document["per_point"] == 11
    assert document["until"][-1] == document["decisions"] == 95
    assert len(document["at"]) == len(document["served"]["mean"]) == len(document["fixed"]["tiny"]["mean"]) == 9


def test_an_empty_past_is_an_empty_curve() -> None:
    document = curve([], Weighted().utility)
    assert document["decisions"] == 0
    assert document["at"] == []


def test_a_forbidden_candidate_has_no_value_there() -> None:
    history = History()
    history.add(decided(0, "tiny", {"tiny": 1.0, "large": 0.0}, forbidden=("large",)))
    history.add(answered(0, "tiny"))
    history.add(judged(0, 1.0))
    _, fixed = values(history.scored(), NAMES, Weighted().utility)
    assert np.isnan(fixed[0, 1])
    assert fixed[0, 0] == 1.0
    assert curve(history.scored(), Weighted().utility)["fixed"]["large"]["mean"] == [None]


def test_the_last_word_of_each_source_counts_and_can_be_withdrawn() -> None:
    history = History()
    for record in (
        decided(0, "tiny", dict.fromkeys(NAMES, 0.5)),
        answered(0, "tiny"),
        judged(0, 0.0),
        judged(0, 1.0),
        judged(0, 0.5, "person"),
    ):
        history.add(record)
    assert history.scored()[0].score == 0.75
    history.add(judged(0, 0.0, revoked=True))
    assert history.scored()[0].score == 0.5
    history.add(judged(0, 0.0, "person", revoked=True))
    assert history.scored() == []


def test_the_window_moves() -> None:
    history = History(window=3)
    for i in range(5):
        history.add(decided(i, "tiny", dict.fromkeys(NAMES, 0.5)))
    history.add(answered(0, "tiny"))  # left the window
    assert [past.at for past in history.decisions()] == [2.0, 3.0, 4.0]
