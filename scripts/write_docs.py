"""Regenerate what docs/ derives from the code: `make docs`. `--check` only says whether it is current.

The references of the command line and of the configuration are written whole. In every other page, what stands between
`<!-- begin NAME -->` and `<!-- end NAME -->` is replaced by the table of that name.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import configuration_page
import typer.main

from interlock import cli, errors
from interlock.errors import InterlockError
from interlock.estimators import ESTIMATORS
from interlock.execution import TABLE
from interlock.exploration import EXPLORATIONS
from interlock.gateway import protocol
from interlock.objectives import OBJECTIVES
from interlock.signals import SOURCES

DOCS = Path(__file__).parents[1] / "docs"
CLI_PAGE = DOCS / "reference" / "cli.md"
HEAD = """# Command line

Generated from the commands' own help by `make docs`. Data goes to standard output, as tables or with `--json` as JSON;
what went wrong is one line on standard error.

{codes}

Environment: `INTERLOCK_URL` is the default of `--url`, `INTERLOCK_KEY` the key sent to a gateway that wants one,
`INTERLOCK_LEDGER` the default of `--ledger` in `interlock ledger`.
"""
SHARED = ("--help", "--install-completion", "--show-completion")


def cli_page() -> str:
    codes = " ".join((cli.__doc__ or "").partition("Exit codes:")[2].split())
    page = HEAD.format(codes=f"Exit codes: {codes}")
    return page + "\n" + "\n".join(sections(typer.main.get_command(cli.build()), "interlock"))


def sections(command: Any, path: str) -> Iterator[str]:
    """One section per verb: its help text, arguments and options. A verb of a group stands under the group."""
    commands = getattr(command, "commands", {})
    yield f"{'##' if commands or path.count(' ') == 1 else '###'} {path}\n"
    yield prose(command.help or "") + "\n"
    rows = [option(parameter) for parameter in command.params if not set(SHARED) & set(parameter.opts)]
    if rows:
        yield table(("argument or option", "meaning"), rows) + "\n"
    for name, sub in sorted(commands.items()):
        yield from sections(sub, f"{path} {name}")


def prose(text: str) -> str:
    """A docstring as Markdown: paragraphs kept, what is bold on the terminal as code."""
    marked = re.sub(r"\[bold\](.*?)\[/bold\]", r"`\1`", text, flags=re.DOTALL).replace("\\[", "[")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in marked.split("\n\n"))


def option(parameter: Any) -> tuple[str, str]:
    argument = not parameter.opts[0].startswith("-")
    names = parameter.opts[0].upper() if argument else ", ".join((*parameter.opts, *parameter.secondary_opts))
    default = parameter.default
    shown = "" if default in (None, False, "", (), []) or callable(default) else f" Default: `{default}`."
    return f"`{names}`", " ".join((getattr(parameter, "help", None) or "").split()) + shown


def error_codes() -> str:
    """Every code that the `code` field of an error can have: those of the classes, and those given where raised."""
    classes = {**vars(errors), **vars(protocol)}
    rows = [
        (f"`{kind.code}`", str(kind.status), f"`{kind.kind}`", turn(name))
        for name, kind in classes.items()
        if isinstance(kind, type) and issubclass(kind, InterlockError) and "code" in vars(kind)
    ]
    given = [
        ("`invalid_json`", "400", "`invalid_request_error`", "the caller: send a JSON object"),
        ("`missing_api_key`", "401", "`authentication_error`", "the caller: keys are configured, send one"),
        ("`model_not_found`", "404", "`invalid_request_error`", "the caller: name a model of `/v1/models`"),
    ]
    return table(("code", "status", "type", "whose turn"), list(dict.fromkeys([*rows, *given])))


def turn(name: str) -> str:
    """What the tree at the top of errors.py says about a class."""
    found = re.search(rf"── {name} +(.*)", errors.__doc__ or "")
    here = {"InterlockError": "nobody: a defect; the server's log has the details under the answer's id"}
    return found[1].strip() if found else here.get(name, "the caller: correct the request")


def fallback() -> str:
    return table(("error", "action"), [(f"`{kind.code}`", action.value) for kind, action in TABLE.items()])


def family(members: Mapping[str, type[Any]], *, module: bool = False) -> Callable[[], str]:
    """Name, mechanism and parameters of each member. `module`: the mechanism stands in the module's docstring."""

    def rows() -> str:
        found = []
        for name, kind in members.items():
            text = inspect.getdoc(inspect.getmodule(kind) if module else kind) or ""
            found.append((f"`{name}`", " ".join(text.split("\n\n")[0].split()), parameters(kind)))
        return table(("kind", "what it is", "parameters and defaults"), found)

    return rows


def parameters(kind: type[Any]) -> str:
    """The fields that a configuration may set, as `fit.constructed` sees them."""
    shown = []
    for field in fields(kind):
        if field.init and field.repr:
            default = field.default_factory() if field.default_factory is not MISSING else field.default
            shown.append(f"`{field.name}={default}`")
    return ", ".join(shown) or "none"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    top, *rest = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([top, "|" + "---|" * len(head), *rest])


TABLES: dict[str, Callable[[], str]] = {
    "errors": error_codes,
    "fallback": fallback,
    "estimators": family(ESTIMATORS, module=True),
    "objectives": family(OBJECTIVES),
    "explorations": family(EXPLORATIONS),
    "signals": family(SOURCES, module=True),
}


def pages() -> Iterator[tuple[Path, str]]:
    """Every generated page as it should be."""
    yield CLI_PAGE, cli_page()
    yield configuration_page.PAGE, configuration_page.page()
    for path in sorted(DOCS.rglob("*.md")):
        if path != CLI_PAGE and "<!-- begin " in (text := path.read_text()):
            yield path, re.sub(r"(<!-- begin (\w+) -->\n).*?(<!-- end \2 -->)", filled, text, flags=re.DOTALL)


def filled(marked: re.Match[str]) -> str:
    return f"{marked[1]}{TABLES[marked[2]]()}\n{marked[3]}"


def main() -> None:
    stale = [(path, text) for path, text in pages() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv and stale:
        sys.exit(f"{', '.join(path.name for path, _ in stale)} not current: run `make docs`")
    for path, text in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
