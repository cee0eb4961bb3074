"""What a configuration builds, and what the learner publishes: the two things a router swaps while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakSet

from .affinity import Affinity
from .types import Candidate

if TYPE_CHECKING:
    from .config import Settings
    from .execution import Executor, Run
    from .guards import Board, Guards
    from .policy import Policy
    from .signals import Reader


@dataclass(frozen=True, slots=True)
class Plan:
    """What one configuration builds. A reload swaps it whole, so a request never sees half of each.

    `runs` are those begun on it: its providers are needed until the last of them has ended.
    """

    candidates: tuple[Candidate, ...]
    reader: Reader
    guards: Guards
    executor: Executor
    board: Board
    default_order: Sequence[str]
    settings: Settings
    config: str
    because: str = ""
    affinity: Affinity = field(default_factory=Affinity, compare=False, repr=False)
    runs: WeakSet[Run] = field(default_factory=WeakSet, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Served:
    """A policy and the snapshot it was restored from. `degraded` says how far it is from the newest good snapshot."""

    policy: Policy
    snapshot: str
    degraded: str = ""
