"""A circuit breaker per candidate, and the guard that keeps requests away from open ones.

    closed --(failures)--> open --(jittered pause)--> half open --(probes succeed)--> closed
                             ^-------------(a probe fails)-------------'

Being told to slow down (429) is neither success nor failure: it releases the probe slot it took, and every candidate
of the same quota domain rests for the stated Retry-After, capped. An account without funds (402) parks its whole
domain: the circuits open at once, for much longer, and close as any other does, when probes succeed. At most
`ejectable` of the pool may be open for failures: when everything fails, the cause is rarely every candidate, and
refusing all would make it worse. An empty account is no such guess, and not limited by it.

Source: Nygard, Release It! (2007), circuit breaker; outlier ejection with a capped share as in Envoy.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
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
        "masking_failed",
        "cancelled",
    }
)
"""Error codes that say nothing about a candidate's health: its quota, the request itself, or a caller who left."""

RATE_LIMITED, OUT_OF_FUNDS = "provider_rate_limited", "provider_out_of_funds"


@dataclass
class Circuit:
    """One candidate's record. `ordinary` and `probing` count its calls under way; times are on the board's clock."""

    domain: str = ""
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
        park: seconds for which an account without funds is left alone at first; it doubles up to `longest_park`.
        longest_park: cap on that, seconds.
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
    park: float = 60.0
    longest_park: float = 3600.0
    clock: Callable[[], float] = time.monotonic
    draw: Callable[[], float] = random.random
    circuits: dict[str, Circuit] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def register(self, candidates: Iterable[str] | Mapping[str, str]) -> None:
        """Know the whole pool, so that the ejectable share is a share of it; forget candidates that are gone.

        A mapping gives each candidate's quota domain; without one, each is a domain of its own.
        """
        domains = candidates if isinstance(candidates, Mapping) else {name: name for name in candidates}
        with self._lock:
            self.circuits = {name: self.circuits.get(name, Circuit()) for name in domains}
            for name, domain in domains.items():
                self.circuits[name].domain = domain

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

    def wait(self, candidate: str) -> float:
        """Seconds until a call might begin; 0 when one might now, also when only the probes are all taken."""
        circuit, now = self.circuits.get(candidate), self.clock()
        return 0.0 if circuit is None else max(0.0, circuit.rest - now, circuit.until - now if circuit.opened else 0.0)

    def under_way(self, candidate: str) -> int:
        """Calls begun and not ended."""
        circuit = self.circuits.get(candidate)
        return 0 if circuit is None else circuit.ordinary + circuit.probing

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
            circuit = self.circuits.setdefault(candidate, Circuit(domain=candidate))
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
            if error == RATE_LIMITED:
                self._rest(circuit.domain, min(self.longest_rest, max(0.0, retry_after or 0.0)))
            if error in NEUTRAL:
                return
            if error is not None:
                circuit.last_error = error
            if error == OUT_OF_FUNDS:
                self._park(circuit.domain)
            elif probe and self.state(candidate) == "half_open":
                self._probed(circuit, error is None)
            elif not circuit.opened:
                circuit.failures = 0 if error is None else circuit.failures + 1
                if circuit.failures >= self.failures and self._may_eject():
                    self._open(circuit, self.pause, self.longest)

    def _rest(self, domain: str, seconds: float) -> None:
        """One quota is used up for all who share it. A shorter rest does not end a longer one."""
        for circuit in self._sharing(domain):
            circuit.rest = max(circuit.rest, self.clock() + seconds)

    def _park(self, domain: str) -> None:
        """What is parked already stays so: calls that were under way then say nothing new."""
        for circuit in self._sharing(domain):
            if not circuit.opened or self.clock() >= circuit.until:
                circuit.last_error = OUT_OF_FUNDS
                self._open(circuit, self.park, self.longest_park)

    def _sharing(self, domain: str) -> list[Circuit]:
        return [circuit for circuit in self.circuits.values() if circuit.domain == domain]

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
            self._open(circuit, self.pause, self.longest)
            return
        circuit.passed += 1
        if circuit.passed >= self.probes:
            circuit.opened, circuit.failures, circuit.trips = False, 0, 0

    def _open(self, circuit: Circuit, pause: float, longest: float) -> None:
        length = min(longest, pause * 2.0**circuit.trips)
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
            if self.board.circuits[candidate.name].last_error == OUT_OF_FUNDS:
                detail = f"its account is out of funds; it is parked for {self.board.wait(candidate.name):.0f} s more"
                remedy = (
                    "add funds; it is probed again by itself then, and at once when its provider is configured anew"
                )
                yield i, Reason(self.name, "out_of_funds", detail, remedy)
                continue
            state = self.board.state(candidate.name).replace("_", " ")
            detail = f"its circuit breaker is {state} after {self.board.circuits[candidate.name].last_error}"
            yield i, Reason(self.name, "breaker", detail, "it is probed again by itself")
