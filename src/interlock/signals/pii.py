"""Personal data, found by form and check digits: e-mail, payment card, IBAN, phone, national id, secret key.

It knows forms, not names or addresses. A number without a telling form counts when the words before it announce it
("call me on", "Steuer-ID"). Sources: Luhn (ISO/IEC 7812-1), IBAN mod 97 (ISO 13616), E.164 for phone numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from ..types import Request, Signal
from .base import Reading
from .national_ids import luhn, national_id

KINDS = ("email", "card", "iban", "phone", "id", "key")

_EMAIL = re.compile(r"\b[\w.+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}\b")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", re.ASCII)
_KEY = re.compile(
    r"\bsk-[A-Za-z0-9_-]{16,}|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{30,}|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|\bAIza[\w-]{35}|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{5,}"
)
_KEY_STARTS = ("sk-", "AKIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "xox", "AIza", "-----BEGIN", "eyJ")
_DIGIT = re.compile(r"[0-9]")
_NUMBER = re.compile(
    r"(?<![\w.,$€£#=/^-])\(?\+?\(?\d[\d ().+/-]{5,26}\d(?:[ ]?(?:x|ext\.?) ?\d{1,6})?(?![\w%*^=]| ?[*^=] ?| \d)",
    re.ASCII,
)
_LETTERED = re.compile(
    r"\b(?=[\d+-]*[A-Z])(?=[A-Z -]*\d)[A-Z0-9]{1,2} ?[A-Z0-9+-]{1,8}(?:[ -]?[A-Z0-9]{1,9}){1,5}\b", re.ASCII
)
_CARD_FORM = re.compile(r"\d+(?:[ -]\d+)*")
_CARD = re.compile(r"(?:4|5[0-9]|2[1-7]|3[04-9]|6|1800)\d*")

# What announces a number, in the words of the languages people write prompts in.
_PHONE_WORDS = re.compile(
    r"\b(?:tel|tél|phone|telephone|téléphone|telefon\w*|teléfono|telefone|mobile?|mobil\w*|móvil|cell\w*|celular|handy\w*"
    r"|portable|fax|call|ring|text me|sms|whatsapp|dial|reach me|contact number|appelez|anrufen|rufen|llám\w+|chiam\w+"
    r"|bel|ligue|zadzwoń|komórk\w+|puhelin\w*|soita)\b|電話|携帯|电话|手机|전화|휴대폰|연락처|फोन|मोबाइल",
    re.IGNORECASE,
)
_ID_WORDS = re.compile(
    r"\b(?:ssn|social (?:security|insurance)|sin|national (?:id|insurance|identi\w+)|ni (?:no|number)|nino|nhs|passport"
    r"|id(?:enti\w+)? (?:card|number|no)|tax(?:payer)? (?:id|number|file)|itin|tin|tfn|medicare|steuer\w*|ausweis\w*"
    r"|sozialversicherung\w*|sécu\w*|nir|dni|nie|nif|contribuinte|codice fiscale|bsn|sofi\w*|burgerservicenummer"
    r"|rijksregister\w*|pesel|personnummer|cpr|henkilötunnu\w+|fødselsnummer\w*|cpf|aadhaar|pan|curp|rrn|my number"
    r"|ahv|avs|cnp|kimlik)\b|身份证|マイナンバー|個人番号|주민등록번호|आधार",
    re.IGNORECASE,
)
_OTHERWISE = re.compile(
    r"\b(?:isbn|issn|doi|arxiv|order|invoice|version|part|model|serial|sku)\W{0,3}(?:no\.?|number|id)?\W{0,3}$",
    re.IGNORECASE,
)
_BEFORE = 48  # characters in which an announcement stands
_US_PHONE = re.compile(r"(?:(?:\+?1|001)[ .-]?)?(?:\(\d{3}\) ?|\d{3}[.-])\d{3}[.-]\d{4}(?: ?(?:x|ext\.?) ?\d{1,6})?")
_TRUNK_PHONE = re.compile(r"\(0\d{1,5}\)[ -]?\d[\d -]{3,9}\d|0\d{1,4}(?:[ -/]\d{2,4}){2,4}|0\d{2,5}[ /-]\d{5,8}")
_LONE = re.compile(r"(?<!\d)\d(?!\d)")
_SUMS = ("=", "*", "/", "<", ">", "^")
_DATE = re.compile(r"\d{1,2}[/.-]\d{1,2}[/.-](?:\d{2}|\d{4})|\d{4}[/.-]\d{1,2}[/.-]\d{1,2}")


class Finding(NamedTuple):
    """Personal data in a text: its kind, the text itself, and where it starts."""

    kind: str
    text: str
    start: int


def iban_checks(number: str) -> bool:
    """Whether an IBAN without spaces passes mod 97."""
    return 15 <= len(number) <= 34 and int("".join(str(int(c, 36)) for c in number[4:] + number[:4])) % 97 == 1


def find(text: str) -> Iterator[Finding]:
    """Everything found, kind by kind, no two overlapping. Reads the whole text: a leak near the end is a leak."""
    taken: list[tuple[int, int]] = []
    for kind, match in _matches(text):
        start, end = match.span()
        if not any(start < other_end and other < end for other, other_end in taken):
            taken.append((start, end))
            yield Finding(kind, match.group(), start)


def _matches(text: str) -> Iterator[tuple[str, re.Match[str]]]:
    if "@" in text:
        yield from (("email", match) for match in _EMAIL.finditer(text))
    if any(start in text for start in _KEY_STARTS):
        yield from (("key", match) for match in _KEY.finditer(text))
    if not _DIGIT.search(text):
        return
    for match in _IBAN.finditer(text):
        if iban_checks(match.group().replace(" ", "")):
            yield "iban", match
    for match in _LETTERED.finditer(text):
        if national_id(match.group(), _announced(_ID_WORDS, text, match.start())):
            yield "id", match
    for match in _NUMBER.finditer(text):
        kind = _kind_of(match.group(), text, match.start())
        if kind:
            yield kind, match


def _kind_of(number: str, text: str, start: int) -> str:
    """What a run of digits and separators is: id, card, phone, or "" for just a number."""
    digits = re.sub(r"\D", "", number)
    before = text[max(0, start - _BEFORE) : start]
    if len(set(digits)) == 1 or _DATE.fullmatch(number) or _OTHERWISE.search(before) or before.rstrip().endswith(_SUMS):
        return ""
    if len(_LONE.findall(number)) > 2:  # a grid or a list of digits
        return ""
    of_a_person, of_a_phone = _announced(_ID_WORDS, text, start), _announced(_PHONE_WORDS, text, start)
    if (of_a_person or not of_a_phone) and national_id(number, of_a_person):
        return "id"
    if 12 <= len(digits) <= 19 and _CARD.fullmatch(digits) and luhn(digits) and _CARD_FORM.fullmatch(number):
        return "card"
    return "phone" if _is_phone(number, digits, of_a_phone) else ""


def _is_phone(number: str, digits: str, announced: bool) -> bool:
    if number.lstrip("(").startswith("+"):
        return 8 <= len(digits) <= 21
    if announced:
        return 7 <= len(digits) <= 21
    if _US_PHONE.fullmatch(number):
        return True
    return 8 <= len(digits) <= 12 and bool(_TRUNK_PHONE.fullmatch(number))


def _announced(words: re.Pattern[str], text: str, start: int) -> bool:
    return bool(words.search(text[max(0, start - _BEFORE) : start]))


@dataclass(frozen=True)
class PersonalData:
    """`value` is whether any message holds personal data; `evidence` names the kinds and quotes each first find."""

    name: ClassVar[str] = "pii"
    requires: ClassVar[tuple[str, ...]] = ()
    columns: ClassVar[tuple[str, ...]] = KINDS

    def read(self, request: Request, seen: Mapping[str, Reading]) -> Reading:
        found: dict[str, str] = {}
        for message in request.messages:
            for kind, quote, _ in find(message.text):
                found.setdefault(kind, quote)
        evidence = ", ".join(f"{kind}: {quote}" for kind, quote in found.items())
        return Reading(Signal(self.name, bool(found), 0.9, evidence), [float(kind in found) for kind in KINDS])
