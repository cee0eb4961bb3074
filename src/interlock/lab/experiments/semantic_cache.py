"""A cache that takes paraphrases for the same question, and near-duplicates with another answer for different ones.

Real prompts (outcome tables) are kept in the gateway's own cache. Then it is asked *traps*, each prompt with a number,
a name or a comparison changed, negated or with two names swapped; *paraphrases*, the prompt wrapped in politeness,
contracted, with numbers in words or synonyms exchanged, some by rules that the cache does not know; and the same
prompts by other tenants. A trap that is answered from the cache is a wrong answer. Beside these made ones stand the
near-duplicates that occur among the real prompts themselves (cosine above 0.95): how many are taken for the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

import numpy as np

from ...caching.cache import Cache, Kept
from ...caching.same_question import difference
from ...encoder import Encoder
from ...errors import ConfigError
from ...signals.text import strip_preamble
from ...types import Message, Request
from ..metrics import over_seeds
from ..report import Figure, Report
from ..tables import read_tables
from . import Options

SIMILARITY = 0.85
PROMPTS = 2000  # a seed
TENANTS = 50

Rewrite = Callable[[str, Random, Sequence[str]], str]


def run(options: Options) -> Report:
    if options.data is None:
        raise ConfigError("semantic-cache needs real prompts: pass --data with a folder of outcome tables")
    real = prompts_in(options)
    outcomes = [measure(real, seed, max(50, int(PROMPTS * options.scale))) for seed in options.seeds]
    wrong = [outcome["trap hits"] / outcome["traps"] for outcome in outcomes]
    right = [outcome["paraphrase hits"] / outcome["paraphrases"] for outcome in outcomes]
    crossed = sum(outcome["crossed"] for outcome in outcomes)
    asked = sum(outcome["asked by others"] for outcome in outcomes)
    pairs, taken = natural(real)
    kinds = Counter[str]()
    for outcome in outcomes:
        kinds.update({key: value for key, value in outcome.items() if ":" in key})
    by_kind = {
        kind.removeprefix("all: "): kinds[f"hit: {kind.removeprefix('all: ')}"] / total
        for kind, total in kinds.items()
        if kind.startswith("all: ")
    }
    return Report(
        name="semantic-cache",
        claim="paraphrases hit, near-duplicates with another answer do not",
        figures=(
            _figure("traps answered from the cache", wrong, "<= 0.005", lambda value: value <= 0.005),
            _figure("paraphrases answered from the cache", right, ">= 0.5", lambda value: value >= 0.5),
            Figure(
                name=f"answers of other tenants ({asked} asked)",
                ours=float(crossed),
                wanted="0",
                verdict="pass" if crossed == 0 else "short",
            ),
            Figure(name=f"real near-duplicates taken for the same (of {pairs})", ours=taken / max(1, pairs)),
        ),
        seeds=options.seeds,
        notes=("share of hits by rewriting: " + ", ".join(f"{kind} {share:.3f}" for kind, share in by_kind.items()),),
    )


def prompts_in(options: Options) -> list[str]:
    """Distinct real prompts of the length of a question, without their worked examples."""
    assert options.data is not None
    tables = read_tables(options.data).values()
    found = (strip_preamble(prompt)[0] for table in tables for prompt in table.prompts)
    return list(dict.fromkeys(prompt for prompt in found if 20 < len(prompt) < 1500))


def measure(real: Sequence[str], seed: int, count: int) -> Counter[str]:
    rng, encoder = Random(seed), Encoder.load()
    chosen = rng.sample(real, min(count, len(real)))
    names = sorted({word for prompt in chosen for word in re.findall(r"(?<=[a-z] )[A-Z][a-z]{3,}", prompt)})
    cache = Cache(similarity=SIMILARITY)
    for prompt in chosen:
        kept = Kept(b"{}", prompt, "model", cache.clock(), prompt)
        cache.put(_request(prompt, "t0"), kept, encoder.encode_one(prompt))
    counts = Counter[str]()
    for what, rewrites in (("trap", TRAPS), ("paraphrase", PARAPHRASES)):
        for prompt in chosen:
            kind = rng.choice(list(rewrites))
            asked = rewrites[kind](prompt, rng, names)
            if asked in (prompt, ""):
                continue
            hit = cache.get(_request(asked, "t0"), encoder.encode_one(asked))
            correct = what == "trap" or (hit is not None and hit.kept.decision == prompt)
            counts.update({f"{what}s": 1, f"all: {kind}": 1})
            if hit is not None and correct:
                counts.update({f"{what} hits": 1, f"hit: {kind}": 1})
    for i, prompt in enumerate(chosen):
        others = [f"t{1 + (i + j) % TENANTS}" for j in range(max(1, 100_000 // PROMPTS))]
        vector = encoder.encode_one(prompt)
        counts["asked by others"] += len(others)
        counts["crossed"] += sum(cache.get(_request(prompt, tenant), vector) is not None for tenant in others)
    return counts


def natural(real: Sequence[str], above: float = 0.95) -> tuple[int, int]:
    """How many pairs of real prompts are nearer than `above`, and how many of them are taken for the same question."""
    vectors = Encoder.load().encode(real).astype(np.float32)
    pairs = taken = 0
    for start in range(0, len(real), 512):
        near = vectors[start : start + 512] @ vectors.T
        for row, column in zip(*np.nonzero(near > above), strict=True):
            if start + row < column:
                pairs += 1
                taken += difference(real[start + row], real[column]) == ""
    return pairs, taken


def _request(prompt: str, tenant: str) -> Request:
    return Request(messages=(Message("user", prompt),), tenant=tenant)


def _figure(name: str, values: Sequence[float], wanted: str, holds: Callable[[float], bool]) -> Figure:
    mean, low, high = over_seeds(np.array(values))
    return Figure(name=name, ours=mean, low=low, high=high, wanted=wanted, verdict="pass" if holds(mean) else "short")


def _other_number(prompt: str, rng: Random, _: Sequence[str]) -> str:
    found = list(re.finditer(r"\d+", prompt))
    if not found:
        return ""
    match = rng.choice(found)
    return f"{prompt[: match.start()]}{int(match[0]) + rng.randrange(1, 9)}{prompt[match.end() :]}"


def _other_name(prompt: str, rng: Random, names: Sequence[str]) -> str:
    found = list(re.finditer(r"(?<=[a-z] )[A-Z][a-z]{3,}", prompt))
    if not found:
        return ""
    match = rng.choice(found)
    return f"{prompt[: match.start()]}{rng.choice(names)}{prompt[match.end() :]}"


def _swapped(prompt: str, _: Random, __: Sequence[str]) -> str:
    found = list(dict.fromkeys(re.findall(r"(?<=[a-z] )[A-Z][a-z]{3,}", prompt)))
    if len(found) < 2:
        return ""
    one, two = found[:2]
    return re.sub(rf"\b(?:{one}|{two})\b", lambda match: two if match[0] == one else one, prompt)


def _negated(prompt: str, _: Random, __: Sequence[str]) -> str:
    return re.sub(r"\b(is|are|was|were|does|do|did|can|should|has|have|will)\b", r"\1 not", prompt, count=1)


FLIPS = {
    "more": "less", "most": "least", "largest": "smallest", "highest": "lowest", "before": "after", "first": "last",
    "increase": "decrease", "best": "worst", "always": "never", "true": "false", "maximum": "minimum", "above": "below",
    "with": "without", "greater": "smaller", "longest": "shortest", "left": "right", "all": "some", "and": "or",
}  # fmt: skip


def _flipped(prompt: str, rng: Random, _: Sequence[str]) -> str:
    found = [match for match in re.finditer(r"\b[a-z]+\b", prompt) if match[0] in FLIPS]
    if not found:
        return ""
    match = rng.choice(found)
    return prompt[: match.start()] + FLIPS[match[0]] + prompt[match.end() :]


def _one_word(prompt: str, rng: Random, _: Sequence[str]) -> str:
    """Another content word of the same prompt in a word's place."""
    found = list(re.finditer(r"\b[a-z]{5,}\b", prompt))
    words = sorted({match[0] for match in found})
    if len(words) < 2:
        return ""
    match = rng.choice(found)
    return prompt[: match.start()] + rng.choice([w for w in words if w != match[0]]) + prompt[match.end() :]


