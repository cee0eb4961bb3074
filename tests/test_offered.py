"""Which configuration serves people who have written none: keys, then an Ollama, then the embedded pool."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from interlock import offered
from interlock.config import Document, from_document
from interlock.errors import ConfigError
from interlock.offered import EMBEDDED, HOSTED, NOTABLE, best_buys, embedded, hosted, offer
from interlock.pocket.family import load_family
from interlock.pocket.mix import bench_weights
from interlock.providers import Found, detect

NOWHERE = {"OLLAMA_HOST": "127.0.0.1:9"}
OWN = """
providers: {far: {kind: openai, base_url: "http://127.0.0.1:9/v1"}}
candidates: [{name: mine, provider: far, model: m}]
"""


@contextmanager
def ollama(*models: str) -> Iterator[dict[str, str]]:
    """A server that answers like Ollama, and the environment that names it."""

    class Tags(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"models": [{"name": model} for model in models]}).encode()
            self.send_response(200 if self.path == "/api/tags" else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing to standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Tags)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield {"OLLAMA_HOST": f"127.0.0.1:{server.server_port}"}
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The local server gets the time it needs on a busy machine."""
    monkeypatch.setattr(offered, "detect", lambda environment: detect(environment, budget=30.0))


def names(document: Any) -> list[str]:
    return [candidate["name"] for candidate in document.data["candidates"]]


def test_a_file_in_this_directory_comes_first(tmp_path: Path) -> None:
    (tmp_path / "interlock.yaml").write_text(OWN)
    found = offer({"OPENAI_API_KEY": "sk-1", **NOWHERE})
    assert names(found.document) == ["mine"]
    assert found.because == "interlock.yaml in this directory"
    assert from_document(found.document).candidates[0].name == "mine"


def test_a_file_with_a_mistake_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "interlock.yaml").write_text("providers: [")
    with pytest.raises(ConfigError, match="not YAML"):
        offer(NOWHERE)


def test_keys_give_hosted_models() -> None:
    environment = {"OPENAI_API_KEY": "sk-1", "ANTHROPIC_API_KEY": "sk-2", **NOWHERE}
    found = offer(environment)
    settings = from_document(found.document, environment)
    assert set(settings.providers) == {"openai", "anthropic"}
    assert settings.providers["openai"].api_key == "env:OPENAI_API_KEY"
    assert {candidate.provider for candidate in settings.candidates} == {"openai", "anthropic"}
    assert all(candidate.price is not None for candidate in settings.candidates)
    assert "OPENAI_API_KEY is set" in found.because
    assert "ANTHROPIC_API_KEY is set" in found.because
    assert any("no Ollama at" in note for note in found.notes)
    assert "sk-1" not in str(found)


def test_an_ollama_gives_its_own_models_free_and_private() -> None:
    with ollama("llama3.2:3b", "team/qwen3:8b") as environment:
        found = offer(environment)
    settings = from_document(found.document, environment)
    first, second = settings.candidates
    assert (first.name, first.model) == ("llama3.2:3b", "llama3.2:3b")
    assert (second.name, second.model) == ("team-qwen3:8b", "team/qwen3:8b")
    assert first.price is not None
    assert (first.price.input, first.price.output, first.trust) == (0, 0, "private")
    assert settings.providers["ollama"].base_url == f"http://{environment['OLLAMA_HOST']}/v1"
    assert settings.providers["ollama"].api_key == ""


def test_keys_and_an_ollama_are_one_pool() -> None:
    with ollama("llama3.2:3b") as environment:
        environment["OPENAI_API_KEY"] = "sk-1"
        settings = from_document(offer(environment).document, environment)
    assert set(settings.providers) == {"openai", "ollama"}
    assert settings.providers["openai"].base_url == "https://api.openai.com/v1"


def test_an_ollama_without_a_model_changes_nothing_but_is_told() -> None:
    with ollama() as environment:
        alone = offer(environment)
        beside = offer({**environment, "OPENAI_API_KEY": "sk-1"})
    assert set(alone.document.data["providers"]) == {"pocket"}
    assert any("serves no model" in note for note in alone.notes)
    assert beside.document.data["providers"]["openai"]["base_url"] == "https://api.openai.com/v1"


def test_with_nothing_the_embedded_pool_serves_and_says_so() -> None:
    found = offer(NOWHERE)
    assert set(found.document.data["providers"]) == {"pocket"}
    assert "embedded pocket pool" in found.because
    assert any("no Ollama" in note for note in found.notes)


def test_only_the_pool_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "interlock.yaml").write_text(OWN)
    found = offer({"OPENAI_API_KEY": "sk-1"}, only_pocket=True)
    assert set(found.document.data["providers"]) == {"pocket"}
    assert found.notes == ()


async def test_inside_an_event_loop() -> None:
    assert offer(NOWHERE).document.data["candidates"]


def test_every_hosted_model_of_the_catalogue_loads() -> None:
    kinds = yaml.safe_load(HOSTED.read_text("utf-8"))["models"]
    found = [Found(kind, f"https://{kind}.example/v1", "because", f"{kind.upper()}_API_KEY") for kind in kinds]
    environment = {one.secret: "sk-1" for one in found}
    settings = from_document(Document(hosted(found)), environment)
    assert len(settings.candidates) == sum(len(models) for models in kinds.values())
    for candidate in settings.candidates:
        assert candidate.price is not None
        assert candidate.price.input < candidate.price.output
        assert candidate.context_window is not None


# The embedded pool


def cell_worth(candidate: Any, task: str, level: int, weight: float) -> float:
    cell = candidate.profile["tasks"][task][str(level)]
    tokens = cell["prompt_tokens"] + cell["completion_tokens"]
    return float(cell["accuracy"] - weight * candidate.price_in * tokens / 1e6)


def test_the_embedded_pool_loads_and_holds_its_best_buys() -> None:
    settings = from_document(Document(embedded()))
    family = load_family(names=EMBEDDED)
    chosen = best_buys(list(family.candidates.values()))
    assert {candidate.name for candidate in settings.candidates} == chosen
    assert len(chosen) >= 3, "or there is nothing to route among"
    for candidate in settings.candidates:
        assert candidate.price is not None
        assert candidate.price.input > 0
        assert candidate.trust == "private"
        assert candidate.capabilities["tools"] == "no"


def test_best_buys_are_the_best_on_a_notable_share_and_nobody_else_is() -> None:
    known = [candidate for candidate in load_family().candidates.values() if candidate.profile]
    best: dict[str, float] = {}
    for (task, level), share in bench_weights().items():
        winner = max(known, key=lambda candidate: cell_worth(candidate, task, level, offered.WORTH))
        best[winner.name] = best.get(winner.name, 0.0) + share
    assert best_buys(known) == {name for name, share in best.items() if share >= NOTABLE}


@pytest.mark.parametrize("worth", [0.0, 1e9])
def test_the_trade_moves_the_selection(monkeypatch: pytest.MonkeyPatch, worth: float) -> None:
    monkeypatch.setattr(offered, "WORTH", worth)
    known = [candidate for candidate in load_family().candidates.values() if candidate.profile]
    chosen = best_buys(known)
    prices = {one.price_in for one in known if one.name in chosen}
    cheapest = min(one.price_in for one in known)
    if worth:
        assert prices == {cheapest}, "cost is everything"
    else:
        assert max(prices) > cheapest, "cost is nothing"


def test_without_a_calibration_every_model_answers_at_once_and_with_a_scratchpad() -> None:
    bare = [replace(candidate, profile={}) for candidate in load_family().candidates.values()]
    assert best_buys(bare) == {one.name for one in bare if one.budget in ("t0", "t1")}
