"""`interlock route`: decide on a prompt, and show why."""

from __future__ import annotations

from pathlib import Path

import typer

from .output import emit

DRY_RUN = "il-dry-run"


def route(
    prompt: str = typer.Argument(help="The user message to route."),
    config: Path | None = typer.Option(
        None, "--config", "-c", help="interlock.yaml; default: what the environment offers."
    ),
    ledger: str | None = typer.Option(
        None, help="Ledger file; default: the configuration's ledger, else .interlock/ledger.db."
    ),
    explain: bool = typer.Option(
        False, "--explain", help="Decide only: show the table, call no model, record nothing."
    ),
    tenant: str = typer.Option("", help="Whose request it is."),
    max_cost: float | None = typer.Option(None, min=0.0, help="Refuse candidates expected to cost more, in USD."),
    deadline: float | None = typer.Option(None, min=0.0, help="Refuse candidates expected to take longer, in seconds."),
    min_quality: float | None = typer.Option(None, min=0.0, max=1.0, help="Refuse candidates expected to be worse."),
    seed: int | None = typer.Option(None, help="Seed of the draw. With --explain, the same seed draws the same."),
    as_json: bool = typer.Option(False, "--json", help="Print the decision (and the answer) as JSON."),
) -> None:
    """Route one prompt and explain the decision as a table.

    With --explain it knows what the ledger's newest snapshot has learnt, and works beside a running gateway. Exit
    code 1 when no candidate may serve.

    Example: [bold]interlock route "Please add 47 to 85 for me." --explain[/bold]
    """
    from rich.console import Console

    from ..ledger.records import decision_document
    from ..types import Limits, Message, Request, new_id
    from .dry_run import dry_router
    from .render import decision_view

    request = Request(
        id=DRY_RUN if explain and seed is not None else new_id(),
        messages=(Message("user", prompt),),
        tenant=tenant,
        seed=seed,
        limits=Limits(max_cost=max_cost, deadline=deadline, min_quality=min_quality),
    )
    console = Console()
    if explain:
        with dry_router(config, ledger) as dry:
            (decision,) = dry.decide([request])
        emit(decision_document(decision), as_json, lambda: console.print(decision_view(decision)))
        raise typer.Exit(int(decision.chosen is None))

    from .. import router, sync
    from ..assembly import assemble

    path = str(config) if config else None
    with sync.Router(assemble(path, router.Router, ledger=ledger)) as live:
        answer = live.route(request)
    document = {"text": answer.text, "decision": decision_document(answer.decision), "outcome": answer.outcome}

    def show() -> None:
        console.print(decision_view(answer.decision))
        console.print(f"\n{answer.outcome.candidate}: {answer.text}", highlight=False, markup=False)

    emit(document, as_json, show)
