from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from interlock.lab.experiments import Options, drift, load, names
from interlock.lab.experiments.drift import WINDOW, Swap


def swap(dip: int, level: float = 1.0, n: int = 3000) -> Swap:
    """Half of what is achievable for `dip` requests after the swap, then `level` of it."""
    achievable = np.full(n, 0.8)
    ours = achievable.copy()
    ours[n // 2 : n // 2 + dip] *= 0.5
    ours[n // 2 + dip :] *= level
    return Swap(ours, achievable, np.full(n, 0.4), np.ones(n))


def test_recovery_is_counted_until_the_whole_window_is_good_enough() -> None:
    assert swap(0).recovered == WINDOW
    # When a fifth of the window is still at a half, 90% is there.
    assert swap(300).recovered == pytest.approx(300 + 0.8 * WINDOW, abs=1)
    assert swap(300, level=0.8).recovered == 1500, "never"


def test_shares_are_over_the_requests_named() -> None:
    seen = swap(300)
    assert seen.share(seen.achievable, seen.ours, 0, 300) == pytest.approx(0.5)
    assert seen.share(seen.achievable, seen.ours, 300) == pytest.approx(1.0)
    assert seen.share(seen.oracle, seen.ours, -100, 0) == pytest.approx(0.8)


@pytest.mark.parametrize(("dips", "verdict"), [((100, 200), "pass"), ((100, 800), "short")])
def test_the_slowest_seed_decides(dips: tuple[int, int], verdict: str, tmp_path: Path) -> None:
    report = drift.judge([swap(dip) for dip in dips], Options(seeds=(0, 1), out=tmp_path))
    assert report.verdict == verdict
    assert Path(report.plots[0]).stat().st_size > 0


def test_recovering_and_falling_back_is_short(tmp_path: Path) -> None:
    relapsed = swap(100)
    relapsed.ours[2600:2800] *= 0.7
    assert 1100 + WINDOW < relapsed.recovered < 1300 + WINDOW
    assert drift.judge([relapsed, relapsed], Options(seeds=(0, 1), out=tmp_path)).verdict == "short"


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table) -> None:
    monkeypatch.setattr(drift, "WINDOW", 40)
    monkeypatch.setattr(drift, "WITHIN", 40)
    monkeypatch.setattr(
        drift, "answer_all", lambda examples, *_: table(len(examples), {"small-t1": 0.95, "micro-t1": 0.7})
    )
    assert "drift" in names()
    report = load("drift")(Options(seeds=(0,), out=tmp_path / "drift", scale=0.01))
    by_name = {figure.name: figure.ours for figure in report.figures}
    assert 0.5 < by_name["share of the oracle before"] <= 1.0
    assert by_name["... 0 to 40"] < 1.0, "a swap of the best costs something at first"
