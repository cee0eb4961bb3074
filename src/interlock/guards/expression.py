"""CEL expressions that are checked when they are loaded: names, functions, types, and keys that may be absent.

The binding parses and evaluates but does not type-check, so an expression is tried on a sample of every field. `&&`,
`||` and `?:` would hide operands from such a trial; so it is split at them, and each operand is tried by itself.

What is not known is absent: `has(signals.task)` asks for it, and whatever depends on it cannot be evaluated, unless the
other side of `&&` or `||` settles the matter. Comparisons mix integers and doubles freely; arithmetic does not, and
numbers are doubles, so write `signals.tokens * 2.0 > 800`.

Source: Common Expression Language, https://cel.dev.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import ConfigError, nearest
from .evaluator import cel

Schema = Mapping[str, Mapping[str, Any]]
"""Root name -> field -> a sample of its type. In a map, the keys of the sample are always there, others may be."""

FUNCTIONS = (
    *("size", "contains", "startsWith", "endsWith", "matches", "type", "dyn"),
    *("int", "uint", "double", "string", "bytes", "timestamp", "duration"),
)
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=", "in")
_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<string>[rRbB]{0,2}(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'))
    |(?P<number>(?:0x[\da-fA-F]+|(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?)[uU]?)
    |(?P<name>[A-Za-z_]\w*)
    |(?P<operator>&&|\|\||==|!=|<=|>=|.)""",
    re.VERBOSE | re.DOTALL,
)
_MACROS = ("all", "exists", "exists_one", "map", "filter")


class Token(NamedTuple):
    kind: str
    text: str
    at: int


Tokens = Sequence[Token]


class Expression:
    """A checked program over `schema` that gives true or false. `reads` holds the fields it refers to, by root.

    Raises `ConfigError`, with the column of what is wrong and the nearest valid name.
    """

    def __init__(self, source: str, schema: Schema, path: str = "") -> None:
        self.source = source
        try:
            self._program = cel.compile(source)
        except ValueError as error:
            raise ConfigError(_syntax(source, str(error)), path=path) from None
        tokens = tokenized(source)
        try:
            _check_names(source, tokens, schema, self._program)
            samples = _samples(tokens, schema)
            for operand in operands(tokens):
                _try(source, operand, samples)
        except _Wrong as wrong:
            raise ConfigError(f"{position(source, wrong.at)}: {wrong.problem}", path=path) from None
        self.reads = {root: fields for root in schema if (fields := _fields_of(root, tokens, schema))}

    def holds(self, environment: cel.Context) -> bool:
        """Raises whatever the evaluation raises: `KeyError` for what is absent, `TypeError` and others of CEL."""
        return bool(self._program.execute(environment))


class _Wrong(Exception):
    def __init__(self, at: int, problem: str) -> None:
        self.at, self.problem = at, problem


def tokenized(source: str) -> list[Token]:
    matches = (match for match in _TOKEN.finditer(source) if match.lastgroup != "space")
    return [Token(match.lastgroup or "", match[0], match.start()) for match in matches]


def operands(tokens: Tokens) -> Iterator[Tokens]:
    """What `&&`, `||`, `!`, `?:` and parentheses combine, each true or false by itself."""
    for separators in (("?", ":"), ("||",), ("&&",)):
        parts = _split(tokens, separators)
        if len(parts) > 1:
            for part in parts:
                yield from operands(part)
            return
    if tokens[0].text == "!" and len(_split(tokens, ("==", "!=", "<", "<=", ">", ">=", "in"))) == 1:
        yield from operands(tokens[1:])
    elif tokens[0].text == "(" and _closing(tokens) == len(tokens) - 1:
        yield from operands(tokens[1:-1])
    else:
        yield tokens


def position(source: str, at: int) -> str:
    line = source.count("\n", 0, at)
    column = at - (source.rfind("\n", 0, at) + 1) + 1
    return f"line {line + 1}, column {column}" if "\n" in source.rstrip() else f"column {column}"


def _split(tokens: Tokens, separators: Sequence[str]) -> list[Tokens]:
    """The runs of tokens between the separators that stand outside all brackets."""
    parts, begin, depth = [], 0, 0
    for i, token in enumerate(tokens):
        depth += _depth(token)
        if depth == 0 and token.text in separators and token.kind != "string":
            parts.append(tokens[begin:i])
            begin = i + 1
    return [*parts, tokens[begin:]]


def _closing(tokens: Tokens) -> int:
    """The index at which the bracket that opens `tokens` is closed."""
    depth = 0
    for i, token in enumerate(tokens):
        depth += _depth(token)
        if depth == 0:
            return i
    return len(tokens)


def _depth(token: Token) -> int:
    return 0 if token.kind != "operator" else (token.text in "([{") - (token.text in ")]}")


def _syntax(source: str, said: str) -> str:
    where = re.search(r"<input>:(\d+):(\d+): (?:Syntax error: )?(.*)", said)
    if where is None:
        return f"not CEL: {said}"
    line, column, problem = int(where[1]), int(where[2]), where[3].split(" expecting ")[0]
    before = sum(len(text) + 1 for text in source.split("\n")[: line - 1])
    return f"{position(source, before + column - 1)}: not CEL: {problem}"