TRAPS: dict[str, Rewrite] = {
    "number": _other_number,
    "name": _other_name,
    "swap": _swapped,
    "negation": _negated,
    "comparison": _flipped,
    "word": _one_word,
}


def _lower(prompt: str) -> str:
    return prompt[:1].lower() + prompt[1:]


def _polite(prompt: str, rng: Random, _: Sequence[str]) -> str:
    wraps = (
        "Please {}",
        "Hey, {}",
        "Could you please tell me {}",
        "{} Thanks!",
        "I was wondering {}",
        "Hi! {} Thank you.",
        "I'd like to know {}",
    )
    return rng.choice(wraps).format(_lower(prompt))


def _unknown_wrap(prompt: str, rng: Random, _: Sequence[str]) -> str:
    """Wrappings that the cache's rules do not name."""
    wraps = (
        "My colleague asks: {}",
        "Here is one for you. {}",
        "{} Take your time.",
        "For my homework: {}",
        "Be so good as to answer this. {}",
    )
    return rng.choice(wraps).format(prompt)


def _sloppy(prompt: str, rng: Random, _: Sequence[str]) -> str:
    text = prompt.lower() if rng.random() < 0.5 else prompt
    return re.sub(r"[?.!,;]+(?=\s|$)", "", text)


def _spaced(prompt: str, _: Random, __: Sequence[str]) -> str:
    return re.sub(r"\s+", "  ", prompt) + "\n"


