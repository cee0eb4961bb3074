"""What another policy would have given on the recent past, from what every decision keeps: no model is fitted.

A decision records what was expected of every candidate before the answer, and the probability of each. So a doubly
robust estimate has its predictions at hand, made before what they predict, which keeps it unbiased although the log's
own policy was learning all the while (see learning/ope.py). Cost and latency are known of every answer, quality of
those that were judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..execution.calls import CANCELLED
from ..learning.ope import Logged, Value, gain, value
from ..learning.overlap import Overlap, overlap
from ..learning.verdict import Terms
from ..types import Array, Mask
from .history import COLUMNS, Past

MEASURES = ("quality", "cost", "latency")
TERMS = Terms()
FEWEST = 5  # decisions with a known result, below which nothing is weighed


class Weighed(msgspec.Struct, frozen=True, kw_only=True):
    """One measure over `rows` decisions: what was, what the other policy would have given, and the difference.

    `refused` says why the log cannot tell; then `other` and `difference` are missing. `predicted` is what the estimates
    alone say of the other policy: no interval belongs to it.
    """

    rows: int
    served: Value | None = None
    other: Value | None = None
    difference: Value | None = None
    predicted: float | None = None
    refused: str = ""
    overlap: Overlap | None = None


@dataclass(frozen=True)
class Log:
    """n decisions that were carried out as chosen, among the k candidates of all of them.

    `chosen` (n,), `logging` and `permitted` (n, k), `rewards` (n,) and `predicted` (n, k) by measure; NaN: not known.
    """

    pasts: Sequence[Past]
    names: tuple[str, ...]
    chosen: NDArray[np.intp]
    logging: Array
    permitted: Mask
    rewards: dict[str, Array]
    predicted: dict[str, Array]
    left_out: dict[str, int]

    def only(self, rows: NDArray[np.intp]) -> Log:
        """Some of the rows."""
        return Log(
            [self.pasts[i] for i in rows.tolist()],
            self.names,
            self.chosen[rows],
            self.logging[rows],
            self.permitted[rows],
            {name: values[rows] for name, values in self.rewards.items()},
            {name: values[rows] for name, values in self.predicted.items()},
            self.left_out,
        )


def log_of(pasts: Sequence[Past]) -> Log:
    """Without the decisions that say nothing of their choice, which are counted in `left_out` by reason."""
    kept, left_out = list[Past](), dict[str, int]()
    for past in pasts:
        if why := _useless(past):
            left_out[why] = left_out.get(why, 0) + 1
        else:
            kept.append(past)
    names = tuple(sorted({name for past in kept for name in past.names}))
    n, k = len(kept), len(names)
    table, permitted = np.full((n, len(COLUMNS), k), np.nan), np.zeros((n, k), dtype=np.bool_)
    at = {name: index for index, name in enumerate(names)}
    columns: dict[tuple[str, ...], list[int]] = {}
    for i, past in enumerate(kept):
        own = columns.setdefault(past.names, [at[name] for name in past.names])
        table[i, :, own] = past.table.T
        permitted[i, own] = past.permitted
    outcomes = [past.outcome for past in kept if past.outcome is not None]
    return Log(
        pasts=kept,
        names=names,
        chosen=np.array([at[past.chosen or ""] for past in kept], dtype=np.intp),
        logging=np.nan_to_num(table[:, COLUMNS.index("probability")]),
        permitted=permitted,
        rewards={
            "quality": np.array([_quality(past) for past in kept]),
            "cost": np.array([outcome.cost for outcome in outcomes]),
            "latency": np.array([outcome.latency for outcome in outcomes]),
        },
        predicted={measure: table[:, COLUMNS.index(measure)] for measure in MEASURES},
        left_out=left_out,
    )


def _useless(past: Past) -> str:
    if past.chosen is None:
        return "were refused"
    if past.outcome is None:
        return "have no outcome yet"
    if past.outcome.error == CANCELLED:
        return "were cancelled by their caller"
    if any(step.why == "escalation" for step in past.outcome.steps):
        return "went up a cascade, where the choice does not decide who answers"
    if not past.table[COLUMNS.index("probability"), past.names.index(past.chosen)] > 0:
        return "were not drawn by a policy"
    return ""


def _quality(past: Past) -> float:
    """NaN while nobody has judged it; 0 where there was no answer at all."""
    if past.score is not None:
        return past.score
    return 0.0 if past.outcome is not None and past.outcome.error else np.nan


def weigh(log: Log, target: Array, measure: str, terms: Terms = TERMS) -> Weighed:
    """How a policy with the probabilities `target` (n, k) compares on one measure. Rows of zeros are left out."""
    reward = log.rewards[measure]
    rows = np.flatnonzero(np.isfinite(reward) & (target.sum(axis=1) > 0))
    if len(rows) < FEWEST:
        what = "judged" if measure == "quality" else "answered, with a known result,"
        return Weighed(rows=len(rows), refused=f"{len(rows)} decisions are {what}; at least {FEWEST} are needed")
    reward, chosen, share = reward[rows], log.chosen[rows], target[rows]
    known = log.predicted[measure][rows]
    logged = Logged(
        chosen=chosen,
        reward=reward,
        propensity=log.logging[rows, chosen],
        target=share / share.sum(axis=1, keepdims=True),
        model=np.where(np.isfinite(known), known, reward.mean()),
        logging=log.logging[rows],
        span=(0.0, 1.0) if measure == "quality" else (float(reward.min()), float(reward.max())),
        names=log.names,
    )
    some = [log.pasts[i] for i in rows.tolist()]
    seen = overlap(logged, [past.kind for past in some], [past.id for past in some])
    refused = seen.too_thin(terms.effective, terms.untried)
    own = np.zeros_like(share)
    own[np.arange(len(rows)), chosen] = 1.0
    limit = (0.0, 1.0) if measure == "quality" else (0.0, np.inf)
    return Weighed(
        rows=len(rows),
        served=value(Logged(chosen, reward, np.ones(len(rows)), own), "ips").within(*limit),
        other=None if refused else value(logged, terms.method).within(*limit),
        difference=None if refused else gain(logged, terms.method),
        predicted=float(value(logged, "direct").mean),
        refused=refused,
        overlap=seen,
    )
