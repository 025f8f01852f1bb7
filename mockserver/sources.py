"""YAML and JSON files whose values remember the line they stand on."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 64 << 20
MAX_NODES = 2_000_000
"""Values in a file, those that aliases repeat included."""


class SeedError(Exception):
    """A seed that can't be used: where, why, and what to do."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # one of two, by what is installed
    """Plain words stay words: only JSON's null, booleans and numbers are more, no dates and no `yes`."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # PyYAML's own way of configuring it


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(null|~|)$"), ["n", "~", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(true|false)$"), ["t", "f"])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"-?\d{1,18}$"), list("-0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"-?\d+\.\d+$"), list("-0123456789"))

_SCALARS: dict[str, Callable[[str], Any]] = {
    "tag:yaml.org,2002:null": lambda _: None,
    "tag:yaml.org,2002:bool": lambda text: text == "true",
    "tag:yaml.org,2002:int": int,
    "tag:yaml.org,2002:float": float,
    "tag:yaml.org,2002:str": str,
}
_TAGS = {*_SCALARS, "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"}


class Source:
    """A file, read whole. Raises SeedError where it is no YAML, or too much of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = _compose(path)
        self._left = MAX_NODES
        self.values: Any = self._value(self._root)

    def at(self, *location: str | int) -> str:
        """`seeds/demo.yaml:12`: where a value stands, or the nearest thing around it."""
        return f"{self.path}:{self.line(*location)}"

    def line(self, *location: str | int) -> int:
        node, line = self._root, self._root.start_mark.line
        for step in location:
            if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = node.start_mark.line
            elif isinstance(node, yaml.MappingNode):
                pair = next((pair for pair in node.value if pair[0].value == step), None)
                if pair is None:
                    break
                line, node = pair[0].start_mark.line, pair[1]
        return int(line) + 1

    def _value(self, node: yaml.Node) -> Any:
        self._left -= 1  # counted, so that aliases of aliases end before the memory does
        if self._left < 0:
            raise SeedError(f"{self.path}: more than {MAX_NODES:,} values, aliases included; use repeat instead")
        if node.tag not in _TAGS:
            raise SeedError(f"{self.path}:{node.start_mark.line + 1}: the tag {node.tag} means nothing here; remove it")
        if isinstance(node, yaml.SequenceNode):
            return [self._value(each) for each in node.value]
        if isinstance(node, yaml.MappingNode):
            values: dict[str, Any] = {}
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise SeedError(
                        f"{self.path}:{key.start_mark.line + 1}: a key is a word; write it without brackets"
                    )
                if key.value in values:
                    where = f"{self.path}:{key.start_mark.line + 1}"
                    raise SeedError(f"{where}: {key.value!r} stands here a second time; remove one")
                values[key.value] = self._value(value)
            return values
        return _SCALARS[node.tag](node.value)


def _compose(path: Path) -> yaml.Node:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SeedError(f"{path}: {error.strerror}; mend the path of the seed") from None
    if len(text) > MAX_BYTES:
        raise SeedError(f"{path}: more than {MAX_BYTES:,} bytes; put contents into files and name them with from")
    try:
        root = yaml.compose(text.decode(), Loader=_Loader)
    except UnicodeDecodeError as error:
        raise SeedError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise SeedError(f"{path}:{mark.line + 1 if mark else 1}: {error.problem}; mend the YAML there") from None
    except yaml.YAMLError as error:
        raise SeedError(f"{path}: {str(error).splitlines()[0]}; mend the YAML") from None
    except RecursionError:
        raise SeedError(f"{path}: nested too deeply; a seed needs a few levels only") from None
    if root is None:
        raise SeedError(f"{path}:1: the file is empty; start it with: version: 1")
    return root
