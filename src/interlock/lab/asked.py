"""Any pocket candidates asked any prompts, several times if wanted: texts, whether right, confidence, tokens.

`answers` does the same for the embedded pool with what routing needs alone. Kept in a folder, by hash of the asking.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..pocket.tasks import Example
from ..types import Array


@dataclass(frozen=True)
class Asked:
    """n prompts by k candidates by s samples. `cost` is active parameters x tokens read and written, per million."""

    candidates: tuple[str, ...]
    text: NDArray[np.str_]
    right: Array
    confidence: Array
    cost: Array


def ask(
    prompts: Sequence[str],
    verify: Sequence[Callable[[str], bool]],
    candidates: Sequence[str],
    cache: Path,
    *,
    samples: int = 1,
    temperature: float = 0.0,
    done: Callable[[int], object] = lambda _: None,
) -> Asked:
    """`done` is told how many candidates have just been finished."""
    from ..pocket import PocketRequest, Pool
    from ..pocket.family import SHIPPED, load_family

    weights, family = (SHIPPED / "manifest.json").read_text(), load_family()
    pool: Pool | None = None
    parts = []
    try:
        for name in candidates:
            asked = "\n".join([weights, name, f"{samples} {temperature}", *prompts])
            path = cache / f"{name}-{hashlib.sha256(asked.encode()).hexdigest()[:16]}.npz"
            if not path.exists():
                pool = pool or Pool.load()
                requests = [
                    PocketRequest(prompt=prompt, candidate=name, temperature=temperature, seed=1000 * sample + row)
                    for row, prompt in enumerate(prompts)
                    for sample in range(samples)
                ]
                results = pool.generate_many(requests)
                shape = len(prompts), samples
                cache.mkdir(parents=True, exist_ok=True)
                np.savez_compressed(
                    path,
                    text=np.array([result.text for result in results], dtype=np.str_).reshape(shape),
                    confidence=np.reshape([result.confidence for result in results], shape),
                    tokens=np.reshape([result.usage.prompt + result.usage.completion for result in results], shape),
                )
            with np.load(path) as stored:
                price = family.candidates[name].active_params / 1e6
                parts.append((stored["text"], stored["confidence"], price * stored["tokens"]))
            done(1)
    finally:
        if pool is not None:
            pool.close()
    text, confidence, cost = (np.stack(column, axis=1) for column in zip(*parts, strict=True))
    right = np.array(
        [[[check(answer) for answer in row] for row in rows] for rows, check in zip(text.tolist(), verify, strict=True)]
    )
    return Asked(tuple(candidates), text, right.astype(np.float64), confidence, cost)


def ask_examples(
    examples: Sequence[Example],
    candidates: Sequence[str],
    cache: Path,
    *,
    samples: int = 1,
    temperature: float = 0.0,
    done: Callable[[int], object] = lambda _: None,
) -> Asked:
    """The prompts and verifiers of tasks."""
    prompts, verify = [e.prompt for e in examples], [e.verify for e in examples]
    return ask(prompts, verify, candidates, cache, samples=samples, temperature=temperature, done=done)
