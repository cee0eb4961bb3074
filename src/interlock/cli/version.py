"""`interlock version`."""

from __future__ import annotations

import platform

import typer

from .. import __version__
from .output import emit


def version(as_json: bool = typer.Option(False, "--json", help="Print JSON.")) -> None:
    """Print the versions of interlock, Python and the platform.

    Example: [bold]interlock version --json[/bold]
    """
    facts = {"interlock": __version__, "python": platform.python_version(), "platform": platform.platform()}
    emit(facts, as_json, lambda: print("  ".join(f"{name} {value}" for name, value in facts.items())))
