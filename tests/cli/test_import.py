from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]

PROXY = """
model_list:
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_key: sk-literal, rpm: 100}
"""


def test_a_proxys_configuration_is_written_checked_and_served_from(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("config.yaml").write_text(PROXY)
    done = run("import", "litellm", "config.yaml", "--out", "interlock.yaml")
    assert done.code == 0
    assert "config.yaml:4: model_list[0].litellm_params.rpm" in done.err
    assert "environment variable OPENAI_API_KEY" in done.err
    assert "sk-literal" not in Path("interlock.yaml").read_text() + done.out + done.err
    assert run("check", "interlock.yaml").code == 3
    monkeypatch.setenv("OPENAI_API_KEY", "sk-literal")
    assert run("check", "interlock.yaml").code == 0


def test_nothing_is_overwritten(run: Run) -> None:
    Path("config.yaml").write_text(PROXY)
    Path("interlock.yaml").write_text("mine")
    assert run("import", "litellm", "config.yaml", "--out", "interlock.yaml").code == 3
    assert Path("interlock.yaml").read_text() == "mine"


def test_json_has_settings_keys_left_and_secrets(run: Run) -> None:
    Path("config.yaml").write_text(PROXY)
    told = run("import", "litellm", "config.yaml", "--json").json
    assert told["settings"]["candidates"][0]["name"] == "gpt-4o"
    assert told["left"][0][:2] == [4, "model_list[0].litellm_params.rpm"]
    assert told["secrets"] == ["OPENAI_API_KEY"]
