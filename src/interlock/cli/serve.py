"""`interlock serve`: start the gateway and its page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..config import Settings

LEVELS = ("debug", "info", "warning", "error")


def serve(
    host: str | None = typer.Option(None, help="Address to listen on; default: the configuration's, else 127.0.0.1."),
    port: int | None = typer.Option(
        None, min=0, max=65535, help="Port; 0 takes a free one. Default: the configuration's, else 8400."
    ),
    config: Path | None = typer.Option(
        None, "--config", "-c", help="interlock.yaml; default: what the environment offers."
    ),
    ledger: str | None = typer.Option(
        None, help="Ledger file; default: the configuration's ledger, else .interlock/ledger.db."
    ),
    workers: int = typer.Option(1, min=1, help="Processes that share the port, the ledger and one learner."),
    log_level: str = typer.Option("warning", help=f"One of {', '.join(LEVELS)}."),
    as_json: bool = typer.Option(False, "--json", help="Print the start banner as one line of JSON."),
) -> None:
    """Serve the OpenAI API, the page and the metrics until interrupted. Ctrl-C lets open answers finish first.

    Example: [bold]interlock serve --port 8400[/bold], then open http://127.0.0.1:8400
    """
    import logging
    import os

    from rich.console import Console

    # Read when numpy is first imported. A decision's products are too small to share; threads would only spin.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    from ..assembly import assemble
    from ..gateway import listen, serving, standing
    from ..offered import HERE
    from ..router import Router

    if log_level not in LEVELS:
        raise typer.BadParameter(f"one of {', '.join(LEVELS)}, not {log_level!r}", param_hint="--log-level")
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    console = Console(highlight=False)
    path = str(config) if config else None
    watched = config or (HERE if HERE.exists() else None)

    def ready(url: str, settings: Settings, because: str, first: dict[str, Any]) -> None:
        known = facts(url, settings, because, first) | ({"workers": workers} if workers > 1 else {})
        if as_json:
            import msgspec

            print(msgspec.json.encode(known).decode(), flush=True)
        else:
            console.print(banner(known), soft_wrap=True)  # a command to copy must stay on one line

    if workers > 1:
        from ..gateway.workers import supervise

        supervise(workers, host, port, path, ledger, watched, log_level, ready)
        return
    with console.status("starting ..."):
        router = assemble(path, Router, ledger=ledger)
        plan, own = router.plan, router.plan.settings.server
        socket = listen(own.host if host is None else host, own.port if port is None else port)
    serving(router, socket, watched, lambda url: ready(url, plan.settings, plan.because, standing(router)))


def facts(url: str, settings: Settings, because: str, first: dict[str, Any]) -> dict[str, Any]:
    """What a person or a script wants to know of a gateway that has just started."""
    return {
        "url": url,
        "because": because,
        "models": list(settings.models),
        **first,
        "keys": len(settings.server.keys),
        "pocket": [name for name, provider in settings.providers.items() if provider.kind == "pocket"],
    }


def banner(known: dict[str, Any]) -> RenderableType:
    """The same for a person, with a first request to copy."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    from .. import __version__

    url = known["url"]
    table = Table.grid(padding=(0, 2))
    table.add_row("[bold]page[/]", f"[bold cyan]{url}[/]")
    table.add_row("api", f"{url}/v1   models: {', '.join(known['models'])}, or one candidate by name")
    table.add_row("pool", f"{len(known['candidates'])} candidates: {escape(', '.join(known['candidates']))}")
    table.add_row("why", escape(known["because"]))
    table.add_row("policy", f"{known['policy']}, snapshot {known['snapshot']}")
    table.add_row("ledger", escape(known["ledger"]))
    body = '{"model": "auto", "messages": [{"role": "user", "content": "Please add 47 to 85 for me."}]}'
    key = "" if not known["keys"] else " -H 'authorization: Bearer <key>'"
    return Group(
        f"[bold]interlock {__version__}[/] is ready",
        table,
        *(f"[yellow]{warning}[/]" for warning in warnings(known)),
        f"\n[dim]try[/]  curl -i {url}/v1/chat/completions{key} -d '{escape(body)}'\n",
    )


def warnings(known: dict[str, Any]) -> list[str]:
    """What a person should not have to find out."""
    found = []
    if known["pocket"]:
        found.append("The embedded pocket pool answers: very small models for small tasks, no general assistants.")
    if known["pocket"] and "embedded" in known["because"]:
        found.append(
            "Set OPENAI_API_KEY or ANTHROPIC_API_KEY, start Ollama, or write an interlock.yaml to route among others."
        )
    if not known["keys"] and not any(f"//{name}:" in known["url"] for name in ("127.0.0.1", "localhost", "[::1]")):
        found.append("Anybody who reaches this address may use it: no keys are configured (server.keys).")
    return found
