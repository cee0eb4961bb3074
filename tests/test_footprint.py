"""Light: what an import costs, what the base install pulls, what an idle gateway holds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from interlock.lab.process import gateway

ROOT = Path(__file__).parent.parent
MB = 1e6
WITHOUT_PROVIDERS = {"OPENAI_API_KEY": "", "ANTHROPIC_API_KEY": "", "OLLAMA_HOST": "127.0.0.1:9"}


def in_a_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_is_cheap() -> None:
    """CPU time of the process, not wall time: other work on the machine does not count. The best of five is taken,
    since caches are cold at first and another process may share the core."""
    code = "import time; began = time.process_time(); import {}; print(time.process_time() - began)"
    for module, most in (("interlock", 0.35), ("interlock.router", 0.7), ("interlock.sync", 0.7)):
        seconds = min(float(in_a_process(code.format(module))) for _ in range(5))
        print(f"import {module}: {seconds:.3f} s CPU")
        assert seconds < most, module


@pytest.mark.parametrize("module", ["gateway.server", "assembly", "pocket", "sync", "cli"])
def test_no_part_of_the_base_install_imports_a_heavy_library(module: str) -> None:
    heavy = ["torch", "scipy", "pandas", "matplotlib", "onnx", "onnxruntime", "transformers", "sklearn", "asyncpg"]
    code = f"import interlock.{module}, sys; print([name for name in {heavy!r} if name in sys.modules])"
    assert in_a_process(code) == "[]"


def locked() -> dict[str, str]:
    """Name and version of what the base lock installs on this Python and system."""
    from packaging.requirements import Requirement

    found = {}
    for line in re.findall(r"^[A-Za-z0-9].*==.*$", (ROOT / "requirements" / "base.lock").read_text(), re.MULTILINE):
        requirement = Requirement(line.removesuffix("\\").strip())
        if requirement.marker is None or requirement.marker.evaluate():
            found[requirement.name] = str(requirement.specifier).removeprefix("==")
    return found


def unpacked(name: str) -> float:
    """Bytes of a distribution's files as installed, compiled caches left out: at least what its wheel holds."""
    files = distribution(name).files or ()
    return sum(file.locate().stat().st_size for file in files if file.suffix != ".pyc" and file.locate().exists())


def test_the_base_install_is_small_and_has_no_torch() -> None:
    names = locked()
    assert len(names) > 10
    assert not {"torch", "scipy", "onnxruntime", "transformers"} & set(names)
    sizes = {}
    for name in names:
        try:
            sizes[name] = unpacked(name)
        except PackageNotFoundError:  # what only builds the package need not be installed here
            continue
    assert {"numpy", "msgspec", "starlette", "uvicorn"} <= set(sizes)
    total = sum(sizes.values())
    largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
    print(f"base install: {total / MB:.0f} MB unpacked, {len(sizes)} of {len(names)} packages, largest {largest}")
    assert total < 150 * MB


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_an_idle_gateway_with_the_pocket_pool_is_light(tmp_path: Path) -> None:
    with gateway(tmp_path, env=WITHOUT_PROVIDERS, patience=180) as running:
        body = {"model": "auto", "messages": [{"role": "user", "content": "Please add 47 to 85 for me."}]}
        request = urllib.request.Request(f"{running.url}/v1/chat/completions", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=120) as response:
            assert response.headers["x-interlock-pool"] == "pocket"
        status = Path(f"/proc/{running.process.pid}/status").read_text()
    resident = int(re.findall(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)[0]) * 1024
    print(f"idle gateway with the pocket pool: {resident / MB:.0f} MB resident")
    assert resident < 400 * MB
