"""The page's files: vendored code is what its README says, examples are current, every import leads to a file."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from interlock.gateway.app import WEB

ROOT = Path(__file__).parents[2]
VENDOR = WEB / "vendor"
HASHES = dict(re.findall(r"^\| (\S+) \| .* \| ([0-9a-f]{64}) \|$", (VENDOR / "README.md").read_text(), re.M))
OWN = sorted(WEB.glob("*.js"))
IMPORT = re.compile(r'^import .*?from "([^"]+)";|\bimport\("([^"]+)"\)|^export .*? from "([^"]+)";', re.M)


def test_every_vendored_file_is_listed() -> None:
    assert set(HASHES) == {path.name for path in [*VENDOR.glob("*.js"), *VENDOR.glob("*.css")]}


@pytest.mark.parametrize("name", HASHES)
def test_vendored_file_is_unchanged(name: str) -> None:
    assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == HASHES[name]


def test_every_vendored_package_has_its_licence() -> None:
    packages = set(re.findall(r"\| (\w+) [\d.]+ \|", (VENDOR / "README.md").read_text()))
    assert {path.suffix.removeprefix(".") for path in VENDOR.glob("LICENSE.*")} == packages


@pytest.mark.parametrize("path", [*OWN, *VENDOR.glob("*.js")], ids=lambda path: path.name)
def test_imports_are_local_files(path: Path) -> None:
    for found in IMPORT.findall(path.read_text()):
        target = next(filter(None, found))
        assert target.startswith("./"), f"{path.name} imports {target!r}: a browser without a build step needs a path"
        assert (path.parent / target).is_file(), f"{path.name} imports {target!r}, which does not exist"


def test_every_module_is_reached_from_the_page() -> None:
    reached, waiting = set(), ["app.js"]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        targets = ("".join(found).removeprefix("./") for found in IMPORT.findall((WEB / name).read_text()))
        waiting += [target for target in targets if "/" not in target and target not in reached]
    assert reached == {path.name for path in OWN}


def test_the_page_loads_nothing_from_elsewhere() -> None:
    text = (WEB / "index.html").read_text()
    for name in re.findall(r'(?:src|href)="([^"]+)"', text):
        assert (WEB / name).is_file()
    for path in [*OWN, WEB / "style.css", WEB / "index.html"]:
        assert not re.search(r"https?://|url\(", path.read_text()), f"{path.name} names an address"


def test_examples_are_current() -> None:
    command = [sys.executable, ROOT / "scripts" / "write_examples.py", "--check"]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
