"""Read, convert, cross-check. The first mistake is reported, precisely; nothing is guessed or ignored."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from ..errors import ConfigError, nearest
from .document import Document, Place
from .settings import CandidateSettings, Settings

_AT = re.compile(r"^(?P<problem>.*?)(?: - at `\$(?P<path>[^`]*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"unknown field `(.*)`", re.DOTALL)
ANSWERS = ("yes", "no", "unknown")


def load(path: str | Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings in a file. Raises `ConfigError`."""
    return from_document(Document.read(Path(path)), environment)


def from_document(document: Document, environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from plain values, checked against the families and each other. Raises `ConfigError`."""
    try:
        settings = msgspec.convert(document.data, Settings)
    except msgspec.ValidationError as error:
        raise _located(error, document) from None
    for check in (_names, _providers, _candidates, _models, _families, _signals, _guards, _keys):
        check(settings, document, environment)
    return settings


def _located(error: msgspec.ValidationError, document: Document) -> ConfigError:
    """msgspec's error with the line of its path; for an unknown or missing key, the nearest one that exists."""
    match = _AT.match(str(error))
    problem, path = (match["problem"], match["path"] or "") if match else (str(error), "")
    place: Place = tuple(int(index) if index.isdigit() else key or index for key, index in _STEP.findall(path))
    place = _resolved(place, document)
    if unknown := _UNKNOWN.search(problem):
        known = _keys_at(place)
        return document.error(f"unknown key {unknown[1]!r}; {nearest(unknown[1], known)}", *place, unknown[1])
    return document.error(problem[0].lower() + problem[1:].replace("`", "'"), *place)


def _resolved(place: Place, document: Document) -> Place:
    """msgspec writes `[...]` for any value of a mapping; find the one that fails by trying each."""
    if "..." not in place:
        return place
    at = place.index("...")
    value: Any = document.data
    for step in place[:at]:
        value = value[step]
    into = _type_at(place[:at])
    for key in value:
        try:
            msgspec.convert({key: value[key]}, into)
        except msgspec.ValidationError:
            return _resolved((*place[:at], key, *place[at + 1 :]), document)
    return place[:at]


def _type_at(place: Place) -> Any:
    """The type that the settings expect at a place."""
    kind: Any = Settings
    for step in place:
        while getattr(kind, "__metadata__", None) or (get_args(kind) and type(None) in get_args(kind)):
            kind = next(arg for arg in get_args(kind) if arg is not type(None))
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            names = dict(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))
            kind = get_type_hints(kind, include_extras=True).get(names.get(str(step), ""), Any)
        else:
            inner = [arg for arg in get_args(kind) if arg is not Ellipsis]
            kind = inner[-1] if inner else Any
    while getattr(kind, "__metadata__", None) or (get_args(kind) and type(None) in get_args(kind)):
        kind = next(arg for arg in get_args(kind) if arg is not type(None))
    return kind


def _keys_at(place: Place) -> Sequence[str]:
    kind = _type_at(place)
    return list(kind.__struct_encode_fields__) if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else []


def _names(settings: Settings, document: Document, _: Mapping[str, str]) -> None:
    first: dict[str, int] = {}
    for i, candidate in enumerate(settings.candidates):
        if candidate.name in first:
            line = document.line(("candidates", first[candidate.name]))
            raise document.error(f"a second candidate {candidate.name!r} (the first is on line {line})", "candidates", i, "name")
        first[candidate.name] = i
    for name in settings.models:
        if name in first:
            raise document.error(f"{name!r} is the name of a candidate; a virtual model needs one of its own", "models", name)
    rules: set[str] = set()
    for i, rule in enumerate(settings.guards.rules):
        if rule.name in rules:
            raise document.error(f"a second rule {rule.name!r}", "guards", "rules", i, "name")
        rules.add(rule.name)


def _providers(settings: Settings, document: Document, environment: Mapping[str, str]) -> None:
    from ..providers import PROVIDERS

    for name, provider in settings.providers.items():
        if provider.kind not in PROVIDERS:
            problem = f"unknown kind of provider {provider.kind!r}; {nearest(provider.kind, list(PROVIDERS))}"
            raise document.error(problem, "providers", name, "kind")
        if provider.base_url and not re.match(r"^https?://[^/\s]+", provider.base_url):
            raise document.error(f"{provider.base_url!r} is not an http or https URL", "providers", name, "base_url")
        if provider.api_key:
            secret(provider.api_key, document, ("providers", name, "api_key"), environment)


