"""Decide anew, as another policy would have, on the requests a ledger has seen; what came of it is then estimated.

The other policy sees what the ledger kept of each request: its vector, its signals, and which candidates the guards
permitted. Its state is a fold over the ledger up to that request and never beyond: as fresh as the snapshot the live
decision was made with, or, where that says nothing, as the last of every `STRIDE` rows. A stored snapshot can take the
fold's place; then only requests after it count, since it has learnt the answers to the others.

Not kept, so not seen: a caller's own limits and `max_tokens`. The guards' verdicts stay those of the log.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice

import msgspec
import numpy as np

from ..errors import InterlockError, nearest
from ..execution.calls import CANCELLED
from ..ledger.reading import Reading, Row, Stored
from ..ledger.records import decode, vector_of
from ..ledger.snapshots import check
from ..objectives import Weighted
from ..policy import Policy
from ..types import Array, Candidate, Context, Decision, Feedback, Mask, Outcome, Request, Vector
from .fold import Fold
from .ope import Logged, cross_fit
from .standing import Standing
from .trust import Trust

PAGE = 256  # decisions
STRIDE = 64  # rows
FOLDS = 5


class Unanswerable(InterlockError):
    """The ledger cannot say what the policy would have given. The operator: ask about another, or explore more."""

    status, code = 422, "cannot_be_replayed"


@dataclass(frozen=True)
class Past:
    """A decision of the ledger, at row `seq`, and what came of it. `quality` is NaN while nobody has judged it."""

    seq: int
    decision: Decision
    vector: Vector
    outcome: Outcome
    quality: float

    @property
    def kind(self) -> str:
        """What sort of request it is, for people."""
        return kind_of(self.decision)


def kind_of(decision: Decision) -> str:
    """A request's task when that is known, else what was asked for."""
    task = decision.signals.get("task")
    return str(task.value) if task is not None and task.value else decision.model


class History(msgspec.Struct, frozen=True):
    """The decisions that can be replayed, oldest first, and how many cannot, by reason."""

    past: tuple[Past, ...]
    left_out: dict[str, int]

    @property
    def candidates(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.candidate for one in self.past for row in one.decision.considered))


def read_history(reading: Reading, trust: Trust = Trust(), since: float = -math.inf) -> History:
    """Decisions made at or after `since` (seconds since the epoch). Scores count by the operator's weights in `trust`.

    Raises `LedgerError` when the ledger cannot be read, `Unanswerable` when it has nothing to replay.
    """
    past: list[Past] = []
    left_out: dict[str, int] = {}
    until = reading.head()[0]
    rows = (row for row in reading.rows(kind="decision", until=until) if row.at >= since)
    while page := list(islice(rows, PAGE)):
        vectors = reading.attachments([row.seq for row in page], "vector")
        about: dict[str, list[Row]] = {}
        for row in reading.about([row.decision for row in page], until):
            about.setdefault(row.decision, []).append(row)
        for row in page:
            found = _past(row, about[row.decision], vectors.get(row.seq, {}).get("vector"), trust)
            if isinstance(found, str):
                left_out[found] = left_out.get(found, 0) + 1
            else:
                past.append(found)
    if not past:
        why = "; ".join(f"{count} {reason}" for reason, count in left_out.items()) or "it has no decisions there"
        raise Unanswerable(f"{reading.name}: nothing can be replayed: {why}")
    return History(tuple(past), left_out)


