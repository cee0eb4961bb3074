"""A second policy that learns for itself: it folds the ledger, decides anew on each of its decisions, executes nothing.

It decides as a replay does (replay.py), only as the rows come: on the stored vector and signals, among those whom the
guards permitted, with a state that is a fold of earlier rows only. All of it happens in a thread that reads the ledger
like any other reader and takes little of a core, so no request waits for it; its progress says how far it is behind.

A shadow that has the serving policy's estimator needs none of this: it decides from the estimates that every decision
records (gateway/shadow.py).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Self

import msgspec

from ..errors import LedgerError
from ..ledger.reading import Reading, Row
from ..ledger.records import decode, vector_of
from ..policy import Policy
from ..types import Candidate, Decision, Vector
from .fold import Fold
from .replay import PAGE, context_of, learnt_by, permitted_of
from .trust import Trust

log = logging.getLogger("interlock.shadow")

SHARE = 0.1  # of one core at most
BREATH = 0.0005  # seconds between pages, as the learner's
FRESHEN = 0.01  # of the rows folded: only so many new ones are worth another look ...
COARSE = 256  # ... and so many always are
ROWS_PER_DECISION = 4  # how far back the window may reach


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """`seq` is the last row decided on, `behind` how many are waiting, `error` why it does not go on."""

    seq: int
    behind: int
    learnt: int
    error: str


class Stopped(Exception):
    """The shadow is asked to stop in the middle of a fold."""


class Shadow:
    """`policy` is fresh and belongs to the shadow; `window` is how many decisions are remembered."""

    def __init__(
        self,
        reading: Reading,
        policy: Policy,
        candidates: Sequence[Candidate],
        trust: Trust = Trust(),
        window: int = 5000,
    ) -> None:
        self.policy, self._candidates = policy, candidates
        self._reading, self._fold, self._window = reading, Fold(policy, trust), window
        self._seq = max(0, reading.head()[0] - ROWS_PER_DECISION * window)
        self._decided: OrderedDict[str, Mapping[str, float]] = OrderedDict()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._error, self._spent = "", 0.0

    def start(self, interval: float = 1.0) -> Self:
        """Go on in a thread of its own, with a look at the ledger every `interval` seconds."""
        self._thread = threading.Thread(target=self._work, args=(interval,), name="interlock-shadow", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Safe to call twice."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._reading.close()

    def probability(self, decision: str) -> Mapping[str, float] | None:
        """How likely it would have chosen each candidate; `None` where it has not decided, or could not."""
        return self._decided.get(decision)

    def progress(self) -> Progress:
        """Reads the ledger's head. Raises LedgerError."""
        behind = max(0, self._reading.head()[0] - self._seq)
        return Progress(seq=self._seq, behind=behind, learnt=self._fold.learnt, error=self._error)

    def step(self) -> bool:
        """Decide on the next page of the ledger; false when there is nothing left. Raises LedgerError."""
        until = min(self._seq + PAGE, self._reading.head()[0])
        if until <= self._seq:
            return False
        rows = list(self._reading.rows(kind="decision", since=self._seq, until=until))
        for fresh, batch in groupby(self._decisions(rows), key=lambda one: learnt_by(one[0], one[1].snapshot)):
            self._freshen(fresh)
            self._decide([(decision, vector) for _, decision, vector in batch])
            self._breathe()
        self._seq, self._error = until, ""
        return True

    def _decisions(self, rows: Sequence[Row]) -> list[tuple[int, Decision, Vector]]:
        """Those that still have the vector this policy reads."""
        blobs = self._reading.attachments([row.seq for row in rows], "vector")
        found = []
        for row in rows:
            try:
                decision, attached = decode(row.kind, row.body)
            except LedgerError as error:
                log.warning("row %d is left out: %s", row.seq, error)
                continue
            vector = vector_of(blobs.get(row.seq, {}).get("vector", b""))
            erased = "vector" in attached and row.seq not in blobs
            if isinstance(decision, Decision) and not erased and len(vector) == len(self.policy.columns):
                found.append((row.seq, decision, vector))
        return found

    def _freshen(self, seq: int) -> None:
        if seq - self._fold.seq >= max(1, min(COARSE, int(FRESHEN * self._fold.seq))):
            self._fold.advance(self._reading, seq, self._breathe)
            self.policy.prepare()

    def _decide(self, batch: Sequence[tuple[Decision, Vector]]) -> None:
        names = [candidate.name for candidate in self._candidates]
        estimate = self.policy.estimate([context_of(*one) for one in batch], self._candidates)
        permitted = permitted_of([decision for decision, _ in batch], names)
        chances = self.policy.choose(estimate, permitted).probability.tolist()
        for (decision, _), row in zip(batch, chances, strict=True):
            self._decided[decision.id] = {name: chance for name, chance in zip(names, row, strict=True) if chance > 0}
            if len(self._decided) > self._window:
                self._decided.popitem(last=False)

    def _work(self, interval: float) -> None:
        self._spent = time.thread_time()
        while not self._stop.is_set():
            try:
                more = self.step()
                self._breathe()
            except Stopped:
                return
            except Exception as error:  # the thread goes on; progress and log say why
                more, text = False, f"{type(error).__name__}: {error}"
                if text != self._error:
                    log.error("the shadow policy fails and tries again: %s", text, exc_info=error)
                self._error = text
            if not more and self._stop.wait(interval):
                return

    def _breathe(self) -> None:
        """Give back what was taken beyond the share."""
        if self._thread is None:
            return
        spent = time.thread_time() - self._spent
        if self._stop.wait(max(BREATH, spent * (1.0 / SHARE - 1.0))):
            raise Stopped
        self._spent = time.thread_time()
