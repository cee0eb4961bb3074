"""Which trace a request belongs to, and the identifiers of its spans.

All of them follow from the request's own identifier and the trace it came with. So a call can name its span in the
header it sends, and the span itself is built later, from the records alone.

Source: W3C Trace Context, level 1 (the `traceparent` header).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b

HEADER = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
SAMPLED = 1


@dataclass(frozen=True, slots=True)
class Trace:
    """`parent` is the caller's span, 0 if there is none; `root` is ours of the whole request."""

    trace: int
    parent: int
    root: int
    sampled: bool

    @classmethod
    def of(cls, request: str, header: str, share: float) -> Trace:
        """The trace of the request with this id. Without a readable header it is a new one, sampled with `share`."""
        root, found = identifier(request, 8), HEADER.fullmatch(header)
        if found is not None:
            return cls(int(found[1], 16), int(found[2], 16), root, bool(int(found[3], 16) & SAMPLED))
        trace = identifier(request, 16)
        return cls(trace, 0, root, (trace & 0xFFFFFFFF) < share * 2**32)

    def header(self, span: int) -> str:
        """What a call carries that `span` stands for."""
        return f"00-{self.trace:032x}-{span:016x}-{int(self.sampled):02x}"


def identifier(text: str, size: int) -> int:
    """`size` bytes as a number, never 0, which no identifier may be."""
    return int.from_bytes(blake2b(text.encode(), digest_size=size).digest()) or 1


def of_call(request: str, candidate: str, why: str, earlier: int) -> int:
    """The span of a call: `earlier` ones of the request were made to this candidate for the same reason."""
    return identifier(f"{request}/{candidate}/{why}/{earlier}", 8)
