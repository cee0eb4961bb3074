"""Money is counted in whole nano-dollars: sums are exact whatever their order, in Python as in Redis.

Redis scripts calculate with doubles, which hold whole numbers up to 2**53: nine million dollars an account.
"""

from __future__ import annotations

import math

NANO = 1_000_000_000


def nano(usd: float) -> int:
    return round(usd * NANO)


def nano_up(usd: float) -> int:
    """Rounded up, but for the noise of floating point."""
    return math.ceil(usd * NANO - 1e-3)


def usd(nano: int) -> float:
    return nano / NANO


def charge(cost: float, reserved: int) -> int:
    """What an outcome of `cost` USD counts: a cost that nobody knows counts as what was reserved for it."""
    return nano(cost) if math.isfinite(cost) else reserved
