"""interlock: context-aware routing for LLM applications.

Signals describe the request, guards rule out, estimators predict, the objective picks, the ledger remembers.
"""

from __future__ import annotations

__version__ = "0.1.0"
