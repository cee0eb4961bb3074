"""Do plain values fit the settings' types? If not: where is the first that does not, and what would?"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin, get_type_hints

import msgspec

from ..errors import ConfigError, nearest
from .document import Document, Place

_WORDS = {
    "`int`": "a whole number",
    "`float`": "a number",
    "`bool`": "true or false",
    "`str`": "a text",
    "`array`": "a list",
    "`object`": "a mapping",
    "`null`": "nothing",
}


def check(document: Document, kind: type[msgspec.Struct]) -> None:
    """Raises `ConfigError` at the first value of the document that does not fit."""
    for problem, place in misfits(document.data, kind, ()):
        raise document.error(problem, *place)


def misfits(value: Any, kind: Any, place: Place) -> Iterator[tuple[str, Place]]:
    """What does not fit and where, in the order of the types' fields; unknown keys of a block come first."""
    bare = _bare(kind)
    if isinstance(bare, type) and issubclass(bare, msgspec.Struct) and isinstance(value, dict):
        hints = get_type_hints(bare, include_extras=True)
        known = {field.encode_name: field for field in msgspec.structs.fields(bare)}
        for key in value:
            if key not in known:
                yield f"unknown key {key!r}; {nearest(key, list(known))}", (*place, key)
        for name, field in known.items():
            if name in value:
                yield from misfits(value[name], hints[field.name], (*place, name))
            elif field.required:
                yield f"the key {name!r} is missing", place
    elif get_origin(bare) is dict and isinstance(value, dict):
        key_kind, inner = get_args(bare)
        for key, item in value.items():
            yield from _misfit(key, key_kind, (*place, key))
            yield from misfits(item, inner, (*place, key))
    elif get_origin(bare) is tuple and isinstance(value, list) and value:
        for i, item in enumerate(value):
            yield from misfits(item, get_args(bare)[0], (*place, i))
    elif not (value is None and _is_optional(kind)):
        yield from _misfit(value, kind, place)


def _misfit(value: Any, kind: Any, place: Place) -> Iterator[tuple[str, Place]]:
    if isinstance(value, float) and not math.isfinite(value):
        yield f"expected a finite number, got {value}", place
        return
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        yield _said(error, value), place


def _said(error: msgspec.ValidationError, value: Any) -> str:
    """msgspec's message in the words of somebody who writes YAML, with the value at fault."""
    text = re.sub(r" - at .*$", "", str(error), flags=re.DOTALL).replace(" | ", "` or `").split(", got ")[0]
    text = re.sub(r"`\w+`", lambda name: _WORDS.get(name[0], name[0]), text)
    shown = "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else repr(value)
    hint = ""
    if isinstance(value, int | float) and "a text" in text:
        hint = "; put it in quotes"
    elif isinstance(value, str) and "number" in text and re.fullmatch(r"[-+.\deE]*\d", value):
        hint = "; write its digits out, without quotes"
    return f"{text[0].lower()}{text[1:]}, got {'nothing' if value is None else shown}{hint}"


def _bare(kind: Any) -> Any:
    """A type without its constraints and without `| None`."""
    while True:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        elif _is_optional(kind) and len(get_args(kind)) == 2:
            kind = next(arg for arg in get_args(kind) if arg is not NoneType)
        else:
            return kind


def _is_optional(kind: Any) -> bool:
    return get_origin(kind) in (Union, UnionType) and NoneType in get_args(kind)


def constructed(kind: type[Any], block: Mapping[str, Any], document: Document, place: Place) -> Any:
    """An instance of a dataclass from a block of its parameters. Raises `ConfigError` for what does not fit.

    Fields that are not shown (`repr=False`) are working parts such as weights, not parameters.
    """
    label, hints = kind.__name__.lower(), get_type_hints(kind, include_extras=True)
    known = {field.name: field for field in fields(kind) if field.init and field.repr}
    for name, value in block.items():
        if name not in known:
            raise document.error(f"{label} has no parameter {name!r}; {nearest(name, list(known))}", *place, name)
        for problem, where in misfits(value, _concrete(hints[name]), (*place, name)):
            raise document.error(problem, *where)
    for name, field in known.items():
        if name not in block and field.default is MISSING and field.default_factory is MISSING:
            raise document.error(f"{label} needs the parameter {name!r}", *place)
    try:
        return kind(**block)
    except ConfigError as error:
        raise document.error(error.problem, *(error.path.split(".") if error.path else place)) from None
    except (ValueError, TypeError) as error:
        first = str(error).split(" ")[0]  # such messages begin with the parameter's name
        raise document.error(str(error), *place, *([first] if first in block else [])) from None


def _concrete(hint: Any) -> Any:
    """`Mapping[str, X]` as the `dict` it is in YAML; msgspec converts to concrete types only."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (None, ClassVar, Annotated, Union, UnionType) or not args:
        return hint
    if issubclass(origin, Mapping):
        return dict[args[0], _concrete(args[1])]  # type: ignore[valid-type,misc]
    return hint
