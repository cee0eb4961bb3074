"""Several tastes instead of one: a mixture of Bradley-Terry heads, mixed by what the context says, adjusted online.

    P(a is kept over b | context) = sum_k w_k(context) sigmoid(v_k'(x_a - x_b))     w(context) = softmax(G [1, context])

Pooled, people who disagree for stable reasons look like noise that no amount of data removes. Heads and gate are fitted
to plain pairs by EM, without labels of who or why. A user then starts from the gate's weights and moves by exponential
weights (with `eta` 1: exact Bayes for a user who is one head).

Source: MiCRo (arXiv 2505.24846); mixtures of experts: Jordan & Jacobs, Neural Computation 6 (1994); Hedge: Freund &
Schapire (1997); bound of the gate's Hessian: Boehning, Ann. Inst. Stat. Math. 44 (1992).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ..types import Array
from .batch import Batch, Cells
from .bernoulli import logits, moments_of_sigmoid
from .scaling import Scaling, scaling

SMALL = 2_000
"""Restarts are compared on at most this many pairs."""


@dataclass(frozen=True)
class Mixture:
    """Heads (k, d) over the difference of two answers, gate (k, c + 1) over [1, context]."""

    heads: Array
    gate: Array

    def weights(self, context: Array, temper: float = 1.0) -> Array:
        """The gate's weights (n, k). `temper` below 1 flattens them, so that a user is not held to a wrong context."""
        return _softmax(temper * (_with_one(context) @ self.gate.T))

    def wins(self, difference: Array) -> Array:
        """What each head thinks of keeping the first answer, (n, k), for differences x_a - x_b (n, d)."""
        return _sigmoid(difference @ self.heads.T)

    def win(self, difference: Array, weights: Array) -> Array:
        """P(the first answer is kept), (n,), under weights (n, k) or (k,)."""
        return np.asarray((self.wins(difference) * weights).sum(axis=1))

    def rank(self, answers: Array, weights: Array) -> Array:
        """Mean probability (m,) of each of m answers (m, d) to be kept over one of the others."""
        m = len(answers)
        difference = (answers[:, None, :] - answers[None, :, :]).reshape(m * m, -1)
        chance = self.win(difference, weights).reshape(m, m)
        return np.asarray((chance.sum(axis=1) - 0.5) / max(m - 1, 1))

    def log_likelihood(self, difference: Array, context: Array) -> float:
        """Mean over pairs whose first answer was kept."""
        return float(np.log(self.win(difference, self.weights(context)) + 1e-12).mean())

    @property
    def k(self) -> int:
        return len(self.heads)


def effective_heads(weights: Array) -> float:
    """How many heads are in use: exp of the entropy of the mean weights (n, k)."""
    share = weights.mean(axis=0)
    share = share[share > 0.0]
    return float(np.exp(-(share * np.log(share)).sum()))


