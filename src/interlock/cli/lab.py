"""`interlock lab`: list the experiments and run one."""

from __future__ import annotations

from pathlib import Path

import typer

from .output import emit

app = typer.Typer(help="Run published claims on the same ground and see where they hold.", no_args_is_help=True)


@app.command("list")
def list_(as_json: bool = typer.Option(False, "--json", help="Print JSON.")) -> None:
    """List the experiments with the claim each one tests.

    Example: [bold]interlock lab list --json[/bold]
    """
    from rich.console import Console
    from rich.table import Table

    from ..lab.experiments import names

    def show() -> None:
        table = Table("experiment", "claim")
        for name, claim in names().items():
            table.add_row(name, claim)
        Console().print(table)

    emit(names(), as_json, show)


@app.command()
def run(
    name: str = typer.Argument(help="An experiment of `interlock lab list`."),
    seeds: int = typer.Option(5, min=1, help="How many seeds; the interval is over them."),
    out: Path = typer.Option(Path(".cache/lab"), help="Where the report, plots and cached generations go."),
    data: Path | None = typer.Option(None, help="Folder of outcome tables, for experiments that use real ones."),
    scale: float = typer.Option(
        1.0, min=0.01, max=1.0, help="Below 1: a quicker, smaller run whose verdicts mean little."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the report as JSON."),
) -> None:
    """Run one experiment: the claim, the paper's figure, ours with an interval, and pass or short.

    Exit code 1 when a figure falls short. The report is also written to OUT/NAME/report.json.

    Example: [bold]interlock lab run first-light --seeds 1 --scale 0.2[/bold]
    """
    from rich.console import Console

    from ..errors import ConfigError
    from ..lab.experiments import Options, load

    try:
        report = load(name)(Options(seeds=tuple(range(seeds)), out=out / name, data=data, scale=scale))
    except ModuleNotFoundError as error:
        raise ConfigError(f"{name} needs {error.name}: pip install 'interlock[lab]'") from error
    report.save(out / name)
    emit(report, as_json, lambda: report.show(Console()))
    if report.verdict == "short":
        raise typer.Exit(1)
