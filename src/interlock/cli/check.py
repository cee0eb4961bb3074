"""`interlock check`: is this configuration right?"""

from __future__ import annotations

from pathlib import Path

import typer

from .output import emit


def check(
    config: Path = typer.Argument(Path("interlock.yaml"), help="The configuration to validate."),
    as_json: bool = typer.Option(False, "--json", help="Print the validated settings as JSON, secrets left out."),
) -> None:
    """Validate a configuration: names, types, prices, rules, secrets.

    Exit code 3 if it is wrong, and one message: file, line, what is wrong and what would be right.

    Example: [bold]interlock check interlock.yaml[/bold]
    """
    from rich.console import Console

    from ..config import load, redacted

    settings = load(config)
    facts = {"file": str(config), "hash": settings.hash, "settings": redacted(settings)}
    emit(
        facts,
        as_json,
        lambda: Console(highlight=False).print(
            f"[green]{config} is right[/]: {len(settings.candidates)} candidates, hash {settings.hash[:12]}",
            soft_wrap=True,
        ),
    )
