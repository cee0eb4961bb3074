"""A configuration for people who have none: what the environment offers, else the embedded pocket pool."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from .config import Document
from .providers import Found, detect

if TYPE_CHECKING:
    from .pocket.family import PocketCandidate

HERE = Path("interlock.yaml")
HOSTED = Path(__file__).parent / "data" / "hosted.yaml"
"""Models of well-known providers with their list prices and the date these were read."""

WORTH = 2000.0
"""Default trade: what one USD of pocket tokens weighs against a right answer. One costs USD 0.00001 to 0.0001."""

EMBEDDED = ("nano", "micro", "small")
"""The models of the embedded pool. `base`, right most often, costs 3.7 times what `small` does and takes 40 MB more."""

NOTABLE = 0.005
"""Share of the bench's prompts for which a pocket candidate must be the best buy to be part of the embedded pool."""


class Offer(NamedTuple):
    """A configuration and why it was chosen, in words for the terminal and the page."""

    document: Document
    because: str
    notes: tuple[str, ...] = ()


def offer(environment: Mapping[str, str] = os.environ, *, only_pocket: bool = False) -> Offer:
    """`interlock.yaml` in this directory, else providers the environment has keys for, else the pocket pool.

    Blocks for a moment while it looks. Raises `ConfigError`.
    """
    if HERE.exists() and not only_pocket:
        return Offer(Document.read(HERE), f"{HERE} in this directory")
    found, notes = ([], []) if only_pocket else _detected(environment)
    if found:
        return Offer(Document(hosted(found)), "; ".join(one.because for one in found), tuple(notes))
    return Offer(
        Document(embedded()), "no key, no Ollama and no interlock.yaml: the embedded pocket pool", tuple(notes)
    )


def _detected(environment: Mapping[str, str]) -> tuple[list[Found], list[str]]:
    """What `detect` found and can answer. In a thread: a notebook, for one, runs an event loop already."""
    with ThreadPoolExecutor(1) as thread:
        found, notes = thread.submit(asyncio.run, detect(environment)).result()
    idle = [one for one in found if not one.secret and not one.models]
    return [one for one in found if one not in idle], [*notes, *(f"{one.because}, but serves no model" for one in idle)]


def hosted(found: list[Found]) -> dict[str, Any]:
    """A configuration over detected providers. An Ollama's own models are free and private."""
    catalogue = yaml.safe_load(HOSTED.read_text("utf-8"))
    providers: dict[str, Any] = {}
    candidates: list[dict[str, Any]] = []
    for one in found:
        name = "ollama" if one.models else one.kind
        providers[name] = {"kind": one.kind, "base_url": one.base_url}
        if one.secret:
            providers[name]["api_key"] = f"env:{one.secret}"
        known = catalogue["models"].get(one.kind, []) if not one.models else []
        candidates += [{"provider": name, **model} for model in known]
        free = {"provider": name, "price": {"in": 0, "out": 0}, "trust": "private"}
        candidates += [{"name": model.replace("/", "-"), "model": model, **free} for model in one.models]
    return {
        "providers": providers,
        "candidates": candidates,
        "policy": {"objective": {"kind": "weighted", "quality": 1.0, "cost": 20.0}},
    }


def embedded() -> dict[str, Any]:
    """The pocket pool: every candidate that is the best buy for a notable share of prompts on the calibration split."""
    from .pocket.family import load_family

    family = load_family(names=EMBEDDED)
    chosen = best_buys(list(family.candidates.values()))
    candidates = []
    for known in family.candidates.values():
        if known.name not in chosen:
            continue
        profile = known.profile
        measured = {"quality": profile.get("accuracy"), "output_tokens": profile.get("completion_tokens")}
        candidates.append(
            {
                "name": known.name,
                "provider": "pocket",
                "model": known.name,
                "budget": known.budget,
                "price": {"in": known.price_in, "out": known.price_out, "cached": known.price_cached},
                "context_window": known.context_window,
                "capabilities": dict.fromkeys(("tools", "json", "image", "audio", "file"), "no"),
                "trust": "private",
                **{key: value for key, value in measured.items() if value},
            }
        )
    return {
        "providers": {"pocket": {"kind": "pocket", "models": list(EMBEDDED)}},
        "candidates": candidates,
        "vector": ["tokens", "structure", "task", "difficulty", "embedding"],
        "policy": {
            "estimator": {"kind": "logistic"},
            "objective": {"kind": "weighted", "quality": 1.0, "cost": WORTH},
            "exploration": {"kind": "thompson", "scale": 0.3},
        },
    }


def best_buys(family: Sequence[PocketCandidate]) -> set[str]:
    """The candidates with the highest accuracy - WORTH x cost on at least `NOTABLE` of the bench's prompts.

    Without a calibration, the answers at once and with a scratchpad of every model.
    """
    from .pocket.mix import bench_weights

    known = [candidate for candidate in family if candidate.profile]
    if not known:
        return {candidate.name for candidate in family if candidate.budget in ("t0", "t1")}
    shares: defaultdict[str, float] = defaultdict(float)
    for (task, level), weight in bench_weights().items():
        cells = {c.name: (c, c.profile["tasks"].get(task, {}).get(str(level))) for c in known}
        worth = {
            name: cell["accuracy"] - WORTH * c.price_in * (cell["prompt_tokens"] + cell["completion_tokens"]) / 1e6
            for name, (c, cell) in cells.items()
            if cell is not None
        }
        if worth:
            shares[max(worth, key=worth.__getitem__)] += weight
    return {name for name, share in shares.items() if share >= NOTABLE}
