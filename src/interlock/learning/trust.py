"""How much a score counts: what the operator says of its source and tenant, times how far the tenant can be believed.

Belief is earned by agreement. A small linear predictor, fed by everybody (normalised least mean squares, one weight
vector a candidate), predicts each score before it is learnt. For each tenant the slope of its scores on the predictions
is kept, over its last few hundred scores: 1 when it agrees, 0 when its scores say nothing, negative when they are
inverted. As in FLTrust, where the cosine with a trusted update, cut at zero, weighs a client, the slope decides the
weight; but no trusted data set is needed, the other tenants take its place:

    weight = 1 - confirmed x outnumbered x contradicts
    confirmed    how far the others' scores follow the predictions: their slope, from 0 (no evidence) to 1
    outnumbered  1 when the others have given at least as much evidence as the tenant, less when it is in the majority
    contradicts  0 for a slope of 1/2 or more, 1 for a slope of 0 or less

So nobody is doubted for being first or alone; and when the world changes (a model is silently swapped) everybody's
slope falls together, nobody is confirmed, and everybody is still learnt from. Who differs in level only, a harsh judge,
has the same slope. What cannot be seen: tenants in the majority that lie in concert; give such a weight by hand.

A tenant whose weight falls to `FOUND_OUT` counts nothing from then on, and neither does what it gave before, as far
back as the evidence reaches, `MEMORY` scores at most: that is unlearnt (verdicts.py, fold.py). Its slope is kept all
the while, whether it counts or not. So a tenant that agrees again, or that was suspected wrongly, counts again as soon
as its slope says so, and has lost no more than those scores.

Source: Cao, Fang, Liu and Gong, "FLTrust: Byzantine-robust Federated Learning via Trust Bootstrapping", NDSS 2021;
Dawid and Skene, "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm", Applied Statistics 28
(1979), for judging observers by each other; Widrow and Hoff, "Adaptive Switching Circuits" (1960), for least mean
squares.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Self

import msgspec
import numpy as np

from ..types import Array, Decision, Vector
from .standing import OUTCOME, Score
from .verdicts import Verdict, Verdicts, affordable, disregarded, judged_up_to, summary

STEPS = 8  # weights move in eighths, so that a tenant's history of weights stays short
MEMORY = 256  # scores over which a tenant's agreement is kept
PATIENCE = 1.0  # evidence (sum of squared deviations of the predictions) that halves the benefit of the doubt
RATE = 0.2  # step size of the predictor
FOUND_OUT = 0.5  # up to this weight a tenant counts nothing, and what it has taught is unlearnt
MARKS = 4  # rows kept to say how far back a tenant's evidence reaches


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Weights of sources and tenants by name; others count `default`, and tenants not named here earn theirs.

    `barred` are names that may never judge (providers, models); a decision's own candidates never may. With `earned`
    off, every tenant counts fully. Raises ValueError for a weight that is negative or not finite.
    """

    sources: Mapping[str, float] = field(default_factory=dict)
    tenants: Mapping[str, float] = field(default_factory=dict)
    default: float = 1.0
    barred: frozenset[str] = frozenset()
    earned: bool = True

    def __post_init__(self) -> None:
        for kind, weights in (("source", self.sources), ("tenant", self.tenants), ("any", {"source": self.default})):
            for name, weight in weights.items():
                if not (math.isfinite(weight) and weight >= 0):
                    raise ValueError(f"the weight of {kind} {name!r} is {weight}; it must be 0 or more")

    @property
    def fingerprint(self) -> str:
        """Equal for equal weights: a state folded under others is folded anew.

        Who is barred is not part of it, since it changes with the pool: see `Fold.resume`.
        """
        parts = dict(self.sources), dict(self.tenants), self.default, self.earned
        return sha256(msgspec.msgpack.encode(parts, order="deterministic")).hexdigest()[:12]

    def counts(self, score: Score) -> bool:
        """Whether the operator lets such scores count at all."""
        return self.sources.get(score.source, self.default) > 0 and self.tenants.get(score.tenant, 1.0) > 0

    def judges_itself(self, source: str, decision: Decision) -> bool:
        return source in self.barred or any(row.candidate == source for row in decision.considered)


