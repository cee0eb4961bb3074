"""Matrix products in which a row's result never depends on the rows beside it.

BLAS picks its kernel by the shape of the product, so the same row may get other last bits in a batch of 3
than in a batch of 32, and a sampled token may then differ. Two measures remove that. The inner dimension is
split into pieces short enough that no kernel splits it further (OpenBLAS does, above a few hundred), and the
number of rows is padded to a multiple of a *granule*: the smallest of 2, 4, ..., 32 for which every multiple
gives every row the same bits on this machine, found by trying when a model is loaded. Should none do, the
granule is 1 and each row is multiplied alone, which is slower and needs no luck.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Pieces = tuple[Floats, ...]

MAX_ROWS = 64
"""The most rows one BLAS call gets; more rows are multiplied in blocks of this size."""

_MAX_INNER = 320


def pieces(matrix: Floats) -> Pieces:
    """``matrix`` [out, in] as contiguous [piece of in, out] factors, equal but for rounding of the split."""
    count = -(-matrix.shape[1] // _MAX_INNER)
    return tuple(np.ascontiguousarray(part.T) for part in np.array_split(matrix, count, axis=1))


def multiply(x: Floats, matrix: Pieces, granule: int) -> Floats:
    """``x @ matrix`` for x [rows, in], each row computed as if it were alone."""
    rows = len(x)
    step = MAX_ROWS if granule > 1 else 1
    if rows <= step and rows % granule == 0:
        return _product(x, matrix)
    out = np.empty((rows, matrix[0].shape[1]), np.float32)
    for start in range(0, rows, step):
        block = x[start : start + step]
        missing = -len(block) % granule
        if missing:
            block = np.concatenate([block, np.zeros((missing, x.shape[1]), np.float32)])
        out[start : start + step] = _product(block, matrix)[: rows - start]
    return out


def find_granule(matrices: Iterable[Pieces]) -> int:
    """The smallest granule for which rows are independent of their neighbours, for each shape among ``matrices``."""
    shapes = {tuple(part.shape for part in matrix): matrix for matrix in matrices}
    return max((_granule(matrix) for matrix in shapes.values()), default=2, key=lambda g: (g == 1, g))


def _granule(matrix: Pieces) -> int:
    # Dense random numbers: two summation orders that differ at all differ somewhere among so many sums.
    x = np.random.default_rng(0).standard_normal((MAX_ROWS, sum(len(part) for part in matrix)), np.float32)
    whole = _product(x, matrix)
    for granule in (2, 4, 8, 16, 32):
        if all(_agrees(x, matrix, whole, rows) for rows in range(granule, MAX_ROWS, granule)):
            return granule
    return 1


def _agrees(x: Floats, matrix: Pieces, whole: Floats, rows: int) -> bool:
    start = MAX_ROWS - rows  # other neighbours and another place in the batch than in the whole
    return np.array_equal(_product(x[start:], matrix), whole[start:])


def _product(x: Floats, matrix: Sequence[Floats]) -> Floats:
    first, *rest = matrix
    if not rest:
        return x @ first
    at = len(first)
    y = x[:, :at] @ first
    for part in rest:
        y += x[:, at : at + len(part)] @ part
        at += len(part)
    return y
