from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from interlock.lab.answers import answer_all, showing
from interlock.offered import WORTH, embedded
from interlock.pocket import PocketRequest, Pool
from interlock.pocket.mix import bench


def test_answers_are_the_pools_own_and_are_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = bench(0, 4, split="validation")
    with showing(Console(quiet=True)) as progress:
        first = answer_all(examples, tmp_path, progress, "first")
        with Pool.load() as pool:
            requests = [PocketRequest(prompt=e.prompt, candidate="small-t1") for e in examples]
            results = pool.generate_many(requests)
        monkeypatch.setattr(Pool, "load", lambda: pytest.fail("asked again"))
        second = answer_all(examples, tmp_path, progress, "second")
    assert first.names == tuple(candidate["name"] for candidate in embedded()["candidates"])
    column = first.names.index("small-t1")
    assert first.quality[:, column].tolist() == [e.verify(r.text) for e, r in zip(examples, results, strict=True)]
    assert first.cost[:, column] == pytest.approx([r.cost_usd for r in results], rel=0.5)  # caching depends on company
    written = [r.usage.completion for r in results]
    assert first.tokens[:, column, 2].tolist() == written
    assert first.tokens[:, column, :2].sum(axis=1).tolist() == [r.usage.prompt for r in results]
    np.testing.assert_array_equal(first.quality, second.quality)
    np.testing.assert_array_equal(first.tokens, second.tokens)


def test_other_prompts_are_other_answers(tmp_path: Path) -> None:
    with showing(Console(quiet=True)) as progress:
        answer_all(bench(0, 1, split="validation"), tmp_path, progress, "")
        files = len(list(tmp_path.iterdir()))
        answer_all(bench(1, 1, split="validation"), tmp_path, progress, "")
    assert len(list(tmp_path.iterdir())) == 2 * files


def test_utility_prices_tokens_by_their_kind(table) -> None:
    made = table(3)
    column = made.names.index("small-t0")
    assert made.cost[0, column] == pytest.approx(10 * made.prices[column].sum() / 1e6)
    np.testing.assert_allclose(made.utility, made.quality - WORTH * made.cost)


def test_a_swap_takes_over_answers_but_not_prices(table) -> None:
    made = table(20, {"small-t1": 1.0, "nano-t1": 0.0})
    swapped = made.swapped({"small-t1": "nano-t1"}, since=8)
    strong, weak = made.names.index("small-t1"), made.names.index("nano-t1")
    assert swapped.quality[:8, strong].all()
    assert not swapped.quality[8:, strong].any()
    assert swapped.cost[9, strong] == made.cost[9, strong] > made.cost[9, weak]
    others = [column for column in range(len(made.names)) if column != strong]
    np.testing.assert_array_equal(swapped.quality[:, others], made.quality[:, others])
    assert made.quality[:, strong].all(), "the table itself stays"