def _contracted(prompt: str, _: Random, __: Sequence[str]) -> str:
    return re.sub(
        r"\b(is|do|does|are|was) not\b", r"\1n't", re.sub(r"\b(What|Who|Where|How|what|who) is\b", r"\1's", prompt)
    )


def _in_words(prompt: str, _: Random, __: Sequence[str]) -> str:
    words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    return re.sub(r"(?<![\w.,-])(1[0-2]|\d)(?![\w.,-])", lambda match: words[int(match[0])], prompt)


SYNONYMS = {
    "large": "big", "explain": "describe", "calculate": "compute", "find": "locate", "choose": "select",
    "buy": "purchase", "purchase": "buy", "children": "kids", "quickly": "rapidly", "correct": "right",
    "write": "compose", "help": "assist", "picture": "image", "difficult": "hard", "car": "automobile",
    "answer": "reply", "begin": "start", "city": "town",
}  # fmt: skip


def _synonym(prompt: str, rng: Random, _: Sequence[str]) -> str:
    found = [match for match in re.finditer(r"\b[a-z]+\b", prompt) if match[0] in SYNONYMS]
    if not found:
        return ""
    match = rng.choice(found)
    return prompt[: match.start()] + SYNONYMS[match[0]] + prompt[match.end() :]


def _typo(prompt: str, rng: Random, _: Sequence[str]) -> str:
    found = list(re.finditer(r"\b[a-z]{6,}\b", prompt))
    if not found:
        return ""
    match = rng.choice(found)
    at = match.start() + rng.randrange(1, 4)
    return prompt[:at] + prompt[at + 1] + prompt[at] + prompt[at + 2 :]


PARAPHRASES: dict[str, Rewrite] = {
    "polite": _polite,
    "other wrapping": _unknown_wrap,
    "sloppy": _sloppy,
    "spaces": _spaced,
    "contraction": _contracted,
    "number word": _in_words,
    "synonym": _synonym,
    "typo": _typo,
}
