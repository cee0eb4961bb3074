"""Every code block of the README and docs/ is run: python and bash as a reader would, YAML through the configuration loader.

Blocks marked `console`, `text` or `json` show output and are not run. Pages that talk to http://127.0.0.1:8400 get a real
gateway on a free port.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ADDRESS = "127.0.0.1:8400"


def blocks(page: Path) -> list[tuple[str, str]]:
    return [(kind, code) for kind, code in BLOCK.findall(page.read_text()) if kind in ("python", "bash", "yaml")]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_code_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.chdir(tmp_path)
    address = ADDRESS
    if any(ADDRESS in code for _, code in blocks(page)):
        address = request.getfixturevalue("gateway").address
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for kind, code in blocks(page):
        code = code.replace(ADDRESS, address)
        if kind == "python":
            exec(compile(code, str(page), "exec"), namespace)
        elif kind == "bash":
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", code], env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=120
            )
            assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        elif "version:" in code:
            from interlock.config import load

            (tmp_path / "interlock.yaml").write_text(code)
            load(tmp_path / "interlock.yaml")


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)} -> {target}")
    assert not broken, "\n".join(broken)


def test_the_command_line_reference_is_current() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts" / "write_docs.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_published_system_has_one_row() -> None:
    rows = re.findall(r"^\| .*\| `([\w-]+)` \|", (ROOT / "docs" / "systems.md").read_text(), re.MULTILINE)
    assert len(rows) == len(set(rows)) == 47
