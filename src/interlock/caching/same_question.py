"""Whether two prompts ask for the same answer, judged word by word. Built to say no.

Embeddings bring near-duplicates together and cannot tell a paraphrase from a trap: one number, name or negation
changed. So a cached answer is only taken when everything that could change it agrees:

    numbers    the same, in the same order, written in digits or words
    polarity   as many negations, and the same comparing words (more, less, before, without ...)
    words      what is left without politeness and function words agrees as stems, up to a short list of synonyms
    order      the same, but for one clause moved from the front to the end or back

Quotations and code must agree to the letter, as must words that are not understood. A false no costs one call.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

_QUOTED = r"\"[^\"\n]{1,200}\"|`[^`]{1,400}`|(?<!\w)'[^'\n]{1,200}'(?!\w)"
_WORD = re.compile(_QUOTED + r"|\d+(?:[.,:]\d+)*%?|[^\W\d_]+(?:'[^\W\d_]+)?|[^\w\s]|_", re.UNICODE)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


LIGHT = _words(
    """a an the of to is are be am do does it its this that these those there and so just really also then well ok okay
    actually basically simply please kindly thanks thank hey hi hello"""
)
"""Function words that carry no constraint of their own in a question. Tenses, modals and pronouns do carry one."""

_POLITE = re.compile(
    r"^(?:(?:hey|hi|hello|ok|okay|so|well|please|(?:quick )?question)[ ,.:!-]+"
    r"|(?:can|could|would|will) you (?:please |kindly )?(?:(?:tell|show|give|help) me (?:with )?)?"
    r"|(?:tell|show|give) me |help me (?:to )?|do you know |let me know |any idea "
    r"|i(?:'d| would) like (?:you )?to (?:know )?|i (?:want|need) (?:you )?to (?:know )?"
    r"|i(?: was|'m| am) (?:just )?wondering (?:if you (?:can|could) )?(?:tell me )?)",
    re.IGNORECASE,
)
_THANKS = re.compile(
    r"[\s,.!-]+(?:please|thanks|thank you|thx|cheers|many thanks|thanks (?:a lot|in advance))[\s.!]*$", re.IGNORECASE
)

ORDERING = _words(
    """not no never none neither nor without except unless nobody nothing nowhere hardly cannot more less most
    least fewer before after above below over under first last next previous up down in out on off into from until since
    between only all every each both either same different better worse best worst greater smaller higher lower maximum
    minimum     max min ascending descending increase decrease start end open close or xor"""
)
"""Words that turn an answer around. They are never synonyms of anything and never left out."""

_GROUPS = (
    "big large", "small little", "fast quick rapid", "begin commence", "picture image photo", "explain describe",
    "compute calculate evaluate", "compose write draft", "list enumerate", "fix repair", "kid child", "buy purchase",
    "movie film", "car automobile", "doctor physician", "answer reply", "choose select pick", "mistake error",
    "city town", "make create build", "find locate", "use utilize", "get obtain", "happen occur", "job occupation",
    "difficult hard", "simple easy", "summarise summarize", "colour color",
)  # fmt: skip
SYNONYM = {word: group.split()[0] for group in _GROUPS for word in group.split()}
_CONTRACTED = {"can't": "cannot", "won't": "will not", "shan't": "shall not", "ain't": "is not"}
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
)
_NUMBERS = {word: str(value) for value, word in enumerate(f"{_ONES} eighteen nineteen twenty".split())} | {
    "thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80", "ninety": "90",
    "hundred": "100", "thousand": "1000", "million": "1000000", "dozen": "12", "half": "0.5",
}  # fmt: skip
_MARKS = frozenset(".,;:!?\"'`")  # punctuation that only sets off; all other marks must agree
_HYPHEN = re.compile(r"(?<=[^\W\d_])[-–](?=[^\W\d_])")
_CLAUSE = re.compile(
    r"^((?:in|for|with|using|given|on|at|from) [^,?.!]{2,60}),\s+(.+?)([?.!]?)$", re.IGNORECASE | re.DOTALL
)


def difference(asked: str, cached: str) -> str:
    """Why the two are not the same question: `number`, `polarity`, `words`, `order`; "" when they are."""
    ours, theirs = _read(asked), _read(cached)
    if ours == theirs:
        return ""
    if _numbers(ours) != _numbers(theirs):
        return "number"
    if _ordering(ours) != _ordering(theirs) and sorted(_ordering(ours)) != sorted(_ordering(theirs)):
        return "polarity"
    if sorted(ours) != sorted(theirs):
        return "words"
    return "" if _read(_moved(asked)) == theirs or ours == _read(_moved(cached)) else "order"


def _read(text: str) -> list[str]:
    """The words that count, as stems, in their order."""
    kept = []
    for word in _WORD.findall(_plain(text)):
        if len(word) > 1 and word[0] in "\"'`":  # a quotation, code: case and spaces may matter
            kept.append(word[1:-1])
            continue
        lower = word.lower()
        for part in _CONTRACTED.get(lower, lower).split():
            if part.endswith("n't"):
                kept.append("not")
                part = part[:-3]
            part = re.sub(r"'(?:s|re|ve|ll|d|m)$", "", part)
            if part and part not in LIGHT and part not in _MARKS:
                kept.append(_stem(part))
    return kept


def _plain(text: str) -> str:
    """Without the politeness at either end."""
    text = _HYPHEN.sub(" ", unicodedata.normalize("NFKC", text).replace("’", "'").strip())
    for pattern in (_POLITE, _THANKS):
        while (shorter := pattern.sub("", text)) != text:
            text = shorter
    return text


@lru_cache(1 << 14)
def _stem(word: str) -> str:
    if word in _NUMBERS:
        return _NUMBERS[word]
    if word[0].isdigit():
        return re.sub(r",(?=\d{3}(?!\d))", "", word)
    if word in ORDERING or not word.isascii():
        return word
    if word in SYNONYM:
        return SYNONYM[word]
    for ending, instead in (("ies", "y"), ("sses", "ss"), ("es", "e"), ("s", "")):
        if len(word) > 4 and word.endswith(ending) and not word.endswith(("ss", "us", "is")):
            word = word[: -len(ending)] + instead
            break
    return SYNONYM.get(word, word)


def _numbers(words: Sequence[str]) -> list[str]:
    return [word for word in words if word[:1].isdigit()]


def _ordering(words: Sequence[str]) -> list[str]:
    return [word for word in words if word in ORDERING]


def _moved(text: str) -> str:
    """The text with its leading clause at the end: "In Python, how do I sort?" -> "how do I sort in Python?"."""
    found = _CLAUSE.match(text.strip())
    return f"{found[2]} {found[1]}{found[3]}" if found else text
