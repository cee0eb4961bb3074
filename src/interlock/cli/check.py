"""`interlock check`: is this configuration right?"""

from __future__ import annotations

from pathlib import Path

import typer

from .output import emit


def check(
    config: Path = typer.Argument(Path("interlock.yaml"), help="The configuration to validate."),
    as_json: bool = typer.Option(False, "--json", help="Print the validated settings as JSON, secrets left out."),
) -> None:
    """Validate a configuration: names, types, prices, rules, secrets. Exit code 3 and one precise message if it is wrong.

    Example: [bold]interlock check interlock.yaml[/bold]
    """
    from rich.console import Console

    from ..config import load

    settings = load(config)
    facts = {"file": str(config), "hash": settings.hash, "candidates": [candidate.name for candidate in settings.candidates]}
    emit(
        facts,
        as_json,
        lambda: Console().print(f"[green]{config} is right[/]: {len(settings.candidates)} candidates, hash {settings.hash[:12]}"),
    )
