"""What a configuration builds, and what the learner publishes: the two things a router swaps while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .types import Candidate

if TYPE_CHECKING:
    from .config import Settings
    from .execution import Executor
    from .guards import Board, Guards
    from .policy import Policy
    from .signals import Reader


@dataclass(frozen=True, slots=True)
class Plan:
    """What one configuration builds. A reload swaps it whole, so a request never sees half of each."""

    candidates: tuple[Candidate, ...]
    reader: Reader
    guards: Guards
    executor: Executor
    board: Board
    default_order: Sequence[str]
    settings: Settings
    config: str
    because: str = ""


@dataclass(frozen=True, slots=True)
class Served:
    """A policy and the snapshot it was restored from. `degraded` says how far it is from the newest good snapshot."""

    policy: Policy
    snapshot: str
    degraded: str = ""
