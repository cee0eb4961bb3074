from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

from interlock import __version__

Run = Callable[..., Any]


def test_version(run: Run) -> None:
    assert __version__ in run("version").out
    facts = run("version", "--json").json
    assert (facts["interlock"], facts["python"]) == (__version__, platform.python_version())
