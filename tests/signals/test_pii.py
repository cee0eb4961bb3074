"""Personal data in the forms people write it in; check digits against python-stdnum."""

from __future__ import annotations

import importlib
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.signals.national_ids import NATIONAL_IDS, national_id
from interlock.signals.pii import KINDS, find

ORACLES = {
    "DE": ("de.idnr", "{:011d}"),
    "NL": ("nl.bsn", "{:09d}"),
    "PL": ("pl.pesel", "{:011d}"),
    "PT": ("pt.nif", "{:09d}"),
    "NO": ("no.fodselsnummer", "010190{:05d}"),
    "CH": ("ch.ssn", "756{:010d}"),
    "RO": ("ro.cnp", "185010140{:04d}"),
    "TR": ("tr.tckimlik", "{:011d}"),
    "BR": ("br.cpf", "{:011d}"),
    "FR": ("fr.nir", "1850578{:08d}"),
    "IT": ("it.codicefiscale", "RCCMNL83S18D{:03d}"),
    "ES": ("es.dni", "{:08d}"),
    "CN": ("cn.ric", "36042619910101{:03d}"),
    "SE": ("se.personnummer", "88030{:01d}-{:04d}"),
    "CA": ("ca.sin", "{:03d}-{:03d}-{:03d}"),
    "BE": ("be.nn", "850730{:05d}"),
    "FI": ("fi.hetu", "131052-{:03d}"),
    "JP": ("jp.in_", "{:012d}"),
    "AU": ("au.tfn", "{:09d}"),
    "GB": ("gb.nhs", "{:010d}"),
}
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def tried(country: str, rng: Random) -> list[str]:
    """Random numbers of a country's form: about one in ten of them, or in thirty, has right check digits."""
    pattern = ORACLES[country][1]
    widths = [10 ** int(part.split("d}")[0]) for part in pattern.split("{:")[1:]]
    made = [pattern.format(*map(rng.randrange, widths)) for _ in range(1500)]
    if country in ("ES", "IT", "FI", "CN"):  # the check character follows
        alphabet = {"ES": LETTERS[:26], "IT": LETTERS[:26], "FI": LETTERS, "CN": "0123456789X"}[country]
        made = [one + rng.choice(alphabet) for one in made]
    return made


@pytest.mark.parametrize("country", ORACLES)
def test_check_digits_agree_with_an_independent_implementation(country: str) -> None:
    oracle = importlib.import_module(f"stdnum.{ORACLES[country][0]}")
    mine = [known for known in NATIONAL_IDS if known.country == country]
    agreed = 0
    for text in tried(country, Random(1)):
        if oracle.is_valid(text):
            bare = "".join(c for c in text if c not in " .-")
            assert any(known.form.fullmatch(text) and known.valid(bare) for known in mine), text
            agreed += 1
    assert agreed > 3


@pytest.mark.parametrize("digits", range(7, 19))
def test_bare_random_numbers_are_seldom_taken_for_an_id(digits: int) -> None:
    rng = Random(digits)
    taken = sum(bool(national_id(str(rng.randrange(10 ** (digits - 1), 10**digits)), False)) for _ in range(2000))
    assert taken < 2000 * 0.13  # eleven digits are the form of six countries


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        ("call me on 0171 5554433 please", "phone", "0171 5554433"),
        ("(212) 555-0142 is the office", "phone", "(212) 555-0142"),
        ("+44 20 7946 0018", "phone", "+44 20 7946 0018"),
        ("手机号是13369074391", "phone", "13369074391"),
        ("my SSN is 138-73-1034", "id", "138-73-1034"),
        ("Mein Konto: DE89 3704 0044 0532 0130 00", "iban", "DE89 3704 0044 0532 0130 00"),
        ("visa 4111 1111 1111 1111 exp 01/29", "card", "4111 1111 1111 1111"),
        ("codice fiscale RCCMNL83S18D969H", "id", "RCCMNL83S18D969H"),
        ("PESEL 44051401359", "id", "44051401359"),
    ],
)
def test_what_counts(text: str, kind: str, found: str) -> None:
    assert [(finding.kind, finding.text) for finding in find(text)] == [(kind, found)]


@pytest.mark.parametrize(
    "text",
    [
        "1 1 2 1 1 0 1 1 1 1 2 2 2 2 1 0",
        "16046234630*e + 49686 = 61066320754",
        "ISBN 0-306-40615-2",
        "order 4111111111111111",
        "between 2023-01-05 and 12-31-2024",
        "3.14159265358979 and 192.168.100.200",
        "revenue of 12,345,678,901 USD",
        "1700000000 seconds",
    ],
)
def test_what_is_just_a_number(text: str) -> None:
    assert not list(find(text))


@settings(deadline=None)
@given(st.text(max_size=300))
def test_finds_are_of_the_text_do_not_overlap_and_never_fail(text: str) -> None:
    covered: set[int] = set()
    for kind, found, start in find(text):
        assert kind in KINDS
        assert text[start : start + len(found)] == found
        places = set(range(start, start + len(found)))
        assert not covered & places
        covered |= places
