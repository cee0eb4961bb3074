"""What an experiment gives back: figures beside the claim they test, tables and plots, and a plain verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
from rich.console import Console
from rich.table import Table

Verdict = Literal["pass", "short", "info"]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measured number. `low` and `high` bound a 95% interval over seeds; `paper`, `wanted` are shown as given."""

    name: str
    ours: float
    low: float | None = None
    high: float | None = None
    paper: str = ""
    wanted: str = ""
    verdict: Verdict = "info"
    unit: str = ""

    @property
    def text(self) -> str:
        interval = "" if self.low is None or self.high is None else f"  [{self.low:.4g}, {self.high:.4g}]"
        return f"{self.ours:.4g}{self.unit}{interval}"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment's result. `verdict` is `pass` only when no figure fell short."""

    name: str
    claim: str
    figures: tuple[Figure, ...]
    seeds: tuple[int, ...]
    notes: tuple[str, ...] = ()
    plots: tuple[str, ...] = ()
    details: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        return "short" if any(figure.verdict == "short" for figure in self.figures) else "pass"

    def show(self, console: Console) -> None:
        table = Table(title=f"{self.name}: {self.claim}", title_justify="left", caption=f"seeds {list(self.seeds)}")
        for column in ("figure", "paper", "wanted", "ours [95%]", "verdict"):
            table.add_column(column)
        for figure in self.figures:
            colour = {"pass": "green", "short": "red", "info": "dim"}[figure.verdict]
            table.add_row(figure.name, figure.paper, figure.wanted, figure.text, f"[{colour}]{figure.verdict}[/]")
        console.print(table)
        for note in self.notes:
            console.print(f"  {note}")
        for plot in self.plots:
            console.print(f"  plot: {plot}")

    def save(self, folder: Path) -> Path:
        """Write `report.json` into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "report.json"
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2))
        return path
