"""The shape of a pocket model: one frozen record that training, weight files and the engine share."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True, slots=True)
class PocketConfig:
    """Sizes of one decoder-only transformer.

    Attributes:
        d: width of the residual stream, divisible by ``heads``.
        layers: number of blocks.
        heads: attention heads; the head width ``d / heads`` is even (rotary embeddings rotate pairs).
        vocab: number of token ids.
        ffn_mult: hidden width of the feed-forward network as a multiple of ``d``.
        context: the most tokens a sequence may have, prompt and completion together.
        rope_base: base of the rotary frequencies; 1000 for short contexts, a million for long ones.
        eps: added to the mean square inside every RMS norm.
        tied: whether the output head is the token embedding ``e0``.

    Raises:
        ValueError: a size is not positive, or a divisibility rule above is broken.
    """

    d: int
    layers: int
    heads: int
    vocab: int = 512
    ffn_mult: int = 4
    context: int = 512
    rope_base: float = 1000.0
    eps: float = 1e-6
    tied: bool = False

    def __post_init__(self) -> None:
        for name in ("d", "layers", "heads", "vocab", "ffn_mult", "context", "rope_base", "eps"):
            if getattr(self, name) <= 0:
                raise ValueError(f"PocketConfig.{name} must be positive, got {getattr(self, name)}")
        if self.d % self.heads or (self.d // self.heads) % 2:
            raise ValueError(f"PocketConfig.d={self.d} must split into heads={self.heads} of even width")

    @property
    def head_dim(self) -> int:
        return self.d // self.heads

    @property
    def params(self) -> int:
        """Every stored parameter, embeddings and norms included."""
        embeddings = (3 if self.tied else 4) * self.vocab * self.d
        return embeddings + self.layers * self._block_params() + self.d

    @property
    def active_params(self) -> int:
        """Parameters one token touches: all blocks, the head, the final norm and three embedding rows."""
        return self.layers * self._block_params() + self.vocab * self.d + self.d + 3 * self.d

    def _block_params(self) -> int:
        return (4 + 2 * self.ffn_mult) * self.d * self.d + 2 * self.d + 2 * self.head_dim

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor a full model has; matrices are [out, in]."""
        d, f, h = self.d, self.ffn_mult * self.d, self.head_dim
        table: dict[str, tuple[int, ...]] = dict.fromkeys(("e0", "e1", "e2"), (self.vocab, d))
        for i in range(self.layers):
            block = {"g1": (d,), "g2": (d,), "wqkv": (3 * d, d), "qn": (h,), "kn": (h,),
                     "wo": (d, d), "w1": (f, d), "w2": (d, f)}  # fmt: skip
            table.update({f"layers.{i}.{name}": shape for name, shape in block.items()})
        table["gf"] = (d,)
        if not self.tied:
            table["head"] = (self.vocab, d)
        return table

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> PocketConfig:
        """Read what ``to_json`` wrote.

        Raises:
            ValueError: not a JSON object, an unknown or a missing field, or sizes that do not fit together.
        """
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError(f"a pocket config is a JSON object, got {type(value).__name__}")
        unknown = sorted(set(value) - {f.name for f in fields(cls)})
        if unknown:
            raise ValueError(f"unknown pocket config fields {unknown}")
        missing = sorted({"d", "layers", "heads"} - set(value))
        if missing:
            raise ValueError(f"pocket config lacks {missing}")
        return cls(**value)


SIZES: dict[str, PocketConfig] = {
    "nano": PocketConfig(48, 2, 3),
    "micro": PocketConfig(96, 3, 4),
    "small": PocketConfig(160, 4, 5),
    "base": PocketConfig(256, 6, 8),
    "large": PocketConfig(384, 8, 12),
    "micro-long": PocketConfig(96, 3, 4, context=4096, rope_base=1e6),
}
