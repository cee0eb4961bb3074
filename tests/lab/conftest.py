"""A world made up for tests: what the embedded pool's candidates would answer, without asking them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from interlock.lab.answers import Table
from interlock.lab.locate import NoData, data_folder
from interlock.offered import embedded

MakeTable = Callable[..., Table]


@pytest.fixture(scope="session")
def table() -> MakeTable:
    """`table(n, right={"small-t1": 0.9})`: each candidate is right with its own probability, by default 0.1."""

    def make(n: int, right: dict[str, float] | None = None, seed: int = 0) -> Table:
        candidates = embedded()["candidates"]
        names = tuple(candidate["name"] for candidate in candidates)
        prices = [[candidate["price"][kind] for kind in ("in", "cached", "out")] for candidate in candidates]
        chance = np.array([(right or {}).get(name, 0.1) for name in names])
        draws = np.random.default_rng(seed).random((n, len(names)))
        return Table(names, np.array(prices), (draws < chance) * 1.0, np.full((n, len(names), 3), 10.0))

    return make


@pytest.fixture(scope="session")
def outcomes() -> Path:
    """The folder of real outcome tables. Where there is none the test is skipped, whatever else must not be."""
    try:
        return data_folder()
    except NoData as error:
        pytest.skip(str(error))
