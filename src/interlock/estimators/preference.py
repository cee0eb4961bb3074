"""Who beats whom: Bradley-Terry strengths fitted anew for each prompt, matches on similar prompts counting more.

    P(i beats j | x) = sigmoid(r_i(x) - r_j(x))     r(x) maximises sum_m w(x, x_m) log P(match m) - |r|^2 / 2 s^2

A match is two candidates on one prompt and which answer was kept. A score without an opponent is a match against *par*,
a player of strength 0, which won to the degree 1 - score. So scores and comparisons speak one language, and the quality
of a candidate is its probability of beating par; with comparisons alone, par is as strong as the average candidate.

`Elo` is the same without prompts, one step a match.

Source: sw_ranking of RouteLLM (arXiv 2406.18665); Bradley & Terry, Biometrika 39 (1952); Elo (1978).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from ..types import Array
from .base import Estimator, State, beliefs, events, query
from .bernoulli import checked_score, logits, moments_of_sigmoid
from .scaling import Scaling, scaling

PAR = ""
"""The opponent of a score. No candidate has this name."""


class Pair(NamedTuple):
    """Two answers to the prompt with this vector (d,): `kept` in [0, 1] is 1 if the left one was, 0.5 for a tie."""

    vector: Array
    left: str
    right: str
    kept: float
    weight: float = 1.0


def pairs_of_table(vectors: Array, candidates: Sequence[str], scores: Array, paired: float) -> Iterable[Pair]:
    """The matches in a table (n, k) of scores. Each score counts once: `paired` of it against the prompt's others.

    Equal scores are ties; NaN is no answer.
    """
    for x, row in zip(vectors, scores, strict=True):
        here = np.flatnonzero(np.isfinite(row)).tolist()
        share = paired / (len(here) - 1) if len(here) > 1 else 0.0
        for a, i in enumerate(here):
            alone = 1.0 - paired if len(here) > 1 else 1.0
            if alone > 0.0:
                yield Pair(x, candidates[i], PAR, float(row[i]), alone)
            if share > 0.0:
                for j in here[a + 1 :]:
                    yield Pair(x, candidates[i], candidates[j], float(0.5 + 0.5 * np.sign(row[i] - row[j])), share)


class Prompt(NamedTuple):
    """A prompt's vector and the matches on it: number of the left and of the right name, kept, weight."""

    vector: Array
    matches: list[tuple[int, int, float, float]]


class Derived(NamedTuple):
    scaling: Scaling
    rows: Array
    """Standardised vectors of the prompts (p, d), scaled to length 1."""
    wins: Array
    """How much of them each player won against each, (p, players x players)."""
    players: list[str]


