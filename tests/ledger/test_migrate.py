"""From SQLite to PostgreSQL and back: the same chain, resumed where it broke off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from interlock.errors import LedgerError
from interlock.ledger import Ledger, Place, Reading, open_ledger, verify
from interlock.ledger import migrate as module
from interlock.ledger.migrate import migrate
from interlock.ledger.snapshots import sealed

Fill = Callable[[Ledger, int], None]


@pytest.fixture
def other(request: pytest.FixtureRequest, place: Place, tmp_path: Path) -> Place:
    """An empty place in the other database."""
    return request.getfixturevalue("postgres").database() if isinstance(place, Path) else tmp_path / "other.db"


def test_there_and_back_again_is_the_same_ledger(
    place: Place, other: Place, ledger: Ledger, fill: Fill, tmp_path: Path
) -> None:
    fill(ledger, 30)
    ledger.forget(decision="il-4")
    for i in range(2):
        ledger.keep_snapshot(sealed(40 + i, 1.0 + i, "maker", bytes([i]), b"trust"), 5).wait(5)
    steps: list[tuple[int, int]] = []
    done = migrate(place, other, lambda done, of: steps.append((done, of)))
    assert (done.rows, done.copied, done.snapshots) == (85, 85, 2)
    assert steps[-1] == (85, 85)
    back = tmp_path / "back.db"
    assert migrate(other, back).hash == done.hash == verify(place).hash
    first, last = Reading(place), Reading(back)
    assert list(first.rows()) == list(last.rows())
    seqs = [row.seq for row in first.rows()]
    assert first.attachments(seqs) == last.attachments(seqs)
    assert first.snapshots() == last.snapshots()
    with open_ledger(other) as moved:
        assert moved.decision("il-5").prompt is not None
        assert moved.decision("il-4").erased


def test_what_broke_off_goes_on_and_what_came_meanwhile_follows(
    place: Place, other: Place, ledger: Ledger, fill: Fill, make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 10)
    fill(ledger, 20)

    def breaks(done: int, of: int) -> None:
        if done >= 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        migrate(place, other, breaks)
    assert Reading(other).head()[0] == 30
    ledger.forget(decision="il-1")  # which has been brought already
    done = migrate(place, other)
    assert (done.copied, done.rows) == (27, 57)
    ledger.put(make.outcome("il-3")).wait(5)
    assert migrate(place, other).copied == 1
    assert migrate(place, other).copied == 0
    assert Reading(other).decision("il-1").prompt is None


def test_another_ledger_is_not_written_over(place: Place, other: Place, ledger: Ledger, make: Any) -> None:
    ledger.put(make.outcome("il-1")).wait(5)
    with open_ledger(other) as different:
        different.put(make.outcome("il-2")).wait(5)
    with pytest.raises(LedgerError, match="holds another ledger: its row 1 is not"):
        migrate(place, other)
    with open_ledger(other) as different:
        different.put(make.outcome("il-2")).wait(5)
    with pytest.raises(LedgerError, match="2 rows already, more than the source's 1"):
        migrate(place, other)
    with pytest.raises(LedgerError, match="to where it is"):
        migrate(place, place)
