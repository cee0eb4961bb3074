"""Regenerate the pages of docs/ that are derived from the code: `make docs`. `--check` only says whether they are current."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import typer.main

from interlock.cli import build

CLI_PAGE = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"
HEAD = """# Command line

Generated from the commands' own help by `make docs`. Every verb that prints data takes `--json`.

Exit codes: 0 done; 1 the answer is no (a refusal, a failed experiment); 2 wrong usage; 3 wrong configuration;
4 the ledger does not verify; 5 a provider or the gateway failed; 130 interrupted.
"""


def sections(command: click.Command, path: str) -> Iterator[str]:
    """One section per verb: its help text, arguments and options."""
    group = command if isinstance(command, click.Group) else None
    if group is None or path == "interlock":
        yield f"## {path}\n" if path == "interlock" else f"### {path}\n"
    else:
        yield f"## {path}\n"
    yield " ".join((command.help or "").replace("[bold]", "`").replace("[/bold]", "`").split()) + "\n"
    rows = []
    for parameter in command.params:
        names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
        if getattr(parameter, "help", None) and "--help" not in parameter.opts:
            default = parameter.default
            shown = "" if default in (None, False, ()) or callable(default) else f" Default: `{default}`."
            rows.append(f"| {names} | {' '.join(str(parameter.help).split())}{shown} |")  # type: ignore[attr-defined]
    if rows:
        yield "| option | meaning |\n|---|---|\n" + "\n".join(rows) + "\n"
    if group is not None:
        for name, sub in sorted(group.commands.items()):
            yield from sections(sub, f"{path} {name}")


def cli_page() -> str:
    return HEAD + "\n" + "\n".join(sections(typer.main.get_command(build()), "interlock"))


def main() -> None:
    page = cli_page()
    if "--check" in sys.argv:
        if CLI_PAGE.read_text() != page:
            sys.exit(f"{CLI_PAGE.name} is not current: run `make docs`")
    else:
        CLI_PAGE.write_text(page)


if __name__ == "__main__":
    main()
