from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from interlock.lab.cache import Cache, code, digest
from interlock.types import Array


def make() -> dict[str, Array]:
    return {"a": np.arange(3.0), "b": np.array([np.nan])}


def test_what_is_kept_is_not_made_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "new")
    cache.arrays("key", make)
    kept = cache.arrays("key", lambda: pytest.fail("made again"))
    for name, values in make().items():
        np.testing.assert_array_equal(kept[name], values)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["key.npz"]


def test_without_a_folder_nothing_is_kept() -> None:
    made = []
    for _ in range(2):
        Cache().arrays("key", lambda: made.append(1) or make())  # type: ignore[func-returns-value]
    assert len(made) == 2


def test_a_digest_tells_parts_apart() -> None:
    parts = [("ab", "c"), ("a", "bc"), (np.zeros(2), "c"), (np.zeros(3), "c"), (("ab", "c"),)]
    assert len({digest(*part) for part in parts}) == len(parts)
    assert digest(np.array([np.nan])) == digest(np.array([np.nan]))


def test_code_is_hashed_by_content() -> None:
    assert code("lab/cache.py") == code("lab/cache.py")
    assert code("lab/cache.py") != code("lab/costs.py")
    assert code("signals") != code("estimators")
