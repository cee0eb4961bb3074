from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.pocket.attention import TILE, reach
from interlock.pocket.config import PocketConfig
from interlock.pocket.kv_cache import CacheRow, KVCache, PrefixCache
from interlock.pocket.weights import Floats

CONFIG = PocketConfig(d=8, layers=2, heads=2)


def stored(length: int, seed: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    shape = (CONFIG.layers, CONFIG.heads, reach(length), CONFIG.head_dim)
    return rng.standard_normal(shape, np.float32), rng.standard_normal(shape, np.float32)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("arg"), st.integers(0, 200)), max_size=40))
def test_every_sequence_keeps_its_own_keys_whatever_comes_and_goes(steps: list[tuple[str, int]]) -> None:
    cache: KVCache[int] = KVCache(CONFIG)
    alive: dict[int, tuple[CacheRow[int], Floats, Floats]] = {}
    for serial, (step, number) in enumerate(steps):
        if step == "a":
            keys, values = stored(number + 1, serial)
            alive[serial] = (cache.add(serial, keys, values, number + 1), keys, values)
        elif alive:
            chosen = sorted(alive)[number % len(alive)]
            row = alive[chosen][0]
            if step == "r":
                row.arena.remove(row)
                del alive[chosen]
            elif row.length + 1 < row.arena.extent:
                row.arena.keys[:, row.index, :, row.length] = number
                row.length += 1
            else:
                row.length = row.arena.extent
                cache.make_room()
                assert row.arena.extent == 2 * row.length
    assert len(cache) == len(alive)
    assert cache.tokens == sum(row.length for row, _, _ in alive.values())
    for serial, (row, keys, values) in alive.items():
        assert row.owner == serial
        assert row.arena.rows[row.index] is row
        first = min(row.length, 1)
        np.testing.assert_array_equal(row.arena.keys[:, row.index, :, :first], keys[:, :, :first])
        np.testing.assert_array_equal(row.arena.values[:, row.index, :, :first], values[:, :, :first])


def test_an_emptied_long_arena_gives_its_memory_back() -> None:
    cache: KVCache[int] = KVCache(CONFIG)
    row = cache.add(0, *stored(400, 0), 400)
    assert row.arena.keys.nbytes > 0
    row.arena.remove(row)
    assert row.arena.keys.nbytes == 0


def test_a_prefix_is_reused_up_to_the_first_difference() -> None:
    prefixes = PrefixCache(1 << 20)
    ids = list(range(100, 170))
    chain = PrefixCache.chain(ids, "")
    keys, values = stored(len(ids), 0)
    prefixes.store(chain, keys, values, 0, len(ids))
    for same, blocks in ((70, 4), (33, 2), (16, 1), (15, 0)):
        other = PrefixCache.chain(ids[:same] + [0] * (70 - same), "")
        into, values_into = np.zeros_like(keys), np.zeros_like(values)
        assert prefixes.fill(other, into, values_into, 4) == blocks * TILE
        np.testing.assert_array_equal(into[:, :, : blocks * TILE], keys[:, :, : blocks * TILE])
        assert not into[:, :, blocks * TILE :].any()
    assert prefixes.queried_tokens == 4 * 4 * TILE
    assert prefixes.hit_tokens == 7 * TILE


def test_an_adapter_never_sees_another_adapters_prefix() -> None:
    ids = list(range(40))
    assert not set(PrefixCache.chain(ids, "")) & set(PrefixCache.chain(ids, "roman"))


def test_a_block_is_known_by_everything_before_it() -> None:
    ids = list(range(48))
    other = [99, *ids[1:]]
    assert not set(PrefixCache.chain(ids, "")) & set(PrefixCache.chain(other, ""))


def test_the_least_recently_used_prefix_leaves_first_and_children_before_parents() -> None:
    keys, values = stored(64, 0)
    block = 2 * CONFIG.layers * CONFIG.heads * TILE * CONFIG.head_dim * 4
    prefixes = PrefixCache(4 * block)
    old, new = (PrefixCache.chain([i] * 48, "") for i in (1, 2))
    into = np.zeros_like(keys), np.zeros_like(values)
    prefixes.store(old, keys, values, 0, 48)
    prefixes.fill(old, *into, 3)
    prefixes.store(new, keys, values, 0, 48)
    assert prefixes.fill(new, *into, 3) == 48
    assert prefixes.fill(old, *into, 3) == 16
