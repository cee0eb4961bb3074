from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.pocket import row_product
from interlock.pocket.config import SIZES
from interlock.pocket.row_product import find_granule, multiply, pieces


@pytest.mark.parametrize("size", ["nano", "micro", "small"])
def test_a_row_has_the_same_bits_in_any_batch(size: str) -> None:
    rng = np.random.default_rng(3)
    shapes = {shape for shape in SIZES[size].shapes().values() if len(shape) == 2}
    matrices = {shape: pieces(rng.standard_normal(shape, np.float32)) for shape in shapes}
    granule = find_granule(matrices.values())
    for (_, into), matrix in matrices.items():
        x = rng.standard_normal((150, into), np.float32)
        alone = np.concatenate([multiply(row[None], matrix, granule) for row in x])
        for rows in (1, 2, 3, 7, 31, 64, 65, 150):
            np.testing.assert_array_equal(multiply(x[150 - rows :], matrix, granule), alone[150 - rows :])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 140), st.integers(1, 700), st.integers(1, 40), st.sampled_from([1, 2, 8, 32]))
def test_the_product_is_right_for_any_shape_and_granule(rows: int, into: int, out: int, granule: int) -> None:
    rng = np.random.default_rng(rows)
    x, matrix = rng.standard_normal((rows, into), np.float32), rng.standard_normal((out, into), np.float32)
    np.testing.assert_allclose(multiply(x, pieces(matrix), granule), x @ matrix.T, atol=1e-3)


def test_where_no_granule_holds_every_row_is_multiplied_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_product, "_agrees", lambda *_: False)
    matrix = pieces(np.eye(4, dtype=np.float32))
    assert find_granule([matrix]) == 1
    shapes: list[int] = []
    product = row_product._product
    monkeypatch.setattr(row_product, "_product", lambda x, m: (shapes.append(len(x)), product(x, m))[1])
    multiply(np.ones((5, 4), np.float32), matrix, 1)
    assert shapes == [1] * 5
