"""`interlock route`: decide on a prompt, and show why."""

from __future__ import annotations

from pathlib import Path

import typer

from .output import emit


def route(
    prompt: str = typer.Argument(help="The user message to route."),
    config: Path | None = typer.Option(None, "--config", "-c", help="interlock.yaml; default: what the environment offers."),
    explain: bool = typer.Option(False, "--explain", help="Decide only: show the table, call no model, record nothing."),
    tenant: str = typer.Option("", help="Whose request it is."),
    max_cost: float | None = typer.Option(None, help="Refuse candidates expected to cost more, in USD."),
    deadline: float | None = typer.Option(None, help="Refuse candidates expected to take longer, in seconds."),
    min_quality: float | None = typer.Option(None, help="Refuse candidates expected to be worse, 0 to 1."),
    seed: int | None = typer.Option(None, help="Seed of the draw; the same seed and request draw the same."),
    as_json: bool = typer.Option(False, "--json", help="Print the decision (and the answer) as JSON."),
) -> None:
    """Route one prompt and explain the decision as a table.

    Example: [bold]interlock route "Please add 47 to 85 for me." --explain[/bold]
    """
    from rich.console import Console

    from ..ledger.records import decision_document
    from ..sync import Router
    from ..types import Limits, Message, Request
    from .render import decision_view

    request = Request(
        messages=(Message("user", prompt),),
        tenant=tenant,
        seed=seed,
        limits=Limits(max_cost=max_cost, deadline=deadline, min_quality=min_quality),
    )
    console = Console()
    with Router.from_config(str(config) if config else None) as router:
        if explain:
            (decision,) = router.decide([request])
            emit(decision_document(decision), as_json, lambda: console.print(decision_view(decision)))
            return
        answer = router.route(request)
        document = {"text": answer.text, "decision": decision_document(answer.decision), "outcome": answer.outcome}

        def show() -> None:
            console.print(decision_view(answer.decision))
            console.print(f"\n[bold]{answer.outcome.candidate}[/bold]: {answer.text}", highlight=False)

        emit(document, as_json, show)
