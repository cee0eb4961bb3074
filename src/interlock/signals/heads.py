"""The packaged linear heads: weights on (embedding, structure), trained by `scripts/train_heads.py`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..encoder import DATA, Encoder
from ..errors import WeightsError
from .base import Reading, Readings
from .structure import Structure


@dataclass(frozen=True)
class Heads:
    """`task` is (d + 1, classes) and `difficulty` (d + 1,); the last row is the bias.

    `precision` is the (d + 1, d + 1) inverse of the difficulty regression's regularised Gram matrix and `noise` its
    residual standard deviation: together the standard deviation of one prediction.
    """

    classes: tuple[str, ...]
    task: NDArray[np.float32]
    difficulty: NDArray[np.float32]
    precision: NDArray[np.float32]
    noise: float


@cache
def load(folder: Path = DATA) -> Heads:
    """The packaged heads, loaded once. Raises `WeightsError` if they are missing or do not fit the encoder."""
    from safetensors import SafetensorError, safe_open

    path = folder / "heads.safetensors"
    try:
        with safe_open(path, "numpy") as file:
            about = file.metadata() or {}
            heads = Heads(
                tuple(json.loads(about["classes"])),
                file.get_tensor("task").astype(np.float32),
                file.get_tensor("difficulty").astype(np.float32),
                file.get_tensor("precision").astype(np.float32),
                float(about["noise"]),
            )
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read: {error}; reinstall interlock") from error
    inputs = Encoder.load(folder).dim + len(Structure.columns) + 1
    if heads.task.shape != (inputs, len(heads.classes)) or heads.difficulty.shape != (inputs,):
        raise WeightsError(
            f"{path} was trained for {len(heads.task)} inputs, encoder and structure give {inputs}; train again"
        )
    return heads


def features(embedding: Reading, structure: Reading) -> NDArray[np.float32]:
    """(d + 1,) float32: embedding, structure, and 1 for the bias."""
    return np.concatenate((embedding.columns, structure.columns, (1.0,)), dtype=np.float32)


def features_of_all(embedding: Readings, structure: Readings) -> NDArray[np.float32]:
    """(n, 1, d + 1): `features` of every request, in a shape in which each is multiplied on its own."""
    bias = np.ones((len(embedding.columns), 1), np.float32)
    return np.concatenate((embedding.columns, structure.columns, bias), axis=1, dtype=np.float32)[:, None, :]
