"""Estimates for policies that did not serve are right in a world where the truth is known, and refused where thin."""

from __future__ import annotations

import numpy as np
import pytest

from interlock.errors import NotFound
from interlock.gateway.history import History
from interlock.gateway.off_policy import log_of, weigh
from interlock.gateway.savings import savings
from interlock.types import Outcome, Step

from .test_curve import COST, TRUTH, answered, decided, judged, world


@pytest.mark.parametrize("believed", [0.0, 0.55, 1.0])
def test_another_mixture_is_weighed_whatever_was_believed(believed: float) -> None:
    log = log_of(world(3000, 0.3, believed).decisions())
    target = np.tile([0.9, 0.1], (3000, 1))
    assert log.names == ("large", "tiny")
    quality, cost = weigh(log, target, "quality"), weigh(log, target, "cost")
    assert quality.other
    assert quality.difference
    assert quality.served
    assert cost.other
    truth = 0.9 * TRUTH["large"] + 0.1 * TRUTH["tiny"]
    assert quality.other.low <= truth <= quality.other.high
    assert quality.difference.mean == pytest.approx(quality.other.mean - quality.served.mean)
    assert cost.other.mean == pytest.approx(0.9 * COST["large"] + 0.1 * COST["tiny"], rel=1e-6)  # it was foreseen


def test_intervals_cover_as_often_as_they_say() -> None:
    """The log's own policy changes along the way, as one that learns does."""
    hits, truth = 0, TRUTH["large"]
    for seed in range(200):
        rng, history = np.random.default_rng(seed), History()
        for i in range(300):
            likely = 0.2 + 0.6 * i / 300
            chosen = "large" if rng.random() < likely else "tiny"
            history.add(decided(i, chosen, {"tiny": 1 - likely, "large": likely}, 0.5))
            history.add(answered(i, chosen))
            history.add(judged(i, float(rng.random() < TRUTH[chosen])))
        log = log_of(history.decisions())
        found = weigh(log, np.tile([1.0, 0.0], (300, 1)), "quality").other
        assert found is not None
        hits += found.low <= truth <= found.high
    assert 0.91 <= hits / 200 <= 0.99


def test_what_says_nothing_of_its_choice_is_left_out_and_counted() -> None:
    history = History()
    for i in range(6):
        history.add(decided(i, "tiny", {"tiny": 1.0, "large": 0.0}))
    steps = (Step("tiny", "chosen"), Step("large", "escalation"))
    history.add(answered(0, "tiny"))
    history.add(Outcome(decision="d1", at=1.0, candidate=None, steps=(), error="cancelled"))
    history.add(Outcome(decision="d2", at=2.0, candidate="large", steps=steps))
    history.add(Outcome(decision="d3", at=3.0, candidate=None, steps=(), error="provider_timeout"))
    log = log_of(history.decisions())
    assert [past.id for past in log.pasts] == ["d0", "d3"]
    assert sum(log.left_out.values()) == 4
    assert log.rewards["quality"].tolist() == pytest.approx([np.nan, 0.0], nan_ok=True)
    assert "2 decisions" in weigh(log, np.ones((2, 2)), "cost").refused


def test_savings_against_the_strongest() -> None:
    history = world(2000, 0.3, 0.5)
    for past in history.decisions():
        past.table[0] = [0.4, 0.8]  # expected quality: tiny, large
    found = savings(history.decisions())
    truth = 2000 * COST["large"]
    assert found["against"] == found["strongest"] == "large"
    assert found["would_have_spent"].mean == pytest.approx(truth, rel=1e-6)
    assert found["saved"].mean == pytest.approx(truth - found["spent"], rel=1e-6)
    assert found["quality"].difference.low <= TRUTH["large"] - np.mean([p.score for p in history.decisions()])
    against = savings(history.decisions(), "tiny")
    assert against["saved"].high < 0
    with pytest.raises(NotFound, match="did you mean 'tiny'"):
        savings(history.decisions(), "tinny")


def test_savings_are_not_told_when_the_strongest_was_hardly_tried() -> None:
    found = savings(world(400, 0.01, 0.5).decisions(), "large")
    assert found["saved"] is None
    assert "of the policy's own would" in found["cost"].refused
    assert found["predicted"] == pytest.approx(400 * COST["large"], rel=0.01)
    never = savings(world(400, 0.0, 0.5).decisions(), "large")
    assert "had no chance in the log" in never["cost"].refused


def test_without_decisions_there_is_nothing_to_save() -> None:
    assert savings([])["requests"] == 0
