"""A shadow that learns for itself decides as if it had served: same state, same probabilities."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from interlock.learning.shadow import Shadow
from interlock.ledger import Reading, SqliteLedger

from .test_replay import BLIND, POOL, N, live, policy


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    path = tmp_path_factory.mktemp("shadow") / "ledger.db"
    return path, live(path, policy())


@pytest.fixture
def reading(ledger: tuple[Path, np.ndarray]) -> Iterator[Reading]:
    opened = Reading(ledger[0])
    yield opened
    opened.close()


def table(shadow: Shadow) -> np.ndarray:
    rows = [shadow.probability(f"il-{i}") or {} for i in range(N)]
    return np.array([[row.get(name.name, 0.0) for name in POOL] for row in rows])


def test_the_policy_that_served_decides_as_it_did(ledger: tuple[Path, np.ndarray], reading: Reading) -> None:
    shadow = Shadow(reading, policy(), POOL, BLIND)
    while shadow.step():
        pass
    np.testing.assert_allclose(table(shadow), ledger[1], atol=1e-12)
    assert shadow.progress().behind == 0


def test_only_the_window_is_remembered(reading: Reading) -> None:
    shadow = Shadow(reading, policy(), POOL, BLIND, window=50)
    while shadow.step():
        pass
    assert shadow.probability("il-0") is None
    assert shadow.probability(f"il-{N - 1}") is not None
    assert np.count_nonzero(table(shadow).sum(axis=1)) == 50


def test_a_thread_keeps_up_and_ends(ledger: tuple[Path, np.ndarray]) -> None:
    shadow = Shadow(Reading(ledger[0]), policy(), POOL, BLIND).start(interval=0.01)
    deadline = time.monotonic() + 60
    while shadow.progress().behind and time.monotonic() < deadline:
        time.sleep(0.02)
    assert shadow.progress() == shadow.progress()
    assert shadow.progress().behind == 0
    shadow.stop()
    shadow.stop()
    np.testing.assert_allclose(table(shadow), ledger[1], atol=1e-12)


def test_what_was_erased_or_has_other_columns_is_not_decided_on(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    live(path, policy(), n=40, learn=False)
    with SqliteLedger(path) as ledger:
        ledger.forget(decision="il-3")
    reading = Reading(path)
    shadow, other = Shadow(reading, policy(), POOL, BLIND), policy()
    other.columns = ["only"]
    narrow = Shadow(reading, other, POOL, BLIND)
    while shadow.step() | narrow.step():
        pass
    assert shadow.probability("il-3") is None
    assert shadow.probability("il-4") is not None
    assert narrow.probability("il-4") is None
    reading.close()
