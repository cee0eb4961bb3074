"""Prompts with personal data planted at known places, in ten languages and more, and prompts with harmless numbers.

The entities are Faker's, which knows nothing of our detector; the sentences are what people of each language write to
an assistant. Some announce the entity ("my phone number is"), some only contain it.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, NamedTuple


class Planted(NamedTuple):
    """A prompt, the locale of its entity, the entity's kind and text; kind and entity are "" for a harmless prompt."""

    prompt: str
    locale: str
    kind: str
    entity: str


ID_OF = {
    "en_US": "ssn", "en_GB": "ssn", "fr_FR": "ssn", "es_ES": "nie", "it_IT": "ssn", "nl_NL": "ssn", "pl_PL": "pesel",
    "pt_BR": "cpf", "sv_SE": "ssn", "fi_FI": "ssn", "no_NO": "ssn", "zh_CN": "ssn", "ko_KR": "ssn", "de_CH": "ssn",
}  # fmt: skip
"""Faker's method for the national id of a person, where it makes one by the country's own rules."""

PHONE = {
    "en_US": (
        "Please call me on {}, I am free after five.",
        "Write an SMS to {} saying I am late",
        "{} is my new number, update the sheet",
    ),
    "en_GB": (
        "My mobile is {} if you need me",
        "Draft a note: ring {} before noon",
        "Who is behind the phone number {}?",
    ),
    "de_DE": (
        "Sie erreichen mich telefonisch unter {}.",
        "Meine Handynummer lautet {}",
        "Bitte rufen Sie {} an und fragen nach Herrn Sauer",
    ),
    "fr_FR": (
        "Mon numéro de téléphone est le {}",
        "Appelez-moi au {} demain matin",
        "Écris un message : mon portable est {}",
    ),
    "es_ES": ("Mi teléfono es {}, gracias", "Llámame al {} cuando puedas", "Redacta un aviso con mi móvil {}"),
    "it_IT": ("Il mio numero di telefono è {}", "Chiamami al {} stasera", "Scrivi che il mio cellulare è {}"),
    "nl_NL": ("Mijn telefoonnummer is {}", "Bel me op {} na vijf uur", "Je kunt mij mobiel bereiken op {}"),
    "pl_PL": ("Mój numer telefonu to {}", "Zadzwoń do mnie pod {}", "Napisz SMS, moja komórka to {}"),
    "pt_BR": ("Meu telefone é {}", "Ligue para {} depois das seis", "Meu celular é {}, pode anotar"),
    "sv_SE": ("Mitt telefonnummer är {}", "Ring mig på {} i morgon", "Skriv att min mobil är {}"),
    "zh_CN": ("我的手机号是{}，请帮我写一封邮件", "请拨打电话 {} 联系我", "联系电话：{}"),
    "ja_JP": ("私の電話番号は{}です", "携帯は {} です。メールを書いてください", "連絡先の電話: {}"),
    "ko_KR": ("제 전화번호는 {} 입니다", "휴대폰 {} 로 연락 주세요", "연락처: {} 를 문서에 넣어 줘"),
}

ID = {
    "en_US": ("My social security number is {}", "Fill in the form, SSN {}", "Is {} a valid SSN?"),
    "en_GB": ("My national insurance number is {}", "NI number: {}", "Put {} into the payroll letter"),
    "fr_FR": ("Mon numéro de sécurité sociale est {}", "NIR : {}", "Complète le dossier de {}"),
    "es_ES": ("Mi NIE es {}", "Rellena el formulario con {}", "El número de identidad es {}"),
    "it_IT": ("Il mio codice fiscale è {}", "Compila il modulo con {}", "CF: {}"),
    "nl_NL": ("Mijn BSN is {}", "Mijn burgerservicenummer: {}", "Vul het formulier in, BSN {}"),
    "pl_PL": ("Mój PESEL to {}", "Wypełnij wniosek, PESEL: {}", "Osoba o numerze {} złożyła wniosek"),
    "pt_BR": ("Meu CPF é {}", "Preencha o cadastro com CPF {}", "Cliente {} pediu reembolso"),
    "sv_SE": ("Mitt personnummer är {}", "Fyll i blanketten för {}", "Personnummer: {}"),
    "fi_FI": ("Henkilötunnukseni on {}", "Täytä lomake: {}", "Asiakas {} soitti"),
    "no_NO": ("Fødselsnummeret mitt er {}", "Fyll ut skjemaet for {}", "Personnummer: {}"),
    "zh_CN": ("我的身份证号是{}", "请核对身份证 {}", "客户 {} 的申请"),
    "ko_KR": ("제 주민등록번호는 {} 입니다", "{} 고객의 신청서를 작성해 줘", "주민등록번호: {}"),
    "de_CH": ("Meine AHV-Nummer ist {}", "Bitte das Formular für {} ausfüllen", "AHV: {}"),
}

