"""A decision as a document: for people on the page, for callers who asked, for `GET /v1/ledger/{id}`.

Numbers that do not exist (an estimate nobody could make) are `null`. The vector is left out, and so is what quotes the
prompt unless `quoting`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..types import Considered, Decision, Feedback, Signal


def decision(decision: Decision, quoting: bool = False) -> dict[str, Any]:
    """The decision with each candidate's standing, and what the runner-up lacked."""
    return {
        "id": decision.id,
        "at": decision.at,
        "tenant": decision.tenant,
        "session": decision.session,
        "model": decision.model,
        "chosen": decision.chosen,
        "probability": decision.probability,
        "policy": decision.policy,
        "snapshot": decision.snapshot,
        "config": decision.config,
        "seed": decision.seed,
        "degraded": decision.degraded,
        "seconds": decision.seconds,
        "signals": {name: _signal(signal, quoting) for name, signal in decision.signals.items()},
        "considered": [_considered(row) for row in decision.considered],
        "runner_up": _runner_up(decision),
    }


def _signal(signal: Signal, quoting: bool) -> dict[str, Any]:
    document = {"value": signal.value, "confidence": signal.confidence, "seconds": signal.seconds}
    return document | {"evidence": signal.evidence} if quoting and signal.evidence else document


def _considered(row: Considered) -> dict[str, Any]:
    return msgspec.structs.asdict(row) | {"grade": row.grade, "permitted": row.permitted}


def _runner_up(decision: Decision) -> dict[str, Any] | None:
    """Differences are the runner-up's minus the chosen one's: negative quality is what it lacked, positive cost too."""
    chosen, other = decision.row(decision.chosen), decision.runner_up
    if chosen is None or other is None:
        return None
    kinds = ("utility", "quality", "cost", "latency", "energy")
    return {"candidate": other.candidate} | {kind: getattr(other, kind) - getattr(chosen, kind) for kind in kinds}


def feedback(feedback: Feedback, quoting: bool = False) -> dict[str, Any]:
    """The note is a person's words and may quote the prompt."""
    document = msgspec.structs.asdict(feedback)
    return document if quoting else {name: value for name, value in document.items() if name != "note"}
