"""How verbs speak: people get rich tables on the terminal, `--json` gives one JSON document on standard output.

Standard error has the rest: progress, warnings, and one line that says what went wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import typer


def emit(document: Any, as_json: bool, show: Callable[[], None]) -> None:
    """Print `document` as JSON, or let `show` present it to a person."""
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
    else:
        show()


def complain(error: Exception) -> None:
    """One line on standard error."""
    typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)


def warn(text: str) -> None:
    typer.secho(f"warning: {text}", fg=typer.colors.YELLOW, err=True)
