"""The command line. One file a verb; a verb's heavy imports are inside its functions.

Exit codes: 0 done; 1 the answer is no (a refusal, an experiment that falls short); 2 wrong usage, or the gateway says
the request is wrong; 3 wrong configuration; 4 the ledger cannot be used or does not verify; 5 a provider failed, or no
gateway answers; 130 interrupted.
"""

from __future__ import annotations

import importlib
import sys

import typer

from ..errors import ConfigError, InterlockError, LedgerError, ProviderError, Refused, RequestError
from .output import complain

VERBS = ("serve", "route", "chat", "pool", "top", "check", "feedback", "replay", "version")
GROUPS = ("ledger", "learner", "keys", "pocket", "lab", "import_")

EXIT: tuple[tuple[type[InterlockError], int], ...] = (
    (ConfigError, 3),
    (LedgerError, 4),
    (ProviderError, 5),
    (Refused, 1),
    (RequestError, 2),
)


def build() -> typer.Typer:
    """The whole command tree: `VERBS` are functions of their name, `GROUPS` have an `app` of their own.

    A trailing underscore keeps a module apart from a keyword and is not part of the name.
    """
    app = typer.Typer(
        name="interlock",
        help="Context-aware routing for LLM applications. Start with [bold]interlock serve[/bold].",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for verb in VERBS:
        app.command(verb)(getattr(importlib.import_module(f".{verb}", __name__), verb))
    for group in GROUPS:
        app.add_typer(importlib.import_module(f".{group}", __name__).app, name=group.rstrip("_"))
    return app


def main() -> None:
    """Run a verb. An error of interlock's own becomes one clear line and its exit code; others keep their traceback."""
    try:
        build()(prog_name="interlock")
    except InterlockError as error:
        complain(error)
        sys.exit(next((code for kind, code in EXIT if isinstance(error, kind)), 1))
    except KeyboardInterrupt:
        sys.exit(130)
