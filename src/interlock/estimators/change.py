"""Notice that a candidate is no longer the one that was learnt: a two-sided CUSUM on its residuals.

A provider may swap a model silently. Then residuals keep one sign, and their sum above what chance allows grows by the
size of the change each event; unlike a shorter memory, this costs nothing while nothing changes.

Source: Page, Biometrika 41 (1954); for bandits: Liu, Lee & Shroff, CUSUM-UCB (arXiv 1711.03539).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Cusum:
    """`better` and `worse` are the running sums; both are state."""

    better: float = 0.0
    worse: float = 0.0

    def alarmed(self, residual: float, slack: float, threshold: float) -> bool:
        """Take in one residual (target minus prediction); whether a sum crossed `threshold`, and both start anew.

        A change smaller than `slack` is never noticed, one of size s after about threshold / (s - slack) events.
        """
        self.better = max(0.0, self.better + residual - slack)
        self.worse = max(0.0, self.worse - residual - slack)
        if max(self.better, self.worse) < threshold:
            return False
        self.better = self.worse = 0.0
        return True
