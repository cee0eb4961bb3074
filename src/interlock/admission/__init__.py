"""Budgets and rates: what is set aside before a request is routed, and counted after it."""

from .counter import Ask, Cap, Counter, LocalCounter, Open, Rate, Settlement, Verdict
from .desk import UNCOUNTED, Desk, Lease, Standing, Terms, stamped
from .fold import accounts_of, charges, fold
from .windows import Line, lines, spans

__all__ = [
    "UNCOUNTED",
    "Ask",
    "Cap",
    "Counter",
    "Desk",
    "Lease",
    "Line",
    "LocalCounter",
    "Open",
    "Rate",
    "Settlement",
    "Standing",
    "Terms",
    "Verdict",
    "accounts_of",
    "charges",
    "fold",
    "lines",
    "spans",
    "stamped",
]
