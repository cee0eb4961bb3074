"""Estimators: one mechanism a file. Any of them works with any objective and any exploration."""

from __future__ import annotations

from .base import Estimator, State
from .clusters import Clusters
from .constant import Constant
from .item_response import ItemResponse
from .kernel import Kernel
from .knn import KNN
from .logistic import Logistic
from .mixture_preference import MixturePreference
from .preference import Elo, Preference
from .ridge import Ridge

ESTIMATORS: dict[str, type[Estimator]] = {
    "constant": Constant,
    "ridge": Ridge,
    "kernel": Kernel,
    "logistic": Logistic,
    "knn": KNN,
    "clusters": Clusters,
    "item_response": ItemResponse,
    "preference": Preference,
    "elo": Elo,
    "mixture_preference": MixturePreference,
}

__all__ = [
    "ESTIMATORS",
    "KNN",
    "Clusters",
    "Constant",
    "Elo",
    "Estimator",
    "ItemResponse",
    "Kernel",
    "Logistic",
    "MixturePreference",
    "Preference",
    "Ridge",
    "State",
]
