"""One file a published claim. Each has a docstring that states it, and `run(options) -> Report`."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.console import Console

from ...errors import NotFound, nearest
from ..report import Report


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What every experiment understands. `scale` below 1 shrinks it for a quick look; its verdicts then mean little."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    out: Path = Path(".cache/lab")
    data: Path | None = None
    scale: float = 1.0
    console: Console = msgspec.field(default_factory=lambda: Console(stderr=True))


def names() -> dict[str, str]:
    """Experiment name -> the first line of its docstring, read without importing it."""
    files = sorted(path for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__")
    return {
        path.stem.replace("_", "-"): (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]
        for path in files
    }


def load(name: str) -> Callable[[Options], Report]:
    """The `run` of an experiment. Raises `NotFound` with the nearest name."""
    if name not in names():
        raise NotFound(f"no experiment {name!r}; {nearest(name, list(names()))}", param="name")
    run: Callable[[Options], Report] = importlib.import_module(f".{name.replace('-', '_')}", __name__).run
    return run