class Belief(msgspec.Struct):
    """One tenant's agreement: decayed count, means, and (co)variance sums of its scores and of their predictions.

    `since` and `weights` are its history: scores that came to stand after row `since[i]` count `weights[i]`. `slight`
    is the present weight before it is cut to nothing. At row `fell` it was last cut to nothing, on evidence that
    reached back to row `onset`; `marks` are the rows of every (MEMORY / MARKS)-th of the `seen` scores, the last few.
    """

    count: float = 0.0
    score: float = 0.0
    predicted: float = 0.0
    covariance: float = 0.0
    variance: float = 0.0
    since: list[int] = msgspec.field(default_factory=list)
    weights: list[float] = msgspec.field(default_factory=list)
    slight: float = 1.0
    seen: int = 0
    marks: list[int] = msgspec.field(default_factory=list)
    fell: int = 0
    onset: int = 0

    @property
    def latest(self) -> float:
        return self.weights[-1] if self.weights else 1.0

    def observe(self, score: float, predicted: float, seq: int) -> None:
        if self.seen % (MEMORY // MARKS) == 0:
            self.marks = [*self.marks[1 - MARKS :], seq]
        self.seen += 1
        keep = 1.0 - 1.0 / MEMORY
        self.count = keep * self.count + 1.0
        away = predicted - self.predicted
        self.predicted += away / self.count
        self.score += (score - self.score) / self.count
        self.covariance = keep * self.covariance + away * (score - self.score)
        self.variance = keep * self.variance + away * (predicted - self.predicted)

    def weigh(self, weight: float, seq: int) -> None:
        """From the row after `seq` on its scores count `weight`, or nothing when that is slight."""
        self.slight, weight = weight, weight if weight > FOUND_OUT else 0.0
        if weight == self.latest:
            return
        if not weight:
            self.fell, self.onset = seq, self.marks[0]
        self.since.append(seq)
        self.weights.append(weight)

    def weight(self, seq: int) -> float:
        """What a score that came to stand at row `seq` counts."""
        at = bisect_left(self.since, seq)
        return self.weights[at - 1] if at else 1.0


class Agreement:
    """The predictor, and every tenant's belief. A fold of the scores learnt: same scores, same order, same state.

    `verdicts` are what is known beforehand of tenants found out in an earlier pass over the same rows.
    """

    def __init__(self, trust: Trust, verdicts: Verdicts = ()) -> None:
        self.trust, self.verdicts = trust, verdicts
        self.observed = 0
        self._tenants: dict[str, Belief] = {}
        self._predictor: dict[str, Array] = {}
        self._covariance = self._variance = 0.0

    def weight(self, score: Score) -> float:
        """Source's weight times tenant's, as of when the score came to stand: a revocation takes back the same."""
        given, belief = self._given(score), self._compared(score)
        if belief is None or not given:
            return given
        return 0.0 if disregarded(self.verdicts, score.tenant, score.seq) else given * belief.weight(score.seq)

    def verdict(self, tenant: str, row: int) -> Verdict | None:
        """Whom to disregard and since when, if this tenant, which gave a score at this row, has been found out.

        All who have been found out by then and are not judged yet are judged at once.
        """
        if not (self._unjudged(tenant) and affordable(self.verdicts, self.observed)):
            return None
        since = {name: self._tenants[name].onset for name in sorted(self._tenants) if self._unjudged(name)}
        return Verdict(row, self.observed, {name: max(onset, self._judged(name) + 1) for name, onset in since.items()})

    def observe(self, score: Score, vector: Vector) -> None:
        """A score was learnt: compare it with its prediction, then let it teach the predictor.

        There a tenant that counts nothing still has the little weight that its slope gives it: else one that is
        suspected wrongly, in the majority even, could never bring the predictions round.
        """
        if not self.trust.earned or not np.isfinite(vector).all():
            return
        self.observed += 1
        inputs = np.append(vector.astype(np.float64), 1.0)
        known = self._predictor.get(score.candidate)
        if known is None or known.shape != inputs.shape:
            known = np.zeros_like(inputs)
            known[-1] = 0.5
        predicted = min(max(float(known @ inputs), 0.0), 1.0)
        weight = self._given(score)
        if (belief := self._compared(score)) is not None:
            weight *= 0.0 if disregarded(self.verdicts, score.tenant, score.seq) else belief.slight
            self._compare(belief, score, predicted)
        step = RATE * min(weight, 1.0) * (score.score - predicted) / float(1.0 + inputs @ inputs)
        self._predictor[score.candidate] = known + step * inputs

    def doubted(self) -> dict[str, float]:
        """The tenants that do not count fully at present, with their weight."""
        return {name: belief.latest for name, belief in list(self._tenants.items()) if belief.latest < 1}

    def disregarded(self) -> dict[str, list[int]]:
        """Tenant -> first and last row of what it gave and does not count since it was found out."""
        return summary(self.verdicts)

    def _unjudged(self, tenant: str) -> bool:
        belief = self._tenants.get(tenant)
        return belief is not None and not belief.latest and belief.fell > self._judged(tenant)

    def _judged(self, tenant: str) -> int:
        return judged_up_to(self.verdicts, tenant)

    def _given(self, score: Score) -> float:
        """What the operator lets it count."""
        given = self.trust.sources.get(score.source, self.trust.default)
        return given * self.trust.tenants.get(score.tenant, 1.0)

    def _compared(self, score: Score) -> Belief | None:
        """The belief that such a score is weighed by; None when the operator or nobody says what it counts."""
        if not self.trust.earned or score.source == OUTCOME or score.tenant in self.trust.tenants:
            return None
        return self._tenants.get(score.tenant, Belief())

    def _compare(self, belief: Belief, score: Score, predicted: float) -> None:
        """Weigh the tenant by what all others say that count at all."""
        self._tenants[score.tenant] = belief
        covariance, variance = self._covariance, self._variance
        if belief.latest:
            covariance, variance = covariance - belief.covariance, max(variance - belief.variance, 0.0)
        belief.observe(score.score, predicted, score.seq)
        belief.weigh(self._earned(belief, covariance, variance), score.seq)
        if belief.latest:
            covariance, variance = covariance + belief.covariance, variance + belief.variance
        self._covariance, self._variance = covariance, variance

    def _earned(self, belief: Belief, covariance: float, others: float) -> float:
        """The weight that a tenant's slope earns among others with these sums of covariance and variance."""
        confirmed = covariance / (others + PATIENCE)
        outnumbered = others / max(belief.variance, others, 1e-12)
        slope = (belief.covariance + PATIENCE) / (belief.variance + PATIENCE)
        doubt = min(max(confirmed, 0.0), 1.0) * outnumbered * min(max(1.0 - 2.0 * slope, 0.0), 1.0)
        return 1.0 - math.floor(doubt * STEPS + 0.5) / STEPS

    def state(self) -> dict[str, Any]:
        predictor = {name: weights.tobytes() for name, weights in self._predictor.items()}
        sums = [self._covariance, self._variance]
        return {
            "tenants": msgspec.to_builtins(self._tenants),
            "predictor": predictor,
            "sums": sums,
            "observed": self.observed,
            "verdicts": msgspec.to_builtins(self.verdicts),
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        self._tenants = msgspec.convert(state.get("tenants", {}), dict[str, Belief])
        self._predictor = {name: np.frombuffer(data, np.float64) for name, data in state.get("predictor", {}).items()}
        self._covariance, self._variance = state.get("sums", (0.0, 0.0))
        self.observed = state.get("observed", 0)
        self.verdicts = msgspec.convert(state.get("verdicts", ()), Verdicts)
        return self
