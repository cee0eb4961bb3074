"""What is asked of a pocket model and what comes back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from interlock.errors import RequestError
from interlock.pocket.transcript import FinishReason

MAX_TOP_LOGPROBS = 20
MAX_SAMPLES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class PocketRequest:
    """One prompt for one candidate.

    Attributes:
        candidate: a name of the catalogue such as ``small-t1`` or ``micro-strings-t0``.
        prompt: plain text; characters outside the vocabulary become ``<unk>``.
        temperature, top_p: 0 is greedy. ``None`` is 0, except that the votes of ``tN`` are drawn at 0.8.
        seed: of the draw; ``None`` draws one, which the result reports.
        max_tokens: cap on generated tokens; ``None``, or more than the context leaves, means what it leaves.
        stop: strings that end the answer and are not part of it.
        top_logprobs: how many alternatives to report for every token.
        samples: how many answers ``tN`` draws and counts.

    Raises:
        RequestError: a value is out of range; ``param`` names it.
    """

    candidate: str
    prompt: str
    temperature: float | None = None
    top_p: float = 1.0
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int = 0
    samples: int = 5

    def __post_init__(self) -> None:
        temperature = 0.0 if self.temperature is None else self.temperature
        _require(math.isfinite(temperature) and 0 <= temperature <= 2, "temperature", temperature, "between 0 and 2")
        _require(0 < self.top_p <= 1, "top_p", self.top_p, "above 0 and at most 1")
        _require(self.seed is None or 0 <= self.seed < 2**63, "seed", self.seed, "from 0 to 2^63 - 1")
        _require(self.max_tokens is None or self.max_tokens >= 1, "max_tokens", self.max_tokens, "at least 1")
        _require(all(self.stop), "stop", list(self.stop), "a list of strings that are not empty")
        within = 0 <= self.top_logprobs <= MAX_TOP_LOGPROBS
        _require(within, "top_logprobs", self.top_logprobs, f"from 0 to {MAX_TOP_LOGPROBS}")
        _require(1 <= self.samples <= MAX_SAMPLES, "samples", self.samples, f"from 1 to {MAX_SAMPLES}")


@dataclass(frozen=True, slots=True)
class Usage:
    """Exact token counts of what the model read and wrote.

    ``prompt`` includes ``<bos>`` and the budget token; ``cached`` of them were reused, not recomputed.
    ``completion`` counts every generated token, ``<ans>`` and ``<eos>`` included; ``reasoning`` those up to ``<ans>``.
    """

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    reasoning: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt + other.prompt, self.cached + other.cached,
            self.completion + other.completion, self.reasoning + other.reasoning,
        )  # fmt: skip


class TokenLogprob(NamedTuple):
    """A generated token, its natural log-probability at temperature 1 and the likeliest alternatives."""

    token: str
    logprob: float
    answering: bool
    top: tuple[tuple[str, float], ...] = ()


class Delta(NamedTuple):
    """What one step added to a completion. ``tokens`` may outnumber the text: specials have none."""

    reasoning: str = ""
    text: str = ""
    tokens: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds from submission: until the first step that worked on it, the first token, the end."""

    queue: float
    first_token: float
    total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PocketResult:
    """A completion and its account.

    Attributes:
        finish_reason: "stop", "length" (token cap or context reached) or "cancelled".
        refused: whether the model wrote its refusal token.
        energy_j: joules by a model (operations times a constant), not a measurement.
        confidence: exp of the mean log-probability of the answer's tokens, its ``<eos>`` included; for ``tN``
            the share of votes the answer got.
        votes: for ``tN``, each answer and its count.
    """

    candidate: str
    text: str
    reasoning: str
    finish_reason: FinishReason
    refused: bool
    usage: Usage
    tokens: tuple[TokenLogprob, ...]
    timings: Timings
    seed: int
    cost_usd: float
    energy_j: float
    confidence: float
    votes: Mapping[str, int] = field(default_factory=dict)


def _require(holds: bool, param: str, value: object, rule: str) -> None:
    if not holds:
        raise RequestError(f"{param} must be {rule}, got {value!r}", param=param)
