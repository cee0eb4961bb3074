"""A decision as a person reads it: signals, candidates with estimates and probabilities, reasons, the choice."""

from __future__ import annotations

import math

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..types import Considered, Decision


def money(usd: float) -> str:
    """USD with as many digits as such small amounts need."""
    return "?" if math.isnan(usd) else f"${usd:.2g}" if usd < 0.01 else f"${usd:.4f}"


def number(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "?"


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if math.isfinite(seconds) else "?"


def signals_line(decision: Decision) -> Text:
    known = [signal for signal in decision.signals.values() if signal.value not in (None, "")]
    return Text("signals  " + "  ".join(f"{signal.name}={_short(signal.value)}" for signal in known), style="dim")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def candidates_table(decision: Decision) -> Table:
    """Chosen first, then permitted by utility, then forbidden."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("candidate", no_wrap=True)
    for column in ("quality", "cost", "latency", "utility", "p"):
        table.add_column(column, no_wrap=True, justify="right")
    for row in sorted(decision.considered, key=lambda row: _rank(decision, row)):
        chosen = row.candidate == decision.chosen
        table.add_row(
            f"{'-> ' if chosen else ''}{row.candidate}",
            f"{number(row.quality)} ± {number(row.quality_std)}",
            money(row.cost),
            milliseconds(row.latency),
            number(row.utility, 3),
            number(row.probability) if row.permitted else "-",
            style="bold green" if chosen else "" if row.permitted else "dim",
        )
    return table


def objections(decision: Decision) -> list[Text]:
    """What stands against the forbidden, one line for all against whom the same stands."""
    against: dict[str, list[str]] = {}
    for row in decision.considered:
        if not row.permitted:
            said = f"{row.grade}: " + "; ".join(reason.detail for reason in row.reasons)
            against.setdefault(said, []).append(row.candidate)
    return [Text(f"{', '.join(names)}: {said}") for said, names in against.items()]


def _rank(decision: Decision, row: Considered) -> tuple[bool, bool, float]:
    return row.candidate != decision.chosen, not row.permitted, -_finite(row)


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
    return Text(sentence + (f"  (degraded: {decision.degraded})" if decision.degraded else ""))


def lacking(chosen: Considered, second: Considered) -> str:
    """What set the runner-up apart from the chosen one, in its own numbers."""
    parts = []
    if second.quality < chosen.quality - 0.005:
        parts.append(f"{chosen.quality - second.quality:.2f} less expected quality")
    if second.cost > chosen.cost * 1.02:
        times = f"{second.cost / chosen.cost:.1f}x the cost" if chosen.cost > 0 else ""
        parts.append(times or f"{money(second.cost)} against nothing")
    if second.utility > chosen.utility:
        parts.append("nothing: this was exploration")
    return ", ".join(parts) or "about the same in every respect"


def decision_view(decision: Decision) -> RenderableType:
    return Group(signals_line(decision), candidates_table(decision), *objections(decision), why(decision))