def secret(reference: str, document: Document, place: Place, environment: Mapping[str, str]) -> str:
    """The value behind `env:NAME`. Raises `ConfigError` for a secret written out, or a variable that is not set."""
    if not reference.startswith("env:"):
        raise document.error("write `env:NAME` and put the secret into that environment variable", *place)
    name = reference.removeprefix("env:")
    value = environment.get(name, "")
    if not value:
        alike = [known for known in environment if known.endswith(("KEY", "TOKEN"))]
        hint = f"; {nearest(name, alike)}" if nearest(name, alike).startswith("did") else ""
        raise document.error(f"the environment variable {name} is not set{hint}", *place)
    return value


def _candidates(settings: Settings, document: Document, _: Mapping[str, str]) -> None:
    for i, candidate in enumerate(settings.candidates):
        if candidate.provider not in settings.providers:
            hint = nearest(candidate.provider, list(settings.providers))
            raise document.error(f"unknown provider {candidate.provider!r}; {hint}", "candidates", i, "provider")
        for capability, answer in candidate.capabilities.items():
            if isinstance(answer, str) and answer not in ANSWERS:
                problem = f"a capability is yes, no or unknown, not {answer!r}; {nearest(answer, ANSWERS)}"
                raise document.error(problem, "candidates", i, "capabilities", capability)
        window, most = candidate.context_window, candidate.max_output
        if window is not None and most is not None and most > window:
            problem = f"it cannot write {most} tokens in a window of {window}"
            raise document.error(problem, "candidates", i, "max_output")
    for i, name in enumerate(settings.policy.default_order):
        _candidate(name, settings.candidates, document, ("policy", "default_order", i))
    for i, name in enumerate(settings.execution.stages):
        _candidate(name, settings.candidates, document, ("execution", "stages", i))


def _candidate(name: str, candidates: Sequence[CandidateSettings], document: Document, place: Place) -> None:
    names = [candidate.name for candidate in candidates]
    if name not in names:
        raise document.error(f"unknown candidate {name!r}; {nearest(name, names)}", *place)


def _glob(glob: str, settings: Settings, document: Document, place: Place) -> None:
    names = [candidate.name for candidate in settings.candidates]
    if not any(fnmatchcase(name, glob) for name in names):
        raise document.error(f"{glob!r} matches no candidate; {nearest(glob, names)}", *place)


def _models(settings: Settings, document: Document, _: Mapping[str, str]) -> None:
    for name, model in settings.models.items():
        for i, glob in enumerate(model.candidates):
            _glob(glob, settings, document, ("models", name, "candidates", i))


def _families(settings: Settings, document: Document, _: Mapping[str, str]) -> None:
    """Each block is tried on the constructor of the class that its `kind` names."""
    from ..consumption import Consumption
    from ..estimators import ESTIMATORS
    from ..execution import STRATEGIES, Fallback
    from ..exploration import EXPLORATIONS
    from ..objectives import OBJECTIVES

    families: dict[str, Mapping[str, type[Any]]] = {
        "estimator": ESTIMATORS,
        "objective": OBJECTIVES,
        "exploration": EXPLORATIONS,
    }
    for family, members in families.items():
        block = dict(getattr(settings.policy, family))
        place = ("policy", family)
        kind = block.pop("kind", None)
        if kind not in members:
            raise document.error(f"unknown {family} {kind!r}; {nearest(str(kind), list(members))}", *place, "kind")
        constructed(members[kind], block, document, place)
    constructed(Consumption, settings.policy.consumption, document, ("policy", "consumption"))
    execution = settings.execution
    if execution.strategy not in STRATEGIES:
        problem = f"unknown strategy {execution.strategy!r}; {nearest(execution.strategy, list(STRATEGIES))}"
        raise document.error(problem, "execution", "strategy")
    try:
        Fallback(actions=execution.actions)
    except ConfigError as error:
        raise document.error(error.problem, *error.path.split(".")) from None


