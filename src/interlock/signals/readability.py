"""Readability: how hard the prompt's prose is to read, by sentence length and syllables a word.

Source: Flesch, "A new readability yardstick", J. Applied Psychology 32 (1948); as a routing feature, cut at 20 and 30:
GreenServ (arXiv 2601.17551).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..encoder import excerpt
from ..types import Request, Signal
from .base import Reading
from .text import strip_preamble

_WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)?")
_SENTENCE = re.compile(r"[.!?]+(?=\s|$)|\n\s*\n")
_VOWELS = re.compile(r"[aeiouy]+")


def syllables(word: str) -> int:
    """Groups of vowels, without a silent final e; at least one."""
    word = word.lower()
    groups = len(_VOWELS.findall(word))
    silent = word.endswith("e") and not word.endswith(("le", "ee", "ye")) and groups > 1
    return max(1, groups - silent)


def complexity(text: str) -> float | None:
    """100 minus Flesch reading ease: about 0 (easy) to 100 (hard). None without a Latin word."""
    words = _WORD.findall(text)
    if not words:
        return None
    sentences = sum(1 for part in _SENTENCE.split(text) if _WORD.search(part))
    return 100.0 - (206.835 - 1.015 * len(words) / sentences - 84.6 * sum(map(syllables, words)) / len(words))


@dataclass(frozen=True)
class Readability:
    """`value` is 100 minus Flesch reading ease. Columns: the same in [0, 1], and whether it reaches 20 and 30.

    A prompt without a Latin word has value None and reads as of middling complexity.
    """

    name: ClassVar[str] = "readability"
    requires: ClassVar[tuple[str, ...]] = ()
    columns: ClassVar[tuple[str, ...]] = ("complexity", "medium", "hard")

    def read(self, request: Request, seen: Mapping[str, Reading]) -> Reading:
        text, covered = excerpt(strip_preamble(request.prompt)[0])
        value = complexity(text)
        known = 25.0 if value is None else value
        columns = (min(1.0, max(0.0, known / 100.0)), float(known >= 20.0), float(known >= 30.0))
        return Reading(Signal(self.name, value, covered if value is not None else 0.0), columns)
