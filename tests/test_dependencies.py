"""Dependencies point downwards only. `BELOW` is the whole architecture: what each part may know of the others."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import interlock

ROOT = Path(interlock.__file__).parent
NOUNS = {"types", "errors"}

BELOW: dict[str, set[str]] = {
    "types": set(),
    "errors": set(),
    "batching": set(),
    "encoder": NOUNS,
    "pocket": NOUNS,
    "signals": NOUNS | {"encoder"},
    "guards": NOUNS,
    "estimators": NOUNS,
    "profiles": NOUNS,
    "calibration": NOUNS,
    "objectives": NOUNS | {"calibration"},
    "exploration": NOUNS,
    "consumption": NOUNS | {"estimators"},
    "policy": NOUNS | {"calibration", "estimators", "consumption", "objectives", "exploration"},
    "presets": NOUNS | {"estimators", "objectives", "exploration", "consumption", "policy"},
    "checks": NOUNS | {"estimators", "objectives", "exploration", "guards", "policy"},
    "providers": NOUNS | {"pocket"},
    "telemetry": NOUNS,
    "caching": NOUNS,
    "masking": NOUNS | {"providers", "signals"},
    "execution": NOUNS | {"providers", "guards", "telemetry", "caching", "encoder"},
    "ledger": NOUNS,
    "learning": NOUNS | {"ledger", "policy", "calibration", "estimators", "objectives", "execution"},
    "identity": NOUNS | {"ledger"},
    "admission": NOUNS | {"guards", "identity"},
    "config": NOUNS
    | {"identity"}
    | {"signals", "guards", "estimators", "consumption", "objectives", "exploration", "providers", "execution"}
    | {"presets"},
    "affinity": NOUNS,
    "plan": NOUNS | {"affinity", "config", "execution", "guards", "policy", "signals"},
    "decision": NOUNS | {"exploration", "guards", "policy", "plan"},
    "failsafe": NOUNS | {"objectives", "policy"},
    "judging": NOUNS | {"learning"},
    "router": NOUNS
    | {"batching", "decision", "failsafe", "judging", "plan", "config", "policy", "execution", "ledger", "learning"}
    | {"assembly", "lifecycle"},
    "assembly": NOUNS
    | {
        "affinity",
        "config",
        "plan",
        "masking",
        "offered",
        "router",
        "signals",
        "guards",
        "estimators",
        "objectives",
        "exploration",
        "consumption",
        "policy",
    }
    | {"providers", "execution", "caching", "ledger", "learning", "pocket"},
    "lifecycle": NOUNS | {"assembly", "config", "plan", "policy", "providers", "router"},
    "offered": NOUNS | {"config", "providers", "pocket"},
    "sync": NOUNS | {"router", "assembly"},
    "pipeline": NOUNS | {"router"},
    "gateway": NOUNS
    | {"identity", "admission", "telemetry"}
    | {"router", "assembly", "config", "encoder", "execution", "ledger", "learning", "guards", "plan", "policy"}
    | {"exploration", "signals"},
}
AT_THE_TOP = {"lab", "cli", "__main__"}  # may know everything; nothing below may know them


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    """The top-level parts of interlock that a file imports, wherever in the file the import stands."""
    package = ("interlock", *path.relative_to(ROOT).parts[:-1])
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module or "")))
            names = [f"{module}.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("interlock.")}
    return found - {"__version__"}


def test_dependencies_point_downwards() -> None:
    upwards = []
    for path in sorted(ROOT.rglob("*.py")):
        part = part_of(path)
        if part in AT_THE_TOP or part == "__init__":
            continue
        assert part in BELOW, f"{part} has no place in the architecture: add it to BELOW"
        for other in sorted(imported_parts(path) - BELOW[part] - {part}):
            upwards.append(f"{path.relative_to(ROOT)} imports {other}")
    assert not upwards, "\n".join(upwards)


def test_the_pipeline_fits_on_a_page() -> None:
    assert len((ROOT / "router.py").read_text().splitlines()) < 120


def test_the_base_package_imports_no_heavy_library() -> None:
    heavy = "torch", "scipy", "matplotlib", "pandas", "onnxruntime", "starlette", "uvicorn", "typer", "rich"
    code = f"import interlock, sys; print([name for name in {heavy!r} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_gateway_never_imports_torch() -> None:
    code = "import interlock.gateway, interlock.pocket, interlock.assembly, sys; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
