"""Training a pocket model: packed rows, loss on completions only, a long linear decay; resumable exactly.

Every batch is a function of (seed, step) alone, so a resumed run sees what an uninterrupted one would have seen, and
several processes may make batches ahead where a GPU would wait for them.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from interlock.pocket.config import PocketConfig
from interlock.pocket.document import Document
from interlock.pocket.mix import Mix
from interlock.pocket.model import PocketLM
from interlock.pocket.muon import Muon
from interlock.pocket.tokenizer import PAD, TOKENIZER_HASH

RUNGS = {"1/8": 0.125, "1/4": 0.25, "1/2": 0.5, "1": 1.0}
"""The shares of training at which a snapshot is kept: earlier ones are legitimate weaker models."""

_LOG_EVERY = 20
_SAVE_EVERY = 200
_EMPTY_ROW_PATIENCE = 6


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything about a run but the model and the mix. ``tokens`` counts row positions, padding included.

    ``rounded`` lets the forward pass see the matrices as int8 storage rounds them, and gradients pass straight through.
    """

    tokens: int
    optimiser: Literal["muon", "adamw"] = "muon"
    lr: float = 6e-3
    rows: int = 13
    row_length: int = 160
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.05
    warmup: int = 50
    decay_from: float = 0.5
    clip: float = 1.0
    rounded: bool = False

    @property
    def steps(self) -> int:
        return max(1, self.tokens // (self.rows * self.row_length))

    def rate(self, step: int) -> float:
        """The learning rate: linear warm-up, constant, then linear to zero from ``decay_from`` on (1: never)."""
        left = 1.0 - step / self.steps
        decay = min(1.0, left / (1.0 - self.decay_from)) if self.decay_from < 1.0 else 1.0
        return self.lr * min(1.0, (step + 1) / self.warmup) * decay


@dataclass(frozen=True, slots=True)
class Batch:
    """Packed rows: ``ids`` and ``document`` [rows, length]; ``at`` and ``targets`` the flat positions with a loss."""

    ids: NDArray[np.int64]
    document: NDArray[np.int64]
    at: NDArray[np.int64]
    targets: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of a run: the model in evaluation mode and what its weight file should carry."""

    model: PocketLM
    metadata: dict[str, str]


def pack(documents: Iterator[Document], rows: int, length: int) -> Batch:
    """Fill ``rows`` rows with whole documents, each into the first row with room.

    Raises ValueError for a document longer than a row.
    """
    ids: NDArray[np.int64] = np.full((rows, length), PAD)
    owner: NDArray[np.int64] = np.full((rows, length), -1)
    target: NDArray[np.int64] = np.full((rows, length), -1)
    used, misses, index = [0] * rows, 0, 0
    while misses < _EMPTY_ROW_PATIENCE:
        tokens, learned = next(documents)
        size = len(tokens)
        if size > length:
            raise ValueError(f"a document of {size} tokens does not fit a row of {length}; raise row_length")
        row = next((row for row in range(rows) if used[row] + size <= length), None)
        if row is None:
            misses += 1
            continue
        start, end = used[row], used[row] + size
        ids[row, start:end] = tokens
        owner[row, start:end] = index
        target[row, start : end - 1] = np.where(learned[1:], tokens[1:], -1)
        used[row], index = end, index + 1
    at = np.flatnonzero(target >= 0)
    return Batch(ids, owner, at, target.reshape(-1)[at])


def fit(
    config: PocketConfig,
    mix: Mix,
    recipe: Recipe,
    out: Path,
    *,
    name: str,
    seed: int = 0,
    device: str = "cpu",
    start: PocketLM | None = None,
    workers: int = 0,
    report: Callable[[int, float], None] | None = None,
) -> Trained:
    """Train a model, or continue the run found in ``out``; ``start`` trains that model's parameters that need it.

    ``workers`` processes make the batches, 0 for this one; the batches are the same. On CUDA, products are in TF32.

    Writes ``last.pt`` (to resume), a snapshot a rung, ``log.jsonl`` (step, loss, rate, tokens, CPU seconds) and the
    curve. ``report(step, loss)`` is called every few steps.

    Raises ValueError if ``out`` holds a run of another configuration, or FloatingPointError if the loss is not finite.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    if device.startswith("cuda"):
        torch.set_float32_matmul_precision("high")
    model = (start or PocketLM(config)).to(device)
    trainable = {key: value for key, value in model.named_parameters() if value.requires_grad}
    optimisers = _optimisers(trainable, recipe)
    identity = {"name": name, "config": config.to_json(), "seed": seed, "recipe": asdict(recipe)}
    done, spent = _resume(out, identity, trainable, optimisers)
    began, recent = time.process_time() - spent, list[Tensor]()
    rungs = {max(1, round(share * recipe.steps)): rung for rung, share in RUNGS.items()}

    def make(step: int) -> Batch:
        rng = Random(f"{name}:{seed}:{step}")
        return pack(mix.documents(rng, step / recipe.steps), recipe.rows, recipe.row_length)

    steps = range(done, recipe.steps)
    batches = _made_ahead(make, steps, workers) if workers else (make(step) for step in steps)
    with (out / "log.jsonl").open("a", encoding="utf-8") as log, closing(batches):
        for step, batch in enumerate(batches, done + 1):
            recent.append(_update(model, batch, optimisers, trainable, recipe, step - 1, device))
            if step % _LOG_EVERY == 0 or step == recipe.steps:
                loss = float(torch.stack(recent).double().mean())
                recent.clear()
                if not np.isfinite(loss):
                    raise FloatingPointError(f"the loss of {name} is {loss} at step {step}; lower the learning rate")
                row = {
                    "step": step,
                    "tokens": step * recipe.rows * recipe.row_length,
                    "loss": round(loss, 4),
                    "rate": round(recipe.rate(step - 1), 7),
                    "cpu_s": round(time.process_time() - began, 1),
                }
                log.write(json.dumps(row) + "\n")
                log.flush()
                if report:
                    report(step, loss)
            if step in rungs:
                _write(out / f"rung-{rungs[step].replace('/', 'of')}.pt", trainable)
            if step % _SAVE_EVERY == 0 or step == recipe.steps:
                state = {"identity": identity, "step": step, "cpu_s": time.process_time() - began}
                state |= {"parameters": trainable, "optimisers": [optimiser.state_dict() for optimiser in optimisers]}
                _write(out / "last.pt", state)
    draw_curve(out)
    log_hash = hashlib.sha256((out / "log.jsonl").read_bytes()).hexdigest()
    metadata = {
        "seed": str(seed),
        "tokens_trained": str(recipe.steps * recipe.rows * recipe.row_length),
        "train_log_sha256": log_hash,
        "tokenizer_sha256": TOKENIZER_HASH,
    }
    return Trained(model.eval(), metadata)


def read_log(out: Path) -> list[dict[str, float]]:
    """The rows of a run's log, oldest first; rows that a resumed run wrote again replace the earlier ones."""
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text("utf-8").splitlines()]
    return [row for _, row in sorted({row["step"]: row for row in rows}.items())]