def _past(row: Row, about: Sequence[Row], vector: bytes | None, trust: Trust) -> Past | str:
    decision, outcome = decode(row.kind, row.body)[0], None
    assert isinstance(decision, Decision)
    if vector is None:
        return "have no vector any more (erased)"
    standing, scores = Standing(decision), dict[str, tuple[float, float]]()
    for one in about:
        record = decode(one.kind, one.body)[0]
        if not isinstance(record, Outcome | Feedback):
            continue
        outcome = record if isinstance(record, Outcome) else outcome
        for sign, score in standing.apply(one.seq, record):
            if sign < 0:
                scores.pop(score.source, None)
            elif trust.counts(score) and not trust.judges_itself(score.source, decision):
                weight = trust.sources.get(score.source, trust.default) * trust.tenants.get(score.tenant, 1.0)
                scores[score.source] = score.score, weight
    if outcome is None:
        return "have no outcome"
    if outcome.error == CANCELLED:
        return "were cancelled by their caller"
    if outcome.cached:
        return "were answered from the cache, where the choice does not decide who answers"
    if any(step.why == "escalation" for step in outcome.steps):
        return "went up a cascade, where the choice does not decide who answers"
    total = sum(weight for _, weight in scores.values())
    quality = sum(score * weight for score, weight in scores.values()) / total if total > 0 else math.nan
    if math.isnan(quality) and outcome.error:
        quality = 0.0  # no answer at all
    return Past(row.seq, decision, vector_of(vector), outcome, quality)


@dataclass(frozen=True)
class Replayed:
    """Probabilities (n, k) of a policy over the candidates of a ledger, and whom the guards permitted."""

    names: tuple[str, ...]
    probability: Array
    permitted: Mask


def replay(
    reading: Reading,
    history: History,
    policy: Policy,
    candidates: Sequence[Candidate],
    trust: Trust = Trust(),
    snapshot: Stored | None = None,
    progress: Callable[[int], object] = lambda _: None,
) -> Replayed:
    """Let a fresh `policy` decide on every request of `history`. Raises `Unanswerable`, `SnapshotError`, `LedgerError`.

    The same policy with the same candidates gives the logged probabilities again.
    """
    names, own = history.candidates, [candidate.name for candidate in candidates]
    for name in own:
        if name not in names:
            raise Unanswerable(
                f"candidate {name!r} was never considered in this ledger, so nothing is known of what it would have"
                f" given; {nearest(name, names)}"
            )
    width, mine = len(history.past[0].vector), len(policy.columns)
    if mine and width != mine:
        raise Unanswerable(
            f"the ledger's vectors have {width} columns, the policy reads {mine}: give it the `vector:` and `signals:`"
            " of the configuration that made the ledger"
        )
    if snapshot is not None:
        policy.restore(check(snapshot).state).prepare()
    column = [names.index(name) for name in own]
    n, k = len(history.past), len(names)
    probability, permitted = np.zeros((n, k)), np.zeros((n, k), dtype=np.bool_)
    begin, fold = 0, Fold(policy, trust)
    for seq, group in groupby(zip(history.past, _freshness(history.past), strict=True), key=lambda pair: pair[1]):
        batch = [past for past, _ in group]
        if snapshot is None:
            fold.advance(reading, seq)
            policy.prepare()
        rows = slice(begin, begin + len(batch))
        permitted[rows] = permitted_of([past.decision for past in batch], names)
        estimate = policy.estimate([context_of(past.decision, past.vector) for past in batch], candidates)
        probability[rows, column] = policy.choose(estimate, permitted[rows, column]).probability
        begin += len(batch)
        progress(len(batch))
    return Replayed(names, probability, permitted)


def after(history: History, snapshot: Stored) -> History:
    """The part of a history that a snapshot has not learnt from. Raises `Unanswerable` when there is none."""
    left = tuple(past for past in history.past if past.seq > snapshot.seq)
    if not left:
        raise Unanswerable(
            f"snapshot {snapshot.version} has learnt from all of these decisions; it can be judged on later ones only"
        )
    return History(left, {**history.left_out, "were learnt by the snapshot": len(history.past) - len(left)})


def always(replayed: Replayed, name: str) -> Replayed:
    """The policy that always takes one candidate, where the guards permit it. Raises `Unanswerable`."""
    if name not in replayed.names:
        raise Unanswerable(f"candidate {name!r} was never considered in this ledger; {nearest(name, replayed.names)}")
    only = np.zeros_like(replayed.probability)
    column = replayed.names.index(name)
    only[:, column] = replayed.permitted[:, column]
    return replace(replayed, probability=only)


