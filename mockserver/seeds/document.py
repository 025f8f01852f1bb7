"""Read YAML and JSON documents, and find the line of each value."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from mockserver.bounds import MAX_DEPTH, MAX_ESCAPES, Excess, JSONCounter, has_lone_surrogate
from mockserver.settings import SeedError

MAX_BYTES = 64 << 20
"""Size of a document, and of its values including those that aliases repeat."""
MAX_DIRECTIVES = 10
"""Lines that start with `%`: the C library that reads YAML compares each with all before it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a document. YAML takes a hundred times as long as JSON, and much more memory."""

    json_values: int
    json_escapes: int
    yaml_values: int
    """Including those that aliases repeat."""
    yaml_bytes: int
    located_bytes: int
    """JSON up to this size is read again as YAML to find the line of an error."""


FROM_FILE = Limits(3_000_000, MAX_BYTES, 2_000_000, MAX_BYTES, 8 << 20)
"""For files of the person who starts the server."""
SENT = Limits(200_000, MAX_ESCAPES, 50_000, 1 << 20, 64 << 10)
"""For documents that are sent to a running server: all worlds wait while a parser holds the interpreter's lock."""
IMPORTED = Limits(3_000_000, MAX_BYTES, 50_000, 1 << 20, 64 << 10)
"""As for sent documents, but with as much JSON as the archive of a large world has, whose items are JSON in strings."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # one of two, by what is installed
    """A loader that keeps plain words as text, except JSON's null, booleans and numbers: no dates and no `yes`."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # PyYAML's own way of configuring it


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(null|~|)$"), ["n", "~", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(true|false)$"), ["t", "f"])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"-?[0-9]{1,18}$"), list("-0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"-?[0-9]+\.[0-9]+$"), list("-0123456789"))

_SCALARS: dict[str, Callable[[str], Any]] = {
    "tag:yaml.org,2002:null": lambda _: None,
    "tag:yaml.org,2002:bool": lambda text: text == "true",
    "tag:yaml.org,2002:int": int,
    "tag:yaml.org,2002:float": float,
    "tag:yaml.org,2002:str": str,
}
_TAGS = {*_SCALARS, "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"}
_DIRECTIVE = re.compile("(?:^|[\n\r\x85\u2028\u2029\ufeff])%")  # after each line break of YAML, and a byte order mark


class Source:
    """A document that was read completely. Raises SeedError if it is invalid or too large.

    JSON is parsed as JSON, a hundred times faster than as YAML; give `text` if `name` is not a file.
    """

    def __init__(self, name: Path, text: bytes | None = None, limits: Limits = FROM_FILE) -> None:
        self.path = name
        self.limits = limits
        self._text = _read(name) if text is None else text
        if len(self._text) > MAX_BYTES:
            raise SeedError(f"{name}: more than {MAX_BYTES:,} bytes; put contents into files and name them with from")
        self._values_left, self._bytes_left = limits.yaml_values, MAX_BYTES
        self._is_json = True
        self._put_into: tuple[str | int, ...] = ()
        try:
            self.values: Any = self._from_json()
        except (ValueError, RecursionError) as error:
            self._is_json = False
            if len(self._text) > limits.yaml_bytes:
                raise SeedError(
                    f"{name}: YAML is read up to {limits.yaml_bytes:,} bytes, and this is not JSON "
                    f"({str(error)[:200] or 'a key or a number is not allowed'}); send JSON"
                ) from None
            try:
                self.values = self._value(self._root) if self._root else None
            except RecursionError:  # by aliases
                raise SeedError(f"{name}: nested too deeply; a seed needs a few levels only") from None
            half = b"\\u" in self._text and not _encodable(self.values)
        else:
            half = has_lone_surrogate(self._text)
        if half:
            raise SeedError(f"{name}: half of a surrogate pair is not a character; remove its \\u escape")

    def put_into(self, key: str) -> None:
        """Make the document, which describes one entry of a list, a document with that list."""
        self.values, self._put_into = {key: [self.values]}, (key, 0)

    def inside(self, location: Sequence[str | int]) -> Sequence[str | int]:
        """Return the location of a value in the document as it was written."""
        begins = tuple(location[: len(self._put_into)]) == self._put_into
        return location[len(self._put_into) :] if begins else location

    def discard_values(self) -> None:
        """Let go of the mapping that was read, one value after another: many that are freed at once hold up all threads."""
        for each in self.values.values():
            while isinstance(each, list) and each:
                each.pop()
        self.values = None

    def at(self, *location: str | int) -> str:
        """Return the place of a value, or of what contains it: `seeds/demo.yaml:12`. Without a line if finding it would
        take too long."""
        if self._is_json and len(self._text) > self.limits.located_bytes:
            return str(self.path)
        try:
            node, line = self._root, self._root.start_mark.line if self._root else 0
        except SeedError:  # JSON that is not valid YAML
            return str(self.path)
        for step in self.inside(location):
            if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = node.start_mark.line
            elif isinstance(node, yaml.MappingNode):
                pair = next((pair for pair in node.value if pair[0].value == step), None)
                if pair is None:
                    break
                line, node = pair[0].start_mark.line, pair[1]
        return f"{self.path}:{line + 1}"

    @cached_property
    def _root(self) -> yaml.Node | None:
        """The document as YAML; None if it is empty."""
        try:
            decoded = self._text.decode()
            if len(_DIRECTIVE.findall(decoded)) > MAX_DIRECTIVES:
                raise SeedError(
                    f"{self.path}: more than {MAX_DIRECTIVES} lines start with %; a seed needs no directives"
                )
            _check_size(self.path, decoded, self.limits.yaml_values)
            root: yaml.Node | None = yaml.compose(decoded, Loader=_Loader)
        except UnicodeDecodeError as error:
            raise SeedError(f"{self.path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"{self.path}:{mark.line + 1 if mark else 1}"
            raise SeedError(f"{where}: {error.problem}; correct the YAML there") from None
        except yaml.YAMLError as error:
            raise SeedError(f"{self.path}: {str(error).splitlines()[0]}; correct the YAML") from None
        return root

    def _from_json(self) -> Any:
        """Parse JSON. Raises ValueError also for what JSON allows and a seed doesn't; reading it as YAML explains it."""
        if self._text.lstrip()[:1] not in (b"{", b"["):
            raise ValueError("it starts with neither { nor [")
        try:
            JSONCounter(self.limits.json_values, escapes=self.limits.json_escapes).feed(self._text)
        except Excess as excess:
            raise SeedError(f"{self.path}: {excess}; use repeat, or send it in parts") from None
        return json.loads(self._text.decode(), object_pairs_hook=_unique, parse_int=_integer, parse_constant=_integer)

    def _value(self, node: yaml.Node) -> Any:
        self._values_left -= 1  # counted, so that aliases of aliases end before the memory does
        if self._values_left < 0:
            allowed = self.limits.yaml_values
            raise SeedError(f"{self.path}: more than {allowed:,} values, aliases included; use repeat instead")
        if node.tag not in _TAGS:
            raise SeedError(f"{self.path}:{node.start_mark.line + 1}: unknown tag {node.tag}; remove it")
        if isinstance(node, yaml.SequenceNode):
            return [self._value(each) for each in node.value]
        if isinstance(node, yaml.MappingNode):
            values: dict[str, Any] = {}
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise SeedError(
                        f"{self.path}:{key.start_mark.line + 1}: a key must be a word; write it without brackets"
                    )
                if key.value in values:
                    where = f"{self.path}:{key.start_mark.line + 1}"
                    raise SeedError(f"{where}: duplicate key {key.value!r}; remove one")
                values[key.value] = self._value(value)
            return values
        self._bytes_left -= len(node.value)
        if self._bytes_left < 0:
            raise SeedError(f"{self.path}: its values are more than {MAX_BYTES:,} bytes, aliases included")
        return _SCALARS[node.tag](node.value)


def _encodable(values: Any) -> bool:
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("an object has a duplicate key")
    return values


def _integer(text: str) -> int:
    if len(text) > 18:
        raise ValueError("a number is too large or not finite")
    return int(text)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SeedError(f"{path}: {error.strerror}; correct the path of the seed") from None


def _check_size(path: Path, text: str, max_values: int) -> None:
    """Check depth and number of values before a tree is built."""
    depth = nodes = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        nodes += isinstance(event, yaml.NodeEvent)
        if depth > MAX_DEPTH:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise SeedError(f"{path}:{line}: nested too deeply; a seed needs a few levels only")
        if nodes > max_values:
            raise SeedError(f"{path}: more than {max_values:,} values; use repeat instead")
