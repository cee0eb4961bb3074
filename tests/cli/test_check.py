from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


def test_a_right_file(run: Run, configured: Path) -> None:
    done = run("check", str(configured))
    assert done.code == 0
    assert "2 candidates" in done.out


def test_json_shows_the_settings_with_defaults_and_no_secret(run: Run, configured: Path) -> None:
    done = run("check", str(configured), "--json")
    assert [c["name"] for c in done.json["settings"]["candidates"]] == ["cheap", "dear"]
    assert done.json["settings"]["server"]["port"] == 8400
    assert done.json["settings"]["providers"]["local"]["api_key"] == "env:LOCAL_KEY"
    assert "sk-local" not in done.out


@pytest.mark.parametrize(
    ("right", "wrong", "line", "offered"),
    [
        ("candidates:", "candidate:", 5, "'candidates'"),
        ("price: {in: 1, out: 2}", "price: {in: dear, out: 2}", 6, "a number"),
        ("provider: local, model: b", "provider: locl, model: b", 7, "'local'"),
        ("kind: greedy", "kind: greeedy", 9, "'greedy'"),
        ("env:LOCAL_KEY", "env:LOCAL_KEZ", 4, "'LOCAL_KEY'"),
    ],
)
def test_a_wrong_file_is_exit_code_3_with_line_and_nearest_name(
    run: Run, configured: Path, right: str, wrong: str, line: int, offered: str
) -> None:
    configured.write_text(configured.read_text().replace(right, wrong))
    done = run("check", str(configured))
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith(f"error: {configured}:{line}: ")
    assert offered in done.err
    assert done.err.count("\n") == 1


def test_a_file_that_is_not_there(run: Run) -> None:
    done = run("check", "nowhere.yaml")
    assert done.code == 3
    assert "nowhere.yaml: no such file" in done.err
