"""The weights that ship: what they reach on the frozen bench is what the calibration says."""

from __future__ import annotations

import json

import pytest

from interlock.pocket import PocketRequest, Pool
from interlock.pocket.family import SHIPPED, load_family
from interlock.pocket.mix import bench

MEGABYTES = 12


@pytest.mark.parametrize("name", ["nano-t0", "micro-t0"])
def test_accuracy_on_the_frozen_bench_is_within_two_points_of_the_calibration(name: str) -> None:
    frozen = json.loads((SHIPPED / "calibration.json").read_text("utf-8"))["bench"]
    examples = bench(frozen["seed"], frozen["prompts"], frozen["split"])
    with Pool.load([name.split("-")[0]]) as pool:
        results = pool.generate_many([PocketRequest(candidate=name, prompt=each.prompt) for each in examples])
    right = sum(example.verify(result.text) for example, result in zip(examples, results, strict=True))
    assert right / len(examples) == pytest.approx(frozen["rungs"][name]["accuracy"], abs=0.02)


def test_everything_shipped_is_small_and_listed_by_hash() -> None:
    files = list(SHIPPED.glob("*.safetensors"))
    assert sum(file.stat().st_size for file in files) < MEGABYTES * 2**20
    assert {file.stem for file in files} == set(json.loads((SHIPPED / "manifest.json").read_text("utf-8")))
    load_family()  # refuses a file whose hash is another