@dataclass
class Preference(Estimator):
    """w(x, x_m) = exp(sharpness x (cosine - 1)). The last `memory` prompts are kept, of a table all.

    `prior_std` is a strength's, in logits; `paired` is the share of a table's scores that enters as matches between its
    candidates rather than against par.
    """

    default: float = 0.5
    prior_std: float = 2.0
    sharpness: float = 3.0
    memory: int = 2000
    paired: float = 0.5
    _prompts: deque[Prompt] = field(default_factory=deque, init=False, repr=False, compare=False)
    _names: list[str] = field(default_factory=lambda: [PAR], init=False, repr=False, compare=False)
    _derived: Derived | None = field(default=None, init=False, repr=False, compare=False)

    revocable = False

    @property
    def width(self) -> int | None:
        return len(self._prompts[-1].vector) if self._prompts else None

    def partial_fit(
        self, vectors: ArrayLike, names: Sequence[str], targets: ArrayLike, weights: ArrayLike | None = None
    ) -> Self:
        batch = list(events(vectors, names, targets, weights, width=self.width, revocable=False))
        for row, event in enumerate(batch):
            checked_score(event.target, row)
        return self._add((Pair(e.vector, e.name, PAR, e.target, e.weight) for e in batch), self.memory)

    def compare(self, pairs: Sequence[Pair]) -> Self:
        """Learn comparisons in order, all or nothing. Raises `ValueError` naming the first bad one."""
        checked_pairs(pairs, self.width)
        return self._add(pairs, self.memory)

    def fit_table(self, vectors: ArrayLike, candidates: Sequence[str], scores: ArrayLike) -> Self:
        """Every score against par and against the other scores of its prompt, row by row."""
        pairs = list(
            pairs_of_table(
                np.asarray(vectors, dtype=np.float64), candidates, np.asarray(scores, dtype=np.float64), self.paired
            )
        )
        checked_pairs(pairs, None)
        return self.restore({})._add(pairs, np.inf)

    def predict(
        self, vectors: ArrayLike, candidates: Sequence[str], prior: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        x, k = query(vectors, self.width), len(candidates)
        believed = logits(beliefs(prior, k, self.default))
        strength = np.tile(believed, (len(x), 1))
        variance = np.full((len(x), k), self.prior_std**2)
        if not self._prompts or not k:
            return moments_of_sigmoid(strength, variance)
        derived = self._ready()
        place = {name: i - 1 for i, name in enumerate(derived.players)}
        start = float(logits(np.array([self.default]))[0])
        for begin in range(0, len(x), 256):  # so that (n, players, players) stays small
            part = slice(begin, begin + 256)
            rating, spread = self._ratings(x[part], derived)
            for column, name in enumerate(candidates):
                if name in place:
                    at = place[name]
                    left = np.minimum(1.0, spread[:, at] / self.prior_std**2)  # of the prior
                    strength[part, column] = rating[:, at] + left * (believed[column] - start)
                    variance[part, column] = spread[:, at]
        return moments_of_sigmoid(strength, variance)

    def prepare(self) -> None:
        if self._prompts:
            self._ready()

    def state(self) -> State:
        if not self._prompts:
            return {}
        matches = [(i, *match) for i, prompt in enumerate(self._prompts) for match in prompt.matches]
        return {
            "vectors": np.stack([prompt.vector for prompt in self._prompts]),
            "matches": np.array(matches, dtype=np.float64),
            "names": list(self._names),
        }

    def restore(self, state: Mapping[str, Any]) -> Self:
        self._prompts = deque(Prompt(vector.copy(), []) for vector in state.get("vectors", ()))
        for i, left, right, kept, weight in state.get("matches", np.zeros((0, 5))).tolist():
            self._prompts[int(i)].matches.append((int(left), int(right), kept, weight))
        self._names = list(state.get("names", [PAR]))
        self._derived = None
        return self

    def _add(self, pairs: Iterable[Pair], memory: float) -> Self:
        for pair in pairs:
            if pair.weight == 0.0 or pair.left == pair.right:
                continue
            self._derived = None
            if not self._prompts or not np.array_equal(self._prompts[-1].vector, pair.vector):
                self._prompts.append(Prompt(np.array(pair.vector, dtype=np.float64), []))
                if len(self._prompts) > memory:
                    self._prompts.popleft()
            match = self._number(pair.left), self._number(pair.right), float(pair.kept), float(pair.weight)
            self._prompts[-1].matches.append(match)
        return self

    def _number(self, name: str) -> int:
        if name not in self._names:
            self._names.append(name)
        return self._names.index(name)

    def _ready(self) -> Derived:
        if self._derived is None:
            rows = np.stack([prompt.vector for prompt in self._prompts])
            matches = [(i, *match) for i, prompt in enumerate(self._prompts) for match in prompt.matches]
            of, left, right, kept, weight = np.array(matches, dtype=np.float64).T
            present = sorted({0, *map(int, left), *map(int, right)}, key=lambda i: (i > 0, self._names[i]))
            place = np.full(len(self._names), -1)
            place[present] = np.arange(count := len(present))
            won, lost = place[left.astype(int)], place[right.astype(int)]
            wins = np.zeros((len(rows), count, count))
            np.add.at(wins, (of.astype(int), won, lost), weight * kept)
            np.add.at(wins, (of.astype(int), lost, won), weight * (1.0 - kept))
            scale = scaling(rows)
            unit = _unit(scale.apply(rows))
            self._derived = Derived(scale, unit, wins.reshape(len(rows), -1), [self._names[i] for i in present])
        return self._derived

    def _ratings(self, x: Array, derived: Derived) -> tuple[Array, Array]:
        """Strength and its variance of every player but par, both (n, players - 1)."""
        cosine = _unit(derived.scaling.apply(x)) @ derived.rows.T
        count = len(derived.players)
        wins = (np.exp(self.sharpness * (cosine - 1.0)) @ derived.wins).reshape(len(x), count, count)
        start = float(logits(np.array([self.default]))[0])
        return bradley_terry(wins, start, self.prior_std)


def bradley_terry(wins: Array, start: float, prior_std: float, rounds: int = 12) -> tuple[Array, Array]:
    """Strengths of players 1, ..., and their Laplace variance, (n, players - 1), from wins (n, players, players).

    Player 0 has strength 0, the others the prior N(start, prior_std^2). Newton's method on n problems at once.
    """
    n, count, _ = wins.shape
    played = wins + wins.transpose(0, 2, 1)
    won = wins.sum(axis=2)
    rating = np.full((n, count), start)
    rating[:, 0] = 0.0
    hessian = np.zeros((n, count - 1, count - 1))
    diagonal = np.arange(count - 1)
    for _ in range(rounds):
        p = 0.5 * (1.0 + np.tanh(0.5 * (rating[:, :, None] - rating[:, None, :])))
        gradient = won - (played * p).sum(axis=2) - (rating - start) / prior_std**2
        weight = played * p * (1.0 - p)
        hessian = -weight[:, 1:, 1:]
        hessian[:, diagonal, diagonal] += weight.sum(axis=2)[:, 1:] + 1.0 / prior_std**2
        step = np.linalg.solve(hessian, gradient[:, 1:, None])[:, :, 0]
        rating[:, 1:] += np.clip(step, -2.0, 2.0)
        if np.abs(step).max(initial=0.0) < 1e-10:
            break
    return rating[:, 1:], np.linalg.inv(hessian)[:, diagonal, diagonal]


def checked_pairs(pairs: Sequence[Pair], width: int | None) -> None:
    """Raise `ValueError` for the first comparison that cannot be learnt."""
    for row, pair in enumerate(pairs):
        if width is not None and len(pair.vector) != width:
            raise ValueError(f"pair {row}: its vector has {len(pair.vector)} columns, but {width} have been learnt")
        width = len(pair.vector)
        if not (np.isfinite(pair.vector).all() and np.isfinite(pair.weight)):
            raise ValueError(f"pair {row} ({pair.left!r} against {pair.right!r}): its vector or weight is not finite")
        if pair.weight < 0.0:
            raise ValueError(f"pair {row}: weight {pair.weight:g}, but this estimator cannot revoke: rebuild it")
        checked_score(pair.kept, row)


def _unit(rows: Array) -> Array:
    """Rows scaled to length 1; a zero row stays zero, equally unlike all others."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length > 0.0, length, 1.0))


@dataclass
class Elo(Estimator):
    """r += step x (result - expected), in logits: the unweighted online form, blind to the prompt.

    The deviation is that of this very recursion: the prior's share shrinks, the noise of `step` stays.
    """

    default: float = 0.5
    prior_std: float = 2.0
    step: float = 0.1
    _ratings: dict[str, tuple[float, float, float]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Rating, its variance, and how much of the prior is left in it."""
    _width: int | None = field(default=None, init=False, repr=False, compare=False)

    revocable = False

    def partial_fit(
        self, vectors: ArrayLike, names: Sequence[str], targets: ArrayLike, weights: ArrayLike | None = None
    ) -> Self:
        batch = list(events(vectors, names, targets, weights, width=self._width, revocable=False))
        for row, event in enumerate(batch):
            checked_score(event.target, row)
        for event in batch:
            self._width = len(event.vector)
            self._move(event.name, self._rating(event.name)[0], event.target, event.weight)
        return self

    def compare(self, pairs: Sequence[Pair]) -> Self:
        """Learn comparisons in order, all or nothing. Raises `ValueError` naming the first bad one."""
        checked_pairs(pairs, self._width)
        for pair in pairs:
            self._width = len(pair.vector)
            left, right = (0.0 if name == PAR else self._rating(name)[0] for name in (pair.left, pair.right))
            self._move(pair.left, left - right, pair.kept, pair.weight)
            self._move(pair.right, right - left, 1.0 - pair.kept, pair.weight)
        return self

    def predict(
        self, vectors: ArrayLike, candidates: Sequence[str], prior: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        x = query(vectors, self._width)
        believed, start = logits(beliefs(prior, len(candidates), self.default)), logits(np.array([self.default]))[0]
        known = np.array([self._rating(name) for name in candidates]).reshape(-1, 3)
        strength = known[:, 0] + known[:, 2] * (believed - start)
        mean, std = moments_of_sigmoid(strength, known[:, 1])
        return np.tile(mean, (len(x), 1)), np.tile(std, (len(x), 1))

    def prepare(self) -> None:
        """Nothing to derive."""

    def state(self) -> State:
        return {"width": self._width, "ratings": {name: list(of) for name, of in sorted(self._ratings.items())}}

    def restore(self, state: Mapping[str, Any]) -> Self:
        self._width = state.get("width")
        self._ratings = {name: (float(r), float(v), float(p)) for name, (r, v, p) in state.get("ratings", {}).items()}
        return self

    def _rating(self, name: str) -> tuple[float, float, float]:
        return self._ratings.get(name, (float(logits(np.array([self.default]))[0]), self.prior_std**2, 1.0))

    def _move(self, name: str, ahead: float, result: float, weight: float) -> None:
        if name == PAR or weight == 0.0:
            return
        rating, variance, left = self._rating(name)
        p = 0.5 * (1.0 + float(np.tanh(0.5 * ahead)))
        size = min(weight * self.step, 1.0)
        pull, noise = 1.0 - size * p * (1.0 - p), size**2 * p * (1.0 - p)
        self._ratings[name] = rating + size * (result - p), pull**2 * variance + noise, pull * left
