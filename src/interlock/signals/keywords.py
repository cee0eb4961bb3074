"""Keywords: lists from the configuration, each matched by regular expression, BM25 or fuzzy comparison.

Source: BM25 weighting, Robertson & Zaragoza, "The Probabilistic Relevance Framework" (2009); fuzzy ratios by rapidfuzz.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from typing import Any, ClassVar

from rapidfuzz import fuzz, process

from ..encoder import excerpt
from ..errors import ConfigError, nearest
from ..types import Request, Signal
from .base import Reading

Match = Callable[[str], tuple[float, list[str]]]
"""From a text to a score in [0, 1] and the words that were found."""

_TOKEN = re.compile(r"\w+")
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT")
_SATURATION, _LENGTH_SHARE, _TYPICAL_LENGTH = 1.2, 0.5, 60.0
_MOST_TOKENS = 1_500


def nested_repeats(pattern: str) -> bool:
    """Whether an unbounded repeat stands inside another, as in `(a+)+`: such patterns can take exponential time."""
    from re import _parser as parser  # type: ignore[attr-defined]

    def search(node: Any, inside: bool) -> bool:
        if isinstance(node, tuple) and len(node) == 2 and str(node[0]) in _REPEATS:
            unbounded = node[1][1] == parser.MAXREPEAT
            return (unbounded and inside) or search(node[1][2], inside or unbounded)
        return isinstance(node, list | tuple | parser.SubPattern) and any(search(part, inside) for part in node)

    return search(parser.parse(pattern), False)


def _by_regex(words: Sequence[str], where: str) -> Match:
    for word in words:
        try:
            unsafe = nested_repeats(word)
        except (re.error, RecursionError, OverflowError) as error:
            raise ConfigError(f"{word!r} is not a regular expression: {error}", path=where) from error
        if unsafe:
            raise ConfigError(f"{word!r} repeats a repeat, which can take exponential time; rewrite it", path=where)
    pattern = re.compile("|".join(f"(?:{word})" for word in words), re.IGNORECASE)

    def match(text: str) -> tuple[float, list[str]]:
        found = [hit.group() for hit in pattern.finditer(text) if hit.group()]
        return float(bool(found)), found

    return match


def _by_bm25(words: Sequence[str], rarity: Mapping[str, float]) -> Match:
    """The list is the query and the text the document; 1 would be three of the rarest words, each said often."""
    tokens = {token for word in words for token in _TOKEN.findall(word.lower())}
    best = sum(sorted((rarity[token] for token in tokens), reverse=True)[:3]) * (_SATURATION + 1)

    def match(text: str) -> tuple[float, list[str]]:
        said = _TOKEN.findall(text.lower())
        length = _SATURATION * (1 - _LENGTH_SHARE + _LENGTH_SHARE * len(said) / _TYPICAL_LENGTH)
        times = Counter(token for token in said if token in tokens)
        score = sum(rarity[token] * n * (_SATURATION + 1) / (n + length) for token, n in times.items())
        return min(1.0, score / best), list(times)

    return match


def _by_fuzzy(words: Sequence[str]) -> Match:
    single = [word.lower() for word in words if len(word.split()) == 1]
    phrases = [word.lower() for word in words if len(word.split()) > 1]

    def match(text: str) -> tuple[float, list[str]]:
        lowered = text.lower()
        tokens = list(dict.fromkeys(_TOKEN.findall(lowered)))[:_MOST_TOKENS]
        scores = {}
        for word in single:
            hit = process.extractOne(word, tokens, scorer=fuzz.ratio)
            scores[word] = hit[1] / 100 if hit else 0.0
        for phrase in phrases:
            scores[phrase] = fuzz.partial_ratio(phrase, lowered) / 100
        best = max(scores, key=lambda word: scores[word])
        return scores[best], [best]

    return match


_THRESHOLDS = {"regex": 0.5, "bm25": 0.2, "fuzzy": 0.85}


@dataclass(frozen=True)
class Keywords:
    """`lists` maps a name to `{words: [...], match: regex | bm25 | fuzzy, threshold: 0..1}` (default: regex).

    `value` names the lists whose score reaches their threshold, best first, joined by commas; one column a list holds
    its score. The last user turn is read. Raises `ConfigError` for empty lists and patterns that do not compile.
    """

    lists: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    _matchers: dict[str, tuple[Match, float]] = field(init=False, repr=False, compare=False)

    name: ClassVar[str] = "keywords"
    requires: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        checked = {name: _checked(name, entry) for name, entry in self.lists.items()}
        rarity = _rarity([words for words, method, _ in checked.values() if method == "bm25"])
        matchers = {}
        for name, (words, method, threshold) in checked.items():
            where = f"signals.keywords.lists.{name}"
            match = (
                _by_regex(words, where)
                if method == "regex"
                else _by_bm25(words, rarity)
                if method == "bm25"
                else _by_fuzzy(words)
            )
            matchers[name] = (match, threshold)
        object.__setattr__(self, "_matchers", matchers)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.lists)

    def read(self, request: Request, seen: Mapping[str, Reading]) -> Reading:
        text, covered = excerpt(request.prompt)
        results = {name: match(text) for name, (match, _) in self._matchers.items()}
        hit = [name for name, (score, _) in results.items() if score >= self._matchers[name][1] and score > 0]
        hit.sort(key=lambda name: -results[name][0])
        evidence = "; ".join(f"{name}: {', '.join(results[name][1][:5])}" for name in hit)
        return Reading(Signal(self.name, ",".join(hit), covered, evidence), [score for score, _ in results.values()])


def _checked(name: str, entry: Mapping[str, Any]) -> tuple[list[str], str, float]:
    where = f"signals.keywords.lists.{name}"
    unknown = set(entry) - {"words", "match", "threshold"}
    if unknown:
        key = sorted(unknown)[0]
        raise ConfigError(f"unknown key {key!r}; {nearest(key, ['words', 'match', 'threshold'])}", path=where)
    method = entry.get("match", "regex")
    if method not in _THRESHOLDS:
        raise ConfigError(f"unknown match {method!r}; {nearest(str(method), list(_THRESHOLDS))}", path=f"{where}.match")
    words = entry.get("words")
    if not isinstance(words, list | tuple) or not words:
        raise ConfigError("`words` must be a list of at least one word or pattern", path=f"{where}.words")
    for word in words:
        if not isinstance(word, str) or not word or (method == "bm25" and not _TOKEN.search(word)):
            raise ConfigError(f"{word!r} cannot be matched by {method}; give a word in quotes", path=f"{where}.words")
    threshold = entry.get("threshold", _THRESHOLDS[method])
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
        raise ConfigError(f"`threshold` must be a number in [0, 1], not {threshold!r}", path=f"{where}.threshold")
    return list(words), str(method), float(threshold)


def _rarity(lists: Sequence[Sequence[str]]) -> dict[str, float]:
    """Inverse document frequency of each token over the BM25 lists: words that stand in many lists tell less."""
    holding = Counter(token for words in lists for token in {t for w in words for t in _TOKEN.findall(w.lower())})
    return {token: log(1 + (len(lists) - n + 0.5) / (n + 0.5)) for token, n in holding.items()}
