"""What a request will consume with each candidate: tokens, and from them money, seconds and joules.

Tokens are regressed on the request's vector, since a budget's appetite depends on the task; the rates (seconds to the
first token, seconds and joules a token, and how a candidate's tokenizer counts) are running means a candidate. The
profile's figures are priors. What neither the profile nor any outcome tells stays NaN, never zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np

from .estimators import Ridge
from .types import Array, Candidate, Context, Profile, Usage


class Expected(NamedTuple):
    """Every array is (n, k): tokens in and out, USD, seconds, joules."""

    input_tokens: Array
    output_tokens: Array
    cost: Array
    latency: Array
    energy: Array


@dataclass
class Consumption:
    """`default_tokens` are expected of a candidate whose profile says nothing and that has answered nothing.

    `forgetting` is per outcome of the candidate, `prior_strength` the number of outcomes a profile's figure is worth.
    """

    default_tokens: float = 256.0
    forgetting: float = 0.995
    prior_strength: float = 5.0
    _tokens: Ridge = field(init=False, repr=False, compare=False)
    _rates: dict[str, dict[str, tuple[float, float]]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.restore({})

    def learn(
        self,
        candidate: str,
        vector: Array,
        prompt_tokens: float,
        usage: Usage,
        latency: float | None,
        ttft: float | None,
        energy: float | None,
    ) -> None:
        """Fold one answered call. `prompt_tokens` is our own count of the request, 0 when it is not known.

        A measurement that is missing, not finite or not above 0 is no measurement.
        """
        if usage.output > 0:
            self._tokens.partial_fit(vector[None, :], [candidate], [math.log1p(usage.output)])
        if usage.input > 0 and _measured(prompt_tokens):
            self._rate("input", candidate, math.log(usage.input / prompt_tokens))
        if ttft is not None and _measured(ttft):
            self._rate("ttft", candidate, math.log(ttft))
        else:
            ttft = 0.0  # then the whole latency counts as generation
        if usage.output > 0 and latency is not None and _measured(latency):
            self._rate("seconds", candidate, math.log(max(latency - ttft, 1e-6) / usage.output))
        if usage.output > 0 and energy is not None and _measured(energy):
            self._rate("joules", candidate, math.log(energy / usage.output))

    def predict(self, contexts: Sequence[Context], candidates: Sequence[Candidate], vectors: Array) -> Expected:
        """What each request would consume with each candidate. `vectors` are the contexts', (n, d), finite."""
        prompt = np.array([context.number("tokens") for context in contexts])
        names, profiles = [c.name for c in candidates], [c.profile for c in candidates]
        incoming = prompt[:, None] * np.nan_to_num(self._rate_of("input", names, [None] * len(names)), nan=1.0)
        outgoing = self._output_tokens(contexts, names, profiles, vectors)
        price_in, price_out = (_column(profiles, name) for name in ("price_in", "price_out"))
        pace = [None if not p.tokens_per_second else 1.0 / p.tokens_per_second for p in profiles]
        first = self._rate_of("ttft", names, [p.ttft for p in profiles])
        latency = first + outgoing * self._rate_of("seconds", names, pace)
        energy = outgoing * self._rate_of("joules", names, [p.joules_per_token for p in profiles])
        # A free direction is free whatever it amounts to.
        paid_in = np.where(price_in == 0, 0.0, incoming * price_in)
        paid_out = np.where(price_out == 0, 0.0, outgoing * price_out)
        return Expected(incoming, outgoing, (paid_in + paid_out) / 1e6, latency, energy)

    def prepare(self) -> None:
        self._tokens.prepare()

    def state(self) -> dict[str, Any]:
        rates = {kind: {name: list(sums) for name, sums in of.items()} for kind, of in self._rates.items()}
        return {"tokens": self._tokens.state(), "rates": rates}

    def restore(self, state: Mapping[str, Any]) -> Self:
        prior = math.log1p(self.default_tokens)
        self._tokens = Ridge(default=prior, noise=0.5, prior_std=1.5, share=0.5, forgetting=self.forgetting)
        self._tokens.restore(state.get("tokens", {}))
        self._rates = {
            kind: {name: (float(weight), float(total)) for name, (weight, total) in of.items()}
            for kind, of in state.get("rates", {}).items()
        }
        return self

    def _output_tokens(
        self, contexts: Sequence[Context], names: Sequence[str], profiles: Sequence[Profile], vectors: Array
    ) -> Array:
        """Expected output tokens (n, k): the mean of a log-normal, at least 1, at most what caller and model allow."""
        prior = np.log1p(_column(profiles, "output_tokens"))
        mean, _ = self._tokens.predict(vectors, names, prior)
        logarithm = np.clip(mean + 0.5 * self._tokens.residual_variance(names), 0.0, 14.0)
        most = _column(profiles, "max_output")
        asked = np.array([math.nan if c.request.max_tokens is None else c.request.max_tokens for c in contexts])
        ceiling = np.fmin(np.fmin(most[None, :], asked[:, None]), 1e6)
        return np.clip(np.expm1(logarithm), 1.0, np.maximum(ceiling, 1.0))

    def _rate(self, kind: str, candidate: str, logarithm: float) -> None:
        of = self._rates.setdefault(kind, {})
        weight, total = of.get(candidate, (0.0, 0.0))
        of[candidate] = self.forgetting * weight + 1.0, self.forgetting * total + logarithm

    def _rate_of(self, kind: str, names: Sequence[str], priors: Sequence[float | None]) -> Array:
        """Geometric running means (k,), drawn towards the profile's figure; NaN where there is neither."""
        of = self._rates.get(kind, {})
        rates = np.full(len(names), np.nan)
        for i, (name, prior) in enumerate(zip(names, priors, strict=True)):
            weight, total = of.get(name, (0.0, 0.0))
            if prior is not None and prior > 0:
                weight, total = weight + self.prior_strength, total + self.prior_strength * math.log(prior)
            elif prior == 0 and not weight:
                rates[i] = 0.0
            if weight:
                rates[i] = math.exp(total / weight)
        return rates


def _measured(value: float) -> bool:
    return 0.0 < value < math.inf


def _column(profiles: Sequence[Profile], name: str) -> Array:
    """One field of the profiles as (k,), NaN where it is unknown."""
    values = [getattr(profile, name) for profile in profiles]
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
