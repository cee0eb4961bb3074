"""Training by stages: each starts from what the one before left, all of it resumes, and the recipes are well formed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from interlock.errors import WeightsError  # noqa: E402
from interlock.pocket import build, stages  # noqa: E402
from interlock.pocket.config import SIZES, PocketConfig  # noqa: E402
from interlock.pocket.mix import Mix, Share  # noqa: E402
from interlock.pocket.model import tensors  # noqa: E402
from interlock.pocket.stages import FAMILY, Stage, fit_stages  # noqa: E402
from interlock.pocket.tasks import TASKS  # noqa: E402
from interlock.pocket.train import Recipe, pack, read_log  # noqa: E402
from interlock.pocket.weights import load, save  # noqa: E402

TINY = PocketConfig(d=16, layers=1, heads=2)
CUPS = Mix((Share(TASKS["cups"], 1.0, (1, 2)),), style="compact")
STILL = Recipe(10 * 2 * 64, lr=0.0, rows=2, row_length=64)  # ten steps that change nothing


def small_family(name: str) -> tuple[Stage, ...]:
    """The stages of a member with its mixes and optimisers, each cut to two steps of short rows."""
    return tuple(
        replace(stage, recipe=replace(stage.recipe, tokens=2 * 2 * 700, rows=2, row_length=700))
        for stage in FAMILY[name]
    )


def test_every_stage_starts_from_the_one_before(tmp_path: Path) -> None:
    learning = replace(STILL, lr=1e-2)
    first = fit_stages(TINY, (Stage("a", learning, CUPS),), tmp_path / "one")
    both = fit_stages(TINY, (Stage("a", learning, CUPS), Stage("b", STILL, CUPS)), tmp_path / "two")
    alone = fit_stages(TINY, (Stage("b", STILL, CUPS),), tmp_path / "three")
    for name, value in tensors(first.model).items():
        np.testing.assert_array_equal(tensors(both.model)[name], value)
    assert any(not np.array_equal(tensors(alone.model)[name], value) for name, value in tensors(first.model).items())
    assert int(both.metadata["tokens_trained"]) == 2 * int(first.metadata["tokens_trained"])
    assert (
        both.metadata["stages"]
        == "a: muon lr 0.01, decay from 0.5, 1,280 tokens; b: muon lr 0, decay from 0.5, 1,280 tokens"
    )


def test_a_stage_may_draw_the_batches_of_another(tmp_path: Path) -> None:
    learning = replace(STILL, lr=1e-2)
    first = fit_stages(TINY, (Stage("a", learning, CUPS),), tmp_path / "one")
    same = fit_stages(TINY, (Stage("b", learning, CUPS, batches="a"),), tmp_path / "two")
    other = fit_stages(TINY, (Stage("b", learning, CUPS),), tmp_path / "three")
    np.testing.assert_array_equal(tensors(first.model)["head"], tensors(same.model)["head"])
    assert not np.array_equal(tensors(first.model)["head"], tensors(other.model)["head"])


def test_an_interruption_in_the_second_stage_repeats_nothing_of_the_first(tmp_path: Path) -> None:
    learning = replace(STILL, tokens=40 * 2 * 64, lr=1e-2)
    path = (Stage("a", learning, CUPS), Stage("b", learning, CUPS))
    whole = fit_stages(TINY, path, tmp_path / "whole")
    seen: list[int] = []

    def stop(step: int, loss: float) -> None:
        seen.append(step)
        if step == 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_stages(TINY, path, tmp_path / "parts", report=stop)
    assert seen == [20, 40, 60]
    written = (tmp_path / "parts" / "a" / "last.pt").stat().st_mtime_ns
    resumed = fit_stages(TINY, path, tmp_path / "parts", report=lambda step, loss: seen.append(step))
    assert (tmp_path / "parts" / "a" / "last.pt").stat().st_mtime_ns == written
    assert min(seen[3:]) > 40
    for name, value in tensors(whole.model).items():
        np.testing.assert_array_equal(tensors(resumed.model)[name], value)


def test_no_stage_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one stage"):
        fit_stages(TINY, (), tmp_path)


@pytest.mark.parametrize("name", FAMILY)
def test_every_document_of_every_stage_fits_its_rows(name: str) -> None:
    assert name in SIZES
    for stage in FAMILY[name]:
        for progress in (0.0, 1.0):
            batch = pack(stage.mix.documents(Random(0), progress), 1, stage.recipe.row_length)
            assert len(batch.at) > 0


def test_small_is_trained_by_one_command_in_its_four_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(stages.FAMILY, "small", small_family("small"))
    monkeypatch.setitem(build.SIZES, "small", replace(SIZES["small"], d=32, layers=1, heads=1))
    steps: list[int] = []
    build.train_member("small", tmp_path / "runs", tmp_path / "w", report=lambda step, loss: steps.append(step))
    assert steps == [2, 4, 6, 8]
    assert build.steps_of("small") == 8
    assert [len(read_log(tmp_path / "runs" / stage.name)) for stage in FAMILY["small"]] == [1, 1, 1, 1]
    shipped, master = load(tmp_path / "w" / "small.safetensors"), load(tmp_path / "w" / "fp32" / "small.safetensors")
    assert [part.split(":")[0] for part in shipped.metadata["stages"].split("; ")] == [
        "small-first", "small", "small-last", "small-end",
    ]  # fmt: skip
    for key, value in master.tensors.items():
        if value.ndim == 2:
            assert np.abs(shipped.tensors[key] - value).max() <= np.abs(value).max() / 127


def test_base_starts_as_what_small_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from interlock.pocket.model import PocketLM, restore

    small, base = PocketConfig(d=32, layers=1, heads=2), PocketConfig(d=48, layers=2, heads=3)
    still = Stage("base", Recipe(2 * 2 * 160, lr=0.0, rows=2, row_length=160))
    monkeypatch.setitem(stages.FAMILY, "base", (still,))
    monkeypatch.setitem(build.SIZES, "base", base)
    with pytest.raises(WeightsError, match=r"small\.safetensors"):
        build.train_member("base", tmp_path / "runs", tmp_path / "w")
    torch.manual_seed(0)
    origin = save(tmp_path / "w" / "small.safetensors", tensors(PocketLM(small)), name="small", config=small)
    build.train_member("base", tmp_path / "runs", tmp_path / "w")
    made = load(tmp_path / "w" / "fp32" / "base.safetensors")
    assert (made.metadata["grown_from"], made.metadata["grown_from_sha256"]) == ("small", origin)
    ids = torch.randint(16, 512, (2, 30))
    with torch.inference_mode():
        smaller = restore(load(tmp_path / "w" / "small.safetensors"))
        torch.testing.assert_close(restore(made)(ids), smaller(ids), atol=1e-2, rtol=1e-3)


def test_the_long_model_says_what_it_studied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(stages.FAMILY, "micro-long", small_family("micro-long")[:1])
    build.train_member("micro-long", tmp_path / "runs", tmp_path / "w")
    kept = load(tmp_path / "w" / "micro-long.safetensors")
    assert kept.metadata["studied"] == "recall_long"
    assert kept.config.context >= 4096


def test_an_unknown_member_has_no_recipe() -> None:
    with pytest.raises(ValueError, match="no recipe for 'huge'"):
        build.steps_of("huge")
