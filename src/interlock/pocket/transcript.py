"""From generated tokens to text: reasoning before ``<ans>``, the answer after it, stop strings never shown."""

from __future__ import annotations

from typing import Literal, NamedTuple

from interlock.pocket.tokenizer import ANS, CHK, EOS, REFUSE, SIZE, decode

FinishReason = Literal["stop", "length", "cancelled"]


_TEXT = tuple(decode((token,)) for token in range(SIZE))


class Piece(NamedTuple):
    """What one token adds. ``text`` may lag behind the token while it could be the start of a stop string."""

    reasoning: str
    text: str
    answering: bool


class Transcript:
    """The text of one completion, fed token by token.

    ``finish`` becomes "stop" at ``<eos>`` or a stop string; the stop string and what follows are left out.
    Stop strings are looked for in the answer only. ``reasoning_tokens`` counts up to and with ``<ans>``.
    """

    def __init__(self, *, thinks: bool, stop: tuple[str, ...] = ()) -> None:
        self.reasoning = self.text = ""
        self.refused = False
        self.finish: FinishReason | None = None
        self.reasoning_tokens = 0
        self._thinking, self._stop, self._shown = thinks, stop, 0

    def feed(self, token: int) -> Piece:
        if token == EOS:
            self.finish = "stop"
            return self.flush()
        if self._thinking:
            self.reasoning_tokens += 1
            self._thinking = token != ANS
            shown = "\n" if token == CHK else _TEXT[token]
            self.reasoning += shown
            return Piece(shown, "", False)
        self.refused |= token == REFUSE
        self.text += _TEXT[token]
        if not self._stop:
            return self.flush()
        searched = max(0, self._shown - max(map(len, self._stop)))
        found = [at for stop in self._stop if (at := self.text.find(stop, searched)) >= 0]
        if found:
            self.text, self.finish = self.text[: min(found)], "stop"
            return self.flush()
        return self._show(len(self.text) - self._held())

    def flush(self) -> Piece:
        """Show what was held back: nothing can follow that would complete a stop string."""
        return self._show(len(self.text))

    def _show(self, until: int) -> Piece:
        start, self._shown = self._shown, max(self._shown, until)
        return Piece("", self.text[start : self._shown], not self._thinking)

    def _held(self) -> int:
        """Length of the longest end of the text that begins a stop string."""
        return max((n for stop in self._stop for n in range(1, len(stop)) if self.text.endswith(stop[:n])), default=0)
