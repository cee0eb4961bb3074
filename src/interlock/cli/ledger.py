"""`interlock ledger`: look at the ledger, verify it, take it elsewhere, forget, fold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .output import emit

if TYPE_CHECKING:
    from ..ledger import Reading

app = typer.Typer(help="Look at the ledger, verify it, take it elsewhere, forget, fold.", no_args_is_help=True)

LEDGER = typer.Option(
    ".interlock/ledger.db",
    "--ledger",
    "-l",
    envvar="INTERLOCK_LEDGER",
    help="The ledger's file, or env:NAME: the variable that holds a database's URL.",
)
HEADS = ("since", "head", "hash", "anchor")
JSON = typer.Option(False, "--json", help="Print JSON.")


@app.command()
def show(
    decision: str | None = typer.Argument(None, help="A decision's id; without one, the latest rows."),
    ledger: str = LEDGER,
    last: int = typer.Option(20, "--last", "-n", min=1, help="How many rows."),
    kind: str | None = typer.Option(None, help="Only decision, refusal, outcome, feedback or audit rows."),
    tenant: str | None = typer.Option(None, help="Only what concerns this tenant."),
    quoting: bool = typer.Option(False, help="Also what quotes the prompt, if it was kept."),
    as_json: bool = JSON,
) -> None:
    """Show one decision with all that followed, or the latest rows.

    Example: [bold]interlock ledger show il-019f...[/bold]
    """
    from ..ledger import Reading

    reading = Reading(ledger)
    if decision is not None:
        _show_case(reading, decision, quoting, as_json)
    else:
        _show_rows(reading, last, kind, tenant, as_json)


@app.command()
def verify(
    ledger: str = LEDGER,
    recent: bool = typer.Option(False, help="Only the rows since the last checkpoint."),
    anchor: str | None = typer.Option(None, help="SEQ:HASH of a row noted earlier; shows whether the end was cut off."),
    exported: Path | None = typer.Option(None, help="Verify this export instead of a ledger."),
    as_json: bool = JSON,
) -> None:
    """Recompute every hash. Exit code 4 and the first row that does not verify if anything was changed.

    Example: [bold]interlock ledger verify --anchor 1042:9f2c...[/bold]
    """
    from collections import deque

    from ..ledger import verify as verify_ledger
    from ..ledger.export import read_export

    with progress("verifying") as step:
        if exported is not None:
            with exported.open("rb") as lines:
                last = deque(read_export(lines, step), 1)
            seq, hash = (last[0].seq, last[0].hash.hex()) if last else (0, "")
            facts: dict[str, Any] = {"rows": seq, "head": seq, "hash": hash}
        else:
            import msgspec

            facts = msgspec.to_builtins(verify_ledger(ledger, not recent, _anchor(anchor), step))

    facts["anchor"] = f"{facts['head']}:{facts['hash']}"

    def say() -> None:
        from rich.console import Console

        listed = ", ".join(f"{count} {name}" for name, count in facts.items() if name not in HEADS)
        Console(highlight=False).print(f"[green]verified[/]: {listed}\nanchor: {facts['anchor']}", soft_wrap=True)

    emit(facts, as_json, say)


@app.command()
def export(
    to: Path = typer.Argument(help="The file to write (JSON Lines); - for standard output."),
    ledger: str = LEDGER,
    tenant: str | None = typer.Option(None, help="Only what concerns this tenant (such an export cannot be imported)."),
    kind: str | None = typer.Option(None, help="Only rows of this kind."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON; on standard error when the rows go to - ."),
) -> None:
    """Write the ledger as JSON Lines, bodies and attachments included.

    Example: [bold]interlock ledger export backup.jsonl[/bold]
    """
    import sys

    from ..ledger import Reading
    from ..ledger.export import export as write

    reading = Reading(ledger)
    with progress("exporting") as step:
        if str(to) == "-":
            count = write(reading, sys.stdout.buffer, tenant=tenant, kind=kind, progress=step)
        else:
            with to.open("wb") as out:
                count = write(reading, out, tenant=tenant, kind=kind, progress=step)
    _counted(count, str(to), as_json)


@app.command("import")
def import_(
    exported: Path = typer.Argument(help="A whole export.", exists=True, dir_okay=False),
    ledger: str = LEDGER,
    as_json: bool = JSON,
) -> None:
    """Make a new ledger of an export. Every hash is verified on the way.

    Example: [bold]interlock ledger import backup.jsonl --ledger copy.db[/bold]
    """
    from ..ledger.export import import_export

    with progress("importing") as step, exported.open("rb") as lines:
        count = import_export(lines, Path(ledger), step)
    _counted(count, str(ledger), as_json)


@app.command()
def migrate(
    source: str = typer.Argument(help="A ledger's file, or env:NAME for a database's URL."),
    target: str = typer.Argument(help="The same; made when there is none."),
    as_json: bool = JSON,
) -> None:
    """Take a ledger from a file to a PostgreSQL database or back. The target's whole chain is verified in the end.

    What broke off, or what came meanwhile, is brought by running it again.

    Example: [bold]interlock ledger migrate .interlock/ledger.db env:DATABASE_URL[/bold]
    """
    from ..ledger.migrate import migrate as bring

    with progress("migrating") as step:
        done = bring(source, target, step)

    def say() -> None:
        print(f"{done.copied} rows brought, {done.rows} verified\nanchor: {done.head}:{done.hash}")

    emit(done, as_json, say)


def _counted(count: int, to: str, as_json: bool) -> None:
    """Say how many rows were written. Standard output is left alone when it has the rows."""
    if as_json:
        import msgspec

        typer.echo(msgspec.json.encode({"rows": count, "to": to}).decode(), err=to == "-")
    else:
        typer.echo(f"{count} rows" if to == "-" else f"{count} rows in {to}", err=True)


@app.command()
def forget(
    tenant: str | None = typer.Option(None, help="Erase everything attached to this tenant's rows."),
    decision: str | None = typer.Option(None, help="Erase everything attached to this decision."),
    ledger: str = LEDGER,
    yes: bool = typer.Option(False, "--yes", "-y", help="Do not ask."),
    as_json: bool = JSON,
) -> None:
    """Erase prompts, answers, quotes and vectors for good. The rows, their numbers and the chain stay.

    Example: [bold]interlock ledger forget --tenant acme[/bold]
    """
    from ..ledger import open_ledger

    if (tenant is None) == (decision is None):
        raise typer.BadParameter("name either --tenant or --decision")
    subject = f"tenant {tenant!r}" if tenant is not None else f"decision {decision!r}"
    if not yes:
        typer.confirm(f"Erase what is attached to {subject} for good?", abort=True)
    with open_ledger(ledger) as book:
        erasure = book.forget(tenant=tenant, decision=decision)
    erased = ", ".join(f"{count} {name}" for name, count in erasure.attachments.items()) or "nothing was left"
    emit(erasure, as_json, lambda: print(f"erased of {subject}: {erased}; {len(erasure.snapshots)} snapshots dropped"))


@app.command()
def fold(
    ledger: str = LEDGER,
    config: Path | None = typer.Option(
        None, "--config", "-c", help="Whose policy; default: what the environment offers."
    ),
    without: list[str] = typer.Option([], help="tenant=NAME or source=NAME to leave out. May be repeated."),
    until: int | None = typer.Option(None, min=0, help="Fold up to this row."),
    as_json: bool = JSON,
) -> None:
    """Fold the ledger from the start and say what state it gives; a live learner at that row has the same, bit for bit.

    Example: [bold]interlock ledger fold --without tenant=acme[/bold]
    """
    from ..learning.fold import Fold, Without
    from ..ledger import Reading
    from .learned import policy_and_trust

    names = _left_out(without)
    policy, trust = policy_and_trust(config)
    reading = Reading(ledger)
    made = Fold(policy, trust, Without(frozenset(names["tenant"]), frozenset(names["source"])))
    head = reading.head()[0] if until is None else min(until, reading.head()[0])
    with progress("folding") as step:
        made.advance(reading, head, lambda: step(made.seq, head))
    snapshot = made.snapshot(0.0)
    facts = {
        "version": snapshot.version,
        "rows": made.seq,
        "learnt": made.learnt,
        "skipped": dict(made.skipped),
        "doubted": made.agreement.doubted(),
        "disregarded": made.agreement.disregarded(),
        "stored": reading.snapshot(snapshot.version) is not None,
        "bytes": len(snapshot.state),
    }

    def say() -> None:
        print(f"{snapshot.version}{' (a stored snapshot has the same state)' if facts['stored'] else ''}")
        print(f"{made.seq} rows, {made.learnt} events learnt")
        for reason, count in sorted(made.skipped.items()):
            print(f"  {count} taught nothing: {reason}")
        for name, weight in sorted(made.agreement.doubted().items()):
            print(f"  tenant {name!r} counts {weight:g}: it contradicts what the others confirm")
        for name, (first, last) in sorted(made.agreement.disregarded().items()):
            print(f"  tenant {name!r} counts nothing from row {first} to {last}: it was found out too late")

    emit(facts, as_json, say)


def _left_out(pairs: list[str]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {"tenant": [], "source": []}
    for pair in pairs:
        kind, equals, name = pair.partition("=")
        if not equals or kind not in names:
            raise typer.BadParameter(f"tenant=NAME or source=NAME, not {pair!r}", param_hint="--without")
        names[kind].append(name)
    return names


def _anchor(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    seq, colon, hash = text.partition(":")
    if not colon or not seq.isdigit() or len(hash) != 64:
        raise typer.BadParameter("SEQ:HASH as `interlock ledger verify` prints it", param_hint="--anchor")
    return int(seq), hash


def _show_case(reading: Reading, id: str, quoting: bool, as_json: bool) -> None:
    from ..ledger.records import decision_document, document

    case = reading.decision(id)
    facts: dict[str, Any] = {
        "decision": decision_document(case.decision, quoting),
        "outcome": case.outcome and document(case.outcome),
        "feedback": [document(given, quoting) for given in case.feedback],
        "erased": case.erased,
    }
    if quoting:
        facts |= {"prompt": case.prompt, "answer": case.answer}

    def say() -> None:
        from rich.console import Console

        from .render import decision_view

        console = Console()
        console.print(decision_view(case.decision))
        if case.outcome is not None:
            done = case.outcome
            console.print(
                f"answered by {done.candidate} in {done.latency:.2f} s for ${done.cost:.2g} {done.error}".rstrip()
            )
        for given in case.feedback:
            what = "withdrew its score" if given.revoked else f"scored {given.score:g}"
            console.print(f"{given.source} {what} {given.note if quoting else ''}".rstrip())
        if case.erased:
            console.print(f"erased since: {', '.join(case.erased)}", style="dim")
        if quoting and case.prompt is not None:
            console.print(f"prompt {case.prompt}\nanswer {case.answer}", highlight=False)

    emit(facts, as_json, say)


def _show_rows(reading: Reading, last: int, kind: str | None, tenant: str | None, as_json: bool) -> None:
    from collections import deque

    chosen = reading.tail(last)[::-1] if kind is tenant is None else list(deque(reading.rows(kind, tenant), last))
    facts = [
        {"seq": row.seq, "at": row.at, "kind": row.kind, "decision": row.decision, "tenant": row.tenant}
        for row in chosen
    ]

    def say() -> None:
        from datetime import datetime

        from rich.console import Console
        from rich.table import Column, Table

        table = Table("row", Column("at", no_wrap=True), "kind", Column("decision", no_wrap=True), "tenant")
        for row in chosen:
            at = datetime.fromtimestamp(row.at).strftime("%m-%d %H:%M:%S")
            table.add_row(str(row.seq), at, row.kind, row.decision, row.tenant)
        Console().print(table)

    emit(facts, as_json, say)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error while it is a terminal: call the function with (done, of)."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not Console(stderr=True).is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)
