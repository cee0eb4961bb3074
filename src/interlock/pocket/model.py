"""The pocket language model in PyTorch: a small pre-norm transformer over an n-gram input embedding.

Source: RMSNorm, Zhang & Sennrich 2019; rotary embeddings, Su et al. 2021; query-key norm, Henry et al. 2020.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from interlock.pocket.config import PocketConfig
from interlock.pocket.tokenizer import PAD
from interlock.pocket.weights import WeightFile

Cache = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer, each [batch, heads, positions, head_dim]."""


def n_gram_ids(ids: Tensor, document: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The ids one and two places earlier, each [batch, length]; ``<pad>`` (a zero row) across document borders."""
    earlier = []
    for back in (1, 2):
        shifted = F.pad(ids, (back, 0), value=PAD)[:, : ids.shape[1]]
        if document is not None:
            origin = F.pad(document, (back, 0), value=-1)[:, : ids.shape[1]]
            shifted = torch.where(origin == document, shifted, PAD)
        earlier.append(shifted)
    return earlier[0], earlier[1]


def document_mask(document: Tensor) -> Tensor:
    """[batch, 1, length, length], True where a position may attend: earlier or equal, and in the same document."""
    same = document[:, :, None] == document[:, None, :]
    return same.tril()[:, None]


def one_a_row(document: Tensor) -> bool:
    """Whether every row is one document and then padding (-1), so that plain causal attention mixes no two of them."""
    first, last = document[:, :1], document[:, -1:]
    return bool(((document == first) | (document == -1)).all() and ((last == -1) | (last == first)).all())


class Block(nn.Module):
    """Attention with rotary positions and normed queries and keys, then a GELU feed-forward network; no biases."""

    def __init__(self, config: PocketConfig) -> None:
        super().__init__()
        d, hidden = config.d, config.ffn_mult * config.d
        self.heads, self.head_dim, self.eps = config.heads, config.head_dim, config.eps
        deep = (2 * config.layers) ** -0.5
        self.g1, self.g2 = nn.Parameter(torch.ones(d)), nn.Parameter(torch.ones(d))
        self.qn, self.kn = nn.Parameter(torch.ones(self.head_dim)), nn.Parameter(torch.ones(self.head_dim))
        self.wqkv, self.wo = _matrix(3 * d, d), _matrix(d, d, deep)
        self.w1, self.w2 = _matrix(hidden, d), _matrix(d, hidden, deep)

    def attend(
        self, x: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor | None, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The residual stream after attention, [batch, length, d], and the keys and values so far."""
        batch, length, d = x.shape
        qkv = F.linear(_norm(x, self.g1, self.eps), self.wqkv)
        q, k, v = qkv.view(batch, length, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q = _rotate(_norm(q, self.qn, self.eps), *rotary)
        k = _rotate(_norm(k, self.kn, self.eps), *rotary)
        if past is not None:
            k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
        causal = mask is None and length > 1
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return x + F.linear(mixed.transpose(1, 2).reshape(batch, length, d), self.wo), (k, v)

    def think(self, x: Tensor) -> Tensor:
        """The residual stream after the feed-forward network."""
        hidden = F.gelu(F.linear(_norm(x, self.g2, self.eps), self.w1), approximate="tanh")
        return x + F.linear(hidden, self.w2)


class PocketLM(nn.Module):
    """Token ids to next-token logits."""

    def __init__(self, config: PocketConfig) -> None:
        super().__init__()
        self.config = config
        self.e0, self.e1, self.e2 = (_matrix(config.vocab, config.d, in_width=2500) for _ in range(3))
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.gf = nn.Parameter(torch.ones(config.d))
        self.head = self.e0 if config.tied else _matrix(config.vocab, config.d)
        with torch.no_grad():
            self.e1[PAD] = self.e2[PAD] = 0.0

    def forward(self, ids: Tensor, document: Tensor | None = None, at: Tensor | None = None) -> Tensor:
        """Logits of packed rows.

        ``ids`` and ``document`` (which document each token belongs to; None for one a row) are [batch, length]. ``at``
        selects flat positions batch * length whose logits are wanted: [positions, vocab], else [batch, length, vocab].
        The last feed-forward network and the head run only there, which is where the loss is.
        """
        x = self._embed(ids, *n_gram_ids(ids, document))
        mask = None if document is None or one_a_row(document) else document_mask(document)
        rotary = self._rotary(torch.arange(ids.shape[1], device=ids.device))
        for layer in self.layers[:-1]:
            x = layer.think(layer.attend(x, rotary, mask, None)[0])  # type: ignore[operator]
        last = self.layers[-1]
        x, _ = last.attend(x, rotary, mask, None)  # type: ignore[operator]
        if at is not None:
            x = x.flatten(0, 1)[at]
        return self._logits(last.think(x))  # type: ignore[operator]

    def extend(self, ids: Tensor, earlier: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        """Logits of the last of ``ids`` [batch, new], given the two tokens before them [batch, 2] and the cache."""
        context = torch.cat((earlier, ids), 1)
        start = 0 if cache is None else cache[0][0].shape[2]
        x = self._embed(ids, context[:, 1:-1], context[:, :-2])
        rotary = self._rotary(torch.arange(start, start + ids.shape[1], device=ids.device))
        grown: Cache = []
        for index, layer in enumerate(self.layers):
            x, kept = layer.attend(x, rotary, None, cache[index] if cache else None)  # type: ignore[operator]
            x = layer.think(x)  # type: ignore[operator]
            grown.append(kept)
        return self._logits(x[:, -1]), grown

    def _embed(self, ids: Tensor, one_back: Tensor, two_back: Tensor) -> Tensor:
        return (
            F.embedding(ids, self.e0)
            + F.embedding(one_back, self.e1, padding_idx=PAD)
            + F.embedding(two_back, self.e2, padding_idx=PAD)
        )

    def _logits(self, x: Tensor) -> Tensor:
        return F.linear(_norm(x, self.gf, self.config.eps), self.head)

    def _rotary(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        half = self.config.head_dim // 2
        rates = self.config.rope_base ** (-torch.arange(half, device=positions.device) / half)
        angles = positions[:, None] * rates
        return angles.cos(), angles.sin()


def model_of(config: PocketConfig, tensors: Mapping[str, NDArray[np.float32]]) -> PocketLM:
    """A model with the given tensors, in evaluation mode."""
    model = PocketLM(config)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in tensors.items()}, strict=True)
    return model.eval()


def restore(file: WeightFile) -> PocketLM:
    """The model of a weight file, as served: quantised weights stay quantised values."""
    return model_of(file.config, file.tensors)


def tensors(model: PocketLM) -> dict[str, NDArray[np.float32]]:
    """The parameters under their names in a weight file."""
    return {key: value.detach().cpu().numpy() for key, value in model.named_parameters()}


def _matrix(out: int, into: int, scale: float = 1.0, in_width: int | None = None) -> nn.Parameter:
    return nn.Parameter(torch.randn(out, into) * scale * (in_width or into) ** -0.5)


def _norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), gain, eps)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
