"""A fixed vocabulary of 512 tokens: specials, single characters and whole words of the task wordings.

A word token covers a whole run of letters, with the space before it; every other character is a token of its own, so
digits and the capital-letter operands of the tasks are always single characters. Nothing is downloaded or learned.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

PAD, BOS, EOS, UNK = range(4)
BUDGETS = (4, 5, 6, 7)
"""The tokens that end a prompt and set the reasoning budget: at once, scratchpad, scratchpad and self-check, spare."""
ANS, CHK, REFUSE, IMAGE, TOOL_CALL, TOOL_RETURN = range(8, 14)

SIZE = 512

_SPECIALS = (
    "<pad>", "<bos>", "<eos>", "<unk>", "<t0>", "<t1>", "<t2>", "<t3>", "<ans>", "<chk>", "<refuse>", "<image>",
    "<tool_call>", "<tool_return>", "<reserved0>", "<reserved1>",
)  # fmt: skip

_SPACED = """
And Close Find From How It Moves Now Recall Remove Reverse Rotate Shift So Sort Swap The Then Turn Walls We What
When Where Which about add after again all alphabet already also an and answer apply are as assistant at
backwards balanced ball bar base because becomes best bird blue box brackets but by caesar can cell change cheap
clock close closed code coin coins colour comes comet could count cup cups data day dedupe different digits do
does dry duplicates each encode end enter error evaluate every exchanged expression false fast file find first
five for form four from game get give go goes good green grid has have help her his hold how if image in into is
island it its just keep key keys know knows large last later leaves left letter letters like line list logic
long look make many matter maybe me mineral missing model more move moves must my name named need needs new next
no not now number numbers numeral numerals of old on once one only open or order other our page painter pairs
patch people picture places please plus price put question reach recall red remove removed result reverse river
road robot roman rotate rotation same say says search second see seven shape shift ship should show shows six
skip small some sort sorted stand stands star start starts steps stone stop string sum swap swaps system table
take tell text than thanks that the their them then there these this three time to tool train true truth two
under up use user value values very walls was way we weather what when which who why will with without word
words would write written wrote xor year yes you your
"""

_INITIAL = """
Add After Both Can Close Complete Convert Cups Do Does Each Evaluate Find First Follow From Give Given Here How
In Is It Keep Make Move No On Please Read Recall Remember Remove Replace Reverse Rotate Search Set Shift Some
Sort Take The There Two Under Walk We What Which Write add base bird bool brackets caesar clock comet cups
dedupe grid island mineral painter recall remove reverse river roman rotate ship sort star
"""


def _vocabulary() -> tuple[str, ...]:
    characters = ("\n", *(chr(code) for code in range(32, 127)))
    words = (*(f" {word}" for word in _SPACED.split()), *_INITIAL.split())
    known = (*_SPECIALS, *characters, *words)
    return (*known, *(f"<unused{index}>" for index in range(SIZE - len(known))))


VOCAB: tuple[str, ...] = _vocabulary()
"""The text of every token id."""

TOKENIZER_HASH = hashlib.sha256("\x00".join(VOCAB).encode()).hexdigest()
"""Hash of the vocabulary; weight files carry it, so that a model never meets another tokenizer."""

_FIRST_TEXT = len(_SPECIALS)
_IDS = {text: index for index, text in enumerate(VOCAB) if index >= _FIRST_TEXT and not text.startswith("<unused")}
_PIECE = re.compile(r" ?[A-Za-z]+|[^A-Za-z]", re.DOTALL)


def encode(text: str) -> list[int]:
    """Token ids of ``text``, without ``<bos>``. Characters outside ASCII become one ``<unk>`` each; never raises."""
    ids: list[int] = []
    for piece in _PIECE.findall(text):
        known = _IDS.get(piece)
        if known is not None:
            ids.append(known)
        elif piece[0] == " " and piece[1:] in _IDS:
            ids += (_IDS[" "], _IDS[piece[1:]])
        else:
            ids += (_IDS.get(character, UNK) for character in piece)
    return ids


def decode(ids: Iterable[int]) -> str:
    """The text of ``ids``; special, unused and out-of-range ids are dropped."""
    return "".join(VOCAB[index] for index in ids if 0 <= index < SIZE and VOCAB[index] in _IDS)
