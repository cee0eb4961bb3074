"""What an estimator is: (vector, candidate) -> expected quality, learnt from the scores of what was chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike

from ..types import Array

State = dict[str, Any]
"""Plain Python values and numpy arrays. Equal for all that learnt the same events in the same order."""


class Estimator(Protocol):
    """A regressor with scikit-learn's verbs. Constructors are dataclasses whose fields are the hyper-parameters.

    Every estimator folds: events are learnt one by one, so any batching of the same order gives a bit-identical state.
    What `predict` needs beyond the state is derived in `prepare` and never stored.
    """

    @property
    def revocable(self) -> bool:
        """Whether a negative weight withdraws an earlier event; if not, the state is rebuilt without it."""
        ...

    def partial_fit(
        self, vectors: ArrayLike, names: Sequence[str], targets: ArrayLike, weights: ArrayLike | None = None
    ) -> Self:
        """Learn n events in order: vectors (n, d), the candidate each is about, targets (n,), weights (n,) or 1.

        All or nothing: raises `ValueError` naming the first bad row (wrong width, not finite, negative weight where not
        `revocable`), and then nothing has been learnt.
        """
        ...

    def predict(
        self, vectors: ArrayLike, candidates: Sequence[str], prior: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        """Mean and standard deviation, both (n, k). Changes no state.

        `prior` (k,) is what is believed of each candidate beforehand (NaN: nothing); its weight falls with evidence. A
        candidate's prediction does not depend on which others are asked about. One never seen gets its prior, moved at
        most by what all candidates have in common, and a wide deviation.
        """
        ...

    def prepare(self) -> None:
        """Derive from the state what `predict` needs, so that the first request after a swap does not pay for it."""
        ...

    def state(self) -> State: ...

    def restore(self, state: Mapping[str, Any]) -> Self:
        """Take over a state; the arrays are copied. `partial_fit` continues from it bit for bit."""
        ...

    def fit(
        self, vectors: ArrayLike, names: Sequence[str], targets: ArrayLike, weights: ArrayLike | None = None
    ) -> Self:
        """Forget everything, then `partial_fit`."""
        return self.restore({}).partial_fit(vectors, names, targets, weights)

    def fit_table(self, vectors: ArrayLike, candidates: Sequence[str], scores: ArrayLike) -> Self:
        """`fit` on a table: vectors (n, d), scores (n, k) with NaN where a candidate has none, row by row.

        Estimators that can do better than learn the cells one by one override it; the state is the same up to rounding.
        """
        cells = np.asarray(scores, dtype=np.float64)
        rows, columns = np.nonzero(np.isfinite(cells))
        return self.fit(np.asarray(vectors)[rows], [candidates[c] for c in columns.tolist()], cells[rows, columns])


class Event(NamedTuple):
    """One row to learn."""

    vector: Array
    name: str
    target: float
    weight: float


def events(
    vectors: ArrayLike,
    names: Sequence[str],
    targets: ArrayLike,
    weights: ArrayLike | None,
    *,
    width: int | None,
    revocable: bool,
) -> Iterator[Event]:
    """Check a batch as `partial_fit` promises, then iterate. `width` is that of the rows learnt so far, if any."""
    x = np.atleast_2d(np.asarray(vectors, dtype=np.float64))
    y = np.atleast_1d(np.asarray(targets, dtype=np.float64))
    w = np.ones(len(y)) if weights is None else np.atleast_1d(np.asarray(weights, dtype=np.float64))
    if not len(x) == len(names) == len(y) == len(w):
        counts = f"{len(x)} vectors, {len(names)} names, {len(y)} targets, {len(w)} weights"
        raise ValueError(f"{counts}: expected as many of each")
    if width is not None and x.shape[1] != width:
        raise ValueError(f"vectors have {x.shape[1]} columns, but {width} have been learnt")
    sums = np.add.reduce(x, axis=1)
    if not np.isfinite(np.add.reduce(sums) + np.add.reduce(y) + np.add.reduce(w)):
        for what, values in (("vector", sums), ("target", y), ("weight", w)):
            bad = np.flatnonzero(~np.isfinite(values))
            if len(bad):
                raise ValueError(f"row {bad[0]} (candidate {names[bad[0]]!r}): its {what} is not finite")
    if not revocable and weights is not None:
        negative = np.flatnonzero(w < 0)
        if len(negative):
            weight = w[negative[0]]
            raise ValueError(f"row {negative[0]}: weight {weight:g}, but this estimator cannot revoke: rebuild it")
    return map(Event, x, names, y.tolist(), w.tolist())


def table(vectors: ArrayLike, candidates: Sequence[str], scores: ArrayLike) -> tuple[Array, Array]:
    """What `fit_table` is given, as float64 (n, d) and (n, k). Raises `ValueError` naming the first bad row."""
    x, cells = np.atleast_2d(np.asarray(vectors, dtype=np.float64)), np.asarray(scores, dtype=np.float64)
    if cells.shape != (len(x), len(candidates)):
        raise ValueError(f"scores have shape {cells.shape}: expected ({len(x)}, {len(candidates)}), a row a vector")
    if len(set(candidates)) < len(candidates):
        raise ValueError("a candidate is named twice")
    for what, bad in (("vector is", ~np.isfinite(x).all(axis=1)), ("scores are", np.isinf(cells).any(axis=1))):
        for row in np.flatnonzero(bad):
            raise ValueError(f"row {row}: its {what} not finite")
    return x, cells


def query(vectors: ArrayLike, width: int | None) -> Array:
    """The vectors to predict for as (n, d) float64. Raises `ValueError` if they are not as wide as those learnt."""
    x = np.atleast_2d(np.asarray(vectors, dtype=np.float64))
    if width is not None and x.shape[1] != width:
        raise ValueError(f"vectors have {x.shape[1]} columns, but {width} have been learnt")
    return x


def beliefs(prior: ArrayLike | None, count: int, default: float) -> Array:
    """The prior of each of `count` candidates, with `default` where nothing is believed."""
    if prior is None:
        return np.full(count, default)
    given = np.asarray(prior, dtype=np.float64)
    if given.shape != (count,):
        raise ValueError(f"prior has shape {given.shape}: expected ({count},), one for each candidate")
    return np.where(np.isfinite(given), given, default)
