"""State is a fold over the ledger: rows in, events in their order, a policy's state out.

What a row teaches depends on the rows about its decision up to it, and on nothing else: they are read back from the
ledger, so nothing has to be remembered between two advances and it makes no difference where one ends. Folding a
ledger from the start therefore gives, bit for bit, what the live learner has.

An estimator that cannot take a score back (one that forgets, one that keeps neighbours) is folded again from a point
before that score, leaving out what does not stand in the end; the result is that of a fold from the start. After an
erasure any is folded again from before it, and the erased decisions are skipped from then on.

A tenant found out as a liar (trust.py) has been believed until then. So the fold goes back to before what it gave, and
folds again knowing the verdict; this too is part of what the rows up to one of them give, wherever an advance ends.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import islice
from typing import NamedTuple, Protocol, Self

import msgspec

from ..calibration import Rung
from ..errors import LedgerError, SnapshotError
from ..ledger.reading import Reading, Row, Stored
from ..ledger.records import Audit, decode, vector_of
from ..ledger.snapshots import check, sealed
from ..policy import Event
from ..types import CACHE, Decision, Feedback, Outcome, Vector
from .standing import Change, Score, Standing
from .trust import Agreement, Trust
from .verdicts import Verdict, Verdicts, upheld

log = logging.getLogger("interlock.learning")

PAGE = 256  # rows between two breaths
POINTS = 4  # kept in memory to go back to
APART = 16384  # rows between the newest of them: half a second of folding, while a point costs 15 ms and megabytes
SOURCES = 1024  # names of sources remembered
LAYOUT = 2  # of the state beside the policy's


class Learning(Protocol):
    """What a fold needs of a policy (see policy.py). `learn` must depend on state and event alone."""

    @property
    def revocable(self) -> bool: ...
    def learn(self, event: Event) -> None: ...
    def state(self) -> bytes: ...
    def restore(self, state: bytes) -> Self: ...


class Without(NamedTuple):
    """Whose scores and decisions to leave out, as if they had never been."""

    tenants: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()


class Known(NamedTuple):
    """What a page's rows are about: a decision with its vector, and the changes that each of its rows brings.

    `fallen` are scores that stood for a while and are left out of the changes, each with the row that took it back.
    """

    decision: Decision
    vector: Vector
    changes: dict[int, list[Change]]
    outcomes: dict[int, Outcome]
    fallen: dict[Score, int]

    def leave_out_what_falls(self) -> None:
        """Keep only what still stands after the last row."""
        self.fallen.update((change.score, seq) for seq, of in self.changes.items() for change in of if change.sign < 0)
        for seq, of in self.changes.items():
            self.changes[seq] = [change for change in of if change.sign > 0 and change.score not in self.fallen]


class FoundOut(Exception):
    """Tenants turn out to contradict what the others confirm, after they were believed."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict


