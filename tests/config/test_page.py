"""The reference page says what the code does, and its example loads."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from interlock.config import load

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "configuration.md"


def test_the_page_is_current() -> None:
    command = [sys.executable, ROOT / "scripts" / "configuration_page.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_links_within_the_page_lead_somewhere() -> None:
    text = PAGE.read_text()
    anchors = {
        re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)$", text, re.M)
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= anchors


def test_the_example_loads(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    path = tmp_path / "interlock.yaml"
    path.write_text(example)
    assert [candidate.name for candidate in load(path, {}).candidates] == ["small", "qwen"]