def constructed(kind: type[Any], block: Mapping[str, Any], document: Document, place: Place) -> Any:
    """An instance of a dataclass from a block of its parameters. Raises `ConfigError` for unknown names and wrong types."""
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind) if field.init} if is_dataclass(kind) else {}
    for name, value in block.items():
        if name not in known:
            raise document.error(f"{kind.__name__.lower()} has no parameter {name!r}; {nearest(name, list(known))}", *place, name)
        try:
            msgspec.convert(value, hints[name])
        except msgspec.ValidationError as error:
            raise document.error(str(error)[0].lower() + str(error)[1:].replace("`", "'"), *place, name) from None
    for name, field in known.items():
        if name not in block and field.default is MISSING and field.default_factory is MISSING:
            raise document.error(f"{kind.__name__.lower()} needs the parameter {name!r}", *place)
    try:
        return kind(**block)
    except (ConfigError, ValueError, TypeError) as error:
        raise document.error(getattr(error, "problem", str(error)), *place) from None


def _signals(settings: Settings, document: Document, _: Mapping[str, str]) -> None:
    from ..signals import SOURCES, build

    for name in settings.signals:
        if name not in SOURCES:
            raise document.error(f"there is no signal {name!r}; {nearest(name, list(SOURCES))}", "signals", name)
    for i, entry in enumerate(settings.vector):
        if entry.split(".")[0] not in SOURCES:
            raise document.error(f"there is no signal {entry!r}; {nearest(entry, list(SOURCES))}", "vector", i)
    if settings.guards.trust is not None and settings.guards.trust.signal not in SOURCES:
        problem = f"there is no signal {settings.guards.trust.signal!r}; {nearest(settings.guards.trust.signal, list(SOURCES))}"
        raise document.error(problem, "guards", "trust", "signal")
    try:
        build([], settings.signals, settings.vector)
    except ConfigError as error:
        place = tuple(error.path.split(".")) if error.path else ("vector",)
        raise document.error(error.problem, *place) from None


def _guards(settings: Settings, document: Document, _: Mapping[str, str]) -> None:
    from ..guards.rules import Rule, Rules

    for tenant, globs in settings.guards.access.tenants.items():
        for i, glob in enumerate(globs):
            _glob(glob, settings, document, ("guards", "access", "tenants", tenant, i))
    for i, glob in enumerate(settings.guards.access.default):
        _glob(glob, settings, document, ("guards", "access", "default", i))
    for i, rule in enumerate(settings.guards.rules):
        try:
            Rules([Rule(rule.name, rule.when, rule.forbid, rule.because)])
        except ConfigError as error:
            raise document.error(error.problem, "guards", "rules", i, error.path.rsplit(".", 1)[-1]) from None
        for j, glob in enumerate(rule.forbid if isinstance(rule.forbid, tuple) else ()):
            _glob(glob, settings, document, ("guards", "rules", i, "forbid", j))


def _keys(settings: Settings, document: Document, environment: Mapping[str, str]) -> None:
    for i, key in enumerate(settings.server.keys):
        secret(key.key, document, ("server", "keys", i, "key"), environment)


def redacted(settings: Settings) -> dict[str, Any]:
    """The settings as plain data for people to read. Secrets are references, so they may stand; header values may not."""
    plain: dict[str, Any] = msgspec.to_builtins(settings)
    for provider in plain["providers"].values():
        provider["headers"] = dict.fromkeys(provider["headers"], "***")
    return plain


def diff(old: Settings, new: Settings) -> list[str]:
    """What changed, one line a value, with dotted paths."""
    before, after = _flat(redacted(old)), _flat(redacted(new))
    return [
        f"{path}: {before.get(path, '(absent)')} -> {after.get(path, '(absent)')}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        return {path: value}
    return {key: leaf for name, inner in items for key, leaf in _flat(inner, f"{path}.{name}".lstrip(".")).items()}


class Watch:
    """Notices that a file was changed. `changed()` is cheap: it stats, and reads only when the time or size differ."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp, self._content = self._look(), self._read()

    def changed(self) -> bool:
        """True once for each change of content. A file that vanished counts as changed once."""
        stamp = self._look()
        if stamp == self._stamp:
            return False
        self._stamp, before = stamp, self._content
        self._content = self._read()
        return self._content != before

    def _look(self) -> tuple[int, int] | None:
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size

    def _read(self) -> bytes | None:
        try:
            return self.path.read_bytes()
        except OSError:
            return None
