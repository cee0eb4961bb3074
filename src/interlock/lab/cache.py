"""Finished parts of long evaluations, kept by a hash of all they depend on, so that a run goes on where it stopped.

The code is part of the hash: when a source file that a part depends on changes, the part is made anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..types import Array

PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Cache:
    """Arrays by key in `folder`; without one, nothing is kept."""

    folder: Path | None = None

    def arrays(self, key: str, make: Callable[[], dict[str, Array]]) -> dict[str, Array]:
        """What was kept under `key`, else what `make` gives, which is then kept."""
        if self.folder is None:
            return make()
        path = self.folder / f"{key}.npz"
        if path.exists():
            with np.load(path) as kept:
                return {name: kept[name] for name in kept.files}
        made = make()
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.npz")  # a run that is stopped leaves no half file under the key
        arrays: dict[str, Any] = dict(made)
        np.savez(partial, **arrays)
        partial.replace(path)
        return made


def digest(*parts: object) -> str:
    """A key from texts, numbers and arrays; NaN counts by its bits."""
    made = hashlib.sha256()
    for part in parts:
        content = part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode()
        made.update(len(content).to_bytes(8, "little") + content)
    return made.hexdigest()[:24]


@lru_cache
def code(*parts: str) -> str:
    """A hash of these source files or folders of the package."""
    files: list[Path] = []
    for part in parts:
        files += [PACKAGE / part] if part.endswith(".py") else (PACKAGE / part).rglob("*.py")
    return digest(*(file.read_text() for file in sorted(files)))
