"""Growing a trained model into a larger one that computes the same: a wider stream, more heads, more blocks.

New entries of whatever writes to the residual stream (embeddings, ``wo``, ``w2``) are zero, new blocks therefore the
identity; whatever reads from it starts at random, so that gradients reach the zeros. Norms divide by the root mean
square over the width, which grows by zeros, so their gains shrink by the root of the ratio of widths.

Source: Chen et al., "Net2Net", ICLR 2016; Shen et al., "Staged Training for Transformer Language Models", ICML 2022.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from interlock.pocket.config import PocketConfig
from interlock.pocket.weights import Floats

_WRITERS = ("e0", "e1", "e2", "wo", "w2")


def grow(tensors: Mapping[str, Floats], config: PocketConfig, target: PocketConfig, seed: int = 0) -> dict[str, Floats]:
    """The tensors of a ``target`` model with the same logits, up to rounding and the norms' epsilon; new blocks on top.

    Raises ValueError if ``target`` is smaller somewhere, or differs in head width, vocabulary, rotation, feed-forward
    multiple or tying.
    """
    _check(config, target)
    rng, shrink = np.random.default_rng(seed), np.float32((config.d / target.d) ** 0.5)
    grown: dict[str, Floats] = {}
    for name, shape in target.shapes().items():
        kind, old = name.rpartition(".")[2], tensors.get(name)
        if len(shape) == 1:
            gains = np.ones(shape, np.float32)
            if old is not None and kind in ("qn", "kn"):
                gains = old.copy()
            elif old is not None:
                gains[:] = shrink
                gains[: len(old)] = old * shrink
            grown[name] = gains
            continue
        new = np.zeros(shape, np.float32)
        if kind not in _WRITERS:
            new = rng.standard_normal(shape, np.float32) * np.float32(shape[1] ** -0.5)
        if old is not None and kind == "wqkv":  # three stacked matrices, each with its own new heads
            stacked, before = new.reshape(3, target.d, target.d), old.reshape(3, config.d, config.d)
            stacked[:, : config.d, : config.d] = before
        elif old is not None:
            new[: old.shape[0], : old.shape[1]] = old
        grown[name] = new
    return grown


def _check(config: PocketConfig, target: PocketConfig) -> None:
    for name in ("d", "layers", "heads"):
        if getattr(target, name) < getattr(config, name):
            raise ValueError(f"{name} cannot shrink from {getattr(config, name)} to {getattr(target, name)}")
    for name in ("head_dim", "vocab", "rope_base", "ffn_mult", "tied"):
        if getattr(target, name) != getattr(config, name):
            raise ValueError(f"{name} must stay {getattr(config, name)}, not {getattr(target, name)}")