def fit_mixture(
    difference: Array,
    context: Array,
    kept: Array | None = None,
    *,
    k: int = 6,
    restarts: int = 4,
    rounds: int = 100,
    precision: float = 1.0,
    previous: Mixture | None = None,
    seed: int = 0,
) -> Mixture:
    """Fit k heads and the gate to pairs: differences (n, d) of first and second answer, contexts (n, c), `kept` (n,).

    `kept` in [0, 1] says how far the first was kept (default 1); ties are 0.5. `restarts` random starts are compared by
    likelihood. Heads with less than 1% of the mass are pruned. With `previous` heads keep their places (`matched`).
    Raises `ValueError` for what is not finite or does not match.
    """
    x, c = np.asarray(difference, dtype=np.float64), np.asarray(context, dtype=np.float64)
    y = np.ones(len(x)) if kept is None else np.asarray(kept, dtype=np.float64)
    if not len(x) == len(c) == len(y):
        raise ValueError(f"{len(x)} differences, {len(c)} contexts, {len(y)} choices: expected as many of each")
    if len(x) == 0:
        raise ValueError("no pairs: a mixture needs some")
    for what, values in (("difference", x.sum(axis=1)), ("context", c.sum(axis=1)), ("choice", y)):
        if not np.isfinite(values).all():
            raise ValueError(f"pair {int(np.argmin(np.isfinite(values)))}: its {what} is not finite")
    rng = np.random.default_rng(seed)
    z = _with_one(c)
    some = rng.permutation(len(x))[:SMALL]
    trials = [
        _em(x[some], z[some], y[some], _random(k, x, c, rng), rounds=rounds // 2, precision=precision)
        for _ in range(restarts if k > 1 else 1)
    ]
    best = max(trials, key=lambda found: found[1])[0]
    mixture, _ = _em(x, z, y, best, rounds=rounds, precision=precision)
    mass = _responsibilities(mixture, x, z, y)[0].mean(axis=0)
    alive = mass >= min(0.01, mass.max())
    mixture = Mixture(mixture.heads[alive], mixture.gate[alive])
    return mixture if previous is None else matched(mixture, previous)


def _random(k: int, x: Array, c: Array, rng: np.random.Generator) -> Mixture:
    size = 1.0 / np.sqrt(max(float((x * x).sum(axis=1).mean()), 1e-12))
    return Mixture(2.0 * size * rng.normal(size=(k, x.shape[1])), 0.1 * rng.normal(size=(k, c.shape[1] + 1)))


def _responsibilities(mixture: Mixture, x: Array, z: Array, y: Array) -> tuple[Array, float]:
    """Which head made each choice (n, k), and the mean log-likelihood."""
    chance = np.clip(mixture.wins(x), 1e-9, 1.0 - 1e-9)
    joint = _softmax(z @ mixture.gate.T) * np.where(y[:, None] == 1.0, chance, 1.0)
    soft = y != 1.0
    if soft.any():  # a tie is half of a choice each way
        joint[soft] *= chance[soft] ** y[soft, None] * (1.0 - chance[soft]) ** (1.0 - y[soft, None])
    total = joint.sum(axis=1, keepdims=True)
    return joint / total, float(np.log(total).mean())


def _em(x: Array, z: Array, y: Array, start: Mixture, *, rounds: int, precision: float) -> tuple[Mixture, float]:
    """EM from `start` until the likelihood stands still; each round improves the penalised likelihood."""
    heads, gate = start.heads.copy(), start.gate.copy()
    ridge = precision * np.eye(x.shape[1])
    bound = np.linalg.inv(0.5 * z.T @ z + np.eye(z.shape[1]))
    before = -np.inf
    for _ in range(rounds):
        whose, likelihood = _responsibilities(Mixture(heads, gate), x, z, y)
        if likelihood - before < 1e-6:
            break
        before = likelihood
        for k in range(len(heads)):
            heads[k] = _improved(heads[k], x, y, whose[:, k], ridge)
        for _ in range(4):  # multinomial logistic regression on soft labels
            gate += ((whose - _softmax(z @ gate.T)).T @ z - gate) @ bound
    return Mixture(heads, gate), before


def _improved(head: Array, x: Array, y: Array, weight: Array, ridge: Array) -> Array:
    """Two Newton steps of a weighted logistic regression without intercept, each halved until it improves."""

    def loss(at: Array) -> float:
        logit = x @ at
        return float(weight @ (np.logaddexp(0.0, logit) - y * logit) + 0.5 * at @ ridge @ at)

    least = loss(head)
    for _ in range(2):
        p = _sigmoid(x @ head)
        step = np.linalg.solve(
            (x * (weight * p * (1.0 - p))[:, None]).T @ x + ridge, x.T @ (weight * (y - p)) - ridge @ head
        )
        for _ in range(12):
            reached = loss(head + step)
            if reached <= least:
                head, least = head + step, reached
                break
            step = 0.5 * step
    return head


def choose_k(difference: Array, context: Array, sizes: Sequence[int] = (1, 2, 3, 4, 6, 8), *, seed: int = 0) -> int:
    """The fewest heads whose held-out likelihood is within one standard error of the best."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(difference))
    train, test = order[len(order) // 4 :], order[: len(order) // 4]
    scores = []
    for k in sizes:
        mixture = fit_mixture(difference[train], context[train], k=k, seed=seed)
        held = np.log(mixture.win(difference[test], mixture.weights(context[test])) + 1e-12)
        scores.append((float(held.mean()), float(held.std() / np.sqrt(len(held)))))
    best, error = max(scores)
    return next(k for k, (score, _) in zip(sizes, scores, strict=True) if score >= best - error)


def matched(mixture: Mixture, previous: Mixture) -> Mixture:
    """The same mixture with its heads in the order of those of `previous` they resemble most; new ones come last.

    Without it users' weights would point at other heads after a refit. Needs scipy.
    """
    from scipy.optimize import linear_sum_assignment

    old, new = linear_sum_assignment(-cosines(previous.heads, mixture.heads))
    order = [*(int(n) for _, n in sorted(zip(old, new, strict=True))), *(i for i in range(mixture.k) if i not in new)]
    return Mixture(mixture.heads[order], mixture.gate[order])


def drifted(mixture: Mixture, previous: Mixture, least: float = 0.9) -> list[int]:
    """Heads that turned since the previous snapshot: cosine below `least`. A reason to keep the old snapshot."""
    shared = min(mixture.k, previous.k)
    cosine = np.diagonal(cosines(mixture.heads[:shared], previous.heads[:shared]))
    return [int(k) for k in np.flatnonzero(cosine < least)]


def cosines(left: Array, right: Array) -> Array:
    lengths = np.linalg.norm(left, axis=1)[:, None] * np.linalg.norm(right, axis=1)
    return np.asarray((left @ right.T) / np.where(lengths > 0.0, lengths, 1.0))


@dataclass(frozen=True)
class Taste:
    """One user's log-weights over the heads (k,), and how many comparisons made them. A value: `after` gives the next.

    No head's weight falls below `floor`, so that a taste that was written off can return.
    """

    log_weights: Array
    comparisons: int = 0
    floor: float = 1e-3

    @classmethod
    def from_context(cls, mixture: Mixture, context: Array, temper: float = 0.5) -> Self:
        """Someone new: the gate's weights for this context (c,), tempered."""
        return cls(np.log(mixture.weights(np.atleast_2d(context), temper)[0] + 1e-12))._kept()

    @property
    def weights(self) -> Array:
        return _softmax(self.log_weights)

    def after(self, mixture: Mixture, difference: Array, kept: float = 1.0, eta: float = 1.0) -> Self:
        """One more comparison: x_a - x_b (d,), and how far a was kept. Equal answers say nothing."""
        if not np.any(difference):
            return self
        chance = np.clip(mixture.wins(difference[None, :])[0], 1e-9, 1.0 - 1e-9)
        told = kept * np.log(chance) + (1.0 - kept) * np.log(1.0 - chance)
        return replace(self, log_weights=self.log_weights + eta * told, comparisons=self.comparisons + 1)._kept()

    def aged(self, days: float, kept_a_day: float = 0.99) -> Self:
        """Some days later: what was learnt fades, for taste may change."""
        return replace(self, log_weights=self.log_weights * kept_a_day**days)._kept()

    def stable(self, mixture: Mixture, differences: Array, kept: Array | None = None, least: float = 0.05) -> bool:
        """Whether these choices (n, d) show any taste: the best head explains them better than a coin, in nats each."""
        chance = np.clip(mixture.wins(differences), 1e-9, 1.0 - 1e-9)
        y = np.ones(len(chance)) if kept is None else kept
        each = y[:, None] * np.log(chance) + (1.0 - y[:, None]) * np.log(1.0 - chance)
        return bool(each.mean(axis=0).max() > np.log(0.5) + least)

    def _kept(self) -> Self:
        log = self.log_weights - self.log_weights.max()
        log = log - np.log(np.exp(log).sum())
        return replace(self, log_weights=np.maximum(log, np.log(self.floor)))


@dataclass
class MixturePreference(Batch):
    """Kinds of prompts that rank the candidates differently: a head is one strength a candidate, the gate reads the
    prompt. A score is a match against a par of strength 0 (see `preference`).

    `prior_std` is a strength's, in logits; `gate_precision` the prior's of the gate's weights.
    """

    k: int = 6
    restarts: int = 2
    prior_std: float = 2.0
    gate_precision: float = 4.0

    def train(self, cells: Cells, rng: np.random.Generator) -> Kinds:
        scale = scaling(cells.vectors)
        z = _with_one(scale.apply(cells.vectors))
        own = cells.filled.sum(axis=0) + self.prior_strength * self.default
        centre = logits(own / (cells.weights.sum(axis=0) + self.prior_strength))
        bound = np.asarray(np.linalg.inv(0.5 * z.T @ z + self.gate_precision * np.eye(z.shape[1])), dtype=np.float64)
        trials = [self._em(cells, z, centre, bound, rng) for _ in range(self.restarts)]
        return max(trials, key=lambda found: found[1])[0]._replace(scaling=scale)

    def _em(self, cells: Cells, z: Array, centre: Array, bound: Array, rng: np.random.Generator) -> tuple[Kinds, float]:
        """EM over the kinds: all scores of a prompt come from one kind; strengths are drawn towards `centre`."""
        won = cells.weights * cells.filled
        lost = cells.weights - won
        heads = centre + rng.normal(0.0, 0.7, (self.k, len(centre)))
        gate, before, loose = np.zeros((self.k, z.shape[1])), -np.inf, 1.0 / self.prior_std**2
        count = np.zeros_like(heads)
        for _ in range(200):
            joint = np.log(_softmax(z @ gate.T) + 1e-300)
            joint -= won @ np.logaddexp(0.0, -heads).T + lost @ np.logaddexp(0.0, heads).T
            top = joint.max(axis=1, keepdims=True)
            likelihood = float((top[:, 0] + np.log(np.exp(joint - top).sum(axis=1))).mean())
            if likelihood - before < 1e-5:
                break
            before, whose = likelihood, _softmax(joint)
            right, count = whose.T @ won, whose.T @ cells.weights
            for _ in range(3):
                p = _sigmoid(heads)
                step = (right - count * p - loose * (heads - centre)) / (count * p * (1.0 - p) + loose)
                heads += np.clip(step, -1.0, 1.0)
            for _ in range(4):
                gate += ((whose - _softmax(z @ gate.T)).T @ z - self.gate_precision * gate) @ bound
        variance = 1.0 / (count * _sigmoid(heads) * _sigmoid(-heads) + loose)
        return Kinds(Scaling(np.zeros(0), np.zeros(0)), Mixture(heads, gate), variance), before


class Kinds(NamedTuple):
    """Heads over candidates instead of over what answers show, and the variance of each strength (k, candidates)."""

    scaling: Scaling
    mixture: Mixture
    variance: Array

    def predict(self, x: Array, columns: NDArray[np.intp]) -> tuple[Array, Array]:
        """Mean and standard deviation (n, m): unsure of the strengths, and of the kind where kinds disagree."""
        weights = self.mixture.weights(self.scaling.apply(x))
        mean, std = moments_of_sigmoid(self.mixture.heads[:, columns], self.variance[:, columns])
        blend = weights @ mean
        between = np.maximum(weights @ mean**2 - blend**2, 0.0)
        # The gate is an estimate too: a prompt that it cannot place may be of either kind.
        return blend, np.sqrt(weights @ std**2 + 0.25 * between)


def _with_one(context: Array) -> Array:
    return np.hstack([np.ones((len(context), 1)), context])


def _sigmoid(logit: Array) -> Array:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logit)))


def _softmax(logit: Array) -> Array:
    raised = np.exp(logit - logit.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))