ANYWHERE = {
    "email": (
        "Write to {} and decline politely",
        "{} asked for a refund, draft an answer",
        "Summarise the thread from {}.",
    ),
    "card": ("My card {} was charged twice", "Is {} a valid number?", "Refund to {} please"),
    "iban": ("Transfer the rent to {}", "Account: {}", "Why was {} rejected by the bank?"),
    "key": (
        "Why does this fail? export TOKEN={}",
        "curl -H 'authorization: Bearer {}' returns 401",
        "my key is {} ok?",
    ),
}

HARMLESS = (
    "The invoice 2024-{n5} amounts to {n4},{n2} euros, due on {d}-{m}-2025.",
    "What is {n7} times {n4}?",
    "Solve {n3}x + {n4} = {n6} for x.",
    "Sort these: {n3}, {n4}, {n2}, {n5}, {n3}",
    "ISBN 978-0-{n3}-{n5}-{n1} is out of print, find another edition",
    "Our revenue rose from {n9} to {n9} in 2023.",
    "The train leaves at {d}:{m} from platform {n2}; the ticket is {n6}.",
    "Version {n1}.{n2}.{n3} broke the build {n8}, bisect it",
    "Population of the town: {n6}; area {n3}.{n2} km2; founded 1{n3}.",
    "Order number {n10} has not arrived",
    "Explain the error 0x{n8} at line {n4}",
    "Wie viel sind {n5} Euro und {n2} Cent in Dollar, Kurs 1,{n4}?",
    "Le colis {n8} pèse {n3} g et mesure {n2}x{n2}x{n2} cm",
    "seed={n9}, lr=0.{n5}, steps={n6}",
    "Latitude {n2}.{n6}, longitude {n2}.{n6}: which city?",
    "The timestamp 17{n8} is in which year?",
)


def planted(seed: int, each: int) -> Iterator[Planted]:
    """`each` prompts for every kind and locale, and as many harmless ones as all of these. Needs Faker."""
    from faker import Faker

    count = 0
    for locale in sorted({*PHONE, *ID}):
        fake, rng = Faker(locale), Random(f"{seed}:{locale}")
        fake.seed_instance(seed)
        for kind in ("phone", "id", *ANYWHERE):
            sentences = {"phone": PHONE.get(locale), "id": ID.get(locale)}.get(kind, ANYWHERE.get(kind))
            for _ in range(each if sentences else 0):
                entity = _entity(kind, locale, fake, rng)
                count += 1
                yield Planted(rng.choice(sentences or ()).replace("{}", entity), locale, kind, entity)
    rng = Random(f"{seed}:harmless")
    for _ in range(count):
        digits = {f"n{n}": str(rng.randrange(10 ** (n - 1), 10**n)) for n in range(1, 11)}
        day = {"d": f"{rng.randrange(1, 24):02}", "m": f"{rng.randrange(1, 13):02}"}
        yield Planted(rng.choice(HARMLESS).format(**digits, **day), "", "", "")


def _entity(kind: str, locale: str, fake: Any, rng: Random) -> str:
    if kind == "phone":
        return str(fake.phone_number())
    if kind == "id":
        return str(getattr(fake, ID_OF[locale])())
    if kind == "card":
        number = str(fake.credit_card_number())
        return " ".join(number[i : i + 4] for i in range(0, len(number), 4)) if rng.random() < 0.5 else number
    if kind == "iban":
        number = str(fake.iban())
        return " ".join(number[i : i + 4] for i in range(0, len(number), 4)) if rng.random() < 0.5 else number
    if kind == "email":
        return str(fake.ascii_email())
    return rng.choice(
        [
            "sk-" + _letters(rng, 40),
            "AKIA" + _letters(rng, 16).upper(),
            "ghp_" + _letters(rng, 36),
            "xoxb-" + str(rng.randrange(10**11)) + "-" + _letters(rng, 24),
            "AIza" + _letters(rng, 35),
        ]
    )


def _letters(rng: Random, count: int) -> str:
    return "".join(rng.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", k=count))
