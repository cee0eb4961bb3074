"""How much may be asked a second time: retries are bounded by a share of the traffic, domain by domain.

When a provider fails, callers who repeat themselves are what keeps it down. So every call earns its quota domain a
fraction of a retry, every retry spends one, and what was saved up is forgotten with time:

    balance -> floor + (balance - floor) * exp(-elapsed / window)      + share per call      - 1 per retry

From that alone: in any time `t` with `c` calls a domain sees at most `floor + share * c + floor * t / window` retries.

Source: the retry budget of Finagle (a token bucket that calls fill and retries empty).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import ConfigError


@dataclass
class RetryBudget:
    """One balance per quota domain, kept in this process; safe to use from many threads.

    Attributes:
        share: retries per call that the traffic earns, at most 1.
        floor: retries that are there without any traffic, so that a quiet gateway may retry as well.
        window: seconds after which a fraction 1/e of what was saved, or overspent, still counts.
        clock: seconds that only ever grow.

    Raises `ConfigError` for numbers out of range.
    """

    share: float = 0.1
    floor: float = 10.0
    window: float = 10.0
    clock: Callable[[], float] = time.monotonic
    balances: dict[str, tuple[float, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        for name, right in (
            ("share", 0.0 <= self.share <= 1.0),
            ("floor", 0.0 <= self.floor < math.inf),
            ("window", 0.0 < self.window < math.inf),
        ):
            if not right:
                problem = "must lie in [0, 1]" if name == "share" else "must be a finite number, at least 0"
                raise ConfigError(f"{problem}, got {getattr(self, name)!r}", path=f"execution.retry_budget.{name}")

    def earn(self, domain: str) -> None:
        """A call that repeats nothing."""
        with self._lock:
            self.balances[domain] = self._balance(domain) + self.share, self.clock()

    def affords(self, domain: str) -> bool:
        """Whether one more call may be made where one has failed. Reads only."""
        with self._lock:
            return self._balance(domain) >= 1.0

    def spend(self, domain: str) -> None:
        """Such a call was made. Threads that ask `affords` at the same moment may overdraw, and then wait longer."""
        with self._lock:
            self.balances[domain] = self._balance(domain) - 1.0, self.clock()

    def _balance(self, domain: str) -> float:
        balance, then = self.balances.get(domain, (self.floor, 0.0))
        return self.floor + (balance - self.floor) * math.exp((then - self.clock()) / self.window)
