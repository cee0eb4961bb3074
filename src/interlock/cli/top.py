"""`interlock top`: a running gateway, live: what it serves, from whom, how fast, for how much."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from ..errors import Garbled
from .output import emit
from .remote import URL, fetch

if TYPE_CHECKING:
    from rich.console import RenderableType

Labels = frozenset[tuple[str, str]]
WIDTH = 20  # of a share's bar


@dataclass(frozen=True)
class Scrape:
    """The values of `/metrics` at one moment, by name and labels."""

    at: float
    values: Mapping[tuple[str, Labels], float]

    def each(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        return ((dict(labels), value) for (known, labels), value in self.values.items() if known == name)

    def total(self, name: str, **labels: str) -> float:
        """The sum over all series with these labels."""
        return sum(value for found, value in self.each(name) if labels.items() <= found.items())


def top(
    url: str = URL,
    every: float = typer.Option(2.0, min=0.2, help="Seconds between two looks; figures are of the time between."),
    once: bool = typer.Option(False, help="Look once, over one interval, and end."),
    as_json: bool = typer.Option(False, "--json", help="Print one interval's figures as JSON and end."),
) -> None:
    """Watch a running gateway: requests and errors, latency, cost, and each candidate's share, speed and breaker.

    Everything is read from /metrics, so it needs no key. Ctrl-C ends it.

    Example: [bold]interlock top --every 5[/bold]
    """
    from rich.console import Console
    from rich.live import Live

    before = scrape(url)
    if once or as_json:
        time.sleep(every)
        told = figures(before, scrape(url))
        emit(told, as_json, lambda: Console().print(view(told, url)))
        return
    with Live(console=Console(), screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(every)
            now = scrape(url)
            live.update(view(figures(before, now), url), refresh=True)
            before = now


def scrape(url: str) -> Scrape:
    """Raises what `fetch` does, and `Garbled` for what is no metrics text."""
    from prometheus_client.parser import text_string_to_metric_families

    content, _ = fetch(url, "/metrics")
    try:
        families = list(text_string_to_metric_families(content.decode()))
    except (UnicodeDecodeError, ValueError) as error:
        raise Garbled(f"{url} answers /metrics, but not as a gateway does; give its --url") from error
    samples = (sample for family in families for sample in family.samples)
    return Scrape(time.monotonic(), {(one.name, frozenset(one.labels.items())): one.value for one in samples})


def figures(before: Scrape, now: Scrape) -> dict[str, Any]:
    """Rates a second and quantiles (seconds) of what happened between two scrapes; `None` where nothing did."""
    seconds = now.at - before.at

    def rate(name: str, **labels: str) -> float:
        return max(0.0, now.total(name, **labels) - before.total(name, **labels)) / seconds

    failed = sum(
        value - before.values.get(("interlock_requests_total", frozenset(labels.items())), 0.0)
        for labels, value in now.each("interlock_requests_total")
        if labels["status"] >= "400"
    )
    chosen = {labels["candidate"] for labels, _ in now.each("interlock_decisions_total")}
    breakers = {labels["candidate"]: labels["state"] for labels, on in now.each("interlock_breaker_state") if on}
    decided = rate("interlock_decisions_total")
    candidates = [
        {
            "name": name,
            "share": rate("interlock_decisions_total", candidate=name) / decided if decided else None,
            "calls": rate("interlock_steps_total", candidate=name),
            "errors": rate("interlock_steps_total", candidate=name)
            - rate("interlock_steps_total", candidate=name, error=""),
            "tokens": rate("interlock_tokens_total", candidate=name, kind="output"),
            "usd_per_hour": 3600 * rate("interlock_cost_usd_total", candidate=name),
            "answer_p50": quantile(before, now, "interlock_answer_seconds", 0.5, candidate=name),
            "breaker": breakers.get(name, ""),
        }
        for name in sorted(chosen | set(breakers))
    ]
    return {
        "seconds": seconds,
        "requests": rate("interlock_requests_total"),
        "failed": failed / seconds,
        "refused": rate("interlock_refusals_total"),
        "feedback": rate("interlock_feedback_total"),
        "p50": quantile(before, now, "interlock_request_seconds", 0.5),
        "p95": quantile(before, now, "interlock_request_seconds", 0.95),
        "decision_p50": quantile(before, now, "interlock_decision_seconds", 0.5),
        "usd_per_hour": 3600 * rate("interlock_cost_usd_total"),
        "ledger_queue": now.total("interlock_ledger_queue"),
        "ledger_failures": now.total("interlock_ledger_failures_total"),
        "snapshot_age": now.total("interlock_snapshot_age_seconds"),
        "degraded": sum(value for labels, value in now.each("interlock_decisions_total") if labels["degraded"]),
        "candidates": candidates,
    }


def quantile(before: Scrape, now: Scrape, name: str, share: float, **labels: str) -> float | None:
    """Of a histogram's growth, interpolated inside its bucket; `None` when it did not grow.

    The last bucket has no end: there the quantile is its beginning.
    """
    growth: dict[float, float] = {}
    for scrape, sign in ((now, 1.0), (before, -1.0)):
        for found, value in scrape.each(f"{name}_bucket"):
            if labels.items() <= found.items():
                edge = float(found["le"])
                growth[edge] = growth.get(edge, 0.0) + sign * value
    edges = sorted(growth)
    if not edges or growth[edges[-1]] <= 0:
        return None
    wanted, low, below = share * growth[edges[-1]], 0.0, 0.0
    for edge in edges:
        if growth[edge] >= wanted:
            inside = growth[edge] - below
            return low if math.isinf(edge) or not inside else low + (edge - low) * (wanted - below) / inside
        low, below = edge, growth[edge]
    return low


def view(told: Mapping[str, Any], url: str) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from .render import milliseconds, money

    def time_of(value: float | None) -> str:
        return "-" if value is None else milliseconds(value)

    head = Table.grid(padding=(0, 3))
    head.add_row(
        f"[bold]{told['requests']:.1f}[/] requests/s",
        f"[{'red' if told['failed'] else 'dim'}]{told['failed']:.1f} failed/s[/]",
        f"{told['refused']:.1f} refused/s",
        f"p50 {time_of(told['p50'])}  p95 {time_of(told['p95'])}",
        f"{money(told['usd_per_hour'])} an hour",
    )
    head.add_row(
        f"{told['feedback']:.1f} feedback/s",
        f"ledger queue {told['ledger_queue']:.0f}",
        f"[{'red' if told['ledger_failures'] else 'dim'}]{told['ledger_failures']:.0f} ledger failures[/]",
        f"snapshot {told['snapshot_age']:.0f} s old",
        f"[{'yellow' if told['degraded'] else 'dim'}]{told['degraded']:.0f} degraded decisions[/]",
    )
    table = Table("candidate", "share", "calls/s", "errors/s", "tokens/s", "an hour", "p50", "breaker", box=None)
    for row in told["candidates"]:
        share = row["share"] or 0.0
        bar = Text("█" * round(WIDTH * share) + "·" * (WIDTH - round(WIDTH * share)), style="cyan")
        table.add_row(
            row["name"],
            bar + f" {100 * share:3.0f}%",
            f"{row['calls']:.1f}",
            Text(f"{row['errors']:.1f}", style="red" if row["errors"] else "dim"),
            f"{row['tokens']:.0f}",
            money(row["usd_per_hour"]),
            time_of(row["answer_p50"]),
            Text(row["breaker"], style="red" if row["breaker"] == "open" else ""),
        )
    return Group(f"[bold]interlock top[/]  {url}  [dim]over {told['seconds']:.1f} s, Ctrl-C ends[/]", head, "", table)