def context_of(decision: Decision, vector: Vector) -> Context:
    """The request as far as the ledger kept it."""
    request = Request(id=decision.id, model=decision.model, tenant=decision.tenant, session=decision.session)
    return Context(request, decision.signals, vector)


def permitted_of(decisions: Sequence[Decision], names: Sequence[str]) -> Mask:
    """Who passed the guards, (n, k). One that only lacked a finite estimate then may have one now."""
    allowed = np.zeros((len(decisions), len(names)), dtype=np.bool_)
    for i, decision in enumerate(decisions):
        stood = {
            row.candidate for row in decision.considered if all(reason.guard == "policy" for reason in row.reasons)
        }
        allowed[i] = [name in stood for name in names]
    return allowed


def learnt_by(seq: int, snapshot: str) -> int:
    """The last row a policy may have learnt to decide at row `seq`, where the live one had learnt `snapshot`."""
    learnt = snapshot.partition("-")[0]
    return min(int(learnt) if learnt.isdigit() else (seq - 1) // STRIDE * STRIDE, seq - 1)


def _freshness(past: Sequence[Past]) -> Iterator[int]:
    """The row up to which each decision's policy may have learnt: never its own or a later one, never going back."""
    reached = 0
    for one in past:
        reached = max(reached, learnt_by(one.seq, one.decision.snapshot))
        yield reached


Measure = Callable[[Past], float]
"""One number that came of a decision; NaN when it is not known."""


def quality(past: Past) -> float:
    return past.quality


def cost(past: Past) -> float:
    return past.outcome.cost


def latency(past: Past) -> float:
    return past.outcome.latency


def utility(objective: Weighted) -> Measure:
    """What a weighted sum makes of what really came."""

    def measure(past: Past) -> float:
        parts = (objective.quality, past.quality), (-objective.cost, cost(past)), (-objective.latency, latency(past))
        return sum(weight * part for weight, part in parts if weight)

    return measure


def measures(policy: Policy) -> dict[str, Measure]:
    """Quality, cost and latency, and utility when the objective is a sum in which energy does not count."""
    known: dict[str, Measure] = {"quality": quality, "cost": cost, "latency": latency}
    if isinstance(policy.objective, Weighted) and not policy.objective.energy:
        known["utility"] = utility(policy.objective)
    return known


def logged(history: History, replayed: Replayed, measure: Measure, span: tuple[float, float] | None = None) -> Logged:
    """The rows in which the measure is known and the policy has a choice, with cross-fitted predictions.

    Without a `span` rewards are taken to lie between the least and the greatest seen. Raises `Unanswerable`.
    """
    reward = np.array([measure(past) for past in history.past])
    rows = np.flatnonzero(np.isfinite(reward) & (replayed.probability.sum(axis=1) > 0))
    if len(rows) < FOLDS:
        raise Unanswerable(f"{len(rows)} decisions are scored and leave the policy a choice: there is nothing to weigh")
    reward = reward[rows]
    past = [history.past[i] for i in rows.tolist()]
    at = {name: c for c, name in enumerate(replayed.names)}
    logging = np.zeros((len(rows), len(at)))
    for i, one in enumerate(past):
        for row in one.decision.considered:
            logging[i, at[row.candidate]] = row.probability
    chosen = np.array([at[one.decision.chosen or ""] for one in past], dtype=np.intp)
    target = replayed.probability[rows]
    return Logged(
        chosen=chosen,
        reward=reward,
        propensity=logging[np.arange(len(rows)), chosen],
        target=target / target.sum(axis=1, keepdims=True),
        model=cross_fit(np.stack([one.vector for one in past]), chosen, reward, replayed.names, FOLDS),
        logging=logging,
        span=(float(reward.min()), float(reward.max())) if span is None else span,
        names=replayed.names,
    )
