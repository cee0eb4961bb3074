"""Estimators: one mechanism a file. Any of them works with any objective and any exploration."""

from __future__ import annotations

from .base import Estimator, State
from .constant import Constant
from .ridge import Ridge

ESTIMATORS: dict[str, type[Estimator]] = {
    "constant": Constant,
    "ridge": Ridge,
}

__all__ = ["ESTIMATORS", "Constant", "Estimator", "Ridge", "State"]
