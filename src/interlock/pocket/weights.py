"""Weight files of pocket models: safetensors with int8 rows, checked by hash, shape and finiteness.

A file holds one full model or one low-rank adapter. Matrices may be stored as ``<name>.q`` (int8) with
``<name>.s`` (one float16 scale a row); everything is float32 once loaded. ``manifest.json`` beside the
files lists the SHA-256 of each, and a file that differs from its entry is refused.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022 (adapter layout);
safetensors format, https://huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from interlock.errors import WeightsError
from interlock.pocket.config import PocketConfig

Precision = Literal["int8", "fp16", "fp32"]
Floats = NDArray[np.float32]

_LONGEST_HEADER = 1 << 20
_ADAPTER_TENSOR = re.compile(r"layers\.(\d+)\.(wqkv|wo|w1|w2)\.(a|b)")


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One loaded file: float32 tensors and the metadata that travelled with them.

    ``base`` is empty for a full model; for an adapter it names the model the adapter belongs to.
    """

    name: str
    config: PocketConfig
    tensors: dict[str, Floats]
    metadata: dict[str, str]
    sha256: str

    @property
    def base(self) -> str:
        return self.metadata.get("base", "")

    @property
    def rank(self) -> int:
        return int(self.metadata["rank"])

    @property
    def alpha(self) -> float:
        return float(self.metadata["alpha"])

    @property
    def params(self) -> int:
        return sum(tensor.size for tensor in self.tensors.values())


def save(
    path: Path,
    tensors: Mapping[str, NDArray[np.floating]],
    *,
    name: str,
    config: PocketConfig,
    metadata: Mapping[str, str] | None = None,
    precision: Precision = "int8",
) -> str:
    """Write a model (or, with ``base``, ``rank`` and ``alpha`` in ``metadata``, an adapter).

    Matrices take ``precision``; vectors (norm gains) are always float32, they are too few to matter.

    Returns:
        The SHA-256 of the file, in hexadecimal.

    Raises:
        WeightsError: a tensor is missing, misshapen or not finite; nothing is written then.
    """
    from safetensors.numpy import save as serialise

    plain = {key: np.asarray(value, np.float32) for key, value in tensors.items()}
    header = {**(metadata or {}), "name": name, "config": config.to_json()}
    _check(plain, config, header, where=str(path))
    stored: dict[str, NDArray[np.generic]] = {}
    for key, value in plain.items():
        if value.ndim == 1 or precision == "fp32":
            stored[key] = value
        elif precision == "fp16":
            stored[key] = value.astype(np.float16)
        else:
            stored[f"{key}.q"], stored[f"{key}.s"] = quantise_rows(value)
    payload = serialise(stored, metadata=header)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(payload)
    return hashlib.sha256(payload).hexdigest()


def load(path: Path, *, sha256: str | None = None) -> WeightFile:
    """Read a model or adapter file into float32.

    Args:
        sha256: the expected hash; ``None`` takes it from ``manifest.json`` beside the file, if there is one.

    Raises:
        WeightsError: the file is absent or damaged, its hash differs, or a tensor is missing, has the
            wrong shape or holds a value that is not finite.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as deserialise

    try:
        payload = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read pocket weights {path}: {error.strerror}") from error
    digest = hashlib.sha256(payload).hexdigest()
    if sha256 is None:
        sha256 = read_manifest(path.parent).get(path.stem, {}).get("sha256")
    if sha256 is not None and digest != sha256:
        raise WeightsError(f"{path} has SHA-256 {digest}, expected {sha256}: refusing to serve it")
    try:
        stored = deserialise(payload)
        header = _header(payload)
        config = PocketConfig.from_json(header["config"])
        name = header["name"]
    except (SafetensorError, KeyError, ValueError) as error:
        raise WeightsError(f"{path} is not a pocket weight file: {error}") from error
    tensors: dict[str, Floats] = {}
    for key, value in stored.items():
        if key.endswith(".q"):
            stem = key.removesuffix(".q")
            if f"{stem}.s" not in stored:
                raise WeightsError(f"{path}: {key} has no row scales {stem}.s")
            tensors[stem] = dequantise_rows(value, stored[f"{stem}.s"])
        elif not key.endswith(".s"):
            tensors[key] = value.astype(np.float32)
    _check(tensors, config, header, where=str(path))
    return WeightFile(name, config, tensors, header, digest)


def metadata(path: Path) -> dict[str, str]:
    """What a file says of itself, its tensors left unread; empty for a damaged file, of which `load` tells more."""
    try:
        with path.open("rb") as file:
            length = file.read(8)
            return _header(length + file.read(min(int.from_bytes(length, "little"), _LONGEST_HEADER)))
    except (OSError, ValueError, KeyError):
        return {}


def quantise_rows(matrix: Floats) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Symmetric int8 with one float16 scale a row: ``matrix`` is about ``q * s[:, None]``."""
    largest = np.abs(matrix).max(axis=1)
    # float16 rounds the scale; dividing by the rounded value keeps q * s nearest to the matrix.
    scale = np.maximum(largest / 127.0, np.finfo(np.float16).tiny).astype(np.float16)
    quantised = np.rint(matrix / scale.astype(np.float32)[:, None])
    return np.clip(quantised, -127, 127).astype(np.int8), scale


