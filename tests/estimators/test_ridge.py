from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from interlock.estimators import Ridge
from interlock.estimators.ridge import BLOCK

CUTS = st.lists(st.integers(1, 2 * BLOCK), min_size=1, max_size=6)
N = 5 * BLOCK + 3


def history() -> tuple[np.ndarray, list[str], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    names = [f"m{i}" for i in rng.integers(0, 2, N)]
    return rng.normal(size=(N, 7)), names, rng.random(N), rng.random(N)


def as_bytes(ridge: Ridge) -> bytes:
    return msgspec.msgpack.encode(ridge.state(), enc_hook=lambda array: array.tobytes())


@given(CUTS, st.sampled_from([1.0, 0.99]))
def test_cuts_restores_and_predictions_between_events_leave_the_same_bits(cuts: list[int], forgetting: float) -> None:
    x, names, y, w = history()
    whole = Ridge(forgetting=forgetting).partial_fit(x, names, y, w)
    parts, start = Ridge(forgetting=forgetting), 0
    for size in [*cuts, N]:
        cut = slice(start, start + size)
        parts.partial_fit(x[cut], names[cut], y[cut], w[cut])
        parts.predict(x[:1], ["m0", "new"])
        parts, start = Ridge(forgetting=forgetting).restore(parts.state()), min(start + size, N)
    assert as_bytes(parts) == as_bytes(whole)
    for one, other in zip(parts.predict(x[:3], ["m0", "m1"]), whole.predict(x[:3], ["m0", "m1"]), strict=True):
        assert np.array_equal(one, other)


def test_blocks_forget_as_events_do_one_by_one() -> None:
    x, names, y, w = history()
    ridge = Ridge(forgetting=0.97).partial_fit(x, names, y, w)
    sums = {name: np.zeros((9, 9)) for name in names}
    for vector, name, target, weight in zip(x, names, y, w, strict=True):
        row = np.concatenate(([1.0], vector, [target]))
        sums[name] = 0.97 * sums[name] + weight * np.outer(row, row)
    for name, (rows, weights) in zip(ridge.state()["names"], ridge.state()["recent"], strict=True):
        assert len(rows) == len(weights) == names.count(name) % BLOCK
    expected = Ridge(forgetting=0.97)
    expected.restore({"names": sorted(sums), "sums": [sums[n] for n in sorted(sums)], "recent": [[[], []]] * len(sums)})
    for one, other in zip(ridge.predict(x[:3], ["m0", "m1"]), expected.predict(x[:3], ["m0", "m1"]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)


def test_a_restored_state_is_not_shared() -> None:
    x, names, y, w = history()
    first = Ridge().partial_fit(x, names, y, w)
    before = as_bytes(first)
    second = Ridge().restore(first.state())
    second.partial_fit(x, names, y, w)
    assert as_bytes(first) == before
