"""Figures that are known of real outcome tables. Skipped where the tables are not; a plain clone has none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from interlock.lab.features import Features
from interlock.lab.protocol import comparable, cross_validate
from interlock.lab.tables import read_tables

QUICK = Features(terms=0, embedding=0)


def test_every_table_is_read_and_can_be_judged(outcomes: Path) -> None:
    tables = read_tables(outcomes)
    assert len(tables) >= 10
    for table in tables.values():
        train, _ = comparable(table, table)
        assert len(train.candidates) >= 2
        assert np.nanmax(table.score) <= 1.0


def test_routerbench(outcomes: Path) -> None:
    table = read_tables(outcomes, ["routerbench"])["routerbench"]
    made = cross_validate(table, ["constant", "clusters"], folds=3, features=QUICK, rounds=50)
    accuracy, aiq = ({a.name: a.figures[name].value for a in made.arms} for name in ("accuracy", "aiq"))
    assert made.best_single == "gpt-4-1106-preview"
    assert accuracy["best single"] == pytest.approx(0.879, abs=0.01)
    assert accuracy["oracle"] == pytest.approx(0.976, abs=0.01)
    assert aiq["task table"] == pytest.approx(0.844, abs=0.01)
    assert aiq["clusters"] > aiq["mixtures of fixed"]


def test_routellm(outcomes: Path) -> None:
    table = read_tables(outcomes, ["routellm"])["routellm"]
    made = cross_validate(table, ["ridge"], folds=3, features=QUICK, rounds=50)
    apgr = {arm.name: arm.figures["apgr"].value for arm in made.arms if "apgr" in arm.figures}
    assert apgr["ridge"] > 0.58
