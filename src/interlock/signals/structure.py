"""Structure: what can be counted in a prompt. Counts are log-scaled, so a step from 3 to 4 list items shows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_letters, ascii_uppercase
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..encoder import excerpt
from ..types import Request, Signal
from .base import Reading, Readings
from .text import strip_preamble

if TYPE_CHECKING:
    from .plain import Counted, Plain, Prompt

# Every byte becomes its class: U upper, l lower, d digit, x beyond ASCII, c control; punctuation and space stay.
_CLASS = bytes(
    0x55 if 65 <= b <= 90 else 0x6C if 97 <= b <= 122 else 0x64 if 48 <= b <= 57 else 0x78 if b >= 128
    else 0x63 if (b < 32 and b not in (9, 10, 13)) or b == 127 else b
    for b in range(256)
)  # fmt: skip
_NUMBER = re.compile(rb"d+(?:[.,]d+)*")
_UPPER = re.compile(rb"UU+")
_CAPITALISED = re.compile(rb"(?<![Uldx])U[lx]")
_CODE_WORD = re.compile(rb"(?<![Uldx])UU?U?d+(?![Uldx])")
_SENTENCE = re.compile(rb"[.!?](?=\s|$)")
_CLOCK = re.compile(rb"dd?:dd")
_DIGITS = re.compile(r"[0-9]+(?:[.,][0-9]+)*")
_CLOCK_TIME = re.compile(r"[0-9][0-9]?:[0-9][0-9]")
_BRACKET = re.compile(rb"[()\[\]{}<>]")
_WORD = re.compile(r"\w+")
_UPPER_WORD = re.compile(r"[A-Z]{2,}")
_CHOICE = re.compile(r"(?m)^[ \t]*\(?[A-Ja-j1-9][).:][ \t]")
_BULLET = re.compile(r"(?m)^[ \t]*(?:[-*•]|\d+\.)[ \t]")
_LOGIC = frozenset(
    (
        "and",
        "or",
        "not",
        "xor",
        "if",
        "then",
        "implies",
        "T",
        "F",
        "true",
        "false",
        "True",
        "False",
        "AND",
        "OR",
        "NOT",
        "XOR",
        "If",
    )
)
_KEYWORDS = frozenset(
    (
        "def",
        "class",
        "return",
        "import",
        "lambda",
        "elif",
        "const",
        "void",
        "struct",
        "assert",
        "print",
        "printf",
        "self",
        "int",
        "var",
    )
)
_PROGRAM = ("```", "=>", "->", "==", "!=", ";\n", "{\n", "}\n", "()", "):", "];", "++", "#include", "SELECT ")
_LATEX = re.compile(r"\\[a-zA-Z]+|\$[^$\n]+\$|[\^_]\{")
_LINK = re.compile(r"https?://|www\.")
_OPENING = frozenset(b"([{<")

LOOKS = ("upper_runs", "capitalised", "code_words", "logic", "program")
"""The counts that are sums over words."""

_COUNTS: tuple[tuple[str, float], ...] = (
    ("characters", 1e5), ("words", 1e4), ("lines", 1e3), ("sentences", 200), ("digits", 500), ("numbers", 200),
    ("longest_number", 20), ("longest_word", 40), ("longest_upper", 24), ("upper_runs", 50), ("capitalised", 200),
    ("code_words", 400), ("distinct_upper", 26), ("commas", 200), ("colons", 50), ("semicolons", 50), ("questions", 10),
    ("exclamations", 10), ("quotes", 50), ("round", 60), ("square", 60), ("curly", 60), ("angle", 60), ("open", 20),
    ("depth", 12), ("plus", 20), ("minus", 20), ("times", 20), ("slashes", 20), ("equals", 20), ("percent", 20),
    ("currency", 20), ("clock_times", 10), ("logic", 30), ("choices", 12), ("bullets", 50), ("program", 100),
    ("latex", 50), ("links", 10), ("examples", 10), ("control", 20), ("identifiers", 50),
)  # fmt: skip
_SHARES = ("upper_share", "digit_share", "symbol_share", "non_ascii_share")
_INVERSE = np.array([1.0 / np.log1p(most) for _, most in _COUNTS])
_AT = {name: place for place, (name, _) in enumerate(_COUNTS)}

# Counts that are sums over bytes, for all bytes at once; the last few are no columns but say where to look closer.
_MARKS = {
    "lines": "\n", "digits": "0123456789", "commas": ",", "colons": ":", "semicolons": ";", "questions": "?",
    "exclamations": "!", "quotes": "\"'`", "round": "()", "square": "[]", "curly": "{}", "angle": "<>", "plus": "+",
    "minus": "-", "times": "*", "slashes": "/", "equals": "=", "percent": "%", "currency": "$",
}  # fmt: skip
_BESIDE = {
    "all": "".join(map(chr, range(128))), "upper": ascii_uppercase, "letters": ascii_letters, "blanks": " \n",
    "stops": ".!?", "brackets": "()[]{}<>", "formula": "$\\^", "underscores": "_",
    "code": "`=>;{})+#",  # each of `_PROGRAM` has one of these, but for the last
}  # fmt: skip
_SUMS = np.zeros((128, len(_COUNTS) + len(_BESIDE)))
for _place, _name in enumerate((*(name for name, _ in _COUNTS), *_BESIDE)):
    _SUMS[list((_MARKS | _BESIDE).get(_name, "").encode()), _place] = 1.0
_LOOKS_AT = [_AT[name] for name in LOOKS]


def _depths(classes: bytes) -> tuple[int, int]:
    """How many brackets stay open at the end, and the deepest nesting. Kinds are not told apart."""
    level = deepest = 0
    for bracket in _BRACKET.findall(classes)[:1_000]:
        level = level + 1 if bracket[0] in _OPENING else max(0, level - 1)
        deepest = max(deepest, level)
    return level, deepest


@dataclass(frozen=True)
class Structure:
    """`value` names the form: code, math, data, choice, list, question, prose or empty."""

    name: ClassVar[str] = "structure"
    requires: ClassVar[tuple[str, ...]] = ()
    columns: ClassVar[tuple[str, ...]] = (*(name for name, _ in _COUNTS), *_SHARES)

    def read(self, request: Request, seen: Mapping[str, Reading]) -> Reading:
        prompt = request.prompt
        question, examples = strip_preamble(prompt)
        text, covered = excerpt(question)
        counts, shares = count(text, len(prompt), examples)
        columns = np.minimum(1.0, np.log1p(counts) * _INVERSE)
        return Reading(Signal(self.name, _form(counts, text), confidence=covered), [*columns.tolist(), *shares])

    def read_all(self, batch: Plain, seen: Mapping[str, Readings]) -> Readings:
        counted = batch.counted()
        sums = np.array([one.bytes for one in counted], np.float64) @ _SUMS
        counts, shares, forms = [], [], []
        for prompt, one, row in zip(batch.prompts, counted, sums.tolist(), strict=True):
            found, beside = row[: len(_COUNTS)], dict(zip(_BESIDE, row[len(_COUNTS) :], strict=True))
            found[_AT["lines"]] += 1.0
            for at, look in zip(_LOOKS_AT, one.looks.tolist(), strict=True):
                found[at] += look
            if beside["underscores"]:  # words go on over it, here but not elsewhere
                found, share = count(prompt.text, len(prompt.whole), prompt.examples)
            else:
                share = _look_closer(prompt, one, found, beside)
            counts.append(found)
            shares.append(share)
            forms.append(_form(found, prompt.text))
        columns = np.empty((len(forms), len(self.columns)))
        np.minimum(1.0, np.log1p(counts) * _INVERSE, out=columns[:, : len(_COUNTS)])
        columns[:, len(_COUNTS) :] = shares
        return Readings(forms, columns, [prompt.covered for prompt in batch.prompts], [""] * len(forms))


def of_word(word: str) -> list[int]:
    """What one word of ASCII letters and digits, or one mark, adds to `LOOKS`."""
    classes = word.encode().translate(_CLASS)
    return [
        len(_UPPER.findall(classes)),
        len(_CAPITALISED.findall(classes)),
        len(_CODE_WORD.findall(classes)),
        int(word in _LOGIC),
        int(word in _KEYWORDS),
    ]


def _look_closer(prompt: Prompt, one: Counted, row: list[float], beside: Mapping[str, float]) -> tuple[float, ...]:
    """Fill in what depends on the order of a plain text's characters, which holds no underscore; the shares."""
    text, at = prompt.text, _AT
    row[at["characters"]], row[at["words"]], row[at["longest_word"]] = len(prompt.whole), one.words, one.longest
    row[at["examples"]] = prompt.examples
    if beside["stops"]:
        row[at["sentences"]] = len(_SENTENCE.findall(text.encode()))
    if digits := row[at["digits"]]:
        numbers = _DIGITS.findall(text)
        row[at["numbers"]], row[at["longest_number"]] = len(numbers), max(map(len, numbers))
    if row[at["upper_runs"]]:
        run = max(_UPPER_WORD.findall(text), key=len)
        row[at["longest_upper"]], row[at["distinct_upper"]] = len(run), len(set(run))
    if row[at["upper_runs"]] or beside["code"]:
        row[at["program"]] += sum(map(text.count, _PROGRAM))
    if beside["brackets"]:
        row[at["open"]], row[at["depth"]] = _depths(text.encode())
    if colons := row[at["colons"]]:
        row[at["clock_times"]] = len(_CLOCK_TIME.findall(text))
    if colons or "www" in text:
        row[at["links"]] = len(_LINK.findall(text))
    if row[at["lines"]] > 1:
        row[at["choices"]], row[at["bullets"]] = len(_CHOICE.findall(text)), len(_BULLET.findall(text))
    else:
        row[at["choices"]] = float(_CHOICE.match(text) is not None)
    if beside["formula"]:
        row[at["latex"]] = len(_LATEX.findall(text))
    visible = max(1.0, beside["all"] - beside["blanks"])
    symbols = max(0.0, visible - beside["letters"] - digits)
    return beside["upper"] / max(1.0, beside["letters"]), digits / visible, symbols / visible, 0.0


