"""Every code block of the README and docs/ is run: python and bash as a reader would, YAML through the configuration
loader. Blocks marked `console`, `text` or `json` show output and are not run. Pages that talk to a gateway at
http://127.0.0.1:8400 get a real one on a free port.
"""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml

from interlock import types
from interlock.config import Document, from_document
from interlock.estimators import ESTIMATORS
from interlock.exploration import EXPLORATIONS
from interlock.gateway.decide import Decide
from interlock.gateway.endpoints import ENDPOINTS
from interlock.gateway.judge import FeedbackBody
from interlock.gateway.parse import Bounds, Extensions
from interlock.lab.process import Gateway
from interlock.objectives import OBJECTIVES
from interlock.offered import embedded

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ADDRESS = "127.0.0.1:8400"
TALKS = re.compile(rf"{ADDRESS}|interlock (?:chat|feedback|learner|pool) ")
PATIENCE = 300  # seconds: a busy machine is no reason to fail


def blocks(page: Path) -> list[tuple[str, str]]:
    return [(kind, code) for kind, code in BLOCK.findall(page.read_text()) if kind in ("python", "bash", "yaml")]


@pytest.mark.usefixtures("no_providers")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page)], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_code_blocks_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    address = ADDRESS
    if any(TALKS.search(code) for _, code in blocks(page)):
        gateway: Gateway = request.getfixturevalue("gateway")
        address = gateway.address
        monkeypatch.setenv("INTERLOCK_URL", gateway.url)
        monkeypatch.setenv("INTERLOCK_LEDGER", str(gateway.log.with_name("ledger.db")))
    namespace: dict[str, Any] = {"__name__": "__main__"}
    base = embedded()
    for kind, code in blocks(page):
        code = code.replace(ADDRESS, address)
        if kind == "python":
            with patch.dict(ESTIMATORS):  # a page may add one of its own
                exec(compile(code, str(page), "exec"), namespace)
        elif kind == "bash":
            command = ["bash", "-euo", "pipefail", "-c", code]
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
            assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        else:
            base = configured(code, base, monkeypatch)


def configured(code: str, base: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Check a configuration; a fragment is laid over the last whole one. A whole one is written to interlock.yaml."""
    for name in re.findall(r"env:(\w+)", code):
        monkeypatch.setenv(name, f"secret of {name}")
    document = yaml.safe_load(code)
    if "candidates" in document:
        Path("interlock.yaml").write_text(code)
        base = document
    from_document(Document(over(base, document)))
    return base


def over(base: dict[str, Any], fragment: dict[str, Any]) -> dict[str, Any]:
    """Two configurations as one: blocks are joined, everything else is the fragment's."""
    joined = {
        key: over(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in fragment.items()
    }
    return {**base, **joined}


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in [*PAGES, ROOT / "benchmarks" / "README.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)} -> {target}")
    assert not broken, "\n".join(broken)


def test_every_page_is_linked() -> None:
    """From the README or from a page that is: no page is an orphan."""
    reached, waiting = {ROOT / "README.md"}, [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        linked = [(page.parent / target).resolve() for target in re.findall(r"\]\(([^)#\s]+\.md)", page.read_text())]
        waiting += [target for target in linked if target in PAGES and target not in reached]
        reached.update(linked)
    assert not set(PAGES) - reached


def test_generated_pages_and_tables_are_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "write_docs.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_published_system_has_one_row() -> None:
    rows = re.findall(r"^\| .*\| `([\w-]+)` \|", (ROOT / "docs" / "systems.md").read_text(), re.MULTILINE)
    assert len(rows) == len(set(rows)) == 47


def test_the_http_reference_names_every_endpoint_field_and_header() -> None:
    page = (ROOT / "docs" / "reference" / "http.md").read_text()
    paths = {path for _, path in ENDPOINTS} - {"/v1/models/{name:path}"}
    hot = {"/v1/chat/completions", "/v1/embeddings", "/v1/route", "/v1/feedback", "/v1/messages/count_tokens"}
    hot |= {"/v1/messages", "/v1/responses", "/v1/completions"}
    fields = {name for body in (Extensions, Bounds, FeedbackBody) for name in body.__struct_fields__}
    code = "".join(path.read_text() for path in Path(inspect.getfile(Decide)).parent.glob("*.py"))
    headers = set(re.findall(r"x-interlock-[a-z]+(?:-[a-z]+)*", code))
    missing = [name for name in (*paths, *hot, *fields, *headers) if f"`{name}" not in page and f" {name}`" not in page]
    assert not missing


def test_the_metrics_page_names_every_metric(gateway: Gateway) -> None:
    page = (ROOT / "docs" / "how-to" / "operate.md").read_text()
    with urllib.request.urlopen(f"{gateway.url}/metrics", timeout=60) as response:
        given = set(re.findall(r"^# HELP (interlock_\w+)", response.read().decode(), re.MULTILINE))
    created = {name for name in given if name.endswith("_created")}  # prometheus_client's own, beside each counter
    assert not [name for name in sorted(given - created) if f"`{name}`" not in page]


def test_the_policy_page_names_every_member() -> None:
    page = (ROOT / "docs" / "concepts" / "policy.md").read_text()
    assert not [name for name in (*ESTIMATORS, *OBJECTIVES, *EXPLORATIONS) if f"| `{name}` |" not in page]


def test_the_python_reference_names_the_nouns() -> None:
    page = (ROOT / "docs" / "reference" / "python.md").read_text()
    nouns = {name for name, kind in vars(types).items() if inspect.isclass(kind) and kind.__module__ == types.__name__}
    assert not [name for name in sorted(nouns) if f"`{name}`" not in page]
