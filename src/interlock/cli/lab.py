"""`interlock lab`: list and run experiments; convert, evaluate and compare on tables of recorded outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .output import emit

if TYPE_CHECKING:
    from ..lab.evaluation import Evaluation

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


ESTIMATORS = typer.Option("all", help="Estimators with commas between, or `all`.")
DATASETS = typer.Option("", help="Data sets with commas between; by default every one.")
OBJECTIVES = typer.Option("weighted", help="weighted, chebyshev, cheapest_above, with commas between.")
TASK_GIVEN = typer.Option(False, "--task-given", help="Routers are told the task of a query instead of guessing it.")
ROUNDS = typer.Option(500, min=20, help="Resamples behind each interval.")
OUT = typer.Option(None, help="Folder that gets a JSON file a data set.")


@app.command()
def convert(
    kind: str = typer.Argument(help="routerbench, routellm, llmrouter, routerarena, lm-eval or ledger."),
    source: Path = typer.Argument(help="The file, or the folder of them."),
    out: Path = typer.Argument(help="Folder for queries and outcomes; what is there is replaced."),
    lines: bool = typer.Option(False, "--jsonl", help="Write JSON lines instead of Parquet."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Turn another project's outcome files, or a ledger, into a table that the lab evaluates.

    Example: [bold]interlock lab convert lm-eval results/ tables/mine[/bold]
    """
    from ..lab.convert import convert as converted
    from ..lab.tables import write_tables

    with _extra():
        table = converted(kind, source)
        write_tables(out, [table], "jsonl" if lines else "parquet")
    missing = float(1.0 - table.answered.mean())
    told = {"queries": len(table), "candidates": list(table.candidates), "missing": missing, "out": str(out)}
    shown = f"{len(table)} queries, {len(table.candidates)} candidates, {missing:.1%} of the cells missing -> {out}"
    emit(told, as_json, lambda: print(shown))


@app.command()
def evaluate(
    train: Path = typer.Argument(help="Folder of outcome tables to learn from."),
    test: Path = typer.Argument(help="Folder of outcome tables to be judged on."),
    estimators: str = ESTIMATORS,
    datasets: str = DATASETS,
    objectives: str = OBJECTIVES,
    task_given: bool = TASK_GIVEN,
    rounds: int = ROUNDS,
    seed: int = typer.Option(0, help="Of the resamples."),
    out: Path | None = OUT,
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Judge estimators on one folder after fitting them on another, beside random, cheapest, best single and oracle.

    Says "do not route here" when no router beats the best single candidate at matched cost.

    Example: [bold]interlock lab evaluate tables/train tables/test --estimators knn,ridge[/bold]
    """
    from ..lab.features import Features
    from ..lab.folders import chosen_estimators, evaluate_folders
    from ..lab.online import COMPLETED, online_regret

    with _extra(), _bar() as progress:
        evaluations = _kept(
            evaluate_folders(
                train,
                test,
                chosen_estimators(estimators),
                datasets=_split(datasets),
                objectives=_split(objectives) or ["weighted"],
                features=Features(given=task_given),
                rounds=rounds,
                seed=seed,
                progress=progress,
            ),
            out,
        )
        online = online_regret(test, progress) if (test / COMPLETED).exists() else None
    document = {"evaluations": evaluations} if online is None else {"evaluations": evaluations, "online": online}

    def show() -> None:
        from rich.console import Console

        for evaluation in evaluations:
            evaluation.show(Console())
        if online is not None:
            Console().print(online)

    emit(document, as_json, show)


@app.command("cross-validate")
def cross_validate(
    folder: Path = typer.Argument(help="Folder of outcome tables."),
    folds: int = typer.Option(5, min=2, help="Parts; each is judged once, by what was fitted on the others."),
    estimators: str = ESTIMATORS,
    datasets: str = DATASETS,
    objectives: str = OBJECTIVES,
    task_given: bool = TASK_GIVEN,
    rounds: int = ROUNDS,
    seed: int = typer.Option(0, help="Of the folds and of the resamples."),
    out: Path | None = OUT,
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """The same as `evaluate` on one folder, under cross-validation. Equal prompts never stand on both sides.

    Example: [bold]interlock lab cross-validate tables/mine --folds 5 --json[/bold]
    """
    from ..lab.features import Features
    from ..lab.folders import chosen_estimators, cross_validate_folder

    with _extra(), _bar() as progress:
        evaluations = _kept(
            cross_validate_folder(
                folder,
                chosen_estimators(estimators),
                datasets=_split(datasets),
                folds=folds,
                objectives=_split(objectives) or ["weighted"],
                features=Features(given=task_given),
                rounds=rounds,
                seed=seed,
                progress=progress,
            ),
            out,
        )

    def show() -> None:
        from rich.console import Console

        for evaluation in evaluations:
            evaluation.show(Console())

    emit({"evaluations": evaluations}, as_json, show)


@app.command()
def leaderboard(
    data: Path | None = typer.Option(None, help="Folder of outcome tables; by default $INTERLOCK_DATA."),
    estimators: str = ESTIMATORS,
    datasets: str = DATASETS,
    folds: int = typer.Option(3, min=2, help="Parts of the cross-validation."),
    rounds: int = typer.Option(200, min=20, help="Resamples behind each interval."),
    processes: int = typer.Option(2, min=1, help="Data sets worked on at the same time."),
    cache: Path = typer.Option(Path(".cache/lab/leaderboard"), help="Finished parts; a run goes on where one stopped."),
    out: Path = typer.Option(Path(".cache/lab/leaderboard"), help="Folder of leaderboard.html, .md and the plots."),
    page: Path | None = typer.Option(None, help="Also write the Markdown table here."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Every estimator under three objectives on every table: one HTML page, a plot a table, a Markdown table.

    Example: [bold]interlock lab leaderboard --datasets routerbench,routellm[/bold]
    """
    from ..lab.folders import chosen_estimators
    from ..lab.leaderboard import leaderboard as run_all
    from ..lab.locate import data_folder

    with _extra(), _bar() as progress:
        board = run_all(
            data_folder(data),
            chosen_estimators(estimators),
            datasets=_split(datasets),
            folds=folds,
            rounds=rounds,
            processes=processes,
            cache=cache,
            out=out,
            progress=progress,
        )
        if page is not None:
            page.write_text((out / "leaderboard.md").read_text())
    emit(board, as_json, lambda: print((out / "leaderboard.md").read_text()))


def _split(names: str) -> list[str] | None:
    return [name.strip() for name in names.split(",") if name.strip()] or None


def _kept(evaluations: Iterable[Evaluation], out: Path | None) -> list[Evaluation]:
    """All of them; each is written to `out` as soon as it is there."""
    import msgspec

    done = []
    for evaluation in evaluations:
        done.append(evaluation)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            (out / f"{evaluation.dataset}.json").write_bytes(msgspec.json.format(msgspec.json.encode(evaluation)))
    return done


@contextmanager
def _bar() -> Iterator[Callable[[str], None]]:
    """A line on standard error that says what is being done, and for how long."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.completed} steps done, {task.description}")
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading tables", total=None)

        def told(what: str) -> None:
            bar.update(task, description=what, advance=1)

        yield told


@contextmanager
def _extra() -> Iterator[None]:
    """A missing package of the `lab` extra is said as what it is."""
    from ..errors import ConfigError

    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"the lab needs {error.name}: pip install 'interlock[lab]'") from error
