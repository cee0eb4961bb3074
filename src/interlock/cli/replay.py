"""`interlock replay`: what another policy would have cost and scored on the traffic of a ledger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .output import emit

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..learning.verdict import Answer

EFFECTIVE = 30.0
UNTRIED = 0.05


def replay(
    ledger: str = typer.Argument(
        help="The ledger's file, or env:NAME for a database's URL; a gateway may be using it."
    ),
    policy: Path | None = typer.Option(
        None, "--policy", "-p", help="interlock.yaml of the other policy; default: what the environment offers."
    ),
    fixed: list[str] = typer.Option([], help="Also the policy that always takes this candidate; may be repeated."),
    since: str = typer.Option("", help="Only decisions since: a date, a time, or an age such as 12h or 7d."),
    snapshot: str = typer.Option(
        "", help="Freeze the policy at this stored snapshot instead of letting it learn along the ledger."
    ),
    method: str = typer.Option("doubly_robust", help="ips, snips, direct, doubly_robust or switch."),
    min_effective: float = typer.Option(EFFECTIVE, min=1.0, help="Refuse below so many effective decisions."),
    max_untried: float = typer.Option(
        UNTRIED, min=0.0, max=1.0, help="Refuse when more of the policy's choices than this had no chance in the log."
    ),
    plot: Path | None = typer.Option(None, help="Write a PNG of quality against cost here."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Estimate what another policy would have cost and scored on the requests of a ledger, with 95% intervals.

    The policy decides anew on each request and learns along the ledger, never from what came later. Exit code 1 when
    the ledger cannot answer for a policy: what it would choose was tried too seldom.

    Example: [bold]interlock replay .interlock/ledger.db --fixed small-t1 --since 24h[/bold]
    """
    from rich.console import Console
    from rich.progress import Progress

    from ..assembly import candidate_of
    from ..learning.verdict import Terms, compare
    from ..ledger import Reading
    from .learned import settings_policy_and_trust

    settings, made, trust = settings_policy_and_trust(policy)
    terms = Terms(method=method, effective=min_effective, untried=max_untried)
    reading = Reading(ledger)
    try:
        with Progress(console=Console(stderr=True), transient=True) as bars:
            bar = bars.add_task("deciding anew", total=None)
            answer = compare(
                reading,
                made,
                [candidate_of(block, settings.providers[block.provider]) for block in settings.candidates],
                trust=trust,
                fixed=fixed,
                since=moment(since),
                snapshot=snapshot,
                terms=terms,
                progress=lambda count: bars.advance(bar, count),
            )
    finally:
        reading.close()
    if plot is not None:
        draw(answer, plot)
    emit(answer, as_json, lambda: Console().print(view(answer, terms)))
    raise typer.Exit(int(any(contender.refused for contender in answer.contenders)))


def moment(text: str) -> float:
    """Seconds since the epoch of a date, a time (local unless it says otherwise), or an age such as 90m, 12h, 7d."""
    import math
    import re
    import time
    from datetime import datetime

    if not text:
        return -math.inf
    if age := re.fullmatch(r"(\d+)([mhd])", text):
        return time.time() - int(age[1]) * {"m": 60, "h": 3600, "d": 86400}[age[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        expected = "a date (2026-01-31), a time (2026-01-31T08:00) or an age (90m, 12h, 7d)"
        raise typer.BadParameter(f"{text!r}: expected {expected}", param_hint="--since") from None


def view(answer: Answer, terms: Any) -> RenderableType:
    """One row a policy, then what stands in the way of those that have no figures."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("policy", no_wrap=True)
    for name in answer.measures:
        table.add_column(f"{name} [95%]".replace("[", r"\["), justify="right", no_wrap=True)
    for column in ("effective", "untried"):
        table.add_column(column, justify="right")
    for one in answer.contenders:
        cells = [number(one.values.get(name)) for name in answer.measures]
        table.add_row(one.name, *cells, f"{one.overlap.effective:.0f}", f"{one.overlap.unsupported:.1%}")
    notes = [Text(f"{answer.decisions} decisions, {answer.scored} of them scored; method {terms.method}")]
    notes += [Text(f"left out: {count} {reason}", style="dim") for reason, count in answer.left_out.items()]
    for one in answer.contenders:
        if one.refused:
            notes.append(Text(f"{one.name}: no answer: {one.refused}", style="yellow"))
        if one.refused or one.overlap.unsupported:
            notes += [Text(f"  {trouble}", style="dim") for trouble in one.overlap.trouble]
        notes += [Text(f"{one.name}: {note}", style="dim") for note in one.notes]
    return Group(table, *notes)


def number(value: Any) -> str:
    return "-" if value is None else f"{value.mean:.4g} [{value.low:.4g}, {value.high:.4g}]".replace("[", r"\[")


def draw(answer: Answer, path: Path) -> None:
    """Quality against cost with intervals, one cross a policy. Raises `ConfigError` without matplotlib."""
    from ..errors import ConfigError

    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError as error:
        raise ConfigError(f"--plot needs {error.name}: pip install 'interlock[lab]'") from error
    figure, axes = plt.subplots(figsize=(7, 4.5))
    for one in answer.contenders:
        if "quality" in one.values and "cost" in one.values:
            q, c = one.values["quality"], one.values["cost"]
            axes.errorbar(
                [c.mean],
                [q.mean],
                xerr=[[max(c.mean - c.low, 0.0)], [max(c.high - c.mean, 0.0)]],
                yerr=[[max(q.mean - q.low, 0.0)], [max(q.high - q.mean, 0.0)]],
                fmt="o",
                capsize=3,
                label=one.name,
            )
    axes.set(xlabel="USD a request", ylabel="quality", title="replayed on the same requests, 95% intervals")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=140, bbox_inches="tight")
    plt.close(figure)
