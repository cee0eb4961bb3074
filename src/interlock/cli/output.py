"""How verbs speak: people get rich tables on the terminal, `--json` gives one JSON document on standard output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec


def emit(document: Any, as_json: bool, show: Callable[[], None]) -> None:
    """Print `document` as JSON, or let `show` present it to a person."""
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
    else:
        show()
