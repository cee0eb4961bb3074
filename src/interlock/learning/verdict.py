"""Compare policies on one ledger: what was, what another would have given, or why the ledger cannot say."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np

from ..errors import RequestError, SnapshotError, nearest
from ..ledger.reading import Reading, Stored
from ..policy import Policy
from ..types import Candidate
from .ope import METHODS, Logged, Value, value
from .overlap import Overlap, overlap
from .replay import History, Measure, Replayed, after, always, logged, measures, read_history, replay
from .trust import Trust

LOGGED = "as logged"


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How to estimate, and when to refuse (see overlap.too_thin)."""

    method: str = "doubly_robust"
    effective: float = 30.0
    untried: float = 0.05

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise RequestError(f"no method {self.method!r}; {nearest(self.method, list(METHODS))}", param="method")


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """A policy's values by measure; none when `refused` says why. `overlap` is that of the scored decisions."""

    name: str
    values: dict[str, Value]
    overlap: Overlap
    refused: str = ""
    notes: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The log itself first, then the policies asked about. `left_out` counts decisions that cannot be replayed."""

    decisions: int
    scored: int
    left_out: dict[str, int]
    measures: tuple[str, ...]
    contenders: tuple[Contender, ...]


def compare(
    reading: Reading,
    policy: Policy,
    candidates: Sequence[Candidate],
    *,
    trust: Trust = Trust(),
    fixed: Sequence[str] = (),
    since: float = -math.inf,
    snapshot: str = "",
    terms: Terms = Terms(),
    progress: Callable[[int], object] = lambda _: None,
) -> Answer:
    """`policy` must be fresh. Raises `Unanswerable`, `SnapshotError`, `LedgerError`."""
    history, stored = read_history(reading, trust, since), None
    if snapshot:
        stored = _stored(reading, snapshot)
        history = after(history, stored)
    replayed = replay(reading, history, policy, candidates, trust, stored, progress)
    asked = measures(policy)
    contenders = [_as_logged(history, replayed, asked), _contender(policy.name, history, replayed, asked, terms)]
    contenders += [_contender(f"always {name}", history, always(replayed, name), asked, terms) for name in fixed]
    return Answer(
        decisions=len(history.past),
        scored=sum(not math.isnan(past.quality) for past in history.past),
        left_out=history.left_out,
        measures=tuple(asked),
        contenders=tuple(contenders),
    )


def _stored(reading: Reading, version: str) -> Stored:
    stored = reading.snapshot(version)
    if stored is None:
        known = [name for name, *_ in reading.snapshots()]
        raise SnapshotError(f"snapshot {version!r} is not stored in {reading.name}; {nearest(version, known)}")
    return stored


def _as_logged(history: History, replayed: Replayed, asked: Mapping[str, Measure]) -> Contender:
    """What really was: the log's own choices, each with weight 1."""
    rows = np.arange(len(history.past))
    chosen = [replayed.names.index(past.decision.chosen or "") for past in history.past]
    own = np.zeros_like(replayed.probability)
    own[rows, chosen] = 1.0
    itself, values = dataclasses.replace(replayed, probability=own), {}
    for name, measure in asked.items():
        log = logged(history, itself, measure)
        certain = Logged(log.chosen, log.reward, np.ones(len(log)), log.target)
        values[name] = msgspec.structs.replace(value(certain, "ips"), method="mean")
    seen = Overlap(rows=len(rows), effective=float(len(rows)), mean=1.0, unsupported=0.0, largest=1.0, trouble=())
    return Contender(name=LOGGED, values=values, overlap=seen)


def _contender(
    name: str, history: History, replayed: Replayed, asked: Mapping[str, Measure], terms: Terms
) -> Contender:
    chosen = replayed.probability.sum(axis=1) > 0
    scored = [p for p, some in zip(history.past, chosen, strict=True) if some and not math.isnan(p.quality)]
    first = logged(history, replayed, asked["quality"], (0.0, 1.0))
    seen = overlap(first, [past.kind for past in scored], [past.decision.id for past in scored])
    refused = seen.too_thin(terms.effective, terms.untried)
    notes = []
    if not chosen.all():
        notes.append(f"{int((~chosen).sum())} decisions permit it no candidate; its figures are over the others")
    values: dict[str, Value] = {}
    if not refused:
        for measure, of in asked.items():
            log = first if measure == "quality" else logged(history, replayed, of)
            values[measure] = value(log, terms.method)
        values["quality"] = values["quality"].within(0.0, 1.0)
    return Contender(name=name, values=values, overlap=seen, refused=refused, notes=tuple(notes))
