"""Random pocket models: real files with random weights, enough for everything but accuracy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from threadpoolctl import threadpool_limits

from interlock.pocket.config import PocketConfig
from interlock.pocket.tokenizer import EOS
from interlock.pocket.weights import Floats, save, write_manifest

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

TINY = PocketConfig(d=48, layers=2, heads=3, context=256)

Weights = dict[str, Floats]


def random_tensors(config: PocketConfig, seed: int = 0) -> Weights:
    """Weights of a model that has choices to make when sampled, and in practice never ends by itself."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in config.shapes().items():
        noise = rng.standard_normal(shape, np.float32)
        tensors[name] = 1 + np.float32(0.1) * noise if len(shape) == 1 else noise / np.float32(shape[1] ** 0.5)
    if not config.tied:
        tensors["head"] *= np.float32(4)
        tensors["head"][EOS] = 0
    return tensors


def random_adapter(config: PocketConfig, rank: int, seed: int) -> Weights:
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in config.shapes().items():
        if name.rpartition(".")[2] in ("wqkv", "wo", "w1", "w2"):
            tensors[f"{name}.a"] = (rng.standard_normal((rank, shape[1])) / shape[1] ** 0.5).astype(np.float32)
            tensors[f"{name}.b"] = (rng.standard_normal((shape[0], rank)) * 0.3).astype(np.float32)
    return tensors


@pytest.fixture(scope="session", autouse=True)
def one_blas_thread() -> None:
    """As in a pool; on a busy machine two threads would spend their time waiting for each other."""
    threadpool_limits(1, user_api="blas")


@pytest.fixture(scope="session")
def tiny() -> PocketConfig:
    return TINY


@pytest.fixture(scope="session")
def tensors_of() -> Callable[..., Weights]:
    return random_tensors


@pytest.fixture(scope="session")
def adapter_of() -> Callable[..., Weights]:
    return random_adapter


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two models, two adapters of different rank on the first, and a manifest."""
    folder = tmp_path_factory.mktemp("weights")
    save(folder / "tiny.safetensors", random_tensors(TINY), name="tiny", config=TINY)
    other = PocketConfig(d=32, layers=1, heads=2, context=128)
    save(folder / "speck.safetensors", random_tensors(other, 1), name="speck", config=other)
    for name, rank, seed in (("tiny-left", 4, 2), ("tiny-right", 8, 3)):
        metadata = {"base": "tiny", "rank": str(rank), "alpha": str(2 * rank)}
        tensors = random_adapter(TINY, rank, seed)
        save(folder / f"{name}.safetensors", tensors, name=name, config=TINY, metadata=metadata, precision="fp16")
    write_manifest(folder)
    return folder
