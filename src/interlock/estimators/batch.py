"""What estimators that are trained in batches share: rows are kept, and the model is a pure function of those rows.

Learning an event only keeps it. Kept rows are of two kinds: `settled` rows, which the model is trained on, and `fresh`
ones since. When the fresh ones are a tenth of the settled ones they join them, the oldest beyond `memory` a candidate
are dropped, and the model is due for training, which `prepare` does; so training is rare, the state is rows alone, and
any batching of the same order gives a bit-identical state. A request never trains: what is served has been prepared.

A candidate with fewer than `least` rows is placed rather than trained: its logit is one offset and a mixture of the
trained candidates' logits, fitted to its own rows with a prior that says it is like the others on average. So a new
candidate needs some 50 answers and no training: on RouterBench, frontiers with one of 11 models placed by 50 answers
are 0.05 to 0.3 points of AIQ below those trained on all of its answers, by estimator, and 1.4 in the worst case (a
model on which the frontier rests). Before anything is trained, a prediction is the candidate's mean.

A deviation is that of the expected score, not of a score: how far the mean of many such answers may be from the
prediction, for want of rows.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..types import Array
from .base import Estimator, Event, State, beliefs, events, query, table
from .bernoulli import checked_score, logits
from .newton import logistic

_FIRST = 64  # events before anything is trained
_GROWTH = 0.1  # of the settled rows, until fresh ones join them
_SIMILAR = 0.3  # prior standard deviation of a placed candidate's mixture weights


class Cells(NamedTuple):
    """What is trained on: vectors (n, d); scores in [0, 1] and weights (n, k), NaN and 0 where there is none."""

    vectors: Array
    scores: Array
    weights: Array

    @property
    def filled(self) -> Array:
        """The scores with 0 where there is none, to be multiplied with the weights."""
        return np.where(self.weights > 0.0, self.scores, 0.0)


class Model(Protocol):
    """What training gives."""

    def predict(self, x: Array, columns: NDArray[np.intp]) -> tuple[Array, Array]:
        """Mean in [0, 1] and standard deviation, both (n, len(columns)), of these columns of the trained cells."""
        ...


class Settled(NamedTuple):
    """Rows: the unique vectors (m, d), and per row (n,) which of them, which candidate, target, weight."""

    vectors: Array
    at: NDArray[np.intp]
    column: NDArray[np.intp]
    target: Array
    weight: Array


class Derived(NamedTuple):
    """`place[c]` is the candidate's column in the trained model, or -1; `rows` counts what each was trained on."""

    tag: bytes
    model: Model | None
    place: NDArray[np.intp]
    rows: Array


