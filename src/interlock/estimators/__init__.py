"""Estimators: one mechanism a file. Any of them works with any objective and any exploration."""

from __future__ import annotations

from .base import Estimator, State
from .boosted import Boosted
from .clusters import Clusters
from .constant import Constant
from .contrastive import Contrastive
from .disjoint import Disjoint
from .ensemble import Ensemble
from .graph import Graph
from .item_response import ItemResponse
from .kernel import Kernel
from .knn import KNN
from .logistic import Logistic
from .matrix_factorization import MatrixFactorization
from .mixture_preference import MixturePreference
from .mlp import MLP
from .preference import Elo, Preference
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
    "preference": Preference,
    "elo": Elo,
    "mixture_preference": MixturePreference,
    "boosted": Boosted,
    "mlp": MLP,
    "matrix_factorization": MatrixFactorization,
    "contrastive": Contrastive,
    "graph": Graph,
    "ensemble": Ensemble,
}

__all__ = [
    "ESTIMATORS",
    "KNN",
    "MLP",
    "Boosted",
    "Clusters",
    "Constant",
    "Contrastive",
    "Disjoint",
    "Elo",
    "Ensemble",
    "Estimator",
    "Graph",
    "ItemResponse",
    "Kernel",
    "Logistic",
    "MatrixFactorization",
    "MixturePreference",
    "Preference",
    "Ridge",
    "State",
]
