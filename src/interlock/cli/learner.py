"""`interlock learner`: what has been learnt, and serving an earlier state of it.

With a running gateway these verbs ask it (--url); with --ledger they work on the ledger itself: a file that
no gateway writes, or a database.
"""

from __future__ import annotations

from typing import Any

import typer

from .output import emit
from .remote import URL, call

app = typer.Typer(help="What has been learnt, and serving an earlier state of it.", no_args_is_help=True)

FILE = typer.Option(
    None, "--ledger", "-l", help="Work on this ledger (a file, or env:NAME) instead of asking a gateway."
)
JSON = typer.Option(False, "--json", help="Print JSON.")


@app.command()
def status(url: str = URL, ledger: str | None = FILE, as_json: bool = JSON) -> None:
    """Show what is served, how far the learner is behind, what it could not learn, and whom it doubts.

    Example: [bold]interlock learner status[/bold]
    """
    facts = call(url, "/v1/learner") if ledger is None else _stored(ledger)

    def say() -> None:
        from rich.console import Console
        from rich.table import Table

        table = Table("", "", show_header=False)
        for name, value in facts.items():
            table.add_row(name, _text(value))
        Console().print(table)

    emit(facts, as_json, say)


@app.command()
def rollback(
    version: str = typer.Argument(
        help="The snapshot to serve, as in a decision's `snapshot` field or `learner status`."
    ),
    url: str = URL,
    ledger: str | None = FILE,
    as_json: bool = JSON,
) -> None:
    """Serve an earlier snapshot until `resume`, across restarts. Learning goes on, unserved.

    Example: [bold]interlock learner rollback 1042-9f2c01ab34cd[/bold]
    """
    facts = call(url, "/v1/learner/rollback", {"version": version}) if ledger is None else _pin(ledger, "pin", version)
    emit(facts, as_json, lambda: print(f"serving {version} until `interlock learner resume`"))


@app.command()
def resume(url: str = URL, ledger: str | None = FILE, as_json: bool = JSON) -> None:
    """Serve the newest snapshot again.

    Example: [bold]interlock learner resume[/bold]
    """
    facts = call(url, "/v1/learner/resume", {}) if ledger is None else _pin(ledger, "resume", "")
    emit(facts, as_json, lambda: print("serving the newest snapshot"))


def _stored(place: str) -> dict[str, Any]:
    from ..ledger import Reading
    from ..ledger.snapshots import pinned

    reading = Reading(place)
    snapshots = [version for version, *_ in reading.snapshots()]
    return {"rows": reading.head()[0], "pinned": pinned(reading), "snapshots": snapshots}


def _pin(place: str, action: str, version: str) -> dict[str, Any]:
    import time

    from ..errors import NotFound, nearest
    from ..ledger import Audit, open_ledger
    from ..ledger.snapshots import check, pinned

    with open_ledger(place) as book:
        if action == "pin":
            snapshot, known = book.snapshot(version), [name for name, *_ in book.snapshots()]
            if snapshot is None:
                raise NotFound(f"the ledger stores no snapshot {version!r}; {nearest(version, known)}")
            check(snapshot)
        if action == "pin" or pinned(book):
            book.put(Audit(at=time.time(), action=action, subject=version), durable=True).wait()
    return _stored(place)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {inner:g}" for name, inner in value.items()) or "none"
    return "\n".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
