"""Task: what kind of work the prompt asks for, by a multinomial logistic head on embedding and structure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ..types import Request, Signal
from . import heads
from .base import Reading, Readings
from .plain import Plain, silent


@dataclass(frozen=True)
class TaskHead:
    """`value` is the likeliest class, `confidence` its probability; one column a class holds the probabilities.

    An empty prompt has value None and uniform probabilities.
    """

    weights: heads.Heads = field(default_factory=heads.load, repr=False)

    name: ClassVar[str] = "task"
    requires: ClassVar[tuple[str, ...]] = ("embedding", "structure")

    @property
    def columns(self) -> tuple[str, ...]:
        return self.weights.classes

    def read(self, request: Request, seen: Mapping[str, Reading]) -> Reading:
        classes = self.weights.classes
        if not request.prompt.strip():
            return Reading(Signal(self.name, None, 0.0), [1.0 / len(classes)] * len(classes))
        logits = heads.features(seen["embedding"], seen["structure"]) @ self.weights.task
        exponents = np.exp(logits - logits.max())
        probabilities = exponents / exponents.sum()
        best = int(probabilities.argmax())
        return Reading(Signal(self.name, classes[best], float(probabilities[best])), probabilities)

    def read_all(self, batch: Plain, seen: Mapping[str, Readings]) -> Readings:
        classes = self.weights.classes
        logits = (heads.features_of_all(seen["embedding"], seen["structure"]) @ self.weights.task)[:, 0, :]
        exponents = np.exp(logits - np.maximum.reduce(logits, axis=1, keepdims=True))
        probabilities = exponents / np.add.reduce(exponents, axis=1, keepdims=True)
        rows = probabilities.tolist()
        confidence = [max(row) for row in rows]
        values = [classes[row.index(most)] for row, most in zip(rows, confidence, strict=True)]
        read = Readings(values, probabilities, confidence, [""] * len(values))
        return silent(batch, read, 1.0 / len(classes))
