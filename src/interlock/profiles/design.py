"""The design space of profiles: organisational form x representation x depth of aggregation x learning.

Source: RouteProfile (arXiv 2605.00180). Its text form summarises neighbourhoods with a language model; ours quotes the
strongest neighbours, so that a profile costs no generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..types import Array
from .autoencoder import MaskedAutoencoder
from .evidence import KINDS, EvidenceGraph, Kind

Form = Literal["index", "flat", "structured"]
Representation = Literal["text", "embedding"]
Learning = Literal["none", "self_supervised"]

QUOTED = 24
"""Neighbours that a text profile quotes."""


@dataclass(frozen=True)
class Design:
    """`index`: a random vector a model. `flat`: the card and sampled neighbours, whatever they say. `structured`: the
    neighbours by what they say, `depth` hops far. `kinds` are the nodes that count as evidence."""

    form: Form = "structured"
    representation: Representation = "embedding"
    depth: int = 1
    learning: Learning = "none"
    kinds: Sequence[Kind] = KINDS
    signed: bool = True

    def __post_init__(self) -> None:
        if self.learning == "self_supervised" and (self.form, self.representation) != ("structured", "embedding"):
            raise ValueError("self-supervised profiles are structured embeddings: there is nothing else to mask")
        if not 0 <= self.depth <= 4:
            raise ValueError(f"depth {self.depth}, expected 0 to 4 hops")

    @property
    def name(self) -> str:
        if self.form == "index":
            return "index"
        hops = f" x{self.depth}" if self.form == "structured" else ""
        return f"{self.form} {'trained ' if self.learning != 'none' else ''}{self.representation}{hops}"


def build(graph: EvidenceGraph, design: Design, seed: int = 0) -> Array:
    """Profiles (models, d) in the order of `graph.models()`."""
    rng = np.random.default_rng(seed)
    names = graph.models()
    if design.form == "index":
        return rng.normal(size=(len(names), graph.features().shape[1]))
    if design.learning == "self_supervised":
        return MaskedAutoencoder(depth=design.depth, seed=seed).profiles(graph, design.kinds)
    if design.representation == "text":
        return graph.encode([_text(graph, name, design, rng) for name in names])
    if design.form == "structured":
        return graph.propagate(design.depth, kinds=design.kinds, signed=design.signed)
    features = graph.features()
    at = {(node.kind, node.name): i for i, node in enumerate(graph.nodes)}
    rows = []
    for name in names:
        near = _sampled(graph, name, design, rng)
        rows.append(
            np.mean([features[at["model", name]], *(features[at[kind, other]] for kind, other in near)], axis=0)
        )
    return np.stack(rows)


def _sampled(graph: EvidenceGraph, name: str, design: Design, rng: np.random.Generator) -> list[tuple[Kind, str]]:
    """Some neighbours, drawn without regard to what they say."""
    found = graph.evidence(name, design.kinds)
    chosen = rng.permutation(len(found))[:QUOTED]
    return [(found[i][0].kind, found[i][0].name) for i in chosen]


def _text(graph: EvidenceGraph, name: str, design: Design, rng: np.random.Generator) -> str:
    """The card and what neighbours say: for a structured profile the strongest in favour, else a sample."""
    card = next(node.text for node in graph.nodes if node.kind == "model" and node.name == name)
    found = graph.evidence(name, design.kinds)
    if design.form == "flat":
        found = [found[i] for i in rng.permutation(len(found))]
    else:
        found = [pair for pair in found if pair[1] > 0.0]
    quoted = [node.text or node.name for node, _ in found[: QUOTED * max(design.depth, 1)]]
    return " ".join([card, *quoted])
