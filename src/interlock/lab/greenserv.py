"""GreenServ's rewards and logs (arXiv 2601.17551), from the folder of outcome tables.

Beside the canonical files the folder holds `greenserv_completed` (a reward for each query and model at lambda 0.5,
about half of them observed, the rest imputed under the known per-query optimum), `greenserv_rewards` (the observed
ones) and `greenserv_log` (bandit decisions; those of `X0_random` are uniform over all models). A completed matrix is a
world to simulate bandits in, and never the truth about a model.

Reward = 0.5 accuracy + 0.5 (1 - energy), energy in joules a token, scaled to [0, 1] by fixed bounds a task. On the four
tasks whose accuracy is 0 or 1 a reward of at least 0.5 means right, so both parts can be read off.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..types import Array
from .bandit import Log
from .tables import TableError

GRADED = "cnn_dailymail"
"""The task whose accuracy is graded, so that its rewards cannot be decoded."""


@dataclass(frozen=True)
class GreenServ:
    """n queries by k models. `reward`, `accuracy` and `energy` (scaled) are (n, k); the latter NaN on `GRADED`.

    `joules` is energy in joules a token; `log` holds the uniformly random decisions, run after run.
    """

    prompts: tuple[str, ...]
    tasks: tuple[str, ...]
    models: tuple[str, ...]
    reward: Array
    observed: Array
    accuracy: Array
    energy: Array
    joules: Array
    log: Log

    def weighted(self, trade: float) -> Array:
        """The reward (n, k) at another lambda: (1 - trade) accuracy + trade (1 - energy). NaN on `GRADED`."""
        return (1.0 - trade) * self.accuracy + trade * (1.0 - self.energy)


def read_greenserv(folder: Path) -> GreenServ:
    """Raises `TableError` naming the file that is missing."""
    queries = _rows(folder, "queries", ["query_id", "dataset", "task", "prompt"])
    mine = [i for i, name in enumerate(queries["dataset"]) if name == "greenserv"]
    ids, tasks, prompts = (tuple(queries[key][i] for i in mine) for key in ("query_id", "task", "prompt"))
    completed = _rows(folder, "greenserv_completed", ["query_id", "model", "reward_lambda_0_5", "observed"])
    models = tuple(sorted(set(completed["model"])))
    row, column = {id: i for i, id in enumerate(ids)}, {name: j for j, name in enumerate(models)}
    at = [row[id] for id in completed["query_id"]], [column[name] for name in completed["model"]]
    reward, observed = np.full((len(ids), len(models)), np.nan), np.zeros((len(ids), len(models)))
    reward[at], observed[at] = np.clip(completed["reward_lambda_0_5"], 0.0, 1.0), completed["observed"]
    accuracy, energy = decode(reward, tasks)
    log = _rows(folder, "greenserv_log", ["policy", "run", "step", "query_id", "model", "reward"])
    random = [i for i, policy in enumerate(log["policy"]) if policy == "X0_random"]
    random.sort(key=lambda i: (log["run"][i], log["step"][i]))
    uniform = Log(
        np.array([row[log["query_id"][i]] for i in random]),
        np.array([column[log["model"][i]] for i in random]),
        np.clip([log["reward"][i] for i in random], 0.0, 1.0),
    )
    joules = _joules(folder, energy, tasks)
    return GreenServ(prompts, tasks, models, reward, observed, accuracy, energy, joules, uniform)


def decode(reward: Array, tasks: tuple[str, ...]) -> tuple[Array, Array]:
    """Accuracy and scaled energy (n, k) of rewards at lambda 0.5; NaN where accuracy is graded."""
    accuracy = (reward >= 0.5).astype(np.float64)
    energy = accuracy + 1.0 - 2.0 * reward
    graded = np.array([task == GRADED for task in tasks], dtype=np.bool_)
    accuracy[graded], energy[graded] = np.nan, np.nan
    return accuracy, np.clip(energy, 0.0, 1.0)


def _joules(folder: Path, energy: Array, tasks: tuple[str, ...]) -> Array:
    """Joules a token (n, k), by the line between scaled and raw energy of each task's observed rewards."""
    wanted = ["query_id", "energy_per_token_norm", "energy_per_token_j"]
    rewards, queries = _rows(folder, "greenserv_rewards", wanted), _rows(folder, "queries", ["query_id", "task"])
    task_of = dict(zip(queries["query_id"], queries["task"], strict=True))
    scaled, raw = (np.array(rewards[key], dtype=np.float64) for key in wanted[1:])
    of, joules = np.array([task_of[id] for id in rewards["query_id"]]), np.full(energy.shape, np.nan)
    for task in set(tasks) - {GRADED}:
        known = (of == task) & np.isfinite(scaled) & np.isfinite(raw)
        slope, offset = np.polyfit(scaled[known], raw[known], 1)
        rows = np.array([one == task for one in tasks])
        joules[rows] = offset + slope * energy[rows]
    return joules


def _rows(folder: Path, stem: str, columns: list[str]) -> dict[str, list[Any]]:
    import pyarrow.parquet

    path = folder / f"{stem}.parquet"
    if not path.exists():
        raise TableError(f"{folder} has no {path.name}")
    rows: dict[str, list[Any]] = pyarrow.parquet.read_table(path, columns=columns).to_pydict()
    return rows
