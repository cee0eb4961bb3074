"""Choosing a token from logits, one row at a time, so that a row's choice follows from its own logits and seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from interlock.pocket.weights import Floats

Doubles = NDArray[np.float64]


def log_softmax(logits: Floats) -> Floats:
    """Log-probabilities [rows, vocab] at temperature 1."""
    shifted: Floats = logits - logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


class Sampler:
    """How one request draws. Temperature 0 takes the likeliest (of equals, the lowest id) and draws nothing.

    One uniform number is drawn per token, so a sequence of draws depends on ``seed`` and the logits alone.

    Source: nucleus (top-p) sampling, Holtzman et al. 2020.
    """

    __slots__ = ("temperature", "top_p", "uniform")

    def __init__(self, temperature: float, top_p: float, seed: int) -> None:
        self.temperature, self.top_p = temperature, top_p
        self.uniform = np.random.Generator(np.random.PCG64(seed)).random


def choose(samplers: Sequence[Sampler], logprobs: Floats) -> list[int]:
    """A token id for each row of log-probabilities [rows, vocab], each by its own sampler."""
    chosen: list[int] = logprobs.argmax(axis=-1).tolist()
    drawn = [row for row, sampler in enumerate(samplers) if sampler.temperature > 0]
    if drawn:
        temperatures = np.array([samplers[row].temperature for row in drawn])
        scaled = logprobs[drawn].astype(np.float64) / temperatures[:, None]
        weights = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
        for row, row_weights, total in zip(drawn, weights, np.cumsum(weights, axis=-1), strict=True):
            sampler = samplers[row]
            if sampler.top_p < 1:
                chosen[row] = _from_nucleus(row_weights, sampler.top_p, sampler.uniform())
            else:
                chosen[row] = _place(total, sampler.uniform())
    return chosen


def _from_nucleus(weights: Doubles, top_p: float, uniform: float) -> int:
    order = np.argsort(-weights, kind="stable")
    total = np.cumsum(weights[order])
    total = total[: int(total.searchsorted(top_p * total[-1])) + 1]
    return int(order[_place(total, uniform)])


def _place(total: Doubles, uniform: float) -> int:
    """The index that ``uniform`` in [0, 1) falls on, ``total`` being cumulative weights."""
    return min(int(total.searchsorted(uniform * total[-1], side="right")), len(total) - 1)


def top(logprobs: Floats, count: int) -> list[tuple[int, float]]:
    """The ``count`` likeliest token ids of one row with their log-probabilities, likeliest first."""
    order = np.argsort(-logprobs, kind="stable")[:count]
    return [(int(token), float(logprobs[token])) for token in order]
