"""Domain specialists: low-rank adapters on a frozen generalist.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from interlock.pocket.mix import Mix, Share
from interlock.pocket.model import PocketLM, restore
from interlock.pocket.tasks import TASKS
from interlock.pocket.tasks.facts import facts_about
from interlock.pocket.train import Recipe, fit
from interlock.pocket.weights import WeightFile

MATRICES = ("wqkv", "wo", "w1", "w2")

SPECIALITIES = {
    "base7": Mix((Share(TASKS["base7"], 1.0),), ramp=0.3),
    "roman": Mix((Share(TASKS["roman"], 1.0),), ramp=0.3),
    "clock": Mix((Share(TASKS["clock"], 1.0),), ramp=0.3),
    "comet": Mix((Share(facts_about("comet"), 1.0),)),
    "painter": Mix((Share(facts_about("painter"), 1.0),)),
    "mineral": Mix((Share(facts_about("mineral"), 1.0),)),
}
"""What each shipped specialist studies: disciplines no generalist saw, and the rarest domains of facts."""

RECIPE = Recipe(1_000_000, "adamw", lr=5e-3, rows=6, warmup=100, weight_decay=0.0)
"""The recipe of every specialist."""


class LowRank(nn.Module):
    """A matrix [out, in] plus ``scale`` times B·A with A [rank, in] and B [out, rank]; B starts at zero."""

    def __init__(self, out: int, into: int, rank: int, scale: float) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(rank, into) * into**-0.5)
        self.b = nn.Parameter(torch.zeros(out, rank))
        self.scale = scale

    def forward(self, matrix: Tensor) -> Tensor:
        return matrix + self.scale * (self.b @ self.a)


def adapt(model: PocketLM, rank: int, alpha: float) -> PocketLM:
    """Freeze ``model`` and put an adapter on every matrix of its blocks, in place."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for layer in model.layers:
        for name in MATRICES:
            matrix = getattr(layer, name)
            low_rank = LowRank(matrix.shape[0], matrix.shape[1], rank, alpha / rank)
            parametrize.register_parametrization(layer, name, low_rank)
    return model


def adapter_tensors(model: PocketLM) -> dict[str, NDArray[np.float32]]:
    """The adapter's factors under their names in a weight file."""
    factors = {}
    for index, layer in enumerate(model.layers):
        for name in MATRICES:
            low_rank = layer.parametrizations[name][0]  # type: ignore[index]
            for factor in ("a", "b"):
                factors[f"layers.{index}.{name}.{factor}"] = getattr(low_rank, factor).detach().cpu().numpy()
    return factors


def specialise(
    base: WeightFile,
    mix: Mix,
    recipe: Recipe,
    out: Path,
    *,
    name: str,
    rank: int = 8,
    alpha: float = 16.0,
    seed: int = 0,
    device: str = "cpu",
    report: Callable[[int, float], None] | None = None,
) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    """Train an adapter on ``base`` as it is served; resumable like ``fit``.

    Returns the adapter's tensors and the metadata of its weight file.
    """
    torch.manual_seed(seed)
    model = adapt(restore(base), rank, alpha)
    trained = fit(base.config, mix, recipe, out, name=name, seed=seed, device=device, start=model, report=report)
    metadata = trained.metadata | {
        "base": base.name,
        "base_sha256": base.sha256,
        "rank": str(rank),
        "alpha": str(alpha),
    }
    return adapter_tensors(model), metadata


def restore_adapted(base: WeightFile, adapter: WeightFile) -> PocketLM:
    """The base model with an adapter file applied, as served.

    Raises ValueError if the adapter belongs to another model.
    """
    if adapter.base != base.name:
        raise ValueError(f"adapter {adapter.name!r} belongs to {adapter.base!r}, not to {base.name!r}")
    model = adapt(restore(base), adapter.rank, adapter.alpha)
    with torch.no_grad():
        for key, value in adapter.tensors.items():
            _, index, name, factor = key.split(".")
            low_rank = model.layers[int(index)].parametrizations[name][0]  # type: ignore[index]
            getattr(low_rank, factor).copy_(torch.from_numpy(value))
    return model.eval()