def dequantise_rows(quantised: NDArray[np.int8], scale: NDArray[np.float16]) -> Floats:
    return np.asarray(quantised.astype(np.float32) * scale.astype(np.float32)[:, None], np.float32)


def read_manifest(folder: Path) -> dict[str, dict[str, str]]:
    """Entries of ``manifest.json`` by file stem; empty where there is no manifest.

    Raises:
        WeightsError: the manifest exists but is not readable as one.
    """
    path = folder / "manifest.json"
    if not path.exists():
        return {}
    try:
        entries = json.loads(path.read_text("utf-8"))
        return {name: {"sha256": str(entry["sha256"])} for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is not a weight manifest: {error!r}") from error


def write_manifest(folder: Path) -> dict[str, dict[str, object]]:
    """Hash every ``*.safetensors`` file of ``folder`` and write ``manifest.json`` there."""
    entries: dict[str, dict[str, object]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        payload = path.read_bytes()
        digest = hashlib.sha256(payload).hexdigest()
        file = load(path, sha256=digest)
        entries[path.stem] = {"sha256": digest, "bytes": len(payload), "params": file.params}
    (folder / "manifest.json").write_text(json.dumps(entries, indent=1) + "\n", "utf-8")
    return entries


def _header(payload: bytes) -> dict[str, str]:
    length = int.from_bytes(payload[:8], "little")
    header = json.loads(payload[8 : 8 + length])
    return dict(header["__metadata__"])


def _check(tensors: Mapping[str, Floats], config: PocketConfig, header: Mapping[str, str], *, where: str) -> None:
    expected = _adapter_shapes(tensors, config, header, where) if header.get("base") else config.shapes()
    missing, extra = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or extra:
        raise WeightsError(f"{where}: missing tensors {missing}, unknown tensors {extra}")
    for key, shape in expected.items():
        if tensors[key].shape != shape:
            raise WeightsError(f"{where}: {key} has shape {tensors[key].shape}, expected {shape}")
        if not np.isfinite(tensors[key]).all():
            raise WeightsError(f"{where}: {key} holds values that are not finite")


def _adapter_shapes(
    tensors: Mapping[str, Floats], config: PocketConfig, header: Mapping[str, str], where: str
) -> dict[str, tuple[int, ...]]:
    """An adapter may cover any subset of the block matrices, each with both factors."""
    if "rank" not in header or "alpha" not in header:
        raise WeightsError(f"{where}: an adapter states rank and alpha in its metadata")
    rank, full = int(header["rank"]), config.shapes()
    shapes: dict[str, tuple[int, ...]] = {}
    for key in tensors:
        match = _ADAPTER_TENSOR.fullmatch(key)
        if match is None or int(match[1]) >= config.layers:
            raise WeightsError(f"{where}: {key} is not an adapter tensor of a {config.layers}-layer model")
        stem = key[:-2]
        out, into = full[stem]
        shapes[f"{stem}.a"], shapes[f"{stem}.b"] = (rank, into), (out, rank)
    return shapes
