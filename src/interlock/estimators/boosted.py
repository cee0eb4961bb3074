"""Gradient-boosted trees on the vector, one ensemble of trees a candidate. Needs lightgbm.

Source: LightGBM, Ke et al., NeurIPS 2017; Friedman, Greedy Function Approximation (2001).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..types import Array
from .batch import Batch, Cells


@dataclass
class Boosted(Batch):
    """Trees of at most `leaves` leaves with at least `leaf_rows` rows each; each looks at a `share` of the columns."""

    trees: int = 60
    leaves: int = 6
    leaf_rows: int = 20
    rate: float = 0.05
    share: float = 0.3

    def __post_init__(self) -> None:
        if find_spec("lightgbm") is None:
            raise ConfigError("the estimator boosted needs lightgbm: pip install 'interlock[lab]'")

    def train(self, cells: Cells, rng: np.random.Generator) -> Forest:
        import lightgbm

        settings: dict[str, Any] = {
            "objective": "cross_entropy",
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.leaf_rows,
            "learning_rate": self.rate,
            "feature_fraction": self.share,
            "bagging_fraction": 0.7,
            "bagging_freq": 1,
            "lambda_l2": 5.0,
            "max_bin": 63,
            "seed": self.seed,
            "deterministic": True,
            "force_col_wise": True,
            "num_threads": 1,
            "verbose": -1,
        }
        boosters = []
        for scores, weights in zip(cells.scores.T, cells.weights.T, strict=True):
            rows = weights > 0.0
            # Equal vectors leave nothing to split on, which lightgbm would warn of; the mean remains.
            table = lightgbm.Dataset(cells.vectors[rows], scores[rows], weight=weights[rows])
            boosters.append(lightgbm.train(settings, table, self.trees))
        return Forest(boosters, cells.weights.sum(axis=0) + self.prior_strength)


@dataclass(frozen=True)
class Forest:
    boosters: Sequence[Any]
    rows: Array

    def predict(self, x: Array, columns: NDArray[np.intp]) -> tuple[Array, Array]:
        mean = np.stack([self.boosters[c].predict(x, num_threads=1) for c in columns.tolist()], axis=1)
        return mean, np.sqrt(mean * (1.0 - mean) * _EFFECTIVE / self.rows[columns])


_EFFECTIVE = 12.0  # parameters that a candidate's rows are spent on
