from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from interlock.errors import WeightsError
from interlock.pocket.config import PocketConfig
from interlock.pocket.weights import (
    Floats,
    Precision,
    dequantise_rows,
    load,
    quantise_rows,
    read_manifest,
    save,
    write_manifest,
)

Tensors = Callable[..., dict[str, Floats]]


@given(arrays(np.float32, (3, 8), elements=st.floats(-1000, 1000, width=32)))
def test_int8_rows_are_within_half_a_step(matrix: Floats) -> None:
    back = dequantise_rows(*quantise_rows(matrix))
    step = np.abs(matrix).max(axis=1, keepdims=True) / 127
    least = float(np.finfo(np.float16).tiny)  # no scale is smaller, so a row of tiny numbers has this step
    # Half a step of rounding, and as much as a float16 scale can lose at the end of the range.
    assert np.all(np.abs(back - matrix) <= 0.5 * np.maximum(step, least) * 1.001 + 0.07 * step)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 0), ("fp16", 2e-3), ("int8", 3e-2)])
def test_a_saved_model_comes_back(
    tmp_path: Path, tiny: PocketConfig, tensors_of: Tensors, precision: Precision, tolerance: float
) -> None:
    tensors = tensors_of(tiny)
    path, metadata = tmp_path / "m.safetensors", {"seed": "7"}
    digest = save(path, tensors, name="m", config=tiny, metadata=metadata, precision=precision)
    file = load(tmp_path / "m.safetensors", sha256=digest)
    assert (file.name, file.config, file.metadata["seed"], file.sha256) == ("m", tiny, "7", digest)
    assert file.params == tiny.params
    for name, tensor in tensors.items():
        assert np.abs(file.tensors[name] - tensor).max() <= tolerance


def test_an_altered_file_is_refused(tmp_path: Path, tiny: PocketConfig, tensors_of: Tensors) -> None:
    path = tmp_path / "m.safetensors"
    save(path, tensors_of(tiny), name="m", config=tiny)
    write_manifest(tmp_path)
    payload = bytearray(path.read_bytes())
    payload[-1] ^= 1
    path.write_bytes(payload)
    with pytest.raises(WeightsError, match="SHA-256"):
        load(path)


def test_a_truncated_file_is_refused(tmp_path: Path, tiny: PocketConfig, tensors_of: Tensors) -> None:
    path = tmp_path / "m.safetensors"
    save(path, tensors_of(tiny), name="m", config=tiny)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="not a pocket weight file"):
        load(path)


def test_a_foreign_or_absent_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.safetensors").write_text("hello there, this is no tensor file")
    for name in ("text", "absent"):
        with pytest.raises(WeightsError, match=f"{name}.safetensors"):
            load(tmp_path / f"{name}.safetensors")


@pytest.mark.parametrize("damage", ["missing", "extra", "shape", "nan"])
def test_wrong_tensors_are_named(tmp_path: Path, tiny: PocketConfig, tensors_of: Tensors, damage: str) -> None:
    tensors = tensors_of(tiny)
    if damage == "missing":
        del tensors["layers.1.wo"]
    elif damage == "extra":
        tensors["layers.9.wo"] = tensors["layers.1.wo"]
    elif damage == "shape":
        tensors["layers.1.wo"] = tensors["layers.1.wo"][:-1]
    else:
        tensors["layers.1.wo"][3, 4] = np.nan
    with pytest.raises(WeightsError, match=r"layers\.[19]\.wo"):
        save(tmp_path / "m.safetensors", tensors, name="m", config=tiny)
    assert not (tmp_path / "m.safetensors").exists()


def test_adapters_state_their_rank_and_fit_their_model(tmp_path: Path, tiny: PocketConfig, adapter_of: Tensors) -> None:
    tensors, path = adapter_of(tiny, 4, 0), tmp_path / "a.safetensors"
    header = {"base": "m", "rank": "4", "alpha": "8"}
    save(path, tensors, name="a", config=tiny, metadata=header)
    file = load(path)
    assert (file.base, file.rank, file.alpha) == ("m", 4, 8.0)
    with pytest.raises(WeightsError, match="rank and alpha"):
        save(path, tensors, name="a", config=tiny, metadata={"base": "m"})
    with pytest.raises(WeightsError, match="shape"):
        save(path, tensors, name="a", config=tiny, metadata={**header, "rank": "8"})
    lone = {key: value for key, value in tensors.items() if key != "layers.0.wo.b"}
    with pytest.raises(WeightsError, match=r"layers\.0\.wo\.b"):
        save(path, lone, name="a", config=tiny, metadata=header)


def test_the_manifest_lists_hash_size_and_parameters(weights: Path, tiny: PocketConfig) -> None:
    entries = json.loads((weights / "manifest.json").read_text())
    assert set(entries) == {"tiny", "speck", "tiny-left", "tiny-right"}
    assert entries["tiny"]["params"] == tiny.params
    assert entries["tiny"]["bytes"] == (weights / "tiny.safetensors").stat().st_size
    (weights.parent / "bad").mkdir(exist_ok=True)
    (weights.parent / "bad" / "manifest.json").write_text("[]")
    with pytest.raises(WeightsError, match="manifest"):
        read_manifest(weights.parent / "bad")
