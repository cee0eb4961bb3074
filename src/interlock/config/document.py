"""YAML as plain values that remember the line each of them stood on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError

Place = tuple[str | int, ...]
"""Where a value is: keys and list positions from the top."""

DEEPEST = 32
"""No setting lies deeper. The limit also ends aliases that contain themselves."""


class Document:
    """`data` as plain Python; `line(place)` the line (from 1) of a value, or of its nearest ancestor that has one."""

    def __init__(self, data: dict[str, Any], lines: dict[Place, int] | None = None, file: str = "") -> None:
        self.data, self._lines, self.file = data, lines or {}, file

    @classmethod
    def read(cls, path: Path) -> Document:
        """Raises `ConfigError` when the file is missing, not YAML, not a mapping, or says a key twice."""
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError:
            hint = "`interlock serve` without --config uses what the environment offers"
            raise ConfigError(f"no such file; {hint}", file=str(path)) from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot be read: {error}", file=str(path)) from None
        document = cls({}, {}, str(path))
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            data = {} if node is None else document._plain(node, ())
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            problem = f"the character {chr(error.character)!r} is not allowed"
            raise ConfigError(f"not YAML: {problem}", file=str(path), line=line) from None
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 0
            raise ConfigError(f"not YAML: {error.problem or error.context}", file=str(path), line=line) from None
        if not isinstance(data, dict):
            raise document.error("the top must be a mapping of settings, like `candidates: [...]`")
        document.data = data
        return document

    def line(self, place: Place) -> int:
        while place and place not in self._lines:
            place = place[:-1]
        return self._lines.get(place, 0)

    def error(self, problem: str, *place: str | int) -> ConfigError:
        """The error to raise about the value at `place`."""
        return ConfigError(problem, file=self.file, line=self.line(place), path=dotted(place))

    def _plain(self, node: yaml.Node, place: Place) -> Any:
        self._lines.setdefault(place, node.start_mark.line + 1)
        if len(place) > DEEPEST:
            raise self.error(f"nested more than {DEEPEST} deep", *place[:3])
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, (*place, i)) for i, item in enumerate(node.value)]
        if not isinstance(node, yaml.MappingNode):
            return yaml.SafeLoader("").construct_object(node, deep=True)
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.error("a key must be a single word", *place)
            if key in found:
                first, self._lines[*place, key] = self.line((*place, key)), key_node.start_mark.line + 1
                raise self.error(f"the key {key!r} stands here twice; the first is on line {first}", *place, key)
            self._lines[*place, key] = key_node.start_mark.line + 1
            found[key] = self._plain(value_node, (*place, key))
        return found


def dotted(place: Place) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).lstrip(".")
