"""Choosing a token from logits, one row at a time, so that a row's choice follows from its own logits and seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from interlock.pocket.weights import Floats


def log_softmax(logits: Floats) -> Floats:
    """Log-probabilities [rows, vocab] at temperature 1."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


class Sampler:
    """Draws a request's tokens. Temperature 0 takes the likeliest (of equals, the lowest id) and draws nothing.

    One uniform number is drawn per token, so a sequence of draws depends on ``seed`` and the logits alone.

    Source: nucleus (top-p) sampling, Holtzman et al. 2020.
    """

    def __init__(self, temperature: float, top_p: float, seed: int) -> None:
        self._temperature, self._top_p = temperature, top_p
        self._uniform = np.random.Generator(np.random.PCG64(seed)).random

    def choose(self, logprobs: Floats) -> int:
        """A token id, given log-probabilities [vocab]."""
        if self._temperature == 0:
            return int(logprobs.argmax())
        scaled = logprobs.astype(np.float64) / self._temperature
        order = np.argsort(-scaled, kind="stable")
        weights: NDArray[np.float64] = np.exp(scaled[order] - scaled[order[0]])
        total = np.cumsum(weights)
        if self._top_p < 1:
            total = total[: int(np.searchsorted(total, self._top_p * total[-1])) + 1]
        place = int(np.searchsorted(total, self._uniform() * total[-1], side="right"))
        return int(order[min(place, len(total) - 1)])


def top(logprobs: Floats, count: int) -> list[tuple[int, float]]:
    """The ``count`` likeliest token ids of one row with their log-probabilities, likeliest first."""
    order = np.argsort(-logprobs, kind="stable")[:count]
    return [(int(token), float(logprobs[token])) for token in order]
