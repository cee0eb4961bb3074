"""Plain prompts, read in one pass for all signals: words are split and looked up once, whatever is counted of them.

Most of what signals count is a sum over words: pieces, vectors, evidence for a language, what a word looks like. A
`Lexicon` keeps one row of all these a word, so that a prompt costs one look-up a word and one sum of rows, and each
source takes its columns of that sum. Prompts that are not plain (letters beyond ASCII, control characters) are read by
each source on its own; both ways give the same numbers, but for rounding.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..encoder import Encoder, excerpt
from ..types import Request
from . import language, structure
from .base import Readings
from .text import strip_preamble

CAPACITY = 1 << 14  # words; as float32 rows about 10 MB when it is full
LONGEST = 48  # letters of a word that is worth remembering
MOST = 24_000  # characters that are tallied at once, so that their words fit in

_SEPARATED = bytes(b if chr(b).isascii() and chr(b).isalnum() else 32 for b in range(256))
_MARKS = np.array([b for b in range(33, 127) if not chr(b).isalnum()], np.intp)
_CONTROL = bytes(b for b in range(128) if (b < 32 and b not in b"\t\n\r") or b == 127)


class Counted(NamedTuple):
    """Sums over a text's words and marks: `pieces` of WordPiece, the weighted `vector` (d,) float32, `evidence` by
    language and `looks` (see structure.py); `words` and the `longest` word's length; `bytes`, how often each stands.
    """

    pieces: float
    vector: NDArray[np.float32]
    evidence: NDArray[np.float32]
    looks: NDArray[np.float32]
    words: int
    longest: int
    bytes: NDArray[np.intp]


class Lexicon:
    """One row of numbers a word, learnt when a word is first met; emptied when it is full. Usable from any thread."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        ends = np.cumsum([1, len(language.CODES), len(structure.LOOKS), encoder.dim]).tolist()
        self._evidence, self._looks, self._vector = (slice(*span) for span in pairwise(ends))
        self._rows = np.empty((CAPACITY, ends[-1]), np.float32)
        self._lengths = np.empty(CAPACITY, np.intp)
        self._ids: dict[bytes, int] = {}
        self._used = 0
        self._ones = np.ones(CAPACITY, np.float32)
        self._of_marks = np.stack([self._row(chr(mark)) for mark in _MARKS])
        self._lock = threading.Lock()

    def count(self, text: bytes) -> Counted:
        """`text` is plain and has at most `MOST` characters."""
        words = text.translate(_SEPARATED).split()
        with self._lock:
            if self._used + len(words) > CAPACITY:
                self._ids, self._used = {}, 0
            known, learn = self._ids.get, self._learn
            ids = [learn(word) if (found := known(word)) is None else found for word in words]
            at = np.array(ids, np.intp)
            total = self._ones[: len(ids)] @ self._rows.take(at, axis=0)
            longest = int(self._lengths[at].max(initial=0))
        counts = np.bincount(np.frombuffer(text, np.uint8), minlength=128)
        total += counts[_MARKS].astype(np.float32) @ self._of_marks
        return Counted(
            float(total[0]),
            total[self._vector],
            total[self._evidence],
            total[self._looks],
            len(words),
            longest,
            counts,
        )

    def _learn(self, word: bytes) -> int:
        at = self._used
        self._used += 1
        self._rows[at], self._lengths[at] = self._row(word.decode()), len(word)
        if len(word) <= LONGEST:
            self._ids[word] = at
        return at

    def _row(self, word: str) -> NDArray[np.float32]:
        pieces = self._encoder.tokenizer.encode(word)
        vector = self._encoder.total(pieces)
        return np.concatenate(
            ([len(pieces)], language.of_word(word), structure.of_word(word), vector), dtype=np.float32
        )


lexicon = cache(Lexicon)  # one an encoder


class Prompt(NamedTuple):
    """A plain prompt: `whole`, and what is read of its question once `examples` worked ones are cut off (see text.py).

    `covered` is the share of the question that `text` holds.
    """

    whole: str
    question: str
    examples: int
    text: str
    covered: float


class Plain:
    """A batch of requests with plain prompts."""

    def __init__(self, requests: Sequence[Request], prompts: Sequence[Prompt]) -> None:
        self.requests, self.prompts = requests, prompts
        self._counted: tuple[Encoder, list[Counted]] | None = None

    def counted(self, encoder: Encoder | None = None) -> list[Counted]:
        """The sums of each prompt's `text`, made when a source first asks for them; without `encoder`, by any."""
        kept = self._counted
        if kept is None or (encoder is not None and kept[0] is not encoder):
            encoder = encoder or Encoder.load()
            count = lexicon(encoder).count
            kept = self._counted = encoder, [count(prompt.text.encode()) for prompt in self.prompts]
        return kept[1]


def is_plain(text: str) -> bool:
    """Whether it holds nothing but printable ASCII, spaces, tabs and line breaks."""
    return text.isascii() and len(text.encode().translate(None, _CONTROL)) == len(text)


def plain(request: Request) -> Prompt | None:
    """The request's prompt if it is plain."""
    whole = request.prompt
    if not is_plain(whole):
        return None
    question, examples = strip_preamble(whole)
    return Prompt(whole, question, examples, *excerpt(question))


def silent(batch: Plain, read: Readings, column: float) -> Readings:
    """`read`, but nothing with confidence 0 (and `column` in every column) for prompts that are empty."""
    empty = [i for i, prompt in enumerate(batch.prompts) if not prompt.whole or prompt.whole.isspace()]
    if not empty:
        return read
    values, confidence, columns = list(read.values), list(read.confidence), read.columns.copy()
    for i in empty:
        values[i], confidence[i], columns[i] = None, 0.0, column
    return Readings(values, columns, confidence, read.evidence)