@dataclass
class Batch(Estimator):
    """`memory` rows a candidate are kept (a table that `fit_table` was given is kept whole, so it may raise that).

    `default`, `prior_strength` (in rows) and `noise` (the standard deviation of a row) shrink a candidate's mean.
    """

    default: float = 0.5
    noise: float = 0.5
    prior_strength: float = 2.0
    memory: int = 800
    least: int = 60
    seed: int = 0
    _names: list[str] = field(default_factory=list, init=False, repr=False, compare=False)
    _sums: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)
    _settled: Settled | None = field(default=None, init=False, repr=False, compare=False)
    _fresh: list[Event] = field(default_factory=list, init=False, repr=False, compare=False)
    _cap: int = field(default=0, init=False, repr=False, compare=False)
    _tag: bytes = field(default=b"", init=False, repr=False, compare=False)
    _derived: Derived | None = field(default=None, init=False, repr=False, compare=False)
    _placed: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    revocable = False

    @abstractmethod
    def train(self, cells: Cells, rng: np.random.Generator) -> Model:
        """Train on cells in which every candidate has at least `least` rows. Pure: all chance comes from `rng`."""

    @property
    def width(self) -> int | None:
        if self._settled is not None:
            return int(self._settled.vectors.shape[1])
        return len(self._fresh[0].vector) if self._fresh else None

    def partial_fit(
        self, vectors: ArrayLike, names: Sequence[str], targets: ArrayLike, weights: ArrayLike | None = None
    ) -> Self:
        batch = list(events(vectors, names, targets, weights, width=self.width, revocable=False))
        for row, event in enumerate(batch):
            checked_score(event.target, row)
        for event in batch:
            if event.weight > 0.0:
                self._keep(event)
        return self

    def fit_table(self, vectors: ArrayLike, candidates: Sequence[str], scores: ArrayLike) -> Self:
        """As `fit`, but everything is trained on at once, and no row is dropped for want of `memory`."""
        x, cells = table(vectors, candidates, scores)
        at, column = np.nonzero(np.isfinite(cells))
        target = cells[at, column]
        for cell in np.flatnonzero((target < 0.0) | (target > 1.0)):
            checked_score(float(target[cell]), int(at[cell]))
        self.restore({})
        if len(at):
            self._names = [str(name) for name in candidates]
            count, total = np.isfinite(cells).sum(axis=0), np.nansum(cells, axis=0)
            self._sums = {n: np.array([c, t]) for n, c, t in zip(self._names, count, total, strict=True)}
            self._cap = max(self.memory, int(count.max()))
            self._settled = Settled(x.copy(), at, column, target, np.ones(len(at)))
            self._tag = _digest(b"table", x, cells)
        self.prepare()
        return self

    def predict(
        self, vectors: ArrayLike, candidates: Sequence[str], prior: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        x, k = query(vectors, self.width), len(candidates)
        believed = beliefs(prior, k, self.default)
        sums = np.array([self._sums.get(name, (0.0, 0.0)) for name in candidates]).reshape(k, 2)
        strength = sums[:, 0] + self.prior_strength
        mean = np.tile((sums[:, 1] + self.prior_strength * believed) / strength, (len(x), 1))
        std = np.tile(self.noise / np.sqrt(strength), (len(x), 1))
        derived = self._ready()
        if derived.model is None or not len(x):
            return mean, std
        known = dict(zip(self._names, derived.place.tolist(), strict=False))
        place = np.array([known.get(name, -1) for name in candidates], dtype=np.intp)
        trained = np.flatnonzero(place >= 0)
        if len(trained):
            rows = derived.rows[place[trained]]
            kept = rows / (rows + self.prior_strength)
            own, spread = derived.model.predict(x, place[trained])
            mean[:, trained] = kept * own + (1.0 - kept) * believed[trained]
            std[:, trained] = spread
        new = [i for i in np.flatnonzero(place < 0).tolist() if sums[i, 0] > 0.0]
        if new:
            common = mixture(derived.model, x, len(derived.rows))
            for i in new:
                kept = sums[i, 0] / strength[i]
                own = 0.5 * (1.0 + np.tanh(0.5 * common @ self._weights(candidates[i], derived)))
                mean[:, i] = kept * own + (1.0 - kept) * believed[i]
        return mean, std

    def prepare(self) -> None:
        self._ready()

    def state(self) -> State:
        if not self._sums:
            return {}
        state: State = {
            "names": list(self._names),
            "sums": np.stack([self._sums[name] for name in self._names]),
            "fresh": [list(event) for event in self._fresh],
            "cap": self._cap,
            "tag": self._tag,
        }
        if self._settled is not None:
            state["settled"] = [part.copy() for part in self._settled]
        return state

    def restore(self, state: Mapping[str, Any]) -> Self:
        """What was trained on the same settled rows is kept: a clone that is served need not be trained again."""
        self._names = [str(name) for name in state.get("names", ())]
        self._sums = {name: sums.copy() for name, sums in zip(self._names, state.get("sums", ()), strict=True)}
        self._fresh = [Event(x.copy(), name, float(y), float(w)) for x, name, y, w in state.get("fresh", ())]
        self._cap, self._tag = int(state.get("cap", 0)), bytes(state.get("tag", b""))
        settled = state.get("settled")
        self._settled = None if settled is None else Settled(*(part.copy() for part in settled))
        self._placed = {}
        return self

    def _keep(self, event: Event) -> None:
        if event.name not in self._sums:
            self._names.append(event.name)
            self._sums[event.name] = np.zeros(2)
        self._sums[event.name] += event.weight, event.weight * event.target
        self._fresh.append(event)
        self._placed = {}
        settled = 0 if self._settled is None else len(self._settled.at)
        if len(self._fresh) >= max(_FIRST, _GROWTH * settled):
            self._settle()

    def _settle(self) -> None:
        """The fresh rows join the settled ones; the oldest beyond the cap are dropped."""
        column = {name: i for i, name in enumerate(self._names)}
        vectors = np.stack([event.vector for event in self._fresh])
        rows = Settled(
            vectors,
            np.arange(len(vectors)),
            np.array([column[event.name] for event in self._fresh], dtype=np.intp),
            np.array([event.target for event in self._fresh]),
            np.array([event.weight for event in self._fresh]),
        )
        names = "\0".join(event.name for event in self._fresh).encode()
        self._tag = _digest(self._tag + names, vectors, rows.target, rows.weight)
        if self._settled is not None:
            old = self._settled
            rows = Settled(
                np.concatenate([old.vectors, vectors]),
                np.concatenate([old.at, rows.at + len(old.vectors)]),
                *(np.concatenate(pair) for pair in zip(old[2:], rows[2:], strict=True)),
            )
        self._settled, self._fresh = _newest(rows, max(self._cap, self.memory)), []

    def _ready(self) -> Derived:
        if self._derived is None or self._derived.tag != self._tag:
            self._derived = self._derive()
        place = self._derived.place
        if len(place) < len(self._names):  # candidates that came since are not trained
            added = np.full(len(self._names) - len(place), -1, dtype=np.intp)
            return self._derived._replace(place=np.concatenate([place, added]))
        return self._derived

    def _derive(self) -> Derived:
        untrained = np.full(len(self._names), -1, dtype=np.intp)
        if self._settled is None:
            return Derived(self._tag, None, untrained, np.zeros(0))
        vectors, at, column, target, weight = self._settled
        rows = np.bincount(column, minlength=len(self._names))
        trained = np.flatnonzero(rows >= self.least)
        if not len(trained):
            return Derived(self._tag, None, untrained, np.zeros(0))
        untrained[trained] = np.arange(len(trained))
        mine = untrained[column] >= 0
        cells = untrained[column[mine]]
        scores = np.full((len(vectors), len(trained)), np.nan)
        weights = np.zeros((len(vectors), len(trained)))
        scores[at[mine], cells], weights[at[mine], cells] = target[mine], weight[mine]
        some = weights.any(axis=1)
        model = self.train(
            Cells(vectors[some], scores[some], weights[some]), np.random.default_rng([self.seed, len(at)])
        )
        return Derived(self._tag, model, untrained, rows[trained].astype(np.float64))

    def _weights(self, name: str, derived: Derived) -> Array:
        """The mixture weights of a candidate that is placed, from all of its rows."""
        if name not in self._placed:
            vectors, target, weight = self._rows_of(name)
            assert derived.model is not None
            basis = mixture(derived.model, vectors, len(derived.rows))
            precision = np.full(basis.shape[1], _SIMILAR**-2.0)
            precision[0], believed = 0.5, np.zeros(basis.shape[1])
            believed[1] = 1.0
            self._placed[name], _ = logistic(basis, target, weight, believed, precision)
        return self._placed[name]

    def _rows_of(self, name: str) -> tuple[Array, Array, Array]:
        fresh = [event for event in self._fresh if event.name == name]
        parts = [(event.vector[None], np.array([event.target]), np.array([event.weight])) for event in fresh]
        if self._settled is not None:
            vectors, at, column, target, weight = self._settled
            mine = column == self._names.index(name)
            parts.append((vectors[at[mine]], target[mine], weight[mine]))
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))  # type: ignore[return-value]


def mixture(model: Model, x: Array, count: int) -> Array:
    """What a candidate that is placed is a mixture of, (n, 2 + k): 1, the trained ones' mean logit, each one's own."""
    mean, _ = model.predict(x, np.arange(count))
    own = logits(mean)
    common = own.mean(axis=1, keepdims=True)
    return np.hstack([np.ones_like(common), common, own - common])


def _newest(rows: Settled, cap: int) -> Settled:
    """The last `cap` rows of each candidate, with the vectors that they still need."""
    kept = np.ones(len(rows.at), dtype=np.bool_)
    for column in np.flatnonzero(np.bincount(rows.column) > cap):
        kept[np.flatnonzero(rows.column == column)[:-cap]] = False
    if kept.all():
        return rows
    needed, at = np.unique(rows.at[kept], return_inverse=True)
    return Settled(rows.vectors[needed], at, rows.column[kept], rows.target[kept], rows.weight[kept])


def _digest(before: bytes, *arrays: Array) -> bytes:
    """Names what is settled, so that a model is known to be trained on it."""
    digest = hashlib.blake2b(before, digest_size=16)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.digest()
