"""Personal data, found by pattern and checksum: e-mail, card number, IBAN, phone number, API key.

A basic detector: it knows forms, not names or addresses. Sources: Luhn check (ISO/IEC 7812-1), IBAN mod 97 (ISO 13616).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..types import Request, Signal
from .base import Reading

_EMAIL = re.compile(r"\b[\w.+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}\b")
_CARD = re.compile(r"(?<![\d.])\d(?:[ -]?\d){12,18}(?![\d.])", re.ASCII)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", re.ASCII)
_PHONE = re.compile(
    r"(?<![\w.+])\+[1-9]\d{0,2}[ ().-]{0,2}\d{1,4}(?:[ ().-]{0,2}\d{2,4}){2,4}(?!\w)"
    r"|\(\d{3}\) ?\d{3}-\d{4}\b|(?<!\w)\d{3}-\d{3}-\d{4}\b"
)
_KEY = re.compile(
    r"\bsk-[A-Za-z0-9_-]{16,}|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{30,}|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|\bAIza[\w-]{35}|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{5,}"
)
_KEY_STARTS = ("sk-", "AKIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "xox", "AIza", "-----BEGIN", "eyJ")
_DIGIT = re.compile(r"[0-9]")
KINDS = ("email", "card", "iban", "phone", "key")


def luhn(number: str) -> bool:
    """Whether a string of digits has a valid Luhn check digit."""
    doubled = "0246813579"
    return sum(int(doubled[int(d)] if i % 2 else d) for i, d in enumerate(reversed(number))) % 10 == 0


def iban_checks(number: str) -> bool:
    """Whether an IBAN without spaces passes mod 97."""
    return 15 <= len(number) <= 34 and int("".join(str(int(c, 36)) for c in number[4:] + number[:4])) % 97 == 1


def find(text: str) -> Iterator[tuple[str, str]]:
    """Kind and text of everything found. Reads the whole text: a leak near the end is a leak."""
    if "@" in text:
        yield from (("email", match.group()) for match in _EMAIL.finditer(text))
    if any(start in text for start in _KEY_STARTS):
        yield from (("key", match.group()) for match in _KEY.finditer(text))
    if not _DIGIT.search(text):
        return
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if luhn(digits) and len(set(digits)) > 1:
            yield "card", match.group()
    for match in _IBAN.finditer(text):
        if iban_checks(match.group().replace(" ", "")):
            yield "iban", match.group()
    if "+" in text or "-" in text:
        yield from (("phone", match.group()) for match in _PHONE.finditer(text))


@dataclass(frozen=True)
class PersonalData:
    """`value` is whether any message holds personal data; `evidence` names the kinds and quotes each first find."""

    name: ClassVar[str] = "pii"
    requires: ClassVar[tuple[str, ...]] = ()
    columns: ClassVar[tuple[str, ...]] = KINDS

    def read(self, request: Request, seen: Mapping[str, Reading]) -> Reading:
        found: dict[str, str] = {}
        for message in request.messages:
            for kind, quote in find(message.text):
                found.setdefault(kind, quote)
        evidence = ", ".join(f"{kind}: {quote}" for kind, quote in found.items())
        return Reading(Signal(self.name, bool(found), 0.9, evidence), [float(kind in found) for kind in KINDS])
