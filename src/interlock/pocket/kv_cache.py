"""Where keys and values live: dense arenas for sequences being decoded, and reusable blocks of prompt prefixes.

Sequences of the same attention reach share one arena and sit side by side in it, so that a decode step is one
batched product over a view. A sequence that outgrows its arena moves to the next; one that ends is replaced
by the arena's last. Memory therefore follows what is in use, not slots times context.

Source: reuse of prompt prefixes by token blocks: Kwon et al., "PagedAttention" (vLLM), 2023.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Generic, TypeVar

import numpy as np

from interlock.pocket.attention import TILE, reach
from interlock.pocket.config import PocketConfig
from interlock.pocket.weights import Floats

Owner = TypeVar("Owner")

_KEPT_REACH = 128
"""Arenas up to this reach keep their memory when they empty; longer ones give it back."""


@dataclass(eq=False, slots=True)
class CacheRow(Generic[Owner]):
    """A sequence's place in the cache. ``length`` tokens are stored; ``owner`` is whoever decodes it."""

    owner: Owner
    length: int
    arena: Arena[Owner] = field(init=False)
    index: int = field(init=False)


class Arena(Generic[Owner]):
    """Rows 0..n-1 of two arrays [layers, rows, heads, reach, head_dim]; the arrays double when full."""

    def __init__(self, config: PocketConfig, extent: int) -> None:
        self.extent = extent
        self.rows: list[CacheRow[Owner]] = []
        self._shape = (config.layers, 0, config.heads, extent, config.head_dim)
        self.keys = self.values = np.zeros(self._shape, np.float32)

    def place(self, row: CacheRow[Owner], keys: Floats, values: Floats) -> None:
        """Copy the row's stored positions of keys and values [layers, heads, >= length, head_dim] in."""
        row.arena, row.index = self, len(self.rows)
        if row.index == self.keys.shape[1]:
            extra = np.zeros((self._shape[0], max(4, row.index), *self._shape[2:]), np.float32)
            self.keys = np.concatenate([self.keys, extra], axis=1)
            self.values = np.concatenate([self.values, extra], axis=1)
        self.keys[:, row.index, :, : row.length] = keys[:, :, : row.length]
        self.values[:, row.index, :, : row.length] = values[:, :, : row.length]
        self.rows.append(row)

    def remove(self, row: CacheRow[Owner]) -> None:
        last = self.rows.pop()
        if last is not row:
            for store in (self.keys, self.values):
                store[:, row.index, :, : last.length] = store[:, last.index, :, : last.length]
            last.index = row.index
            self.rows[row.index] = last
        if not self.rows and self.extent > _KEPT_REACH:
            self.keys = self.values = np.zeros(self._shape, np.float32)


class KVCache(Generic[Owner]):
    """All sequences being decoded by one model."""

    def __init__(self, config: PocketConfig) -> None:
        self._config = config
        self._arenas: dict[int, Arena[Owner]] = {}

    def __len__(self) -> int:
        return sum(len(arena.rows) for arena in self._arenas.values())

    @property
    def tokens(self) -> int:
        """Positions in use."""
        return sum(row.length for arena in self._arenas.values() for row in arena.rows)

    def arenas(self) -> Iterator[Arena[Owner]]:
        """Arenas with at least one sequence, shortest reach first."""
        return (arena for _, arena in sorted(self._arenas.items()) if arena.rows)

    def add(self, owner: Owner, keys: Floats, values: Floats, length: int) -> CacheRow[Owner]:
        """Take in a sequence whose first ``length`` positions are in keys and values [layers, heads, ..., head_dim]."""
        row = CacheRow(owner, length)
        self._arena(length + 1).place(row, keys, values)
        return row

    def make_room(self) -> None:
        """Move every sequence whose next token would not fit into a longer arena."""
        for arena in list(self.arenas()):
            for row in [row for row in arena.rows if row.length == arena.extent]:
                keys, values = arena.keys[:, row.index].copy(), arena.values[:, row.index].copy()
                arena.remove(row)
                self._arena(row.length + 1).place(row, keys, values)

    def _arena(self, length: int) -> Arena[Owner]:
        extent = reach(length)
        if extent not in self._arenas:
            self._arenas[extent] = Arena(self._config, extent)
        return self._arenas[extent]


class PrefixCache:
    """Keys and values of prompt blocks of ``TILE`` tokens, found by everything that came before them.

    Only keys computed by prompt processing enter, never those of generated tokens: decoding rounds otherwise,
    and a reused block must have the bits that recomputing it would give. Least recently used blocks leave first.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._blocks: OrderedDict[bytes, tuple[Floats, Floats]] = OrderedDict()
        self.queried_tokens = self.hit_tokens = 0

    @staticmethod
    def chain(ids: Sequence[int], salt: str) -> list[bytes]:
        """One key for every full block of ``ids``; ``salt`` names the adapter, whose keys differ."""
        keys, parent = [], salt.encode()
        for start in range(0, len(ids) - TILE + 1, TILE):
            block = np.asarray(ids[start : start + TILE], np.int32).tobytes()
            parent = blake2b(block, key=blake2b(parent, digest_size=32).digest(), digest_size=16).digest()
            keys.append(parent)
        return keys

    def fill(self, chain: Sequence[bytes], keys: Floats, values: Floats, usable: int) -> int:
        """Copy the longest known prefix, at most ``usable`` blocks, into keys and values; how many tokens it has."""
        known = 0
        while known < usable and chain[known] in self._blocks:
            stored = self._blocks[chain[known]]
            span = slice(known * TILE, (known + 1) * TILE)
            keys[:, :, span], values[:, :, span] = stored
            known += 1
        for key in reversed(chain[:known]):  # parents last, so that they outlive their children
            self._blocks.move_to_end(key)
        self.queried_tokens += usable * TILE
        self.hit_tokens += known * TILE
        return known * TILE

    def store(self, chain: Sequence[bytes], keys: Floats, values: Floats, start: int, end: int) -> None:
        """Remember the full blocks between positions ``start`` (on the grid) and ``end``."""
        for block in range(start // TILE, min(end // TILE, len(chain))):
            if chain[block] in self._blocks:
                continue
            span = slice(block * TILE, (block + 1) * TILE)
            pair = keys[:, :, span].copy(), values[:, :, span].copy()
            self._blocks[chain[block]] = pair
            self._bytes += pair[0].nbytes + pair[1].nbytes
        while self._bytes > self._max_bytes:
            _, (old_keys, old_values) = self._blocks.popitem(last=False)
            self._bytes -= old_keys.nbytes + old_values.nbytes
