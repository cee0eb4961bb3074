"""Every estimator under every objective on every table, side by side: one page, a plot a table, a table for the docs.

Tables are independent, so they are worked on by a pool of processes, the largest first. What is finished is kept by a
hash of table, estimator and code, so a run that was stopped goes on, and a changed estimator alone is run again.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import msgspec

from .cache import Cache
from .evaluation import Arm, Evaluation
from .protocol import OBJECTIVES, Progress, cross_validate
from .tables import Table, TableError, read_tables

LEAST = 100
"""Queries below which a table says too little about anything to stand on a board."""

HEADINGS = {"aiq": "AIQ", "apgr": "APGR", "accuracy": "accuracy"}


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """All evaluations by name, and the tables left out with the reason."""

    evaluations: dict[str, Evaluation]
    left_out: dict[str, str]


def leaderboard(
    data: Path,
    estimators: Sequence[str],
    *,
    datasets: Sequence[str] | None = None,
    folds: int = 3,
    rounds: int = 200,
    processes: int = 2,
    cache: Path | None = None,
    out: Path,
    progress: Progress = lambda _: None,
) -> Board:
    """Cross-validate all on all and write `leaderboard.html`, `leaderboard.md` and `DATASET.png` into `out`."""
    tables = read_tables(data, datasets)
    left_out = {name: f"{len(table)} queries" for name, table in tables.items() if len(table) < LEAST}
    todo = sorted((t for t in tables.values() if t.name not in left_out), key=lambda t: -t.score.size)
    work = partial(one_table, estimators=tuple(estimators), folds=folds, rounds=rounds, cache=cache)
    done: dict[str, Evaluation] = {}
    if processes == 1 or len(todo) == 1:
        for table in todo:
            progress(f"{table.name}: {len(table)} queries x {len(table.candidates)} candidates")
            _add(table.name, work(table), done, left_out)
    else:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            futures = {pool.submit(work, table): table.name for table in todo}
            for future in as_completed(futures):
                _add(futures[future], future.result(), done, left_out)
                progress(f"{futures[future]} done, {len(done)}/{len(todo)} tables")
    board = Board(evaluations={t.name: done[t.name] for t in tables.values() if t.name in done}, left_out=left_out)
    write(board, out, folds)
    return board


def one_table(
    table: Table, *, estimators: tuple[str, ...], folds: int, rounds: int, cache: Path | None
) -> Evaluation | str:
    """The evaluation of one table, or why there is none."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1):  # the processes share the cores already
        try:
            return cross_validate(
                table, estimators, folds=folds, objectives=tuple(OBJECTIVES), rounds=rounds, cache=Cache(cache)
            )
        except TableError as error:
            return str(error)


def _add(name: str, result: Evaluation | str, done: dict[str, Evaluation], left_out: dict[str, str]) -> None:
    if isinstance(result, Evaluation):
        done[name] = result
    else:
        left_out[name] = result


def write(board: Board, out: Path, folds: int) -> None:
    """The page, the plots and the Markdown table."""
    out.mkdir(parents=True, exist_ok=True)
    plots = {name: draw(evaluation, out / f"{name}.png") for name, evaluation in board.evaluations.items()}
    (out / "leaderboard.md").write_text(markdown(board, folds))
    (out / "leaderboard.html").write_text(page(board, plots))
    (out / "leaderboard.json").write_bytes(msgspec.json.encode(board))


