"""Hard constraints, held against every candidate before any learned choice. One file a guard."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ..types import Candidate, Context, Estimate, Reason
from .access import Access
from .addressed import Addressed
from .base import EstimateGuard, Guard, Objection
from .budget import BudgetGuard, WorstCase
from .capability import CapabilityGuard
from .dialect import Dialect
from .health import Board, Health
from .limits import LimitsGuard
from .rules import Rule, Rules
from .trust import Trust

log = logging.getLogger("interlock.guards")

Row = Sequence[tuple[Reason, ...]]
Standing = list[Row]
"""For n requests and k candidates, what stands against each candidate; an empty tuple means permitted."""


class Guards:
    """All guards of a configuration. `seconds` and `calls` are running totals by guard, for the metrics.

    A guard that fails rules out every candidate with the code `guard_error`: what cannot be checked is not permitted.
    """

    def __init__(self, guards: Sequence[Guard] = (), estimate_guards: Sequence[EstimateGuard] = ()) -> None:
        self.guards, self.estimate_guards = tuple(guards), tuple(estimate_guards)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()

    def check(self, contexts: Sequence[Context], candidates: Sequence[Candidate]) -> Standing:
        """What the hard guards hold against each candidate, before anything is predicted."""
        nothing: Row = ((),) * len(candidates)
        standing = [nothing] * len(contexts)
        for guard in self.guards:

            def objections(i: int, guard: Guard = guard) -> Iterable[Objection]:
                return guard.check(contexts[i], candidates)

            self._ask(guard.name, standing, objections)
        return standing

    def check_estimates(
        self, contexts: Sequence[Context], candidates: Sequence[Candidate], estimate: Estimate, standing: Standing
    ) -> Standing:
        """`standing` with the objections to what is predicted added. `estimate` has shape (n, k)."""
        rows = list(standing)
        for guard in self.estimate_guards:

            def objections(i: int, guard: EstimateGuard = guard) -> Iterable[Objection]:
                if not guard.concerns(contexts[i]):
                    return ()
                return guard.check_estimate(contexts[i], candidates, row_of(estimate, i))

            self._ask(guard.name, rows, objections)
        return rows

    def _ask(self, name: str, standing: Standing, objections: Callable[[int], Iterable[Objection]]) -> None:
        """Replace the rows of `standing` to which there are objections."""
        began, places = time.perf_counter(), range(len(standing[0]) if standing else 0)
        for i, row in enumerate(standing):
            found: list[Objection] = []
            try:
                for index, reason in objections(i):
                    found.append((places[index], reason))
            except Exception as error:  # noqa: BLE001 - fail closed: nothing passes a guard that could not look
                kind = type(error).__name__  # the text of a stranger's exception may quote the prompt
                log.error("guard %s failed with %s; the request is refused", name, kind)
                broken = Reason(name, "guard_error", f"the guard {name} failed ({kind})", "see the gateway's log")
                found += [(index, broken) for index in range(len(row))]
            if found:
                standing[i] = _with(row, found)
        self.seconds[name] += time.perf_counter() - began
        self.calls[name] += len(standing)


def _with(row: Row, objections: Sequence[Objection]) -> Row:
    reasons = list(row)
    for index, reason in objections:
        reasons[index] = (*reasons[index], reason)
    return tuple(reasons)


def row_of(estimate: Estimate, i: int) -> Estimate:
    """The estimate of one request, shape (1, k)."""
    return Estimate(*(np.asarray(getattr(estimate, name)[i : i + 1]) for name in estimate.__struct_fields__))


__all__ = [
    "Access",
    "Addressed",
    "Board",
    "BudgetGuard",
    "CapabilityGuard",
    "Dialect",
    "EstimateGuard",
    "Guard",
    "Guards",
    "Health",
    "LimitsGuard",
    "Objection",
    "Rule",
    "Rules",
    "Standing",
    "Trust",
    "WorstCase",
]
