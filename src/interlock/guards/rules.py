"""Rules of the operator's own, in CEL: when something holds of a request, some candidates are forbidden.

`when` sees `signals.<name>` and `request.<field>`; `forbid` is a list of globs over candidate names, or CEL over
`candidate.<field>`. Both are compiled at load: unknown names are errors with their position and the nearest valid name,
and type errors are found by trying the expression on sample values of every field's type. At run time an expression
that cannot be evaluated forbids: a rule that could not look does not permit.

CEL has no implicit conversion: numbers are doubles here, so write `signals.tokens > 400.0`.

Source: Common Expression Language, https://cel.dev.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import cel

from ..errors import ConfigError, nearest
from ..types import Candidate, Context, Reason, Request
from .base import Objection

REQUEST: Mapping[str, Any] = {
    "model": "",
    "tenant": "",
    "session": "",
    "program": "",
    "needs": [""],
    "hints": {"": ""},
    "max_tokens": 0.0,
    "stream": False,
}
CANDIDATE: Mapping[str, Any] = {
    "name": "",
    "provider": "",
    "model": "",
    "budget": "",
    "trust": "",
    "price_in": 0.0,
    "price_out": 0.0,
    "context_window": 0.0,
    "capabilities": {"": ""},
}
SIGNALS: Mapping[str, Any] = {
    "tokens": 0.0,
    "language": "",
    "structure": "",
    "keywords": "",
    "task": "",
    "difficulty": 0.0,
    "shape": "",
    "modality": "",
    "pii": False,
    "hints": "",
}
"""Field -> a value of its type. A signal that could not be read is `null`."""

_STRING = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""")
_PATH = re.compile(r"\b(signals|request|candidate)\s*\.\s*([A-Za-z_]\w*)")
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?")


def compiled(source: str, roots: Mapping[str, Mapping[str, Any]], path: str) -> cel.Program:
    """A program over `roots`, checked. Raises `ConfigError` with the column of what is wrong."""
    try:
        program = cel.compile(source)
    except ValueError as error:
        where = re.search(r"<input>:1:(\d+): (.*)", str(error))
        said = f"column {where[1]}: {where[2]}" if where else str(error)
        raise ConfigError(f"not CEL: {said} in {source!r}", path=path) from None
    bare = _STRING.sub(lambda match: "_" * len(match[0]), source)
    for match in _PATH.finditer(bare):
        root, field = match[1], match[2]
        if root not in roots:
            raise ConfigError(f"column {match.start() + 1}: {root!r} cannot be seen here; {nearest(root, list(roots))}", path=path)
        if field not in roots[root]:
            hint = nearest(field, list(roots[root]))
            raise ConfigError(f"column {match.start(2) + 1}: there is no {root}.{field}; {hint}", path=path)
    for name in program.variables():
        bound = re.search(rf"\.(all|exists|exists_one|map|filter)\(\s*{re.escape(name)}\s*,", bare)
        if name not in roots and not bound:
            at = re.search(rf"\b{re.escape(name)}\b", bare)
            column = at.start() + 1 if at else 1
            raise ConfigError(f"column {column}: unknown name {name!r}; {nearest(name, list(roots))}", path=path)
    _try(program, source, roots, path)
    return program


def _try(program: cel.Program, source: str, roots: Mapping[str, Mapping[str, Any]], path: str) -> None:
    """Evaluate on samples of every field's type, drawn so that both sides of `&&` and `||` are reached.

    Sample strings and numbers include the literals of the expression itself. Raises `ConfigError` for a type error, or
    when the result is not a boolean.
    """
    strings = [literal[1:-1] for literal in _STRING.findall(source)] or ["x"]
    numbers = [float(number) + step for number in _NUMBER.findall(source) for step in (-1.0, 0.0, 1.0)] or [0.0, 1.0]
    draw = random.Random(0)
    for _ in range(96):
        try:
            result = program.execute({root: _sample(fields, strings, numbers, draw) for root, fields in roots.items()})
        except KeyError:
            continue  # a key of a map that this sample lacks; at run time too, it only means that the rule does not apply
        except (TypeError, ValueError, RuntimeError) as error:
            said = str(error).split(". CEL does not")[0]
            raise ConfigError(f"type error in {source!r}: {said}; numbers are doubles, write 400.0", path=path) from None
        if not isinstance(result, bool):
            raise ConfigError(f"{source!r} gives {type(result).__name__}, but must give true or false", path=path)