def markdown(board: Board, folds: int) -> str:
    """A row an arm, a column a table; the best router of each column is bold."""
    names = list(board.evaluations)
    rows = list(dict.fromkeys(arm.name for e in board.evaluations.values() for arm in _ordered(e)))
    kind = {arm.name: arm.kind for e in board.evaluations.values() for arm in e.arms}
    best = {name: _best_router(evaluation) for name, evaluation in board.evaluations.items()}
    lines = [
        "# Leaderboard",
        "",
        f"Every estimator under every objective on every table of recorded outcomes, {folds}-fold cross-validation;",
        "equal prompts never stand on both sides. Written by `interlock lab leaderboard --page docs/leaderboard.md`.",
        "The first rows are no routers but what every router has to be held against. A name alone is the weighted",
        "objective. ± is half a 95% bootstrap interval over queries. AIQ where answers have a cost, APGR where there",
        "are two candidates, else the accuracy of the best predicted candidate.",
        "",
        "| arm | " + " | ".join(f"{name} ({HEADINGS[board.evaluations[name].figure]})" for name in names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for row in sorted(rows, key=lambda row: kind[row] == "router"):
        cells = [_cell(board.evaluations[name], row, best[name]) for name in names]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    lines += ["", "## Verdicts", ""]
    lines += [f"- **{name}**: {evaluation.verdict.text}" for name, evaluation in board.evaluations.items()]
    lines += [f"- **{name}**: left out ({reason})" for name, reason in board.left_out.items()]
    return "\n".join(lines) + "\n"


def _best_router(evaluation: Evaluation) -> Arm | None:
    routers = [arm for arm in evaluation.arms if arm.kind == "router"]
    return max(routers, key=lambda arm: _value(arm, evaluation), default=None)


def _ordered(evaluation: Evaluation) -> Iterable[Arm]:
    return sorted(evaluation.arms, key=lambda arm: (arm.kind == "router", " / " in arm.name))


def _value(arm: Arm, evaluation: Evaluation) -> float:
    figure = arm.figures.get(evaluation.figure)
    return -1.0 if figure is None else figure.value


def _cell(evaluation: Evaluation, row: str, best: Arm | None) -> str:
    arm = next((arm for arm in evaluation.arms if arm.name == row), None)
    figure = None if arm is None else arm.figures.get(evaluation.figure)
    if figure is None:
        return ""
    text = f"{figure.value:.4f} ±{0.5 * (figure.high - figure.low):.3f}"
    return f"**{text}**" if best is not None and best.name == row else text


def draw(evaluation: Evaluation, path: Path) -> Path:
    """Frontiers of the best routers beside the panel; without costs, bars of the figure that counts."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    from .metrics import hull

    figure, axes = plt.subplots(figsize=(7.5, 4.5))
    routers = sorted((a for a in evaluation.arms if a.kind == "router"), key=lambda arm: -_value(arm, evaluation))
    panel = [arm for arm in evaluation.arms if arm.kind == "panel"]
    if evaluation.priced:
        for arm in [*routers[:6], *(arm for arm in panel if len(arm.cost) > 1)]:
            curve = hull(arm.cost, arm.quality)
            router = arm.kind == "router"
            axes.plot(curve.cost, curve.quality, lw=1.6 if router else 1.0, ls="-" if router else "--", label=arm.name)
        for arm in (arm for arm in panel if len(arm.cost) == 1):
            axes.plot(arm.cost, arm.quality, "o", ms=5, label=arm.name)
        axes.set(xscale="log", xlabel="mean cost of an answer, USD", ylabel="mean score")
    else:
        shown = [arm for arm in [*panel, *routers[:12]] if evaluation.figure in arm.figures][::-1]
        values = [arm.figures[evaluation.figure] for arm in shown]
        errors = [[max(0.0, v.value - v.low) for v in values], [max(0.0, v.high - v.value) for v in values]]
        colours = ["tab:blue" if arm.kind == "router" else "lightgrey" for arm in shown]
        axes.barh([arm.name for arm in shown], [v.value for v in values], xerr=errors, color=colours)
        axes.set(xlabel=HEADINGS[evaluation.figure])
        axes.set_xlim(left=max(0.0, 0.9 * min(v.value for v in values)))
    axes.set_title(f"{evaluation.dataset}: {evaluation.judged_on} queries, {len(evaluation.candidates)} candidates")
    if evaluation.priced:
        axes.legend(fontsize=7)
    axes.tick_params(labelsize=7)
    figure.savefig(path, dpi=130, bbox_inches="tight")
    plt.close(figure)
    return path


_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;font-size:13px}td,th{padding:.2rem .6rem;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}.panel{color:#777}img{max-width:100%}.verdict{font-weight:600}"""


def page(board: Board, plots: dict[str, Path]) -> str:
    """One HTML file with everything in it."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>interlock leaderboard</title>",
        f"<style>{_STYLE}</style><h1>Leaderboard</h1>",
        "<p>Grey rows are no routers but what every router has to be held against. ± is half a 95% interval.</p>",
    ]
    for name, evaluation in board.evaluations.items():
        image = base64.b64encode(plots[name].read_bytes()).decode()
        parts.append(f"<h2>{html.escape(name)}</h2><p class=verdict>{html.escape(evaluation.verdict.text)}</p>")
        parts.append(
            f"<p>{evaluation.judged_on} queries, {len(evaluation.candidates)} candidates, {evaluation.tasks} tasks, "
            f"{evaluation.missing:.1%} of the cells missing; margin of the oracle over the best single candidate "
            f"({html.escape(evaluation.best_single)}): {evaluation.margin}</p>"
            f"<img alt='frontiers on {html.escape(name)}' src='data:image/png;base64,{image}'>"
        )
        parts.append(_html_table(evaluation))
    left = "".join(f"<li>{html.escape(name)}: {html.escape(why)}</li>" for name, why in board.left_out.items())
    return "\n".join([*parts, f"<h2>Left out</h2><ul>{left}</ul></html>" if left else "</html>"])


def _html_table(evaluation: Evaluation) -> str:
    from .evaluation import SHOWN

    names = [name for name in SHOWN if any(name in arm.figures for arm in evaluation.arms)]
    head = "".join(f"<th>{text}</th>" for text in ("arm", *(SHOWN[name] for name in names), "fit s", "µs/query"))
    rows = []
    for arm in sorted(evaluation.arms, key=lambda arm: (arm.kind == "router", -_value(arm, evaluation))):
        cells = [html.escape(arm.name)]
        for name in names:
            figure = arm.figures.get(name)
            known = figure is not None and figure.value == figure.value
            cells.append(f"{figure.value:.4f} ±{0.5 * (figure.high - figure.low):.3f}" if figure and known else "")
        cells += [f"{arm.fit_seconds:.1f}", f"{arm.route_microseconds:.0f}"] if arm.kind == "router" else ["", ""]
        rows.append(f"<tr class={arm.kind}>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"