def _check_names(source: str, tokens: Tokens, schema: Schema, program: cel.Program) -> None:
    """Raises `_Wrong` for a name, field or function that does not exist, and for a key that may be absent."""
    words = [token.text for token in tokens]
    bound = {words[i + 2] for i in range(len(words) - 2) if words[i] in _MACROS and words[i + 1] == "("}
    names, functions = set(program.variables()) - bound, set(program.functions()) - set(FUNCTIONS)
    asked = _asked_for(words)
    for i, token in enumerate(tokens):
        follows = words[i + 1 : i + 3]
        if token.kind != "name":
            continue
        if token.text in functions and follows[:1] == ["("]:
            raise _Wrong(token.at, f"there is no function {token.text!r}; {nearest(token.text, FUNCTIONS)}")
        if token.text not in names or words[max(0, i - 1)] == ".":
            continue
        if token.text not in schema:
            raise _Wrong(token.at, f"unknown name {token.text!r}; {nearest(token.text, list(schema))}")
        if follows[:1] == ["."]:
            if follows[1] not in schema[token.text]:
                hint = nearest(follows[1], list(schema[token.text]))
                raise _Wrong(tokens[i + 2].at, f"there is no {token.text}.{follows[1]}; {hint}")
            _check_key(tokens[i : i + 6], schema[token.text][follows[1]], asked)


def _asked_for(words: Sequence[str]) -> set[str]:
    """The dotted paths whose presence the expression asks for, as `has(a.b.c)` or as `"c" in a.b`."""
    text = " ".join(words)
    asked = {match[1].replace(" ", "") for match in re.finditer(r"has \( ([\w .]+) \)", text)}
    within = re.finditer(r"""(["'])([^"']+)\1 in (\w+) \. (\w+)""", text)
    return asked | {f"{match[3]}.{match[4]}.{match[2]}" for match in within}


def _check_key(path: Tokens, known: Any, asked: set[str]) -> None:
    """`root.field.key` and `root.field["key"]` where the field is a map: a key that may be absent is asked for."""
    if not isinstance(known, Mapping) or len(path) < 5 or path[3].text not in (".", "["):
        return
    key, is_call = path[4].text.strip("\"'"), len(path) > 5 and path[5].text == "("
    dotted = f"{path[0].text}.{path[2].text}.{key}"
    if key in known or is_call or path[4].kind not in ("name", "string") or dotted in asked:
        return
    hint = f"; {nearest(key, list(known))}" if known else ""
    raise _Wrong(path[4].at, f"{dotted} may be absent, so ask first: `has({dotted}) && ...`{hint}")


def _fields_of(root: str, tokens: Tokens, schema: Schema) -> set[str]:
    found: set[str] = set()
    for i, token in enumerate(tokens):
        if token.kind == "name" and token.text == root and (i == 0 or tokens[i - 1].text != "."):
            follows = tokens[i + 1 : i + 3]
            found |= {follows[1].text} if len(follows) == 2 and follows[0].text == "." else set(schema[root])
    return found & set(schema[root])


def _try(source: str, operand: Tokens, samples: Sequence[cel.Context]) -> None:
    """Evaluate both sides of an operand's comparison, and then all of it, on samples. Raises `_Wrong`."""
    text, at = _text(source, operand), operand[0].at
    for operator in COMPARISONS:
        sides = _split(operand, (operator,))
        if len(sides) == 2:
            for left, right in zip(*(_values(source, side, samples) for side in sides), strict=True):
                _check_comparable(text, at, operator, left, right)
    for value in _values(source, operand, samples):
        if not isinstance(value, bool):
            raise _Wrong(at, f"{text!r} is a {_kind(value)}, but must be true or false")


def _check_comparable(text: str, at: int, operator: str, left: Any, right: Any) -> None:
    among = list(right) if operator == "in" else [right]
    if among and _kind(left) not in {_kind(value) for value in among}:
        kinds = f"a {_kind(left)} with a {_kind(among[0])}"
        hint = "; ask with has(...) whether something is known" if "null" in kinds else ""
        raise _Wrong(at, f"{text!r} compares {kinds}{hint}")


def _values(source: str, part: Tokens, samples: Sequence[cel.Context]) -> list[Any]:
    text = _text(source, part)
    try:
        program = cel.compile(text)
        return [program.execute(sample) for sample in samples]
    except KeyError as error:
        raise _Wrong(part[0].at, f"{text!r}: there is no key {error}") from None
    except TypeError:
        problem = "the types do not fit; numbers here are doubles, so calculate with 2.0 rather than 2"
        raise _Wrong(part[0].at, f"{text!r}: {problem}") from None
    except (ArithmeticError, IndexError, RuntimeError, ValueError) as error:
        raise _Wrong(part[0].at, f"{text!r}: {' '.join(str(error).split())}") from None


def _samples(tokens: Tokens, schema: Schema) -> list[cel.Context]:
    """Environments with every field present; strings, numbers and keys of maps are those of the expression itself."""
    strings = [token.text.lstrip("rRbB").strip("\"'") for token in tokens if token.kind == "string"] or ["x"]
    numbers = [float(token.text) for token in tokens if re.fullmatch(r"\d+(\.\d+)?", token.text)] or [1.0]
    keys = [*strings, *(token.text for token in tokens if token.kind == "name")]

    def of(sample: Any, text: str, number: float, truth: bool) -> Any:
        if isinstance(sample, Mapping):
            return dict.fromkeys([*sample, *keys], text)
        if isinstance(sample, list):
            return [text]
        return truth if isinstance(sample, bool) else number if isinstance(sample, float) else text

    return [
        cel.Context({root: {name: of(field, *values) for name, field in schema[root].items()} for root in schema})
        for values in ((strings[0], numbers[0], True), (strings[-1], numbers[-1] + 1.0, False), ("other", 0.5, True))
    ]


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "truth value", int: "number", float: "number", str: "string", list: "list", dict: "map"}
    return names.get(type(value), type(value).__name__)


def _text(source: str, part: Tokens) -> str:
    return source[part[0].at : part[-1].at + len(part[-1].text)]
