"""`interlock pocket`: the embedded family of tiny models: see, ask, serve, score, train and calibrate it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .output import emit

if TYPE_CHECKING:
    from ..pocket.family import PocketCandidate
    from ..pocket.ladder import Ladder
    from ..pocket.paired import Difference
    from ..pocket.requests import PocketResult
    from ..pocket.score import Cell

app = typer.Typer(help="Tiny trained models with exact answers: the embedded default.", no_args_is_help=True)

AS_JSON = typer.Option(False, "--json", help="Print JSON.")
WEIGHTS = typer.Option(None, "--weights", help="Folder of weight files; the shipped ones by default.")
CANDIDATE = typer.Option(None, "--candidate", "-c", help="A name such as small-t1; all by default.")
MODEL = typer.Option(None, "--model", "-m", help="Only this model and its adapters; may be repeated.")


@app.command("list")
def list_(weights: Path | None = WEIGHTS, as_json: bool = AS_JSON) -> None:
    """List the candidates: parameters, price, budgets and measured accuracy.

    Example: [bold]interlock pocket list[/bold]
    """
    from ..pocket.family import load_family

    candidates = list(load_family(weights).candidates.values())
    emit([_card(candidate) for candidate in candidates], as_json, lambda: _show_candidates(candidates))


@app.command()
def ask(
    prompt: str = typer.Argument(help="What to ask, e.g. 'Sort these letters: D A C B'."),
    candidate: list[str] | None = CANDIDATE,
    temperature: float | None = typer.Option(None, min=0.0, max=2.0, help="0 is greedy, the default."),
    seed: int = typer.Option(0, min=0, help="Of the draw, when temperature is above 0, and of the votes of tN."),
    max_tokens: int = typer.Option(192, min=1, help="Cap on generated tokens."),
    weights: Path | None = WEIGHTS,
    as_json: bool = AS_JSON,
) -> None:
    """Ask one candidate or all of them, side by side.

    Example: [bold]interlock pocket ask "Add 12 and 34." -c small-t0 -c small-t1[/bold]
    """
    from ..pocket.pool import Pool
    from ..pocket.requests import PocketRequest

    with Pool.load(path=weights) as pool:
        names = candidate or [known.name for known in pool.candidates()]
        results = pool.generate_many([
            PocketRequest(candidate=pool.family.resolve(name).name, prompt=prompt, temperature=temperature,
                          seed=seed, max_tokens=max_tokens)
            for name in names
        ])  # fmt: skip
    emit([asdict(result) for result in results], as_json, lambda: _show_answers(results))


@app.command()
def serve(
    model: list[str] | None = MODEL,
    host: str = typer.Option("127.0.0.1", help="Address to listen on."),
    port: int = typer.Option(8801, min=0, max=65535, help="Port to listen on; 0 takes a free one."),
    slots: int = typer.Option(32, min=1, help="Requests a model works on at once."),
    max_queue: int = typer.Option(256, min=0, help="Requests that may wait for each model; more get a 429."),
    weights: Path | None = WEIGHTS,
) -> None:
    """Serve the models over HTTP in the OpenAI dialect, with the metrics a real replica exposes.

    Example: [bold]interlock pocket serve --model small --port 8801[/bold], then
    [bold]curl localhost:8801/v1/chat/completions -d '{"model": "small-t1", "messages":
    \\[{"role": "user", "content": "Add 12 and 34."}]}'[/bold]
    """
    from ..pocket.pool import Pool
    from ..pocket.server import serve as listen

    pool = Pool.load(model, weights, slots=slots, max_queue=max_queue)
    names = ", ".join(pool.family.members)
    listen(pool, host, port, lambda address: print(f"serving {names} on {address}", flush=True))


@app.command("eval")
def evaluate(
    candidate: list[str] | None = CANDIDATE,
    task: list[str] | None = typer.Option(None, "--task", "-t", help="Only this task; may be repeated."),
    level: list[int] | None = typer.Option(None, "--level", "-l", help="Only this level; may be repeated."),
    n: int = typer.Option(50, "--n", "-n", min=1, help="Test prompts a task and level."),
    seed: int = typer.Option(0, min=0, help="Of the prompts."),
    against: Path | None = typer.Option(
        None, help="Folder of other weights of the same models: compare prompt by prompt, -n prompts a task."
    ),
    weights: Path | None = WEIGHTS,
    as_json: bool = AS_JSON,
) -> None:
    """Score candidates by exact match on test prompts that no model was trained on.

    Training keeps the unrounded weights in OUT/fp32; compared with them, the loss by int8 shows:
    [bold]interlock pocket eval -c nano-t0 -n 2000 --weights .cache/pocket --against .cache/pocket/fp32[/bold]

    Example: [bold]interlock pocket eval -c nano-t0 -c small-t1 -t cups -n 100[/bold]
    """
    from ..pocket.pool import Pool
    from ..pocket.score import choose_cells, score

    cells = choose_cells(task or (), level or ())
    if against:
        _compare(weights, against, candidate or (), list(dict.fromkeys(name for name, _ in cells)), n, seed, as_json)
        return
    with Pool.load(path=weights) as pool, _progress("scoring") as progress:
        names = [pool.family.resolve(name).name for name in candidate or ()]
        names = names or [known.name for known in pool.candidates()]
        rows = score(pool, names, cells, n=n, seed=seed, progress=progress)
    emit([{**asdict(row), "accuracy": row.accuracy, "interval": row.interval} for row in rows], as_json,
         lambda: _show_scores(rows))  # fmt: skip


def _compare(
    weights: Path | None, against: Path, candidate: Sequence[str], tasks: list[str], n: int, seed: int, as_json: bool
) -> None:
    from ..pocket.paired import compare
    from ..pocket.pool import Pool

    with Pool.load(path=weights) as pool, Pool.load(path=against) as other, _progress("comparing") as progress:
        names = [pool.family.resolve(name).name for name in candidate]
        names = names or [name for name in pool.family.candidates if name in other.family.candidates]
        rows = compare(pool, other, names, tasks, n=n, seed=seed, progress=progress)
    emit([{**asdict(row), "points": row.points, "interval": row.interval} for row in rows], as_json,
         lambda: _show_differences(rows))  # fmt: skip


@app.command()
def train(
    name: str = typer.Argument(help="A member of the family: nano, micro, small, micro-long, micro-roman, ..."),
    out: Path = typer.Option(Path(".cache/pocket"), help="Folder of weight files; runs are kept in its runs/."),
    seed: int = typer.Option(0, min=0, help="Of weights and data."),
    device: str = typer.Option("cpu", help="cpu, cuda or cuda:1: the code is the same."),
    workers: int = typer.Option(0, min=0, help="Processes that make batches ahead, for a GPU not to wait; 0 is none."),
    as_json: bool = AS_JSON,
) -> None:
    """Train a model or a specialist by its recipe; the same command again continues an interrupted run.

    Needs the extra [bold]experts[/bold]. A specialist needs its base in the same folder.
    Example: [bold]interlock pocket train nano[/bold]
    """
    from ..errors import NotFound, nearest
    from ..pocket.build import MEMBERS, steps_of, train_member

    if name not in MEMBERS:
        raise NotFound(f"the family has no member {name!r}; {nearest(name, MEMBERS)}", param="name")
    with _progress(f"training {name}") as progress:
        steps = steps_of(name)
        digest = train_member(
            name, out / "runs", out, seed=seed, device=device, workers=workers,
            report=lambda step, loss: progress(step, steps),
        )  # fmt: skip
    path = out / f"{name}.safetensors"
    emit({"path": str(path), "sha256": digest}, as_json, lambda: print(f"{path}  sha256 {digest}"))


@app.command()
def calibrate(
    per_cell: int = typer.Option(200, min=1, help="Validation prompts a task and level."),
    plot: Path = typer.Option(Path(".cache/pocket/ladder.png"), help="Where the plot of accuracy over cost goes."),
    refreeze: bool = typer.Option(False, help="Choose the bench mix anew; changes the bench for everyone."),
    weights: Path | None = WEIGHTS,
    as_json: bool = AS_JSON,
) -> None:
    """Measure every candidate by task and level, write calibration.json beside the weights, and plot the ladder.

    Needs the extras [bold]experts[/bold] and [bold]lab[/bold].
    Example: [bold]interlock pocket calibrate --per-cell 50[/bold]
    """
    from ..pocket.build import calibrate as measure_family
    from ..pocket.calibrate import candidates
    from ..pocket.family import SHIPPED

    folder = weights or SHIPPED
    plot.parent.mkdir(parents=True, exist_ok=True)
    done, total = [], len(candidates(folder))
    with _progress("measuring") as progress:

        def report(name: str) -> None:
            done.append(name)
            progress(len(done), total)

        _, ladder = measure_family(folder, plot, per_cell=per_cell, refreeze=refreeze, report=report)
    emit(ladder.as_json(), as_json, lambda: _show_ladder(ladder))


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error, fed with (done, all)."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _card(candidate: PocketCandidate) -> dict[str, Any]:
    prices = {"price_in": candidate.price_in, "price_out": candidate.price_out, "price_cached": candidate.price_cached}
    return {**asdict(candidate), **prices}


def _show_candidates(candidates: list[PocketCandidate]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "active parameters", "USD/M tokens", "context", "budgets", "accuracy")
    for stem in dict.fromkeys(known.name.removesuffix(f"-{known.budget}") for known in candidates):
        group = [known for known in candidates if known.name == f"{stem}-{known.budget}"]
        first = group[0]
        accuracy = [f"{known.budget} {known.profile['accuracy']:.1%}" for known in group if "accuracy" in known.profile]
        table.add_row(
            f"{stem} [dim](on {first.model})[/]" if first.adapter else stem, f"{first.active_params:,}",
            f"{first.price_in:.3f}", str(first.context_window), " ".join(known.budget for known in group),
            "\n".join(accuracy) or "[dim]not calibrated[/]",
        )  # fmt: skip
    Console().print(table)


def _show_answers(results: list[PocketResult]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("candidate", "answer", "reasoning", "tokens in/out", "cost USD", "confidence", "ms")
    for result in results:
        answer = escape(result.text) + (" [dim](cut)[/]" if result.finish_reason == "length" else "")
        usage = f"{result.usage.prompt}/{result.usage.completion}"
        table.add_row(
            result.candidate, answer, escape(result.reasoning), usage, f"{result.cost_usd:.2e}",
            f"{result.confidence:.2f}", f"{1000 * result.timings.total:.1f}",
        )  # fmt: skip
    Console().print(table)


def _show_scores(rows: list[Cell]) -> None:
    from rich.console import Console
    from rich.table import Table

    from ..pocket.score import by_candidate, wilson

    for name, cells in by_candidate(rows):
        levels = sorted({level for _, level in cells})
        table = Table("task", *(str(level) for level in levels), "all", "95%", title=f"{name}: accuracy by level")
        for task in dict.fromkeys(task for task, _ in cells):
            scored = [cells.get((task, level)) for level in levels]
            known = [cell for cell in scored if cell]
            right, n = sum(cell.right for cell in known), sum(cell.n for cell in known)
            low, high = wilson(right, n)
            shown = [f"{100 * cell.accuracy:.0f}" if cell else "" for cell in scored]
            table.add_row(task, *shown, f"{right / n:.1%}", f"{low:.0%}-{high:.0%}")
        Console().print(table)


def _show_differences(rows: list[Difference]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("candidate", "task", "n", "accuracy", "against", "points", "95%")
    for row in rows:
        low, high = row.interval
        shares = f"{row.right / row.n:.2%}", f"{row.other_right / row.n:.2%}"
        table.add_row(row.candidate, row.task, str(row.n), *shares, f"{row.points:+.2f}", f"{low:+.2f} to {high:+.2f}")
    Console().print(table)


def _show_ladder(ladder: Ladder) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("candidate", "accuracy", "95%", "tokens in/out", "USD per million prompts")
    for name, rung in ladder.rungs.items():
        tokens = f"{rung.prompt_tokens:.0f}/{rung.completion_tokens:.0f}"
        table.add_row(name, f"{rung.accuracy:.1%}", f"{rung.low:.1%}-{rung.high:.1%}", tokens, f"{1e6 * rung.usd:.1f}")
    room = ladder.room
    table.add_section()
    table.add_row("oracle", f"{room.oracle_accuracy:.1%}", "", "", f"{1e6 * room.oracle_usd:.1f}")
    Console().print(table)
