"""`interlock feedback`: score an answer the gateway gave."""

from __future__ import annotations

import typer

from .output import emit
from .remote import URL, call


def feedback(
    decision: str = typer.Argument(help="The x-interlock-id of the answer."),
    score: float = typer.Argument(help="0 (useless) to 1 (right).", min=0.0, max=1.0),
    source: str = typer.Option("cli", help="Who judges. The last score from a source counts."),
    note: str = typer.Option("", help="Free text, kept in the ledger."),
    revoke: bool = typer.Option(False, help="Withdraw this source's earlier score instead."),
    url: str = URL,
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Give feedback on one answer; returns once it is durable in the ledger.

    Example: [bold]interlock feedback il-019f... 1[/bold]
    """
    body = {"id": decision, "score": score, "source": source, "note": note, "revoke": revoke}
    reply = call(url, "/v1/feedback", body)
    emit(reply, as_json, lambda: print(f"recorded for {decision}"))
