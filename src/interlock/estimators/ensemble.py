"""Several estimators, weighted by how well each predicts rows it was not trained on.

The rows are split into folds; each member predicts each fold after training on the others. The weights are those of
the mixture of the members' predictions under which the held-out scores are likeliest, so a member that adds nothing
gets none, and the log loss of the mixture there is no worse than the best member's. Then all train on all rows.

Source: super learner: van der Laan, Polley & Hubbard (2007); linear pool: Stone (1961); weights: EM, Dempster, Laird &
Rubin (1977).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, nearest
from ..types import Array
from .base import Estimator
from .batch import Batch, Cells

_DROPPED = 0.03  # a member with less weight is left out: it costs more than it says


@dataclass
class Ensemble(Batch):
    """`members` are names of estimators, each with its defaults; `folds` is the number of parts rows are split into."""

    members: tuple[str, ...] = ("clusters", "knn", "logistic", "mlp", "graph")
    folds: int = 3

    def __post_init__(self) -> None:
        from . import ESTIMATORS

        for name in self.members:
            if name not in ESTIMATORS or name == "ensemble":
                raise ConfigError(f"members: there is no estimator {name!r}; {nearest(name, list(ESTIMATORS))}")
        if not self.members:
            raise ConfigError("members: an ensemble needs at least one")

    def train(self, cells: Cells, rng: np.random.Generator) -> Pool:
        fold = rng.permutation(len(cells.vectors)) % self.folds
        held = np.full((len(self.members), *cells.scores.shape), self.default)
        names = [str(c) for c in range(cells.scores.shape[1])]
        for part in range(self.folds if len(self.members) > 1 and len(fold) >= self.folds else 0):
            out = fold == part
            for i, member in enumerate(self._trained(self.members, cells, names, ~out)):
                held[i, out] = member.predict(cells.vectors[out], names)[0]
        weights = pool(
            held[:, cells.weights > 0.0], cells.scores[cells.weights > 0.0], cells.weights[cells.weights > 0.0]
        )
        used = [name for name, weight in zip(self.members, weights, strict=True) if weight > 0.0]
        every = np.ones(len(fold), dtype=np.bool_)
        return Pool(tuple(self._trained(used, cells, names, every)), tuple(used), weights[weights > 0.0], names)

    def _trained(
        self, members: Sequence[str], cells: Cells, names: Sequence[str], rows: NDArray[np.bool_]
    ) -> list[Estimator]:
        from . import ESTIMATORS

        return [ESTIMATORS[name]().fit_table(cells.vectors[rows], names, cells.scores[rows]) for name in members]


@dataclass(frozen=True)
class Pool:
    """The members that have weight."""

    members: Sequence[Estimator]
    kinds: Sequence[str]
    weights: Array
    names: Sequence[str]

    def predict(self, x: Array, columns: NDArray[np.intp]) -> tuple[Array, Array]:
        """The deviation is the members' own and their disagreement: that of a mixture of them."""
        asked = [self.names[c] for c in columns.tolist()]
        said = [member.predict(x, asked) for member in self.members]
        means, stds = np.stack([mean for mean, _ in said]), np.stack([std for _, std in said])
        mean = np.clip(np.tensordot(self.weights, means, 1), 0.0, 1.0)
        return mean, np.sqrt(np.tensordot(self.weights, stds**2 + (means - mean) ** 2, 1))


def pool(predictions: Array, scores: Array, weights: Array, rounds: int = 200) -> Array:
    """The mixture weights (m,) of predictions (m, n) under which scores (n,) in [0, 1] are likeliest."""
    chance = np.clip(predictions, 0.005, 0.995)
    share = np.full(len(chance), 1.0 / len(chance))
    for _ in range(rounds):
        mixed = share @ chance
        pull = (chance * (weights * scores / mixed) + (1.0 - chance) * (weights * (1.0 - scores) / (1.0 - mixed))).sum(
            axis=1
        )
        share = share * pull / weights.sum()
    share = np.where(share < min(_DROPPED, share.max()), 0.0, share)
    return np.asarray(share / share.sum())
