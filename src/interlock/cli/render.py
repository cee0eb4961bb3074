"""A decision as a person reads it: signals, candidates with reasons, estimates and probabilities, and the choice."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..types import Considered, Decision


def money(usd: float) -> str:
    """USD with as many digits as such small amounts need."""
    return "?" if math.isnan(usd) else f"${usd:.2g}" if usd < 0.01 else f"${usd:.4f}"


def number(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "?"


def signals_line(decision: Decision) -> Text:
    facts = (f"{signal.name}={_short(signal.value)}" for signal in decision.signals.values() if signal.value not in (None, ""))
    return Text("signals  " + "  ".join(facts), style="dim")


def _short(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def candidates_table(decision: Decision) -> Table:
    """Chosen first, then permitted by utility, then forbidden with their reasons."""
    table = Table("candidate", "quality", "cost", "latency", "utility", "p", "standing", expand=False)
    for row in sorted(decision.considered, key=lambda row: (row.candidate != decision.chosen, not row.permitted, -_finite(row))):
        chosen = row.candidate == decision.chosen
        table.add_row(
            f"{'-> ' if chosen else ''}{row.candidate}",
            f"{number(row.quality)} ± {number(row.quality_std)}",
            money(row.cost),
            f"{number(row.latency * 1000, 0)} ms",
            number(row.utility, 3),
            number(row.probability),
            row.grade if row.permitted else f"{row.grade}: " + "; ".join(reason.detail for reason in row.reasons),
            style="bold green" if chosen else "" if row.permitted else "dim",
        )
    return table


def _finite(row: Considered) -> float:
    return row.utility if math.isfinite(row.utility) else -math.inf


def why(decision: Decision) -> Text:
    """One sentence: what was chosen and what the runner-up lacked."""
    chosen, second = decision.row(decision.chosen), decision.runner_up
    if chosen is None:
        return Text("refused: no candidate may serve this request", style="bold red")
    sentence = f"{chosen.candidate} was chosen with probability {number(chosen.probability)}"
    if second is not None:
        sentence += f"; {second.candidate} came second: " + lacking(chosen, second)
    return Text(sentence + (f"  [{decision.degraded}]" if decision.degraded else ""))


def lacking(chosen: Considered, second: Considered) -> str:
    """What set the runner-up apart from the chosen one, in its own numbers."""
    parts = []
    if second.quality < chosen.quality - 0.005:
        parts.append(f"{chosen.quality - second.quality:.2f} less expected quality")
    if second.cost > chosen.cost * 1.02:
        parts.append(f"{second.cost / chosen.cost:.1f}x the cost" if chosen.cost > 0 else f"{money(second.cost)} against nothing")
    if second.utility > chosen.utility:
        parts.append("nothing: this was exploration")
    return ", ".join(parts) or "about the same in every respect"


def decision_view(decision: Decision) -> RenderableType:
    return Group(signals_line(decision), candidates_table(decision), why(decision))
