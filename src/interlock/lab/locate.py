"""Where the developers' outcome tables are: they are read where they lie, never part of the package."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import InterlockError

VARIABLE = "INTERLOCK_DATA"
BESIDE = Path(__file__).resolve().parents[4] / "shared" / "data" / "outcomes"
"""Beside a checkout of the repository."""


class NoData(InterlockError):
    """An experiment needs outcome tables and has not been told where they are. Whoever runs it acts."""

    status, code = 422, "no_data"


def data_folder(given: Path | None = None) -> Path:
    """`given`, else what INTERLOCK_DATA names, else the folder beside the repository. Raises `NoData`."""
    named = given or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    folder = named or BESIDE
    if not any((folder / f"queries.{kind}").exists() for kind in ("parquet", "jsonl")):
        why = f"{folder} holds no queries.parquet or queries.jsonl" if named else "no outcome tables are known"
        raise NoData(f"{why}: pass --data FOLDER, or set {VARIABLE} to one in the canonical layout")
    return folder
