from __future__ import annotations

from collections import Counter

import pytest

from interlock.lab.experiments import Options, load
from interlock.lab.experiments.pii import count, f1
from interlock.lab.personal_data import Planted


def test_hits_misses_and_false_finds_are_told_apart() -> None:
    mail = Planted("write to a@b.org", "en_US", "email", "a@b.org")
    missed = Planted("the secret word is plugh", "en_US", "key", "plugh")
    false = Planted("a harmless c@d.org", "", "", "")
    counts = count([mail, missed, false])
    assert counts == {
        ("en_US", "email"): Counter(hit=1),
        ("en_US", "key"): Counter(miss=1),
        ("", "email"): Counter(false=1),
    }
    assert f1(sum(counts.values(), Counter())) == pytest.approx(0.5)


def test_the_claim_holds_on_a_small_run() -> None:
    pytest.importorskip("faker")
    report = load("pii")(Options(seeds=(7, 8), scale=0.1))
    assert report.figures[0].ours >= 0.95
