"""What is known of a candidate, as one vector that any router can compare with a prompt's."""

from __future__ import annotations

from .autoencoder import MaskedAutoencoder
from .centroid import blended, signed_centroid
from .design import Design, Learning, build
from .evidence import Card, EvidenceGraph

__all__ = [
    "Card",
    "Design",
    "EvidenceGraph",
    "Learning",
    "MaskedAutoencoder",
    "blended",
    "build",
    "signed_centroid",
]
