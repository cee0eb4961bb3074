from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.errors import NotFound, RequestError, WeightsError
from interlock.pocket.config import PocketConfig
from interlock.pocket.family import BUDGETS, Family, load_family
from interlock.pocket.requests import Usage
from interlock.pocket.weights import Floats, save

Tensors = Callable[..., dict[str, Floats]]


@pytest.fixture(scope="module")
def family(weights: Path) -> Family:
    return load_family(weights)


def test_every_model_and_adapter_has_every_budget(family: Family) -> None:
    stems = ["speck", "tiny", "tiny-left", "tiny-right"]
    assert list(family.members) == ["speck", "tiny"]  # smallest first
    assert sorted(family.candidates) == sorted(f"{stem}-{budget}" for stem in stems for budget in BUDGETS)
    assert (family.candidates["tiny-left-t1"].model, family.candidates["tiny-left-t1"].adapter) == ("tiny", "tiny-left")


def test_a_file_may_be_for_some_budgets_only(
    weights: Path, tmp_path: Path, tensors_of: Tensors, tiny: PocketConfig
) -> None:
    def kept(budgets: str) -> Family:
        save(tmp_path / "one.safetensors", tensors_of(tiny), name="one", config=tiny, metadata={"budgets": budgets})
        return load_family(tmp_path)

    assert list(kept("t0 t2").candidates) == ["one-t0", "one-t2"]
    assert kept("t0").resolve("one").name == "one-t0"
    with pytest.raises(NotFound, match="one-t0"):
        kept("t0").resolve("one", "low")
    for wrong in ("t1", "t0 t9", ""):
        with pytest.raises(WeightsError, match="needs t0 and may have t0, t1, t2, tN"):
            kept(wrong)


def test_price_is_a_dollar_per_million_million_parameter_tokens(family: Family, tiny: PocketConfig) -> None:
    plain, special = family.candidates["tiny-t0"], family.candidates["tiny-left-t0"]
    assert plain.price_in == plain.price_out == pytest.approx(tiny.active_params / 1e6)
    assert special.active_params - plain.active_params == family.members["tiny"].adapters[0].params
    usage = Usage(prompt=100, cached=40, completion=10)
    per_token = plain.active_params * 1e-12
    assert plain.cost(usage) == pytest.approx(per_token * (60 + 4 + 10))
    assert plain.energy(usage) == pytest.approx(2 * plain.active_params * 70 * 6e-11)


@pytest.mark.parametrize(
    ("name", "effort", "candidate"),
    [
        ("tiny", None, "tiny-t0"), ("tiny", "none", "tiny-t0"), ("tiny", "low", "tiny-t1"),
        ("tiny", "medium", "tiny-t2"), ("tiny", "high", "tiny-tN"), ("tiny-left", "low", "tiny-left-t1"),
        ("tiny-t1", None, "tiny-t1"), ("tiny-t1", "low", "tiny-t1"),
    ],
)  # fmt: skip
def test_a_name_and_an_effort_mean_a_candidate(family: Family, name: str, effort: str | None, candidate: str) -> None:
    assert family.resolve(name, effort).name == candidate


def test_what_cannot_be_meant_is_refused_with_a_hint(family: Family) -> None:
    with pytest.raises(NotFound, match="tiny-t"):
        family.resolve("tinny-t1")
    with pytest.raises(RequestError, match="none, minimal, low, medium, high"):
        family.resolve("tiny", "extreme")
    with pytest.raises(RequestError, match="fixes the budget t1"):
        family.resolve("tiny-t1", "high")


def test_chosen_models_bring_their_adapters_and_no_others(weights: Path) -> None:
    assert set(load_family(weights, ["speck"]).candidates) == {f"speck-{budget}" for budget in BUDGETS}
    assert "tiny-left-t0" in load_family(weights, ["tiny"]).candidates
    with pytest.raises(NotFound, match="speck"):
        load_family(weights, ["spek"])


def test_files_of_models_that_are_not_wanted_stay_unread(weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    shutil.copytree(weights, folder)
    speck = folder / "speck.safetensors"
    speck.write_bytes(speck.read_bytes()[:-1] + b"!")
    assert "tiny-left-t0" in load_family(folder, ["tiny"]).candidates
    for names in (None, ["speck"]):
        with pytest.raises(WeightsError, match="refusing to serve it"):
            load_family(folder, names)
    for damaged in (b"", b"\xff" * 4096, b"\x10" + bytes(7) + b"{not json at all}"):  # not even its name can be read
        speck.write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"speck\.safetensors"):
            load_family(folder, ["tiny"])


def test_calibration_becomes_the_profile(weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    shutil.copytree(weights, folder)
    tasks = {"add": {"1": {"accuracy": 0.75}, "2": {"accuracy": 0.5}}, "sort": {"3": {"accuracy": 0.0}}}
    (folder / "calibration.json").write_text(json.dumps({"candidates": {"tiny-t1": {"tasks": tasks}}}))
    (folder / "bench.json").write_text(json.dumps({"weights": {"add": {"1": 3, "2": 1}, "sort": {"3": 0}}}))
    family = load_family(folder)
    assert family.candidates["tiny-t1"].profile == {"tasks": tasks, "accuracy": (3 * 0.75 + 0.5) / 4}
    assert family.candidates["tiny-t0"].profile == {}
    (folder / "calibration.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"calibration\.json"):
        load_family(folder)


def test_files_that_do_not_belong_together_are_refused(
    tmp_path: Path, tiny: PocketConfig, tensors_of: Tensors, adapter_of: Tensors
) -> None:
    with pytest.raises(WeightsError, match="no pocket model"):
        load_family(tmp_path)
    save(tmp_path / "m.safetensors", tensors_of(tiny), name="m", config=tiny, metadata={"tokenizer_sha256": "0" * 64})
    with pytest.raises(WeightsError, match="another tokenizer"):
        load_family(tmp_path)
    save(tmp_path / "m.safetensors", tensors_of(tiny), name="m", config=tiny)
    orphan = {"base": "other", "rank": "2", "alpha": "4"}
    save(tmp_path / "a.safetensors", adapter_of(tiny, 2, 0), name="a", config=tiny, metadata=orphan)
    with pytest.raises(WeightsError, match="'other'"):
        load_family(tmp_path)
