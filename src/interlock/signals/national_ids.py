"""National identity, tax and social security numbers of persons: their form, and the arithmetic that checks them.

A form whose punctuation, letters, dates or two check digits tell enough counts wherever it stands. A bare number with
one check digit or none (one in ten random numbers passes) counts only where the text announces it: `telling` is False.

Source: the issuers' published algorithms; ISO 7064 (mod 11,10; mod 11-2), Verhoeff (1969), Luhn (ISO/IEC 7812-1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class NationalId:
    """`form` matches the whole number; `valid` is asked about it without separators."""

    country: str
    form: re.Pattern[str]
    valid: Callable[[str], bool] = lambda _: True
    telling: bool = True


def luhn(number: str) -> bool:
    """Whether a string of digits has a valid Luhn check digit."""
    doubled = "0246813579"
    return sum(int(doubled[int(d)] if i % 2 else d) for i, d in enumerate(reversed(number))) % 10 == 0


def _weighted(number: str, weights: Sequence[int]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(number, weights, strict=False))


def _date(day: str, month: str) -> bool:
    return 1 <= int(day) <= 31 and 1 <= int(month) <= 12


def _us(n: str) -> bool:
    return n[:3] not in ("000", "666") and n[0] != "9" and n[3:5] != "00" and n[5:] != "0000"


def _nhs(n: str) -> bool:
    return (11 - _weighted(n, range(10, 1, -1)) % 11) % 11 == int(n[9])


def _mod_11_10(n: str) -> bool:
    product = 10
    for digit in n[:-1]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(n[-1])


def _steuer(n: str) -> bool:
    repeated = sorted(n[:10].count(digit) for digit in set(n[:10]))
    return repeated[-1] in (2, 3) and repeated[-2:] != [2, 2] and _mod_11_10(n)


def _insee(n: str) -> bool:
    return 97 - int(n[:13].replace("2A", "19").replace("2B", "18")) % 97 == int(n[13:])


def _spanish(n: str) -> bool:
    number = n[:-1].replace("X", "0").replace("Y", "1").replace("Z", "2")
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == n[-1]


_ODD = dict(zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", (
    1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22,
    25, 24, 23), strict=True))  # fmt: skip


def _fiscal_code(n: str) -> bool:
    even = (int(c) if c.isdigit() else ord(c) - ord("A") for c in n[1:15:2])
    return chr(ord("A") + (sum(even) + sum(_ODD[c] for c in n[0:15:2])) % 26) == n[15]


def _bsn(n: str) -> bool:
    return _weighted(n, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def _belgian(n: str) -> bool:
    check, body = int(n[9:]), n[:9]
    return (97 - int(body) % 97 == check or 97 - int("2" + body) % 97 == check) and int(n[2:4]) % 20 <= 12


def _pesel(n: str) -> bool:
    return _weighted(n, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0 and _date(n[4:6], str(int(n[2:4]) % 20))


def _nif(n: str) -> bool:
    return n[0] in "123456789" and (11 - _weighted(n, range(9, 1, -1)) % 11) % 11 % 10 == int(n[8])


def _swedish(n: str) -> bool:
    n = n[-10:]
    return luhn(n) and (_date(n[4:6], n[2:4]) or _date(str(int(n[4:6]) - 60), n[2:4]))


def _finnish(n: str) -> bool:
    digits = n[:6] + n[-4:-1]  # a letter or sign between them tells the century
    return _date(n[:2], n[2:4]) and "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(digits) % 31] == n[-1]


def _norwegian(n: str) -> bool:
    first, second = (3, 7, 6, 1, 8, 9, 4, 5, 2, 1), (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)
    dated = _date(str(int(n[:2]) % 40), str(int(n[2:4]) % 40))
    return dated and _weighted(n, first) % 11 == 0 and _weighted(n, second) % 11 == 0


def _cpf(n: str) -> bool:
    first, second = _weighted(n[:9], range(10, 1, -1)), _weighted(n[:10], range(11, 1, -1))
    return len(set(n)) > 1 and [first * 10 % 11 % 10, second * 10 % 11 % 10] == [int(n[9]), int(n[10])]


_D = ("0123456789", "1234067895", "2340178956", "3401289567", "4012395678", "5987604321", "6598710432", "7659821043",
      "8765932104", "9876543210")  # fmt: skip
_P = ("0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258")


def _verhoeff(n: str) -> bool:
    check = 0
    for i, digit in enumerate(reversed(n)):
        check = int(_D[check][int(_P[i % 8][int(digit)])])
    return check == 0


def _chinese(n: str) -> bool:
    check = "10X98765432"[_weighted(n, (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)) % 11]
    return _date(n[12:14], n[10:12]) and n[6:8] in ("18", "19", "20") and check == n[17]


def _korean(n: str) -> bool:
    return _date(n[4:6], n[2:4])


def _my_number(n: str) -> bool:
    rest = _weighted(n, (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return (0 if rest <= 1 else 11 - rest) == int(n[11])


def _tfn(n: str) -> bool:
    return _weighted(n, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0


def _ahv(n: str) -> bool:
    return _weighted(n, (1, 3) * 6 + (1,)) % 10 == 0


def _turkish(n: str) -> bool:
    d = [int(c) for c in n]
    return (sum(d[0:9:2]) * 7 - sum(d[1:8:2])) % 10 == d[9] and sum(d[:10]) % 10 == d[10]


def _romanian(n: str) -> bool:
    check = _weighted(n, (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11
    return (1 if check == 10 else check) == int(n[12]) and _date(n[5:7], n[3:5])


def _id(country: str, form: str, valid: Callable[[str], bool] = lambda _: True, telling: bool = True) -> NationalId:
    return NationalId(country, re.compile(form, re.ASCII), valid, telling)


NATIONAL_IDS = (
    _id("US", r"\d{3}-\d{2}-\d{4}", _us),
    _id("US", r"\d{3} ?\d{2} ?\d{4}", _us, telling=False),
    _id("GB", r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]"),
    _id("GB", r"[A-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-Z]", telling=False),
    _id("GB", r"\d{3}[ -]?\d{3}[ -]?\d{4}", _nhs, telling=False),
    _id("DE", r"[1-9]\d ?\d{3} ?\d{3} ?\d{3}", _steuer),
    _id("FR", r"[1278] ?\d{2} ?\d{2} ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}", _insee),
    _id("ES", r"[XYZ]?-?\d{7,8}-?[A-HJ-NP-TV-Z]", _spanish),
    _id("IT", r"[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]", _fiscal_code),
    _id("NL", r"\d{9}", _bsn, telling=False),
    _id("BE", r"\d{2}\.?\d{2}\.?\d{2}-?\d{3}\.?\d{2}", _belgian),
    _id("PL", r"\d{11}", _pesel),
    _id("PT", r"\d{3} ?\d{3} ?\d{3}", _nif, telling=False),
    _id("SE", r"(?:19|20)?\d{6}[-+]\d{4}", _swedish),
    _id("DK", r"\d{6}-\d{4}", lambda n: _date(n[:2], n[2:4])),
    _id("FI", r"\d{6}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]", _finnish),
    _id("NO", r"\d{6} ?\d{5}", _norwegian),
    _id("CH", r"756\.?\d{4}\.?\d{4}\.?\d{2}", _ahv),
    _id("RO", r"[1-9]\d{12}", _romanian),
    _id("TR", r"[1-9]\d{10}", _turkish),
    _id("BR", r"\d{3}\.?\d{3}\.?\d{3}-?\d{2}", _cpf),
    _id("IN", r"[2-9]\d{3}[ -]\d{4}[ -]\d{4}", _verhoeff),
    _id("IN", r"[2-9]\d{11}", _verhoeff, telling=False),
    _id("IN", r"[A-Z]{3}[ABCFGHLJPT][A-Z]\d{4}[A-Z]"),
    _id("CN", r"[1-9]\d{16}[\dX]", _chinese),
    _id("KR", r"\d{6}-[1-8]\d{6}", _korean),
    _id("JP", r"\d{4}[ -]?\d{4}[ -]?\d{4}", _my_number, telling=False),
    _id("CA", r"\d{3}[ -]\d{3}[ -]\d{3}", luhn),
    _id("CA", r"\d{9}", luhn, telling=False),
    _id("AU", r"\d{3} ?\d{3} ?\d{3}", _tfn, telling=False),
)


def national_id(text: str, announced: bool) -> str:
    """The country whose number `text` is, "" for none. `announced`: the words before it speak of such a number."""
    bare = re.sub(r"[ .+-]", "", text)
    for known in NATIONAL_IDS:
        if (known.telling or announced) and known.form.fullmatch(text) and known.valid(bare):
            return known.country
    return ""
