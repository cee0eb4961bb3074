"""The recent past in compact form: the last few thousand decisions with outcomes and scores, folded from the ledger.

It is read from the ledger when somebody looks (`/v1/pool`, `/v1/curve`, `/v1/shadow` ...), never on the way of a
request, so it also shows what happened before the last restart and through other processes that write to the same
ledger.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from ..learning.replay import kind_of
from ..types import Array, Decision, Estimate, Feedback, Outcome

WINDOW = 5000  # decisions
COLUMNS = ("quality", "quality_std", "cost", "latency", "energy", "probability")


@dataclass(slots=True)
class Past:
    """One decision. `table` is (6, k): `COLUMNS` by candidate; `permitted` (k,). `scores` maps source -> last score.

    `kind` is what sort of request it was: its task when that is known, else the model that was asked for.
    """

    id: str
    at: float
    tenant: str
    kind: str
    seed: int
    names: tuple[str, ...]
    table: Array
    permitted: tuple[bool, ...]
    chosen: str | None
    outcome: Outcome | None = None
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def score(self) -> float | None:
        """The mean over sources of what each said last; `None` while nobody judged."""
        return sum(self.scores.values()) / len(self.scores) if self.scores else None

    @property
    def served(self) -> str | None:
        """Whose call answered; nobody's, when the cache did."""
        return None if self.outcome is None or self.outcome.cached else self.outcome.candidate


class History:
    """The last `window` decisions, oldest first. Feed it records in ledger order; `seq` is the last row folded."""

    def __init__(self, window: int = WINDOW) -> None:
        self.seq = 0
        self._window = window
        self._past: OrderedDict[str, Past] = OrderedDict()
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}  # one tuple for all decisions over the same candidates

    def __len__(self) -> int:
        return len(self._past)

    def decisions(self) -> list[Past]:
        return list(self._past.values())

    def scored(self) -> list[Past]:
        """Those that were answered and judged."""
        return [past for past in self._past.values() if past.scores and past.served is not None]

    def add(self, record: object) -> None:
        """Fold one record. Outcomes and feedback of decisions that have left the window are passed over."""
        if isinstance(record, Decision):
            self._past[record.id] = self._compact(record)
            if len(self._past) > self._window:
                self._past.popitem(last=False)
        elif isinstance(record, Outcome) and (past := self._past.get(record.decision)) is not None:
            past.outcome = record
        elif isinstance(record, Feedback) and (past := self._past.get(record.decision)) is not None:
            if record.revoked:
                past.scores.pop(record.source, None)
            else:
                past.scores[record.source] = record.score

    def _compact(self, decision: Decision) -> Past:
        past = compact(decision)
        past.names = self._names.setdefault(past.names, past.names)
        return past


def compact(decision: Decision) -> Past:
    """What is remembered of a decision."""
    rows = decision.considered
    return Past(
        id=decision.id,
        at=decision.at,
        tenant=decision.tenant,
        kind=kind_of(decision),
        seed=decision.seed,
        names=tuple(row.candidate for row in rows),
        table=np.array([[getattr(row, column) for row in rows] for column in COLUMNS], np.float64),
        permitted=tuple(row.permitted for row in rows),
        chosen=decision.chosen,
    )


def estimates(pasts: list[Past]) -> Estimate:
    """The estimates that decisions over the same k candidates were made with, each (n, k)."""
    stacked = np.stack([past.table for past in pasts])
    return Estimate(*(stacked[:, index] for index in range(5)))
