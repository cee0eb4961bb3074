"""A circuit breaker per candidate, and the guard that keeps requests away from open ones.

    closed --(failures)--> open --(jittered pause)--> half open --(probes succeed)--> closed
                             ^-------------(a probe fails)-------------'

Being told to slow down (429) is neither success nor failure: it releases the probe slot it took, and the candidate
rests for the stated Retry-After, capped. At most `ejectable` of the pool may be open at once: when everything fails,
the cause is rarely every candidate, and refusing all would make it worse.

Source: Nygard, Release It! (2007), circuit breaker; outlier ejection with a capped share as in Envoy.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ..types import Candidate, Context, Reason
from .base import Objection

State = Literal["closed", "open", "half_open"]

NEUTRAL = frozenset(
    {
        "provider_rate_limited",
        "provider_rejected_request",
        "provider_cannot_express_request",
        "context_length_exceeded",
        "cancelled",
    }
)
"""Error codes that say nothing about a candidate's health: its quota, the request itself, or a caller who left."""


@dataclass
class Circuit:
    """One candidate's record. `ordinary` and `probing` count its calls under way; times are on the board's clock."""

    failures: int = 0
    opened: bool = False
    until: float = 0.0
    rest: float = 0.0
    trips: int = 0
    ordinary: int = 0
    probing: int = 0
    passed: int = 0
    last_error: str = ""


@dataclass
class Board:
    """All circuits of a pool. `begin` before a call, `end` after it, always in pairs; safe to use from many threads.

    Attributes:
        failures: consecutive failures that open a circuit.
        pause: seconds a circuit stays open at first; it doubles with each failed probe up to `longest`.
        probes: calls let through at once while half open; as many successes close the circuit.
        jitter: the pause is drawn within this share around its length, so that gateways do not probe in step.
        ejectable: the largest share of the pool that may be open; above 0 it allows at least one candidate.
        longest_rest: cap on a Retry-After, seconds.
        clock: seconds that only ever grow.
        draw: uniform in [0, 1).
    """

    failures: int = 5
    pause: float = 5.0
    longest: float = 120.0
    probes: int = 2
    jitter: float = 0.3
    ejectable: float = 0.5
    longest_rest: float = 60.0
    clock: Callable[[], float] = time.monotonic
    draw: Callable[[], float] = random.random
    circuits: dict[str, Circuit] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def register(self, candidates: Iterable[str]) -> None:
        """Know the whole pool, so that the ejectable share is a share of it; forget candidates that are gone."""
        with self._lock:
            self.circuits = {name: self.circuits.get(name, Circuit()) for name in candidates}

    @property
    def calm(self) -> bool:
        """Whether no circuit is open and nobody was ever told to rest: then everybody is admitted."""
        return not any(circuit.opened or circuit.rest for circuit in list(self.circuits.values()))

    def state(self, candidate: str) -> State:
        circuit = self.circuits.get(candidate)
        if circuit is None or not circuit.opened:
            return "closed"
        return "open" if self.clock() < circuit.until else "half_open"

    def resting(self, candidate: str) -> float:
        """Seconds for which the candidate has asked to be left alone; 0 if it has not."""
        circuit = self.circuits.get(candidate)
        return 0.0 if circuit is None else max(0.0, circuit.rest - self.clock())

    def admits(self, candidate: str) -> bool:
        """Whether a call might begin now. Reads only."""
        circuit = self.circuits.get(candidate)
        if circuit is None:
            return True
        state = self.state(candidate)
        if state == "open" or self.resting(candidate) > 0:
            return False
        return state == "closed" or circuit.probing < self.probes

    def begin(self, candidate: str) -> bool:
        """Take a probe slot if the circuit is half open. False: do not call; then there is no `end` either."""
        with self._lock:
            if not self.admits(candidate):
                return False
            circuit = self.circuits.setdefault(candidate, Circuit())
            if circuit.opened:
                circuit.probing += 1
            else:
                circuit.ordinary += 1
            return True

    def end(self, candidate: str, error: str | None, seconds: float, retry_after: float | None = None) -> None:
        """How a begun call ended: `error` is its code, `None` for success; `seconds` it took; `retry_after` seconds."""
        with self._lock:
            circuit = self.circuits.get(candidate)
            if circuit is None:
                return  # the candidate has left the pool since
            probe = self._leave(circuit)
            if error == "provider_rate_limited":
                circuit.rest = self.clock() + min(self.longest_rest, max(0.0, retry_after or 0.0))
            if error in NEUTRAL:
                return
            if error is not None:
                circuit.last_error = error
            if probe and self.state(candidate) == "half_open":
                self._probed(circuit, error is None)
            elif not circuit.opened:
                circuit.failures = 0 if error is None else circuit.failures + 1
                if circuit.failures >= self.failures and self._may_eject():
                    self._open(circuit)

    def _leave(self, circuit: Circuit) -> bool:
        """Count a call out; whether it was a probe.

        A call that began before the circuit opened may end after it did. Which of those under way has ended is not
        said, so ordinary calls are taken to end first: a probe slot may be held too long, but is never given twice.
        """
        probe = circuit.ordinary == 0
        if probe:
            circuit.probing = max(0, circuit.probing - 1)
        else:
            circuit.ordinary -= 1
        return probe

    def _probed(self, circuit: Circuit, succeeded: bool) -> None:
        if not succeeded:
            self._open(circuit)
            return
        circuit.passed += 1
        if circuit.passed >= self.probes:
            circuit.opened, circuit.failures, circuit.trips = False, 0, 0

    def _open(self, circuit: Circuit) -> None:
        length = min(self.longest, self.pause * 2.0**circuit.trips)
        circuit.opened, circuit.passed, circuit.trips = True, 0, min(circuit.trips + 1, 16)
        circuit.until = self.clock() + length * (1.0 + self.jitter * (2.0 * self.draw() - 1.0))

    def _may_eject(self) -> bool:
        most = int(self.ejectable * len(self.circuits)) or (1 if self.ejectable > 0 else 0)
        return sum(circuit.opened for circuit in self.circuits.values()) < most


@dataclass(frozen=True)
class Health:
    """Keeps requests away from candidates whose circuit is open, whose probes are all taken, or who asked for rest."""

    board: Board
    name: str = "health"

    def check(self, context: Context, candidates: Sequence[Candidate]) -> Iterable[Objection]:
        if self.board.calm:
            return
        for i, candidate in enumerate(candidates):
            if self.board.admits(candidate.name):
                continue
            resting = self.board.resting(candidate.name)
            if resting > 0:
                yield (
                    i,
                    Reason(self.name, "resting", f"it asked to be left alone for {resting:.1f} s", "try again then"),
                )
                continue
            state = self.board.state(candidate.name).replace("_", " ")
            detail = f"its circuit breaker is {state} after {self.board.circuits[candidate.name].last_error}"
            yield i, Reason(self.name, "breaker", detail, "it is probed again by itself")