def _sample(fields: Mapping[str, Any], strings: Sequence[str], numbers: Sequence[float], draw: random.Random) -> dict[str, Any]:
    def value(example: Any) -> Any:
        if isinstance(example, bool):
            return draw.random() < 0.5
        if isinstance(example, float):
            return draw.choice(numbers)
        if isinstance(example, str):
            return draw.choice([*strings, "other"])
        if isinstance(example, list):
            return [draw.choice(strings)]
        return dict.fromkeys(strings, draw.choice(strings))

    return {name: value(example) for name, example in fields.items()}


@dataclass(frozen=True)
class Rule:
    """`because` is what a refused caller reads."""

    name: str
    when: str = "true"
    forbid: str | Sequence[str] = "true"
    because: str = ""


class Rules:
    """All rules, compiled. Raises `ConfigError` naming the rule."""

    name = "rules"

    def __init__(self, rules: Sequence[Rule], signals: Iterable[str] = SIGNALS) -> None:
        seen = {name: SIGNALS[name] for name in signals if name in SIGNALS}
        self._rules = []
        for rule in rules:
            path = f"guards.rules.{rule.name}"
            when = compiled(rule.when, {"signals": seen, "request": REQUEST}, f"{path}.when")
            forbid = compiled(rule.forbid, {"candidate": CANDIDATE}, f"{path}.forbid") if isinstance(rule.forbid, str) else None
            self._rules.append((rule, when, forbid))
        self._targets: tuple[Sequence[Candidate], list[list[int]]] = ((), [[] for _ in rules])

    def check(self, context: Context, candidates: Sequence[Candidate]) -> Iterable[Objection]:
        environment = {
            "signals": {name: signal.value for name, signal in context.signals.items()},
            "request": request_fields(context.request),
        }
        for (rule, when, _), targets in zip(self._rules, self._forbidden(candidates), strict=True):
            if not targets:
                continue
            holds, note = _holds(when, environment)
            if holds:
                reason = Reason(self.name, rule.name, (rule.because or f"the rule {rule.name} forbids it") + note)
                yield from ((i, reason) for i in targets)

    def _forbidden(self, candidates: Sequence[Candidate]) -> list[list[int]]:
        """For each rule the candidates it is about; worked out once for a pool, since it does not depend on requests."""
        known, targets = self._targets
        if known is not candidates:
            targets = [[i for i, c in enumerate(candidates) if _concerns(rule, forbid, c)] for rule, _, forbid in self._rules]
            self._targets = candidates, targets
        return targets


def _holds(program: cel.Program, environment: Mapping[str, Any]) -> tuple[bool, str]:
    try:
        return bool(program.execute(dict(environment))), ""
    except KeyError:
        return False, ""  # a key of `hints` that the caller did not send
    except (TypeError, ValueError, RuntimeError) as error:
        return True, f" (the condition could not be evaluated: {type(error).__name__})"


def _concerns(rule: Rule, forbid: cel.Program | None, candidate: Candidate) -> bool:
    if forbid is None:
        return any(fnmatchcase(candidate.name, glob) for glob in rule.forbid)
    return _holds(forbid, {"candidate": candidate_fields(candidate)})[0]


def request_fields(request: Request) -> dict[str, Any]:
    """What rules see of a request."""
    return {
        "model": request.model,
        "tenant": request.tenant,
        "session": request.session,
        "program": request.program,
        "needs": sorted(request.needs),
        "hints": dict(request.hints),
        "max_tokens": float(request.max_tokens or 0),
        "stream": request.stream,
    }


def candidate_fields(candidate: Candidate) -> dict[str, Any]:
    """What rules see of a candidate; an unknown price or window is null."""
    profile = candidate.profile
    window = profile.context_window
    return {
        "name": candidate.name,
        "provider": candidate.provider,
        "model": candidate.model,
        "budget": candidate.budget,
        "trust": profile.trust,
        "price_in": profile.price_in,
        "price_out": profile.price_out,
        "context_window": None if window is None else float(window),
        "capabilities": {name: answer.value for name, answer in profile.capabilities.items()},
    }


def signals_in(source: str) -> list[str]:
    """The names of the signals an expression refers to."""
    bare = _STRING.sub("''", source)
    return [match[2] for match in _PATH.finditer(bare) if match[1] == "signals"]
