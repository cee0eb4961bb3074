"""The weights that ship: what they reach on the frozen bench is what the calibration says."""

from __future__ import annotations

import json
from random import Random

import pytest

from interlock.errors import RequestError
from interlock.offered import embedded
from interlock.pocket import PocketRequest, Pool
from interlock.pocket.family import SHIPPED, load_family
from interlock.pocket.mix import bench
from interlock.pocket.tasks import TASKS, draw

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


def test_the_long_model_recalls_from_two_thousand_tokens_and_refuses_what_exceeds_its_context() -> None:
    rng, task = Random("shipped"), TASKS["recall_long"]
    examples = [draw(task, rng, 400, "test") for _ in range(8)]
    with Pool.load(["micro-long"]) as pool:
        results = pool.generate_many(
            [PocketRequest(candidate="micro-long-t0", prompt=each.prompt) for each in examples]
        )
        right = sum(example.verify(result.text) for example, result in zip(examples, results, strict=True))
        assert right >= 7
        assert min(result.usage.prompt for result in results) > 2000
        with pytest.raises(RequestError, match="the model's context is 4096") as refused:
            pool.submit(PocketRequest(candidate="micro-long-t0", prompt="AB1 " * 1100))
    assert refused.value.code == "context_length_exceeded"


def test_the_long_model_is_a_candidate_but_in_no_default_pool() -> None:
    assert [name for name in load_family().candidates if name.startswith("micro-long")] == ["micro-long-t0"]
    assert {candidate["name"] for candidate in embedded()["candidates"]} == {
        "nano-t0", "nano-t1", "micro-t0", "micro-t1", "small-t0", "small-t1",
        "micro-base7-t1", "micro-clock-t1", "micro-roman-t0", "micro-roman-t1",
    }  # fmt: skip
    calibrate = pytest.importorskip("interlock.pocket.calibrate")
    assert "micro-long" not in {candidate.name.rpartition("-")[0] for candidate in calibrate.candidates(SHIPPED)}
