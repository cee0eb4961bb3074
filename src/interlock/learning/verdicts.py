"""Whose scores are disregarded, from which row to which: what the fold found out too late and has gone back for.

By the time a tenant's weight has fallen, its scores have been learnt. A verdict says that at row `row` some tenants
were found out, and from which row on their scores are taken to count nothing; the ledger is then folded again from
before that row, knowing the verdict. Verdicts are found in order, each in the state that the earlier ones lead to, and
each by the rows up to its own: when a row that led to one is withdrawn, it falls, and so do all found after it.

What is folded again is at most `AGAIN` times the ledger, however many liars take turns: a verdict has to wait until
the ledger is long enough to pay for it. So verdicts become rarer as it grows, and few are ever kept. Its length is
counted in scores, since there are rows also of those whose scores are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

AGAIN = 4


class Verdict(msgspec.Struct, frozen=True):
    """Found at row `row`, after `scores` scores: what the tenants gave from `since[tenant]` to `row` counts nothing."""

    row: int
    scores: int
    since: Mapping[str, int]

    @property
    def first(self) -> int:
        """The first row that is judged anew."""
        return min(self.since.values())


Verdicts = tuple[Verdict, ...]
"""In the order in which they were found, which need not be that of their rows."""


def disregarded(verdicts: Verdicts, tenant: str, row: int) -> bool:
    """Whether what this tenant gave at this row counts nothing."""
    return any(tenant in v.since and v.since[tenant] <= row <= v.row for v in verdicts)


def judged_up_to(verdicts: Verdicts, tenant: str) -> int:
    """The row of the tenant's last verdict, 0 without one."""
    return max((v.row for v in verdicts if tenant in v.since), default=0)


def affordable(verdicts: Verdicts, scores: int) -> bool:
    """Whether a verdict after so many scores leaves all work done for verdicts below `AGAIN` ledgers of this length.

    Each is charged the whole ledger up to it: where points to go back to are lost, that is what it costs.
    """
    return sum(v.scores for v in verdicts) + scores <= AGAIN * scores


def upheld(verdicts: Verdicts, row: int) -> Verdicts:
    """Those that stand when row `row` changes: all before the first that was found at this row or later."""
    fallen = (index for index, v in enumerate(verdicts) if v.row >= row)
    return verdicts[: next(fallen, len(verdicts))]


def summary(verdicts: Sequence[Verdict]) -> dict[str, list[int]]:
    """Tenant -> first and last row of what is disregarded last of it."""
    return {tenant: [since, v.row] for v in verdicts for tenant, since in v.since.items()}
