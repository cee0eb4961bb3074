"""Budgets and rates: what is set aside before a request is routed, and counted after it."""

from .control import UNCOUNTED, AdmissionControl, Lease, Standing, Terms, stamped
from .counter import Ask, Cap, Counter, LocalCounter, Open, Rate, Settlement, Verdict
from .fold import accounts_of, charges, fold
from .windows import Line, lines, spans

__all__ = [
    "UNCOUNTED",
    "AdmissionControl",
    "Ask",
    "Cap",
    "Counter",
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
