"""What stands of the scores given to one decision, row by row.

The last score from a source counts; a revocation withdraws it; an outcome that names another candidate than the one
decided on moves what stands to the candidate that really answered. Each row's effect is a list of changes, so learning
is the sum of changes, and a revocation is exactly the opposite of what it revokes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ..types import Decision, Feedback, Outcome

OUTCOME = "outcome"  # the source of a quality that came with the outcome, judged while it was carried out


class Score(NamedTuple):
    """A score in [0, 1] that stands since row `seq`. `tenant` is whose it is."""

    source: str
    tenant: str
    candidate: str
    score: float
    seq: int


class Change(NamedTuple):
    """`sign` +1: the score comes to stand; -1: it no longer does."""

    sign: int
    score: Score


class Standing:
    """The scores that stand of one decision."""

    def __init__(self, decision: Decision) -> None:
        self.decision, self.candidate = decision, decision.chosen
        self._given: dict[str, tuple[str, float]] = {}
        self._stands: dict[str, Score] = {}

    def apply(self, seq: int, record: Outcome | Feedback) -> list[Change]:
        """The changes that row `seq` brings. Scores are clipped to [0, 1]; what is no finite number is no score."""
        if isinstance(record, Outcome):
            self.candidate = record.candidate
            self._give(OUTCOME, "", record.quality)
        elif record.revoked:
            self._given.pop(record.source, None)
        else:
            self._give(record.source, record.tenant, record.score)
        return self._settle(seq)

    def _give(self, source: str, tenant: str, score: float | None) -> None:
        if score is not None and math.isfinite(score):
            self._given[source] = (tenant or self.decision.tenant, min(max(score, 0.0), 1.0))

    def _settle(self, seq: int) -> list[Change]:
        """Bring what stands in line with what is given and who answered."""
        wanted = {
            source: Score(source, tenant, self.candidate, score, seq)
            for source, (tenant, score) in self._given.items()
            if self.candidate is not None
        }
        changes = []
        for source, stands in list(self._stands.items()):
            if source not in wanted or wanted[source][:4] != stands[:4]:
                changes.append(Change(-1, self._stands.pop(source)))
        for source, score in wanted.items():
            if source not in self._stands:
                self._stands[source] = score
                changes.append(Change(+1, score))
        return changes
