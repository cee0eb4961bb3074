"""Difficulty: the share of models expected to fail, by a linear head on embedding and structure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import erf, sqrt
from typing import ClassVar

import numpy as np

from ..types import Request, Signal
from . import heads
from .base import Reading, Readings
from .plain import Plain, silent

WITHIN = 0.2
"""`confidence` is the probability that the truth lies this near to the value."""


@dataclass(frozen=True)
class Difficulty:
    """`value` in [0, 1]: one minus the mean score expected over the models of the training tables.

    `confidence` comes from Bayesian linear regression: lower the further a prompt is from the training prompts.
    An empty prompt has value None.
    """

    weights: heads.Heads = field(default_factory=heads.load, repr=False)

    name: ClassVar[str] = "difficulty"
    requires: ClassVar[tuple[str, ...]] = ("embedding", "structure")
    columns: ClassVar[tuple[str, ...]] = ("value",)

    def read(self, request: Request, seen: Mapping[str, Reading]) -> Reading:
        if not request.prompt.strip():
            return Reading(Signal(self.name, None, 0.0), (0.5,))
        x = heads.features(seen["embedding"], seen["structure"])
        value = min(1.0, max(0.0, float(x @ self.weights.difficulty)))
        return Reading(Signal(self.name, value, self._confidence(float(x @ self.weights.precision @ x))), (value,))

    def read_all(self, batch: Plain, seen: Mapping[str, Readings]) -> Readings:
        x = heads.features_of_all(seen["embedding"], seen["structure"])
        values = [min(1.0, max(0.0, value)) for value in (x @ self.weights.difficulty)[:, 0].tolist()]
        doubts = (x @ self.weights.precision @ x.transpose(0, 2, 1))[:, 0, 0].tolist()
        columns = np.array(values)[:, None]
        return silent(batch, Readings(values, columns, list(map(self._confidence, doubts)), [""] * len(values)), 0.5)

    def _confidence(self, doubt: float) -> float:
        spread = self.weights.noise * sqrt(1.0 + max(0.0, doubt))
        return erf(WITHIN / (spread * sqrt(2.0)))
