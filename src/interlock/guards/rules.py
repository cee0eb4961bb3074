"""Rules of the operator's own, in CEL: when something holds of a request, some candidates are forbidden.

`when` sees `signals.<name>` and `request.<field>`. `forbid` names the candidates it strikes, `allow` the only ones it
leaves: either is CEL over `candidate.<field>`, or a list of globs over their names. All is checked when it is loaded.

A signal that could not be read is absent, and so is a price that nobody stated. A condition that depends on it cannot
be evaluated and then forbids: a rule that could not look does not permit. Ask with `has(...)` to have it otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from ..types import Candidate, Context, Reason, Request
from .base import Objection, matches
from .evaluator import cel
from .expression import Expression, Schema, tokenized

CAPABILITIES = ("tools", "json", "logprobs", "image", "audio", "video", "file")
"""Capabilities that rules may always ask about; a candidate that does not declare one has it `unknown`."""

SIGNALS: Mapping[str, Any] = {
    "tokens": 0.0,
    "language": "",
    "structure": "",
    "keywords": "",
    "task": "",
    "difficulty": 0.0,
    "readability": 0.0,
    "shape": "",
    "modality": "",
    "pii": False,
    "hints": "",
}
"""Signal -> a sample of its type. `embedding` has no value of its own and is left out."""

REQUEST: Mapping[str, tuple[Any, Callable[[Request], Any]]] = {
    "model": ("", lambda request: request.model),
    "tenant": ("", lambda request: request.tenant),
    "session": ("", lambda request: request.session),
    "program": ("", lambda request: request.program),
    "needs": ([""], lambda request: sorted(request.needs)),
    "hints": ({}, lambda request: dict(request.hints)),
    "max_tokens": (0.0, lambda request: float(request.max_tokens or 0)),
    "stream": (False, lambda request: request.stream),
}
"""Field of a request -> a sample of its type, and how to read it. `max_tokens` is 0 when the caller stated none."""

CANDIDATE: Mapping[str, tuple[Any, Callable[[Candidate], Any]]] = {
    "name": ("", lambda candidate: candidate.name),
    "provider": ("", lambda candidate: candidate.provider),
    "model": ("", lambda candidate: candidate.model),
    "budget": ("", lambda candidate: candidate.budget),
    "trust": ("", lambda candidate: candidate.profile.trust),
    "price_in": (0.0, lambda candidate: candidate.profile.price_in),
    "price_out": (0.0, lambda candidate: candidate.profile.price_out),
    "context_window": (0.0, lambda candidate: _number(candidate.profile.context_window)),
    "max_output": (0.0, lambda candidate: _number(candidate.profile.max_output)),
    "capabilities": (dict.fromkeys(CAPABILITIES, ""), lambda candidate: _capabilities(candidate)),
}
"""Field of a candidate -> a sample of its type, and how to read it. What is `None` in the profile is absent."""

REQUEST_SCHEMA = {name: sample for name, (sample, _) in REQUEST.items()}
CANDIDATE_SCHEMA: Schema = {"candidate": {name: sample for name, (sample, _) in CANDIDATE.items()}}


@dataclass(frozen=True)
class Rule:
    """One of `forbid` and `allow` says which candidates; `because` is what a refused caller reads."""

    name: str
    when: str = "true"
    forbid: str | Sequence[str] | None = None
    because: str = ""
    allow: str | Sequence[str] | None = None


class Rules:
    """All rules, compiled. Raises `ConfigError` naming the rule."""

    name = "rules"

    def __init__(self, rules: Sequence[Rule], signals: Mapping[str, Any] = SIGNALS) -> None:
        schema = {"signals": signals, "request": REQUEST_SCHEMA}
        self._rules = [
            (rule, Expression(rule.when, schema, f"guards.rules.{rule.name}.when"), _Strikes(rule)) for rule in rules
        ]
        self._signals = sorted({name for _, when, _ in self._rules for name in when.reads.get("signals", ())})
        self._fields = sorted({name for _, when, _ in self._rules for name in when.reads.get("request", ())})
        self._of_pool: tuple[Sequence[Candidate], list[list[Objection]]] = ((), [[] for _ in rules])

    def check(self, context: Context, candidates: Sequence[Candidate]) -> Iterable[Objection]:
        environment = self._environment(context)
        for (_, when, _), objections in zip(self._rules, self._objections(candidates), strict=True):
            if objections:
                holds, note = _holds(when, environment)
                if note:
                    yield from ((i, replace(reason, detail=reason.detail + note)) for i, reason in objections)
                elif holds:
                    yield from objections

    def _environment(self, context: Context) -> cel.Context:
        """Only what the rules refer to: converting values costs far more than evaluating."""
        read, request = context.signals, context.request
        signals = {name: read[name].value for name in self._signals if name in read and read[name].value is not None}
        return cel.Context({"signals": signals, "request": {name: REQUEST[name][1](request) for name in self._fields}})

    def _objections(self, candidates: Sequence[Candidate]) -> list[list[Objection]]:
        """What each rule has against the candidates while it holds: worked out once for a pool."""
        pool, objections = self._of_pool
        if pool is not candidates:
            objections = [list(strikes(candidates)) for _, _, strikes in self._rules]
            if isinstance(candidates, tuple):
                self._of_pool = candidates, objections
        return objections


class _Strikes:
    """Which of the candidates a rule is about, each with the reason; it says so when that could not be evaluated."""

    def __init__(self, rule: Rule) -> None:
        self._reason = Reason(Rules.name, rule.name, rule.because or f"the rule {rule.name!r} forbids it")
        self._allow = rule.allow is not None
        given = rule.allow if rule.forbid is None else rule.forbid
        self._globs = () if given is None or isinstance(given, str) else given
        path = f"guards.rules.{rule.name}.{'allow' if self._allow else 'forbid'}"
        self._expression = Expression(given, CANDIDATE_SCHEMA, path) if isinstance(given, str) else None

    def __call__(self, candidates: Sequence[Candidate]) -> Iterable[Objection]:
        for i, candidate in enumerate(candidates):
            if self._expression is None:
                named, note = matches(candidate, self._globs), ""
            else:
                facts = {name: value for name, (_, read) in CANDIDATE.items() if (value := read(candidate)) is not None}
                named, note = _holds(self._expression, cel.Context({"candidate": facts}))
            if note:
                yield i, replace(self._reason, detail=self._reason.detail + note)
            elif named is not self._allow:
                yield i, self._reason


def _holds(expression: Expression, environment: cel.Context) -> tuple[bool, str]:
    """Whether it holds. What cannot be evaluated is taken to forbid, and the note says so to who reads the reason."""
    try:
        return expression.holds(environment), ""
    except KeyError as error:
        return True, f" (cannot be evaluated: {error} is not known)"
    except Exception as error:  # noqa: BLE001 - fail closed; the note in the reason is the record
        return True, f" (cannot be evaluated: {type(error).__name__})"


def _number(value: int | None) -> float | None:
    return None if value is None else float(value)


def _capabilities(candidate: Candidate) -> dict[str, str]:
    declared = {name: answer.value for name, answer in candidate.profile.capabilities.items()}
    return {**dict.fromkeys(CAPABILITIES, "unknown"), **declared}


def signals_in(source: str) -> list[str]:
    """The names of the signals an expression refers to, as `signals.name` or `signals["name"]`."""
    words = [token.text for token in tokenized(source)]
    places = [i for i in range(len(words) - 2) if words[i] == "signals" and words[i + 1] in (".", "[")]
    return [words[i + 2].strip("\"'") for i in places]
