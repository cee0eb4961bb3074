"""Embedding: what the prompt is about, as a dense unit vector from the packaged static encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ..encoder import WHOLE, Encoder, excerpt, unit
from ..types import Request, Signal
from .base import Reading, Readings
from .plain import Plain
from .text import strip_preamble


@dataclass(frozen=True)
class Embedding:
    """`value` is None: the vector is the message. `confidence` is the share of the question's characters that was read.

    Fixed few-shot preambles are cut off. Texts without any word or symbol give the zero vector.
    """

    encoder: Encoder = field(default_factory=Encoder.load, repr=False)

    name: ClassVar[str] = "embedding"
    requires: ClassVar[tuple[str, ...]] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(str(i) for i in range(self.encoder.dim))

    def read(self, request: Request, seen: Mapping[str, Reading]) -> Reading:
        question, examples = strip_preamble(request.prompt)
        text, covered = excerpt(question)
        vector = self.encoder.embed(self.encoder.tokenizer.encode(text))
        return Reading(Signal(self.name, None, covered, _left_out(question, examples, covered)), vector)

    def read_all(self, batch: Plain, seen: Mapping[str, Readings]) -> Readings:
        vectors = np.array([unit(counted.vector) for counted in batch.counted(self.encoder)])
        said = [_left_out(prompt.question, prompt.examples, prompt.covered) for prompt in batch.prompts]
        return Readings([None] * len(vectors), vectors, [prompt.covered for prompt in batch.prompts], said)


def _left_out(question: str, examples: int, covered: float) -> str:
    said = [f"{examples} worked examples cut off"] if examples else []
    if covered < 1:
        said.append(f"read {WHOLE} of {len(question)} characters: beginning, end and windows between")
    return "; ".join(said)
