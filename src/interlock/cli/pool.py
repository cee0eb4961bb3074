"""`interlock pool`: the candidates of a running gateway and how they do."""

from __future__ import annotations

import math
from typing import Any

import typer

from .output import emit
from .remote import URL, call


def pool(url: str = URL, as_json: bool = typer.Option(False, "--json", help="Print JSON.")) -> None:
    """Show every candidate: share of traffic, quality from feedback, cost, latency and circuit breaker.

    Example: [bold]interlock pool --url http://127.0.0.1:8400[/bold]
    """
    document = call(url, "/v1/pool")

    def show() -> None:
        from rich.console import Console
        from rich.table import Table

        from .render import milliseconds, money, number

        table = Table("candidate", "share", "quality", "mean cost", "latency", "breaker", "USD/M in", "USD/M out")
        for row in document["candidates"]:
            value = {
                key: math.nan if row.get(key) is None else row[key] for key in ("share", "quality", "cost", "latency")
            }
            price: dict[str, Any] = row.get("price") or {}
            table.add_row(
                row["name"],
                f"{number(100 * value['share'], 1)}%",
                number(value["quality"]),
                money(value["cost"]),
                milliseconds(value["latency"]),
                row.get("breaker") or "",
                _price(price.get("in")),
                _price(price.get("out")),
            )
        Console().print(table)

    emit(document, as_json, show)


def _price(usd: float | None) -> str:
    return "?" if usd is None else f"{usd:.4g}"
