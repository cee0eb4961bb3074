"""How a decision is carried out: one file a strategy, one table for what happens when a call fails."""

from __future__ import annotations

from .base import Executor, Run, Strategy
from .calls import Board, Calls
from .cascade import Cascade
from .fallback import TABLE, Action, Fallback, Walker
from .recall import Recall
from .retry_budget import RetryBudget
from .single import Single

STRATEGIES: dict[str, type[Strategy]] = {"single": Single, "cascade": Cascade}

__all__ = [
    "STRATEGIES",
    "TABLE",
    "Action",
    "Board",
    "Calls",
    "Cascade",
    "Executor",
    "Fallback",
    "Recall",
    "RetryBudget",
    "Run",
    "Single",
    "Strategy",
    "Walker",
]
