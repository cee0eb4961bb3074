"""A retrieval task that every lab installation has: docstrings of numpy, scipy, scikit-learn and pandas.

A document is a docstring's body without its summary, at most 300 words; queries about it are the summary, the summary
with typing errors, the bare name, and three of its rarer words.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import random
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

PACKAGES = ("numpy", "scipy", "sklearn", "pandas")
KINDS = ("summary", "typos", "name", "rare words")
_SKIPPED = ("tests", "conftest", "testing", "f2py", "distutils", "externals", "core")
_LEAST, _MOST = 60, 300  # words of a body


class Document(NamedTuple):
    name: str
    summary: str
    body: str


def documents(most: int | None = None) -> list[Document]:
    """Public functions, classes and methods with a summary and a body of 60 words or more; equal summaries once."""
    found: dict[str, Document] = {}
    for name, thing in _public():
        text = inspect.getdoc(thing) or ""
        summary, _, body = text.partition("\n\n")
        words = body.split()
        if summary and len(words) >= _LEAST:
            found.setdefault(summary, Document(name, " ".join(summary.split()), " ".join(words[:_MOST])))
        if most is not None and len(found) >= most:
            break
    return list(found.values())


def _public() -> Iterator[tuple[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for package in PACKAGES:
            for module in _modules(package):
                for name in dir(module):
                    thing = None if name.startswith("_") else getattr(module, name, None)
                    home = str(getattr(thing, "__module__", "")).split(".")[0]
                    if home not in PACKAGES or not callable(thing):
                        continue
                    yield name, thing
                    if inspect.isclass(thing):
                        members = {key: value for key, value in vars(thing).items() if not key.startswith("_")}
                        yield from ((f"{name}.{key}", value) for key, value in members.items() if callable(value))


def _modules(package: str) -> Iterator[Any]:
    root = importlib.import_module(package)
    yield root
    for module in pkgutil.iter_modules(root.__path__):
        if not module.name.startswith("_") and module.name not in _SKIPPED:
            try:
                yield importlib.import_module(f"{package}.{module.name}")
            except ImportError:  # it needs something that is not installed
                continue


def queries(corpus: Sequence[Document], seed: int) -> dict[str, list[str]]:
    """One query of each of `KINDS` about each document."""
    rng = random.Random(seed)
    spread = Counter(word for document in corpus for word in set(_words(document.body)))
    return {
        "summary": [document.summary for document in corpus],
        "typos": [with_typos(document.summary, rng) for document in corpus],
        "name": [document.name for document in corpus],
        "rare words": [rare_words(document.body, spread, rng) for document in corpus],
    }


def _words(text: str) -> list[str]:
    return [word.strip(".,:;()[]`'\"").lower() for word in text.split()]


def rare_words(body: str, spread: Counter[str], rng: random.Random) -> str:
    """Three of the ten words of the body, letters only, that the fewest documents share."""
    words = sorted({word for word in _words(body) if word.isalpha() and len(word) > 3}, key=lambda w: (spread[w], w))
    return " ".join(rng.sample(words[:10], min(3, len(words))))


def with_typos(text: str, rng: random.Random) -> str:
    """60% of the words over four letters with one letter lost, doubled, exchanged or another."""
    return " ".join(_mistyped(word, rng) if len(word) > 4 and rng.random() < 0.6 else word for word in text.split())


def _mistyped(word: str, rng: random.Random) -> str:
    at = rng.randrange(1, len(word) - 1)
    return (
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + rng.choice("abcdefghijklmnopqrstuvwxyz") + word[at + 1 :],
    )[rng.randrange(4)]
