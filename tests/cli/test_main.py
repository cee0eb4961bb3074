"""The command tree: help, exit codes, and errors as one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import typer.main

from interlock import cli
from interlock.errors import (
    ConfigError,
    InterlockError,
    LedgerCorrupt,
    NotFound,
    ProviderError,
    Refused,
    SnapshotError,
    Unauthorized,
    Unreachable,
)

Run = Callable[..., Any]


def leaves(command: Any, path: str = "") -> list[tuple[str, Any]]:
    commands = getattr(command, "commands", {})
    return (
        [(path, command)]
        if not commands
        else [x for n, c in commands.items() for x in leaves(c, f"{path} {n}".strip())]
    )


VERBS = leaves(typer.main.get_command(cli.build()))


@pytest.mark.parametrize(("path", "command"), VERBS, ids=[path for path, _ in VERBS])
def test_the_help_of_every_verb_says_what_it_does_and_gives_an_example(run: Run, path: str, command: Any) -> None:
    assert f"Example: [bold]interlock {path}" in command.help
    shown = run(*path.split(), "--help")
    assert shown.code == 0
    assert f"Usage: interlock {path}" in shown.out
    assert "Example: interlock" in shown.out
    undescribed = [p.opts[0] for p in command.params if not p.help and "--help" not in p.opts]
    assert not undescribed


def test_help_lists_every_verb_and_group(run: Run) -> None:
    shown = run("--help").out
    assert [name for name in (*cli.VERBS, *cli.GROUPS) if f" {name.rstrip('_')} " not in shown] == []


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["route"], ["route", "x", "--min-quality", "2"], ["feedback", "x", "7"]]
)
def test_wrong_usage_is_exit_code_2(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert "Usage:" in done.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused({"a": ["it is too dear"]}), 1),
        (SnapshotError("no such state"), 1),
        (NotFound("there is none"), 2),
        (Unauthorized("no key"), 2),
        (ConfigError("not right", file="x.yaml", line=3), 3),
        (LedgerCorrupt("the hash differs", 7), 4),
        (ProviderError("it failed"), 5),
        (Unreachable("nobody there"), 5),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_is_one_line_and_its_exit_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("interlock.cli.version.version", fail)
    done = run("version")
    assert (done.code, done.out) == (code, "")
    if isinstance(error, InterlockError):
        assert done.err == f"error: {error}\n"


def test_an_error_that_nobody_expected_keeps_its_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("interlock.cli.version.version", fail)
    with pytest.raises(ZeroDivisionError):
        run("version")
