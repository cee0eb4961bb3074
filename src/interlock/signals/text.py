"""What of a prompt is the question: fixed few-shot preambles are cut off, so that they do not drown it."""

from __future__ import annotations

import re

_ANSWER = re.compile(r"(?im)(?:^|(?<=[.!?)])[ \t]+)(?:answer|a|output|response|label)[ \t]*:")
_MOST_SHOTS = 64


def strip_preamble(text: str) -> tuple[str, int]:
    """The last question of a few-shot prompt, and how many worked examples stood before it (0: nothing was cut).

    A preamble is two or more answered blocks (`Answer:`, `A:`, `Output:` ...) before the block that is asked.
    Everything up to the blank line (else the line) after the last given answer goes.
    """
    if text.count(":") < 3:
        return text, 0
    ends = [match.end() for match in _ANSWER.finditer(text)]
    if len(ends) < 3:
        return text, 0
    given = ends[-2]
    blank, line = text.find("\n\n", given), text.find("\n", given)
    cut = blank + 2 if 0 <= blank < ends[-1] else line + 1 if 0 <= line < ends[-1] else given
    question = text[cut:].strip()
    return (question, min(len(ends) - 1, _MOST_SHOTS)) if question else (text, 0)
