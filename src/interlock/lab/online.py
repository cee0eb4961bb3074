"""Online regret on a completed reward matrix: policies start from nothing and are told only what they chose.

The matrix is a file beside the outcome tables, `greenserv_completed.parquet`: query_id, model, reward_lambda_0_5. About
half of its cells are imputed, so it is a world to learn in and never the truth about a model.

Source: GreenServ (arXiv 2601.17551).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from rich.table import Table as Grid

from ..objectives import Weighted
from ..presets import build
from ..types import Array
from .bandit import World, fixed, one_hot, simulate
from .features import Features
from .metrics import over_seeds
from .protocol import Progress
from .tables import TableError, read_table_columns

COMPLETED = "greenserv_completed.parquet"
POLICIES = ("greenserv", "greenserv_linucb", "greenserv_thompson", "greenserv_epsilon")
SEEDS = (0, 1, 2, 3, 4)


class Online(msgspec.Struct, frozen=True, kw_only=True):
    """Cumulative regret over all queries by policy: mean and 95% interval over the orders of the queries (`seeds`).

    `best fixed` is chosen with hindsight. `imputed` is the share of the matrix that was not observed.
    """

    queries: int
    models: int
    imputed: float
    seeds: tuple[int, ...]
    regret: dict[str, tuple[float, float, float]]

    def __rich__(self) -> Grid:
        title = f"online, {self.queries} queries, {self.models} models, {self.imputed:.0%} of the rewards imputed"
        grid = Grid("policy / context", "regret [95%]", title=title, title_justify="left")
        for name, (mean, low, high) in sorted(self.regret.items(), key=lambda item: item[1][0]):
            grid.add_row(name, f"{mean:.0f} [{low:.0f}, {high:.0f}]")
        return grid


def online_regret(folder: Path, progress: Progress = lambda _: None, seeds: Sequence[int] = SEEDS) -> Online:
    """Run every policy on every context through the folder's matrix once a seed. Raises `TableError`."""
    arms, prompts, tasks, reward, imputed = read_completed(folder)
    structure = Features(terms=0, tasks=0, embedding=0)
    contexts = {
        "task": one_hot(tasks),
        "task + structure": np.hstack([one_hot(tasks), 0.2 * _standard(structure.fit_transform(prompts))]),
    }
    regret: dict[str, tuple[float, float, float]] = {}
    for context, vectors in contexts.items():
        world = World(arms, vectors, reward)
        for name in POLICIES if context == "task" else POLICIES[:1]:
            progress(f"online: {name} on {context}")
            policy = build(name)
            policy.objective = Weighted()  # the reward has weighed energy already
            regret[f"{name} / {context}"] = over_seeds(simulate(policy, world, seeds).total)
    rows = np.stack([np.random.default_rng(seed).permutation(len(prompts)) for seed in seeds])
    best = int(reward.mean(axis=0).argmax())
    regret["best fixed"] = over_seeds(fixed(world, best, rows).sum(axis=1))
    random = np.stack([np.random.default_rng(seed).integers(0, len(arms), len(prompts)) for seed in seeds])
    given_away = reward.max(axis=1) - np.take_along_axis(reward, random.T, axis=1).T
    regret["random"] = over_seeds(given_away.sum(axis=1))
    return Online(queries=len(prompts), models=len(arms), imputed=imputed, seeds=tuple(seeds), regret=regret)


def read_completed(folder: Path) -> tuple[tuple[str, ...], list[str], list[str], Array, float]:
    """Models, prompts, tasks and the reward matrix (n, k) of the queries that it covers, and the share imputed."""
    cells = read_table_columns(folder, Path(COMPLETED).stem, ("query_id", "model", "reward_lambda_0_5"))
    queries = read_table_columns(folder, "queries", ("query_id", "task", "prompt"))
    at = {id: i for i, id in enumerate(queries["query_id"])}
    ids = {id: i for i, id in enumerate(dict.fromkeys(cells["query_id"]))}
    stray = next((id for id in ids if id not in at), None)
    if stray is not None:
        raise TableError(f"{folder}: {COMPLETED} names the query {stray!r}, which queries do not have")
    arms = tuple(sorted(set(cells["model"])))
    column = {name: i for i, name in enumerate(arms)}
    reward = np.full((len(ids), len(arms)), np.nan)
    place = [ids[id] for id in cells["query_id"]], [column[name] for name in cells["model"]]
    reward[place] = np.clip(np.array(cells["reward_lambda_0_5"], dtype=np.float64), 0.0, 1.0)
    if np.isnan(reward).any():
        raise TableError(f"{folder}: {COMPLETED} lacks {int(np.isnan(reward).sum())} rewards; it must be complete")
    seen = cells.get("observed")
    imputed = float("nan") if seen is None else 1.0 - float(np.mean(np.array(seen, dtype=np.float64)))
    order = [at[id] for id in ids]
    return arms, [queries["prompt"][i] for i in order], [queries["task"][i] for i in order], reward, imputed


def _standard(columns: Array) -> Array:
    return np.asarray((columns - columns.mean(axis=0)) / (columns.std(axis=0) + 1e-9))
