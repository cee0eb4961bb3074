"""YAML as plain values that remember the line each of them stood on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError

Place = tuple[str | int, ...]
"""Where a value is: keys and list positions from the top."""


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
            raise ConfigError("no such file; `interlock serve` without --config uses what the environment offers", file=str(path)) from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot be read: {error}", file=str(path)) from None
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 0
            raise ConfigError(f"not YAML: {error.problem or error}", file=str(path), line=line) from None
        except yaml.YAMLError as error:
            raise ConfigError(f"not YAML: {error}", file=str(path)) from None
        lines: dict[Place, int] = {}
        data = {} if node is None else _plain(node, (), lines, str(path))
        if not isinstance(data, dict):
            raise ConfigError("the top must be a mapping of settings, like `candidates: [...]`", file=str(path), line=1)
        return cls(data, lines, str(path))

    def line(self, place: Place) -> int:
        while place and place not in self._lines:
            place = place[:-1]
        return self._lines.get(place, 0)

    def error(self, problem: str, *place: str | int) -> ConfigError:
        """The error to raise about the value at `place`."""
        return ConfigError(problem, file=self.file, line=self.line(place), path=dotted(place))


def dotted(place: Place) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).lstrip(".")


def _plain(node: yaml.Node, place: Place, lines: dict[Place, int], file: str) -> Any:
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key, line = key_node.value, key_node.start_mark.line + 1
            if key in found:
                raise ConfigError(f"the key {key!r} stands here twice", file=file, line=line, path=dotted(place))
            lines[*place, key] = line
            found[key] = _plain(value_node, (*place, key), lines, file)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*place, i), lines, file) for i, item in enumerate(node.value)]
    return yaml.SafeLoader("").construct_object(node, deep=True)
