"""Static text encoder: a WordPiece tokenizer and a table with one weighted vector per piece; a text is their mean.

The table is distilled offline from a sentence transformer (`scripts/distil_encoder.py`), weights already multiplied in,
so encoding is one gather and one small matrix product: tens of microseconds, numpy alone, nothing downloaded.

Source: Potion/Model2Vec static embeddings (https://github.com/MinishLab/model2vec); teacher all-MiniLM-L6-v2.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .errors import WeightsError

DATA = Path(__file__).with_name("data")

WHOLE = 6_000
"""Texts up to this many characters are read whole; of longer ones `excerpt` takes about as many."""

_EDGE = 2_000
_WINDOWS = 8
_CACHED_WORDS = 1 << 15
_LONGEST_WORD = 48
_WORD = re.compile(r"[^\W_]+|[^\w\s]|_")
_IDEOGRAPH = re.compile(
    r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f]|[^\u3400-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f]+"
)


def excerpt(text: str) -> tuple[str, float]:
    """What is read of a text, and the share of its characters that is: all of it up to `WHOLE` characters.

    Longer texts give their beginning, their end and evenly spaced windows between, so a question that stands after
    (or inside) a long document still counts.
    """
    if len(text) <= WHOLE:
        return text, 1.0
    width = (WHOLE - 2 * _EDGE) // _WINDOWS
    stride = (len(text) - 2 * _EDGE - width) / (_WINDOWS - 1)
    starts = (_EDGE + int(i * stride) for i in range(_WINDOWS))
    middle = " ".join(text[start : start + width] for start in starts)
    return f"{text[:_EDGE]} {middle} {text[-_EDGE:]}", WHOLE / len(text)


class WordPiece:
    """Uncased WordPiece as BERT has it: longest match first within words, `##` before pieces that continue a word.

    `vocabulary` lists the pieces by id and must contain `[UNK]`. Never raises on text.
    """

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self.ids = {piece: index for index, piece in enumerate(vocabulary)}
        if "[UNK]" not in self.ids:
            raise WeightsError("the encoder's vocabulary has no [UNK] piece")
        self._unknown = (self.ids["[UNK]"],)
        self._cache: dict[str, tuple[int, ...]] = {}

    def encode(self, text: str) -> list[int]:
        """The ids of a text's pieces, without any special tokens."""
        if not text.isascii():
            text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
        found: list[int] = []
        known = self._cache
        for word in _WORD.findall(text.lower()):
            pieces = known.get(word)
            found += self._learn(word) if pieces is None else pieces
        return found

    def _learn(self, word: str) -> tuple[int, ...]:
        parts = [word] if word.isascii() else _IDEOGRAPH.findall(word)
        cut = (part[i : i + _LONGEST_WORD] for part in parts for i in range(0, len(part), _LONGEST_WORD))
        pieces = tuple(piece for part in cut for piece in self._split(part))
        if len(self._cache) >= _CACHED_WORDS:
            self._cache = {}
        if len(word) <= _LONGEST_WORD:
            self._cache[word] = pieces
        return pieces

    def _split(self, word: str) -> tuple[int, ...]:
        pieces, start, ids = [], 0, self.ids
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(len(word), start, -1):
                piece = ids.get(prefix + word[start:end])
                if piece is not None:
                    break
            else:
                return self._unknown
            pieces.append(piece)
            start = end
        return tuple(pieces)


class Encoder:
    """Texts to unit vectors. `table` (pieces, d) int8 and `scale` (pieces,) float32: row i is table[i] * scale[i]."""

    def __init__(self, tokenizer: WordPiece, table: NDArray[np.int8], scale: NDArray[np.float32]) -> None:
        self.tokenizer, self.table, self.scale = tokenizer, table, scale

    @classmethod
    @cache
    def load(cls, folder: Path = DATA) -> Self:
        """The packaged encoder, loaded once. Raises `WeightsError` if a file is missing or damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            vocabulary = (folder / "encoder.vocab.txt").read_text("utf-8").split("\n")
            tensors = load_file(folder / "encoder.safetensors")
            table, scale = tensors["table"], tensors["scale"].astype(np.float32)
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise WeightsError(f"the encoder in {folder} cannot be read: {error}; reinstall interlock") from error
        if table.dtype != np.int8 or len(vocabulary) != len(table) or scale.shape != (len(table),):
            sizes = f"{len(vocabulary)} pieces, table {table.shape}, scale {scale.shape}"
            raise WeightsError(f"the encoder in {folder} is damaged: {sizes}; reinstall interlock")
        return cls(WordPiece(vocabulary), table, scale)

    @property
    def dim(self) -> int:
        return int(self.table.shape[1])

    def encode(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """(n, d) float32 rows of length 1, or zero rows for texts without any word or symbol. Never raises on text."""
        rows = [self.encode_one(text) for text in texts]
        return np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)

    def encode_one(self, text: str) -> NDArray[np.float32]:
        """(d,) float32: what `encode` gives for one text."""
        return self.embed(self.tokenizer.encode(excerpt(text)[0]))

    def embed(self, pieces: Sequence[int]) -> NDArray[np.float32]:
        """(d,) float32 of length 1 for piece ids; zero for none."""
        return unit(self.total(pieces))

    def total(self, pieces: Sequence[int]) -> NDArray[np.float32]:
        """(d,) float32: the sum of the pieces' weighted vectors."""
        ids = np.array(pieces, np.intp)
        total: NDArray[np.float32] = self.scale[ids] @ self.table[ids]
        return total


def unit(total: NDArray[np.float32]) -> NDArray[np.float32]:
    """A sum of vectors brought to length 1; zero stays zero."""
    length = float(total @ total) ** 0.5
    return total / np.float32(length) if length > 0 else np.zeros(len(total), np.float32)
