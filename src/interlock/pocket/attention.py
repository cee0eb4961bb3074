"""Attention over cached keys and values whose arithmetic depends on nothing but the row's own sequence.

Keys are read up to a *reach*, the sequence's length rounded up to a power of two, with the rest masked, so
that the shapes BLAS sees follow from the sequence alone. Prompts are processed in tiles of 16 tokens on a
grid that starts at the first token, whatever part of a prompt a step handles; a tile is also the unit of
prefix reuse, so reused and recomputed keys have the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

TILE = 16
"""Tokens in a prompt tile and in a block of the prefix cache."""

_MIN_REACH = 64


def reach(length: int) -> int:
    """How many cached positions attention reads for a sequence of ``length`` tokens."""
    return max(_MIN_REACH, 1 << (length - 1).bit_length())


@dataclass(frozen=True)
class DecodeRows:
    """One new token for each of n sequences whose cache rows lie side by side.

    Attributes:
        keys, values: [layers, n, heads, reach, head_dim] views of the cache, all n of the same reach.
        positions: [n], where each new token stands in its sequence.
        window: a token attends to itself and the ``window - 1`` before it; None lets it see all.
    """

    keys: Floats
    values: Floats
    positions: NDArray[np.int64]
    window: int | None = None

    @property
    def count(self) -> int:
        return len(self.positions)

    def attend(self, layer: int, q: Floats, k: Floats, v: Floats) -> Floats:
        """Store k and v, then mix: q, k, v and the result are [n, heads, head_dim]."""
        keys, values = self.keys[layer], self.values[layer]
        rows = np.arange(self.count)
        keys[rows, :, self.positions] = k
        values[rows, :, self.positions] = v
        scores = np.matmul(q[:, :, None, :], keys.transpose(0, 1, 3, 2))
        mixed: Floats = np.matmul(_softmax(scores, self._hidden), values)
        return mixed[:, :, 0]

    @cached_property
    def _hidden(self) -> Floats:
        return _mask(self.keys.shape[3], self.positions[:, None], self.window)[:, None, None]


@dataclass(frozen=True)
class PromptChunk:
    """Consecutive new tokens of one sequence, starting on the tile grid.

    Attributes:
        keys, values: [layers, heads, capacity, head_dim], the sequence's own buffers.
        start: position of the first token, a multiple of ``TILE``; ``count``: number of tokens.
        window: as in ``DecodeRows``.
    """

    keys: Floats
    values: Floats
    start: int
    count: int
    window: int | None = None

    def attend(self, layer: int, q: Floats, k: Floats, v: Floats) -> Floats:
        """Store k and v, then mix: q, k, v and the result are [count, heads, head_dim]."""
        keys, values = self.keys[layer], self.values[layer]
        end = self.start + self.count
        keys[:, self.start : end] = k.swapaxes(0, 1)
        values[:, self.start : end] = v.swapaxes(0, 1)
        _, heads, width = q.shape
        padded = np.zeros((-(-self.count // TILE) * TILE, heads, width), np.float32)
        padded[: self.count] = q
        tiles = padded.reshape(-1, TILE, heads, width).swapaxes(1, 2)
        mixed = np.empty_like(tiles)
        for first, last, extent, hidden in self._groups:
            scores = np.matmul(tiles[first:last], keys[:, :extent].swapaxes(1, 2))
            mixed[first:last] = np.matmul(_softmax(scores, hidden), values[:, :extent])
        return mixed.swapaxes(1, 2).reshape(-1, heads, width)[: self.count]

    @cached_property
    def _groups(self) -> list[tuple[int, int, int, Floats]]:
        """Runs of tiles with equal reach: first, last, reach, causal mask [tiles, 1, TILE, reach]."""
        ends = range(self.start + TILE, self.start + self.count + TILE, TILE)
        reaches = np.array([reach(end) for end in ends])
        groups = []
        for extent in np.unique(reaches):
            first, last = np.searchsorted(reaches, [extent, extent + 1])
            positions = self.start + np.arange(first * TILE, last * TILE).reshape(-1, 1, TILE, 1)
            groups.append((int(first), int(last), int(extent), _mask(int(extent), positions, self.window)))
        return groups


def _mask(extent: int, positions: NDArray[np.int64], window: int | None) -> Floats:
    """What to add to scores [..., extent] of queries at ``positions`` [..., 1]: 0 where they may look, else -inf."""
    columns = np.arange(extent)
    hidden = columns > positions
    if window is not None:
        hidden |= columns <= positions - window
    return np.where(hidden, np.float32(-np.inf), np.float32(0))


def _softmax(scores: Floats, hidden: Floats) -> Floats:
    scores += hidden
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores
