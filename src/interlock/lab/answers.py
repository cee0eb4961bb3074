"""What every candidate of the embedded pool really answers to every prompt, so that choices can be judged exactly.

Generating is slow and repeatable: tables are kept in a folder, by the hash of weights, candidates and prompts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..offered import WORTH, embedded
from ..pocket.tasks import Example
from ..types import Array

PROMPTS = 3000
"""How many the experiments on pocket models draw from the bench for each seed, so that they share their answers."""


@dataclass(frozen=True)
class Table:
    """Every candidate on every prompt: quality (n, k), tokens (n, k, 3) read anew, read from cache and written.

    `prices` (k, 3) are USD per million of each kind of token.
    """

    names: tuple[str, ...]
    prices: Array
    quality: Array
    tokens: Array

    @cached_property
    def cost(self) -> Array:
        """USD, (n, k)."""
        return np.asarray((self.tokens * self.prices).sum(axis=2) / 1e6, dtype=np.float64)

    @cached_property
    def utility(self) -> Array:
        """What the embedded configuration wants: quality - WORTH x cost, (n, k)."""
        return self.quality - WORTH * self.cost

    def swapped(self, answers_of: Mapping[str, str], since: int = 0) -> Table:
        """The world in which, from one prompt on, each candidate named answers as another does, at its own price."""
        source = [self.names.index(answers_of.get(name, name)) for name in self.names]
        quality, tokens = self.quality.copy(), self.tokens.copy()
        quality[since:], tokens[since:] = quality[since:, source], tokens[since:, source]
        return replace(self, quality=quality, tokens=tokens)


def answer_all(
    examples: Sequence[Example], cache: Path, progress: Progress, title: str, names: Sequence[str] = ()
) -> Table:
    """Each candidate's real answer to each prompt; from `cache` when it has been asked before.

    `names` are pocket candidates, those of the embedded pool by default. Raises `NotFound` for an unknown one.
    """
    from ..pocket import PocketRequest, Pool
    from ..pocket.family import load_family

    family = load_family()
    names = names or [candidate["name"] for candidate in embedded()["candidates"]]
    candidates = [family.candidate(name) for name in names]
    prices = [[candidate.price_in, candidate.price_cached, candidate.price_out] for candidate in candidates]
    weights = _fingerprint({candidate.model for candidate in candidates})
    bar = progress.add_task(title, total=len(names) * len(examples))
    quality, tokens = np.zeros((len(examples), len(names))), np.zeros((len(examples), len(names), 3))
    pool: Pool | None = None
    try:
        for column, name in enumerate(names):
            key = hashlib.sha256("\n".join([weights, name, *(e.prompt for e in examples)]).encode()).hexdigest()
            path = cache / f"{name}-{key[:16]}.npz"
            if not path.exists():
                pool = pool or Pool.load()
                requests = [PocketRequest(prompt=e.prompt, candidate=name) for e in examples]
                results = pool.generate_many(requests, progress=lambda *_: progress.advance(bar))
                right = [e.verify(r.text) for e, r in zip(examples, results, strict=True)]
                used = [(r.usage.prompt - r.usage.cached, r.usage.cached, r.usage.completion) for r in results]
                cache.mkdir(parents=True, exist_ok=True)
                np.savez_compressed(path, quality=right, tokens=used)
            stored = np.load(path)
            quality[:, column], tokens[:, column] = stored["quality"], stored["tokens"]
            progress.update(bar, completed=(column + 1) * len(examples))
    finally:
        if pool is not None:
            pool.close()
    return Table(tuple(names), np.array(prices), quality, tokens)


def _fingerprint(models: set[str]) -> str:
    """The manifest's entries of these models and their adapters: what else is shipped does not change their answers."""
    from ..pocket.family import SHIPPED, load_family

    members = [member for name, member in load_family().members.items() if name in models]
    stems = {file.name for member in members for file in (member.file, *member.adapters)}
    entries = json.loads((SHIPPED / "manifest.json").read_text("utf-8"))
    return json.dumps({stem: entry for stem, entry in entries.items() if stem in stems}, indent=1) + "\n"


@contextmanager
def showing(console: Console) -> Iterator[Progress]:
    """The bars of an experiment."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress:
        yield progress
