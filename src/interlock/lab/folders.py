"""Evaluations on folders of outcome tables: learn from one and be judged on another, or one under cross-validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..errors import nearest
from ..estimators import ESTIMATORS
from .evaluation import Evaluation
from .features import Features
from .protocol import Learner, Progress, cross_validate, evaluate
from .tables import TableError, read_tables


def chosen_estimators(names: str) -> tuple[str, ...]:
    """`all`, or names with commas between. Raises `TableError` with the nearest name for an unknown one."""
    if names == "all":
        return tuple(ESTIMATORS)
    wanted = tuple(name.strip() for name in names.split(",") if name.strip())
    for name in wanted:
        if name not in ESTIMATORS:
            raise TableError(f"no estimator {name!r}; {nearest(name, list(ESTIMATORS))}")
    if not wanted:
        raise TableError("no estimator is named; `all` means every one")
    return wanted


def evaluate_folders(
    train: Path,
    test: Path,
    estimators: Mapping[str, Learner] | Sequence[str],
    *,
    datasets: Sequence[str] | None = None,
    objectives: Sequence[str] = ("weighted",),
    features: Features | None = None,
    rounds: int = 500,
    seed: int = 0,
    progress: Progress = lambda _: None,
) -> Iterator[Evaluation]:
    """Every data set that both folders hold (or those named). Raises `TableError`; a set that fails stops the rest."""
    learnt, judged = read_tables(train, datasets), read_tables(test, datasets)
    shared = [name for name in judged if name in learnt]
    if not shared:
        raise TableError(f"{train} has {', '.join(learnt)}, {test} has {', '.join(judged)}: no data set is in both")
    for name in shared:
        yield evaluate(
            learnt[name],
            judged[name],
            estimators,
            objectives=objectives,
            features=features,
            rounds=rounds,
            seed=seed,
            progress=progress,
        )


def cross_validate_folder(
    folder: Path,
    estimators: Mapping[str, Learner] | Sequence[str],
    *,
    datasets: Sequence[str] | None = None,
    folds: int = 5,
    objectives: Sequence[str] = ("weighted",),
    features: Features | None = None,
    rounds: int = 500,
    seed: int = 0,
    progress: Progress = lambda _: None,
) -> Iterator[Evaluation]:
    """Every data set of the folder (or those named) under cross-validation."""
    for table in read_tables(folder, datasets).values():
        yield cross_validate(
            table,
            estimators,
            folds=folds,
            objectives=objectives,
            features=features,
            rounds=rounds,
            seed=seed,
            progress=progress,
        )
