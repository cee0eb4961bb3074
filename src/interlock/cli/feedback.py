"""`interlock feedback`: score an answer the gateway gave."""

from __future__ import annotations

import typer

from .output import emit
from .remote import URL, call


def feedback(
    decision: str = typer.Argument(help="The x-interlock-id of the answer."),
    score: float | None = typer.Argument(
        None, help="0 (useless) to 1 (right); not needed to revoke.", min=0.0, max=1.0
    ),
    source: str = typer.Option("cli", help="Who judges. The last score from a source counts."),
    note: str = typer.Option("", help="Free text; kept only where the configuration keeps payload."),
    revoke: bool = typer.Option(False, "--revoke", help="Withdraw this source's earlier score instead."),
    url: str = URL,
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Give feedback on one answer; returns once it is durable in the ledger.

    Example: [bold]interlock feedback il-019f... 1[/bold]
    """
    if score is None and not revoke:
        raise typer.BadParameter("give a score from 0 to 1, or --revoke", param_hint="score")
    body = {"id": decision, "score": score, "source": source, "note": note, "revoke": revoke}
    reply = call(url, "/v1/feedback", body)
    emit(reply, as_json, lambda: print(f"{'revoked' if revoke else 'recorded'} for {decision}"))