class Fold:
    """A policy, and the rows up to `seq` folded into it. `policy` must be fresh: a rebuild may begin with its state.

    `learnt` counts events, `skipped` what taught nothing, by reason, `rebuilds` how often it had to go back. `heard`
    holds the sources of all scores, None once there are more than `SOURCES`.
    """

    def __init__(self, policy: Learning, trust: Trust = Trust(), without: Without = Without()) -> None:
        self.policy, self.trust, self.without = policy, trust, without
        left_out = [sorted(names) for names in without]
        self.maker = f"{LAYOUT}.{trust.fingerprint}.{sha256(repr(left_out).encode()).hexdigest()[:8]}"
        self.rebuilds = 0
        self._blank = policy.state()
        self._points: list[Stored] = []
        self.reset()

    def reset(self) -> None:
        """Back to the start of the ledger."""
        self.policy.restore(self._blank)
        self.agreement = Agreement(self.trust)
        self.seq = self.learnt = 0
        self.skipped: Counter[str] = Counter()
        self.heard: set[str] | None = set()

    def advance(self, reading: Reading, until: int | None = None, breathe: Callable[[], None] | None = None) -> int:
        """Fold the rows up to seq `until` (default: all); how many. `breathe` is called between pages and may raise.

        Raises LedgerError when the ledger cannot be read. A row that cannot be folded is counted, logged and left out.
        """
        until = reading.head()[0] if until is None else until
        began = self.seq
        if until > began:
            changed = [self._erased_since(reading, until), self._first_fall(reading, until, breathe)]
            if any(verdict.row > began for verdict in self.agreement.verdicts):
                changed.append(began + 1)  # an advance broke off on its way to a verdict: that is found again
            if any(changed):
                self._unlearn(min(filter(None, changed)))
        while self.seq < until:
            try:
                self._fold(reading, until, breathe)
            except FoundOut as reason:
                self._believe_no_more(reason.verdict)
        return max(until - began, 0)

    def snapshot(self, at: float) -> Stored:
        beside = {
            "agreement": self.agreement.state(),
            "learnt": self.learnt,
            "skipped": dict(self.skipped),
            "heard": None if self.heard is None else sorted(self.heard),
            "barred": sorted(self.trust.barred),
        }
        return sealed(
            self.seq, at, self.maker, self.policy.state(), msgspec.msgpack.encode(beside, order="deterministic")
        )

    def resume(self, snapshot: Stored) -> Self:
        """Continue from a snapshot. Raises SnapshotError, changing nothing, when it is damaged or not of this fold.

        Who is barred from judging may have changed, as it does with the pool, unless one of those has judged: a state
        is of the names that occur in the rows, and the same whichever others could be chosen.
        """
        if check(snapshot).maker != self.maker:
            raise SnapshotError(f"snapshot {snapshot.version} was folded with other trust or other tenants left out")
        try:
            beside = msgspec.msgpack.decode(snapshot.trust)
            agreement = Agreement(self.trust).restore(beside["agreement"])
            learnt, skipped = int(beside["learnt"]), Counter(beside["skipped"])
            heard = None if beside["heard"] is None else set(beside["heard"])
            changed = self.trust.barred ^ set(beside["barred"])
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
            raise SnapshotError(f"snapshot {snapshot.version} cannot be read: {error}") from error
        if changed and (heard is None or changed & heard):
            raise SnapshotError(f"snapshot {snapshot.version} was folded when others were barred from judging")
        self.policy.restore(snapshot.state)
        self.agreement, self.learnt, self.skipped, self.seq = agreement, learnt, skipped, snapshot.seq
        self.heard = heard
        return self

    def _unlearn(self, seq: int) -> None:
        """To before row `seq`, which does not teach any more what it taught, and before every verdict it led to."""
        kept = upheld(self.agreement.verdicts, seq)
        fallen = self.agreement.verdicts[len(kept) :]
        log.info("row %d has to be unlearnt", seq)
        self._go_back(min([seq, *(verdict.first for verdict in fallen)]), kept)

    def _believe_no_more(self, verdict: Verdict) -> None:
        for tenant, since in verdict.since.items():
            text = "tenant %r contradicts what the others confirm: its scores from row %d to %d are unlearnt"
            log.warning(text, tenant, since, verdict.row)
        self._go_back(verdict.first, (*self.agreement.verdicts, verdict))

    def _go_back(self, seq: int, verdicts: Verdicts) -> None:
        """To the latest point before row `seq`, knowing `verdicts`.

        Nothing in such a point has fallen since, or it would be gone; nor does it hold anything of those judged since.
        """
        while self._points and self._points[-1].seq >= seq:
            self._points.pop()
        if self._points:
            self.resume(self._points[-1])
        else:
            self.reset()
        self.agreement.verdicts = verdicts
        self.rebuilds += 1
        log.info("folding again from row %d", self.seq)

    def _keep_point(self) -> None:
        """Remember where one could go back to: few points, the older the sparser."""
        never = self.policy.revocable and not self.trust.earned
        rows = [point.seq for point in self._points]
        if never or self.seq - (rows[-1] if rows else 0) < APART:
            return
        self._points.append(self.snapshot(0.0))
        if len(rows) == POINTS:
            rows.append(self.seq)
            gaps = [rows[i + 1] - (rows[i - 1] if i else 0) for i in range(POINTS)]
            ages = [self.seq - rows[i] for i in range(POINTS)]
            del self._points[min(range(POINTS), key=lambda i: gaps[i] / (ages[i] + APART))]

    def _erased_since(self, reading: Reading, until: int) -> int:
        """The first row folded already that has lost an attachment since, 0 if none."""
        audits = (row.record for row in reading.rows(kind="audit", since=self.seq, until=until))
        erased = (r.detail["rows"] for r in audits if isinstance(r, Audit) and r.action == "erase")
        return min((seq for rows in erased for seq in rows if seq <= self.seq), default=0)

    def _fold(self, reading: Reading, until: int, breathe: Callable[[], None] | None) -> None:
        for page in _pages(reading.rows(since=self.seq, until=until)):
            known = self._know(reading, page, until)
            for row in page:
                if row.kind in ("outcome", "feedback"):
                    self._teach(row.seq, known.get(row.decision, "no such decision"))
            self.seq = page[-1].seq
            self._keep_point()
            if breathe is not None:
                breathe()
        self.seq = until

    def _first_fall(self, reading: Reading, until: int, breathe: Callable[[], None] | None) -> int:
        """The first row folded already whose score later rows take back, 0 if none or if the estimator can do that."""
        folded, first = self.seq, until + 1
        if self.policy.revocable or not folded:
            return 0
        for page in _pages(reading.rows(since=folded, until=until)):
            before = reading.about(_decisions(page), folded)
            judged = {row.decision for row in before if row.kind in ("outcome", "feedback")}
            again = [row for row in page if row.decision in judged]
            about = (known for known in self._know(reading, again, until).values() if isinstance(known, Known))
            fallen = (score.seq for known in about for score, row in known.fallen.items() if score.seq <= folded < row)
            first = min([first, *fallen])
            if breathe is not None:
                breathe()
        return first if first <= until else 0

    def _know(self, reading: Reading, page: Sequence[Row], until: int) -> dict[str, Known | str]:
        """What is known of each decision that a row of the page is about, or why it teaches nothing."""
        ids = _decisions(page)
        rows: dict[str, list[Row]] = {}
        for row in reading.about(ids, until):
            rows.setdefault(row.decision, []).append(row)
        blobs = reading.attachments([row.seq for of in rows.values() for row in of if row.kind == "decision"], "vector")
        return {id: self._join(of, blobs) for id, of in rows.items()}

    def _join(self, rows: Sequence[Row], blobs: Mapping[int, Mapping[str, bytes]]) -> Known | str:
        known: Known | None = None
        standing: Standing | None = None
        for row in rows:
            try:
                record, attached = decode(row.kind, row.body)
            except LedgerError as error:
                log.warning("row %d is left out: %s", row.seq, error)
                return "garbled"
            if isinstance(record, Decision) and known is None:
                if record.tenant in self.without.tenants:
                    return "left out"
                if record.chosen is None:
                    return "refused"
                if "vector" in attached and "vector" not in blobs.get(row.seq, {}):
                    return "erased"
                vector = vector_of(blobs.get(row.seq, {}).get("vector", b""))
                known, standing = Known(record, vector, {}, {}, {}), Standing(record)
            elif known is None or standing is None or not isinstance(record, Outcome | Feedback):
                continue
            elif not self._left_out(record):
                known.changes[row.seq] = standing.apply(row.seq, record)
                if isinstance(record, Outcome):
                    known.outcomes[row.seq] = record
        if known is None:
            return "no such decision"
        if not self.policy.revocable:
            known.leave_out_what_falls()
        return known

    def _left_out(self, record: Outcome | Feedback) -> bool:
        if isinstance(record, Outcome):
            return False
        return record.source in self.without.sources or record.tenant in self.without.tenants

    def _teach(self, seq: int, known: Known | str) -> None:
        """Learn what row `seq` brings."""
        if isinstance(known, str):
            self.skipped[known] += 1
            return
        if seq in known.outcomes:
            for event in consumed(known.outcomes[seq], known.decision, known.vector):
                self._learn(seq, event)
        for sign, score in known.changes.get(seq, ()):
            self._hear(score.source)
            if self.trust.judges_itself(score.source, known.decision):
                self.skipped["judges itself"] += 1
                continue
            weight = self.agreement.weight(score)
            if sign > 0 and self.trust.counts(score):
                self.agreement.observe(score, known.vector)
                if verdict := self.agreement.verdict(score.tenant, seq):
                    raise FoundOut(verdict)
            if weight == 0:
                self.skipped["not trusted"] += 1
                continue
            self._learn(seq, scored(score, known.decision, known.vector, sign * weight))

    def _hear(self, source: str) -> None:
        if self.heard is not None and source not in self.heard:
            self.heard.add(source)
            if len(self.heard) > SOURCES:
                self.heard = None

    def _learn(self, seq: int, event: Event) -> None:
        try:
            self.policy.learn(event)
        except Exception as error:  # one row must not stop the learner; it is counted and logged
            reason = f"failed: {type(error).__name__}"
            if not self.skipped[reason]:
                log.exception("row %d cannot be learnt", seq)
            self.skipped[reason] += 1
        else:
            self.learnt += 1


