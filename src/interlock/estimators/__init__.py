"""Estimators: one mechanism a file. Any of them works with any objective and any exploration."""

from __future__ import annotations

from .base import Estimator, State
from .clusters import Clusters
from .constant import Constant
from .disjoint import Disjoint
from .item_response import ItemResponse
from .kernel import Kernel
from .knn import KNN
from .logistic import Logistic
from .ridge import Ridge

ESTIMATORS: dict[str, type[Estimator]] = {
    "constant": Constant,
    "ridge": Ridge,
    "disjoint": Disjoint,
    "kernel": Kernel,
    "logistic": Logistic,
    "knn": KNN,
    "clusters": Clusters,
    "item_response": ItemResponse,
}

__all__ = [
    "ESTIMATORS",
    "KNN",
    "Clusters",
    "Constant",
    "Disjoint",
    "Estimator",
    "ItemResponse",
    "Kernel",
    "Logistic",
    "Ridge",
    "State",
]
