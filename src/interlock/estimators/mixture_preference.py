"""Several tastes instead of one: a mixture of Bradley-Terry heads, mixed by what the context says, adjusted online.

    P(a is kept over b | context) = sum_k w_k(context) sigmoid(v_k'(x_a - x_b))     w(context) = softmax(G [1, context])

Pooled, people who disagree for stable reasons look like noise that no amount of data removes. Heads and gate are fitted
to plain pairs by EM, without labels of who or why. A user then starts from the gate's weights and moves by exponential
weights (with `eta` 1: exact Bayes for a user who is one head).

Source: MiCRo (arXiv 2505.24846); mixtures of experts: Jordan & Jacobs, Neural Computation 6 (1994); Hedge: Freund &
Schapire (1997); bound of the gate's Hessian: Boehning, Ann. Inst. Stat. Math. 44 (1992).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..types import Array
from .base import Estimator, Event, State, beliefs, events, query
from .bernoulli import checked_score, logits
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
        for k in range(len(heads)):  # weighted logistic regression without intercept, two Newton steps
            for _ in range(2):
                p = _sigmoid(x @ heads[k])
                gradient = x.T @ (whose[:, k] * (y - p)) - precision * heads[k]
                hessian = x.T @ ((whose[:, k] * p * (1.0 - p))[:, None] * x) + ridge
                step = np.linalg.solve(hessian, gradient)
                heads[k] += step * min(1.0, 4.0 / max(float(np.linalg.norm(step)), 1e-12))
        for _ in range(4):  # multinomial logistic regression on soft labels
            gate += ((whose - _softmax(z @ gate.T)).T @ z - gate) @ bound
    return Mixture(heads, gate), before


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


class Derived(NamedTuple):
    scaling: Scaling
    mixture: Mixture
    mass: Array
    """How much evidence each head has of each candidate, (k, candidates)."""
    players: list[str]


@dataclass
class MixturePreference(Estimator):
    """Kinds of prompts that rank the candidates differently: each head is one strength a candidate, the gate reads the
    prompt. A score is a match against a par of strength 0 (see `preference`).

    The last `memory` events are kept, of a table all. Whenever they have grown by an eighth, the mixture is fitted to
    them anew, always from the same starts.
    The deviation joins how the heads disagree and how little each has seen of a candidate.
    """

    k: int = 6
    restarts: int = 2
    default: float = 0.5
    prior_std: float = 2.0
    memory: int = 2000
    _events: deque[Event] = field(default_factory=deque, init=False, repr=False, compare=False)
    _settled: int = field(default=0, init=False, repr=False, compare=False)
    """How many of the events the mixture is fitted to; the rest waits."""
    _derived: Derived | None = field(default=None, init=False, repr=False, compare=False)

    revocable = False

    @property
    def width(self) -> int | None:
        return len(self._events[-1].vector) if self._events else None

    def partial_fit(
        self, vectors: ArrayLike, names: Sequence[str], targets: ArrayLike, weights: ArrayLike | None = None
    ) -> Self:
        return self._learn(vectors, names, targets, weights, self.memory)

    def fit_table(self, vectors: ArrayLike, candidates: Sequence[str], scores: ArrayLike) -> Self:
        """Every cell is kept, however many there are."""
        cells = np.asarray(scores, dtype=np.float64)
        rows, columns = np.nonzero(np.isfinite(cells))
        names = [candidates[c] for c in columns.tolist()]
        self.restore({})._learn(np.asarray(vectors)[rows], names, cells[rows, columns], None, np.inf)
        self._settled, self._derived = len(self._events), None
        return self

    def predict(
        self, vectors: ArrayLike, candidates: Sequence[str], prior: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        x, k = query(vectors, self.width), len(candidates)
        believed = logits(beliefs(prior, k, self.default))
        heads, mass, weights = np.zeros((1, k)), np.zeros((1, k)), np.ones((len(x), 1))
        if self._events:
            derived = self._ready()
            place = {name: i for i, name in enumerate(derived.players)}
            weights = derived.mixture.weights(derived.scaling.apply(x))
            heads, mass = np.zeros((derived.mixture.k, k)), np.zeros((derived.mixture.k, k))
            for column, name in enumerate(candidates):
                if name in place:
                    heads[:, column] = derived.mixture.heads[:, place[name]]
                    mass[:, column] = derived.mass[:, place[name]]
        variance = 1.0 / (1.0 / self.prior_std**2 + mass)
        # A strength is believed * (how much of the prior is left) off the default it was fitted around.
        start = float(logits(np.array([self.default]))[0])
        strength = start + heads + (variance / self.prior_std**2) * (believed - start)
        shrink = 1.0 / np.sqrt(1.0 + 0.368 * variance)
        chance = _sigmoid(strength * shrink)
        mean = weights @ chance
        within = weights @ (chance * (1.0 - chance) * (1.0 - shrink))
        return mean, np.sqrt(within + np.maximum(weights @ chance**2 - mean**2, 0.0) / (1.0 + weights @ mass))

    def prepare(self) -> None:
        if self._events:
            self._ready()

    def state(self) -> State:
        if not self._events:
            return {}
        return {
            "vectors": np.stack([event.vector for event in self._events]),
            "names": [event.name for event in self._events],
            "rest": np.array([(event.target, event.weight) for event in self._events]),
            "settled": self._settled,
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        columns = state.get("vectors", ()), state.get("names", ()), state.get("rest", ())
        self._events = deque(Event(x.copy(), n, float(y), float(w)) for x, n, (y, w) in zip(*columns, strict=True))
        self._settled = int(state.get("settled", 0))
        self._derived = None
        return self

    def _learn(
        self,
        vectors: ArrayLike,
        names: Sequence[str],
        targets: ArrayLike,
        weights: ArrayLike | None,
        memory: float,
    ) -> Self:
        batch = list(events(vectors, names, targets, weights, width=self.width, revocable=False))
        for row, event in enumerate(batch):
            checked_score(event.target, row)
        for event in batch:
            if event.weight > 0.0:
                self._events.append(event)
                if len(self._events) - self._settled >= max(1, self._settled // 8):
                    while len(self._events) > memory:
                        self._events.popleft()
                    self._settled, self._derived = len(self._events), None
        return self

    def _ready(self) -> Derived:
        if self._derived is None:
            held = list(islice(self._events, self._settled))
            rows = np.stack([event.vector for event in held])
            scale = scaling(rows)
            players = list(dict.fromkeys(event.name for event in held))
            place = {name: i for i, name in enumerate(players)}
            who = np.array([place[event.name] for event in held])
            y, w = np.array([(event.target, event.weight) for event in held]).T
            mixture, whose = self._fit(scale.apply(rows), who, y, w, len(players))
            chance = _sigmoid(mixture.heads)
            seen = np.stack([np.bincount(who, weights=w * h, minlength=len(players)) for h in whose.T])
            self._derived = Derived(scale, mixture, seen * chance * (1.0 - chance), players)
        return self._derived

    def _fit(self, z: Array, who: NDArray[np.intp], y: Array, w: Array, players: int) -> tuple[Mixture, Array]:
        """EM on scores against par: as `_em`, but a head is one strength a candidate, so its step is a mean."""
        start = float(logits(np.array([self.default]))[0])
        context = _with_one(z)
        bound = np.linalg.inv(0.5 * context.T @ (w[:, None] * context) + 4.0 * np.eye(context.shape[1]))
        rng = np.random.default_rng(0)
        best: tuple[float, Mixture, Array] | None = None
        for _ in range(self.restarts):
            heads = rng.normal(0.0, 0.5, (self.k, players))
            gate = rng.normal(0.0, 0.3, (self.k, context.shape[1]))
            before = -np.inf
            whose = np.full((len(z), self.k), 1.0 / self.k)
            for _ in range(100):
                chance = np.clip(_sigmoid(start + heads[:, who].T), 1e-6, 1.0 - 1e-6)
                joint = _softmax(context @ gate.T) * chance ** y[:, None] * (1.0 - chance) ** (1.0 - y[:, None])
                total = joint.sum(axis=1)
                likelihood = float(w @ np.log(total)) / float(w.sum())
                if likelihood - before < 1e-5:
                    break
                before, whose = likelihood, joint / total[:, None]
                for head in range(self.k):
                    own = w * whose[:, head]
                    right = np.bincount(who, weights=own * y, minlength=players)
                    count = np.bincount(who, weights=own, minlength=players)
                    for _ in range(3):
                        p = _sigmoid(start + heads[head])
                        slope = count * p * (1.0 - p) + 1.0 / self.prior_std**2
                        heads[head] += np.clip((right - count * p - heads[head] / self.prior_std**2) / slope, -2.0, 2.0)
                for _ in range(4):
                    gate += ((w[:, None] * (whose - _softmax(context @ gate.T))).T @ context - 4.0 * gate) @ bound
            if best is None or before > best[0]:
                best = before, Mixture(heads, gate), whose
        assert best is not None
        return best[1], best[2]


def _with_one(context: Array) -> Array:
    return np.hstack([np.ones((len(context), 1)), context])


def _sigmoid(logit: Array) -> Array:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logit)))


def _softmax(logit: Array) -> Array:
    raised = np.exp(logit - logit.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))