def draw_curve(out: Path) -> Path | None:
    """Draw ``curve.png`` from the log; None where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    rows = read_log(out)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([row["tokens"] / 1e6 for row in rows], [row["loss"] for row in rows])
    axes.set(xlabel="million tokens", ylabel="loss on completions (nats a token)", yscale="log", title=out.name)
    figure.savefig(out / "curve.png", dpi=120)
    return out / "curve.png"


def _update(
    model: PocketLM,
    batch: Batch,
    optimisers: list[torch.optim.Optimizer],
    trainable: dict[str, torch.nn.Parameter],
    recipe: Recipe,
    step: int,
    device: str,
) -> Tensor:
    for group in (group for optimiser in optimisers for group in optimiser.param_groups):
        group["lr"] = recipe.rate(step)
    ids, document, at, targets = (
        torch.from_numpy(array).to(device) for array in (batch.ids, batch.document, batch.at, batch.targets)
    )
    seen = {key: rounded(value) for key, value in trainable.items() if value.ndim == 2} if recipe.rounded else {}
    loss = F.cross_entropy(functional_call(model, seen, (ids, document, at)), targets)
    model.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(trainable.values(), recipe.clip)
    for optimiser in optimisers:
        optimiser.step()
    return loss.detach()


def rounded(matrix: Tensor) -> Tensor:
    """``matrix`` with the values that int8 storage gives it (`weights.quantise_rows`), and its own gradient."""
    plain = matrix.detach()
    scale = (plain.abs().amax(1, keepdim=True) / 127).clamp_min(torch.finfo(torch.float16).tiny).half().float()
    return matrix + ((plain / scale).round().clamp(-127, 127) * scale - plain)


def _made_ahead(make: Callable[[int], Batch], steps: range, workers: int) -> Generator[Batch]:
    """``make(step)`` for each step in order, each of ``workers`` processes making every ``workers``-th one ahead.

    A pipe holds less than a batch, so a worker is never more than one ahead of what is asked for.
    Raises what ``make`` raises, or EOFError if a worker dies.
    """
    context, pipes = get_context("fork"), []
    for first in range(min(workers, len(steps))):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_send, args=(make, steps[first::workers], sender), daemon=True)
        process.start()
        sender.close()
        pipes.append((receiver, process))
    try:
        for index in range(len(steps)):
            made = pipes[index % workers][0].recv()
            if isinstance(made, Exception):
                raise made
            yield made
    finally:
        for receiver, process in pipes:
            process.terminate()
            process.join()
            receiver.close()


def _send(make: Callable[[int], Batch], steps: range, sender: Connection) -> None:
    try:
        for step in steps:
            sender.send(make(step))
    except Exception as error:  # noqa: BLE001 - raised again by the process that asked
        sender.send(error)


def _optimisers(trainable: dict[str, torch.nn.Parameter], recipe: Recipe) -> list[torch.optim.Optimizer]:
    """The chosen optimiser with weight decay for the matrices of the blocks; AdamW without for everything else."""
    deep = {key: value for key, value in trainable.items() if key.startswith("layers.") and value.ndim == 2}
    rest = [value for key, value in trainable.items() if key not in deep]
    optimisers: list[torch.optim.Optimizer] = []
    if recipe.optimiser == "muon":
        stacked = ((value, 3 if key.endswith("wqkv") else 1) for key, value in deep.items())
        optimisers.append(Muon(stacked, lr=recipe.lr, weight_decay=recipe.weight_decay))
    else:
        optimisers.append(
            torch.optim.AdamW(
                deep.values(), lr=recipe.lr, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True
            )
        )
    if rest:
        optimisers.append(torch.optim.AdamW(rest, lr=recipe.lr, betas=recipe.betas, weight_decay=0.0, fused=True))
    return optimisers


def _resume(
    out: Path,
    identity: dict[str, object],
    trainable: dict[str, torch.nn.Parameter],
    optimisers: list[torch.optim.Optimizer],
) -> tuple[int, float]:
    path = out / "last.pt"
    if not path.exists():
        (out / "log.jsonl").unlink(missing_ok=True)
        return 0, 0.0
    state = torch.load(path, weights_only=True)
    if state["identity"] != identity:
        raise ValueError(f"{out} holds another run: {state['identity']}; this one is {identity}")
    with torch.no_grad():
        for key, value in trainable.items():
            value.copy_(state["parameters"][key])
    for optimiser, kept in zip(optimisers, state["optimisers"], strict=True):
        optimiser.load_state_dict(kept)
    return state["step"], state["cpu_s"]


def _write(path: Path, value: object) -> None:
    partial = path.with_suffix(".partial")
    torch.save(value, partial)
    os.replace(partial, path)