def scored(score: Score, decision: Decision, vector: Vector, weight: float) -> Event:
    """With what the decision expected of all, if it is the chosen candidate's answer that was scored."""
    ladder = (
        tuple(
            Rung(row.candidate, max(row.quality - row.quality_std, 0.0), row.cost, row.probability)
            for row in decision.considered
            if row.permitted
        )
        if score.candidate == decision.chosen
        else ()
    )
    return Event(
        kind="score", candidate=score.candidate, vector=vector, score=score.score, weight=weight, ladder=ladder
    )


def consumed(outcome: Outcome, decision: Decision, vector: Vector) -> Iterator[Event]:
    """What each answered call of an outcome consumed. First-token time and energy are known of a single call only."""
    tokens = decision.signals.get("tokens")
    prompt = float(tokens.value) if tokens is not None and isinstance(tokens.value, int | float) else 0.0
    single = len(outcome.steps) == 1
    for step in outcome.steps:
        if not step.error and step.why != CACHE:
            yield Event(
                kind="outcome",
                candidate=step.candidate,
                vector=vector,
                usage=step.usage,
                prompt_tokens=prompt,
                latency=step.seconds,
                ttft=outcome.ttft if single else None,
                energy=outcome.energy if single else None,
            )


def _decisions(page: Sequence[Row]) -> list[str]:
    """Which decisions the rows tell more about."""
    return list(dict.fromkeys(row.decision for row in page if row.kind in ("outcome", "feedback")))


def _pages(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while page := list(islice(rows, PAGE)):
        yield page
