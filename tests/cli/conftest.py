"""Verbs as a shell runs them: through `main`, in an empty folder, with what they print and their exit code."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from interlock import cli

GOOD = """
version: 1
providers:
  local: {kind: openai, base_url: "http://127.0.0.1:9/v1", api_key: "env:LOCAL_KEY"}
candidates:
  - {name: cheap, provider: local, model: a, price: {in: 1, out: 2}, quality: 0.5, output_tokens: 100}
  - {name: dear, provider: local, model: b, price: {in: 10, out: 20}, quality: 0.9, output_tokens: 100}
vector: [tokens, structure]
policy: {exploration: {kind: greedy}}
"""


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, no_providers: None) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def verb(*arguments: str, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "argv", ["interlock", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        code = ended.value.code
        return Done(code if isinstance(code, int) else int(code is not None), printed.out, printed.err)

    return verb


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A right configuration over a provider at which nobody listens."""
    monkeypatch.setenv("LOCAL_KEY", "sk-local")
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    return path
