"""What a policy that fails leaves: nothing is known of any candidate, so the declared default order decides.

Guards have the last word as ever: what rests on an estimate (a limit on cost, say) is met by no candidate then.
"""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .policy import Choice
from .types import Candidate, Context, Estimate, Mask

if TYPE_CHECKING:
    from .objectives import LimitRows
    from .policy import Policy

log = logging.getLogger("interlock.failsafe")


class Failsafe:
    """Asks a policy and survives its exceptions. `failures` counts them by stage, `estimate` or `choose`."""

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter(estimate=0, choose=0)
        self._told: set[tuple[str, str]] = set()

    def estimate(self, policy: Policy, contexts: Sequence[Context], candidates: Sequence[Candidate]) -> Estimate:
        """The policy's estimate; all NaN when it fails."""
        try:
            return policy.estimate(contexts, candidates)
        except Exception as error:  # noqa: BLE001 - a learnt part may fail in any way; requests are answered all the same
            self._failed("estimate", error)
            shape = len(contexts), len(candidates)
            return Estimate(*(np.full(shape, np.nan) for _ in Estimate.__struct_fields__))

    def choose(self, policy: Policy, estimate: Estimate, permitted: Mask, limits: LimitRows) -> Choice:
        """The policy's choice; when it fails, one that drops every permitted candidate for want of a utility."""
        try:
            return policy.choose(estimate, permitted, limits)
        except Exception as error:  # noqa: BLE001 - as above
            self._failed("choose", error)
            return Choice(np.full(permitted.shape, np.nan), np.zeros(permitted.shape), permitted)

    def _failed(self, stage: str, error: Exception) -> None:
        """Count it, and say so once for each kind and place: it would otherwise be said at every request."""
        self.failures[stage] += 1
        # The text of the exception may quote what it was computed from, so only its type and place are kept.
        kind, last = type(error).__name__, traceback.extract_tb(error.__traceback__)[-1]
        place = f"{last.filename}:{last.lineno}"
        if (kind, place) not in self._told:
            self._told.add((kind, place))
            told = "the policy's %s raised %s at %s: the default order decides (counted from here on)"
            log.error(told, stage, kind, place)
