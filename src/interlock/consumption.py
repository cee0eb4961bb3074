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
from .types import AFFINITY, Array, Candidate, Context, Profile, Usage


class Expected(NamedTuple):
    """Every array is (n, k): tokens in and out, USD, seconds, joules."""

    input_tokens: Array
    output_tokens: Array
    cost: Array
    latency: Array
    energy: Array


class Pool(NamedTuple):
    """What is known of one pool of k candidates apart from the request; every array is (k,)."""

    candidates: Sequence[Candidate]
    names: tuple[str, ...]
    price_in: Array
    price_out: Array
    saved: Array
    input: Array
    output: Array
    correction: Array
    ceiling: Array
    ttft: Array
    seconds: Array
    joules: Array


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
    _pool: Pool | None = field(default=None, init=False, repr=False, compare=False)

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
        self._pool = None
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
        pool = self._pool_of(candidates)
        prompt = np.array([context.number("tokens") for context in contexts])
        asked = np.array([math.inf if c.request.max_tokens is None else c.request.max_tokens for c in contexts])
        incoming = prompt[:, None] * pool.input
        logarithm = self._tokens.expect(vectors, pool.names, pool.output) + pool.correction
        ceiling = np.maximum(np.minimum(pool.ceiling, asked[:, None]), 1.0)
        outgoing = np.minimum(np.maximum(np.expm1(np.minimum(np.maximum(logarithm, 0.0), 14.0)), 1.0), ceiling)
        # A free direction is free whatever it amounts to.
        paid_in = np.where(pool.price_in == 0, 0.0, incoming * pool.price_in)
        for i, context in enumerate(contexts):
            if (cached := context.signals.get(AFFINITY)) is not None and cached.value in pool.names:
                j = pool.names.index(str(cached.value))
                paid_in[i, j] -= min(max(cached.confidence, 0.0), 1.0) * incoming[i, j] * pool.saved[j]
        paid_out = np.where(pool.price_out == 0, 0.0, outgoing * pool.price_out)
        latency, energy = pool.ttft + outgoing * pool.seconds, outgoing * pool.joules
        return Expected(incoming, outgoing, (paid_in + paid_out) / 1e6, latency, energy)

    def prepare(self) -> None:
        self._tokens.prepare(spread=False)

    def state(self) -> dict[str, Any]:
        rates = {kind: {name: list(sums) for name, sums in of.items()} for kind, of in self._rates.items()}
        return {"tokens": self._tokens.state(), "rates": rates}

    def restore(self, state: Mapping[str, Any]) -> Self:
        prior = math.log1p(self.default_tokens)
        self._pool = None
        self._tokens = Ridge(default=prior, noise=0.5, prior_std=1.5, share=0.5, forgetting=self.forgetting)
        self._tokens.restore(state.get("tokens", {}))
        self._rates = {
            kind: {name: (float(weight), float(total)) for name, (weight, total) in of.items()}
            for kind, of in state.get("rates", {}).items()
        }
        return self

    def _pool_of(self, candidates: Sequence[Candidate]) -> Pool:
        """Everything that does not depend on the request; kept while the same pool asks and nothing is learnt."""
        kept = self._pool
        if kept is not None and kept.candidates is candidates:
            return kept
        names, profiles = tuple(c.name for c in candidates), [c.profile for c in candidates]
        pace = [None if not p.tokens_per_second else 1.0 / p.tokens_per_second for p in profiles]
        self._pool = pool = Pool(
            candidates,
            names,
            _column(profiles, "price_in"),
            _column(profiles, "price_out"),
            _saved(profiles),
            np.nan_to_num(self._rate_of("input", names, [None] * len(names)), nan=1.0),
            np.log1p(_column(profiles, "output_tokens")),
            0.5 * self._tokens.residual_variance(names),  # the mean of a log-normal lies above its median
            np.nan_to_num(np.fmin(_column(profiles, "max_output"), 1e6), nan=1e6),
            self._rate_of("ttft", names, [p.ttft for p in profiles]),
            self._rate_of("seconds", names, pace),
            self._rate_of("joules", names, [p.joules_per_token for p in profiles]),
        )
        return pool

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


def _saved(profiles: Sequence[Profile]) -> Array:
    """What a token costs less when it is read from the provider's cache, (k,); 0 where no such price is stated."""
    return np.maximum(np.nan_to_num(_column(profiles, "price_in") - _column(profiles, "price_cached")), 0.0)


def _column(profiles: Sequence[Profile], name: str) -> Array:
    """One field of the profiles as (k,), NaN where it is unknown."""
    values = [getattr(profile, name) for profile in profiles]
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
