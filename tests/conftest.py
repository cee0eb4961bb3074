"""A real gateway for tests outside `e2e/`: the documentation and the command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from interlock.lab.process import Gateway
from interlock.lab.process import gateway as running_gateway

WITHOUT_PROVIDERS = {"OPENAI_API_KEY": "", "ANTHROPIC_API_KEY": "", "OLLAMA_HOST": "127.0.0.1:9"}


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """`interlock serve` over the embedded pool, on a free port, its ledger beside its log."""
    with running_gateway(tmp_path_factory.mktemp("gateway"), env=WITHOUT_PROVIDERS, patience=180) as running:
        yield running


@pytest.fixture
def no_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever keys this machine has, what runs in the test sees none."""
    for name, value in WITHOUT_PROVIDERS.items():
        monkeypatch.setenv(name, value)
