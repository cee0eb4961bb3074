"""A configuration for people who have none: what the environment offers, else the embedded pocket pool."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
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

WORTH = 1000.0
"""Default trade: what one USD of pocket tokens weighs against a right answer. One costs USD 0.00001 to 0.0001."""


class Offer(NamedTuple):
    """A configuration and why it was chosen, in words for the terminal and the page."""

    document: Document
    because: str
    notes: tuple[str, ...] = ()


def offer(environment: Mapping[str, str] = os.environ, *, only_pocket: bool = False) -> Offer:
    """`interlock.yaml` in this directory, else providers the environment has keys for, else the pocket pool.

    Must not be called inside a running event loop. Raises `ConfigError`.
    """
    if HERE.exists() and not only_pocket:
        return Offer(Document.read(HERE), f"{HERE} in this directory")
    found, notes = ([], []) if only_pocket else asyncio.run(detect(environment))
    if found:
        return Offer(Document(hosted(found)), "; ".join(one.because for one in found), tuple(notes))
    return Offer(
        Document(embedded()), "no key, no Ollama and no interlock.yaml: the embedded pocket pool", tuple(notes)
    )


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
    """The pocket pool: every candidate that is the best buy for some kind of prompt on the calibration split."""
    from .pocket.family import load_family

    family = load_family()
    chosen = best_buys(family.candidates)
    candidates = []
    for name, known in family.candidates.items():
        if (chosen and name not in chosen) or (not chosen and known.budget not in ("t0", "t1")):
            continue
        price = {"in": known.price_in, "out": known.price_out, "cached": known.price_cached}
        measured = {"quality": known.profile.get("accuracy"), "output_tokens": known.profile.get("completion_tokens")}
        candidates.append(
            {
                "name": name,
                "provider": "pocket",
                "model": name,
                "budget": known.budget,
                "price": price,
                "context_window": known.context_window,
                "capabilities": dict.fromkeys(("tools", "json", "image", "audio", "file"), "no"),
                "trust": "private",
                **{key: value for key, value in measured.items() if value},
            }
        )
    return {
        "providers": {"pocket": {"kind": "pocket"}},
        "candidates": candidates,
        "vector": ["tokens", "structure", "task", "difficulty", "embedding"],
        "policy": {
            "estimator": {"kind": "ridge", "forgetting": 0.998},
            "objective": {"kind": "weighted", "quality": 1.0, "cost": WORTH},
            "exploration": {"kind": "thompson"},
        },
    }


def best_buys(family: Mapping[str, PocketCandidate]) -> set[str]:
    """The candidates with the highest accuracy - WORTH x cost in at least one (task, level) cell of the calibration."""
    cells: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for name, candidate in family.items():
        for task, levels in candidate.profile.get("tasks", {}).items():
            for level, cell in levels.items():
                paid = cell["prompt_tokens"] * candidate.price_in + cell["completion_tokens"] * candidate.price_out
                cells.setdefault((task, level), []).append((cell["accuracy"] - WORTH * paid / 1e6, name))
    return {max(entries)[1] for entries in cells.values()}