def count(text: str, characters: int, examples: int) -> tuple[list[float], tuple[float, ...]]:
    """Raw counts in the order of the columns, and the shares of upper case, digits, symbols and non-ASCII."""
    classes = text.encode("utf-8", "replace").translate(_CLASS)
    of = classes.count
    numbers, upper, words = _NUMBER.findall(classes), _UPPER.findall(classes), _WORD.findall(text)
    run = max(_UPPER_WORD.findall(text), key=len) if upper else ""
    digits, uppers, beyond = of(b"d"), of(b"U"), of(b"x")
    letters, lines = uppers + of(b"l"), of(b"\n") + 1
    visible = max(1, len(classes) - of(b" ") - of(b"\n"))
    round_, square, curly = of(b"(") + of(b")"), of(b"[") + of(b"]"), of(b"{") + of(b"}")
    angle, colons, dollars = of(b"<") + of(b">"), of(b":"), of(b"$")
    still_open, depth = _depths(classes) if round_ or square or curly or angle else (0, 0)
    formula = dollars or "\\" in text or "^" in text
    counts: list[float] = [
        characters, len(words), lines, len(_SENTENCE.findall(classes)), digits, len(numbers),
        max(map(len, numbers), default=0), max(map(len, words), default=0), len(run), len(upper),
        len(_CAPITALISED.findall(classes)), len(_CODE_WORD.findall(classes)) if digits and uppers else 0, len(set(run)),
        of(b","), colons, of(b";"), of(b"?"), of(b"!"), of(b'"') + of(b"'") + of(b"`"), round_, square, curly, angle,
        still_open, depth, of(b"+"), of(b"-"), of(b"*"), of(b"/"), of(b"="), of(b"%"),
        dollars + text.count("€") + text.count("£"), len(_CLOCK.findall(classes)) if colons else 0,
        sum(map(_LOGIC.__contains__, words)), len(_CHOICE.findall(text)),
        len(_BULLET.findall(text)) if lines > 1 else 0,
        sum(map(_KEYWORDS.__contains__, words)) + sum(map(text.count, _PROGRAM)),
        len(_LATEX.findall(text)) if formula else 0, len(_LINK.findall(text)) if colons or "www" in text else 0,
        examples, of(b"c"), sum("_" in word for word in words) if "_" in text else 0,
    ]  # fmt: skip
    symbols = max(0, visible - letters - digits - beyond)
    return counts, (uppers / max(1, letters), digits / visible, symbols / visible, beyond / visible)


def _form(counts: list[float], text: str) -> str:
    def has(name: str) -> float:
        return counts[_AT[name]]

    if not has("words") and not text.strip():
        return "empty"
    if text.lstrip()[:1] in "{[" and text.rstrip()[-1:] in "}]":
        return "data"
    if has("program") >= 3:
        return "code"
    if has("latex") or has("plus") + has("times") + has("equals") >= 2:
        return "math"
    if has("choices") >= 2:
        return "choice"
    if has("bullets") >= 2:
        return "list"
    return "question" if has("questions") else "prose"
