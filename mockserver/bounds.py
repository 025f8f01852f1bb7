"""Limit what a JSON text may contain, before a parser reads it.

A parser holds the interpreter's lock and creates objects many times as large as their text, so a thread doesn't help.
Counting takes some ten microseconds for 64 KiB of text, and almost nothing for a long string.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from mockserver.choices import unknown

MAX_VALUES = 20_000
"""Values in the body of a request. The largest container that the schema allows has some 15,000."""
MAX_DEPTH = 100
MAX_RUN = 100_000
"""Values without the end of an object between them. At the end of an object a parser can call a hook, and so let
other threads run."""
MAX_ESCAPES = 2_000_000
"""Backslashes. A parser takes ten times as long for an escape as for a plain character."""
MAX_PARAMETERS = 100
"""Parameters in a query string."""

_SLICE = 1 << 16
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F])|.)", re.DOTALL)


class Excess(ValueError):
    """A text contains too much; the message says of what, and how much is allowed."""


class JSONCounter:
    """Counts the values and levels of a JSON text that arrives in pieces.

    After the first syntax error the count may be wrong, but there a parser stops as well.
    """

    def __init__(self, values: int = MAX_VALUES, depth: int = MAX_DEPTH, escapes: int = MAX_ESCAPES) -> None:
        self._max_values, self._max_depth, self._max_escapes = values, depth, escapes
        self._values = self._depth = self._run = self._escapes = 0
        self._in_string = self._escaped = False

    def feed(self, piece: bytes | bytearray) -> None:
        """Count a piece. Raises Excess as soon as a limit is exceeded."""
        for start in range(0, len(piece), _SLICE):
            self._feed(bytes(piece[start : start + _SLICE]))

    def _feed(self, part: bytes) -> None:
        if self._escaped:
            part, self._escaped = part[1:], False
        if b"\\" in part:
            self._escapes += part.count(b"\\")
            if self._escapes > self._max_escapes:
                raise Excess(f"it has more than {self._max_escapes:,} escape sequences")
            part = part.replace(b"\\\\", b"").replace(b'\\"', b"")
            self._escaped = part.endswith(b"\\")
        pieces = part.split(b'"')
        outside = b"".join(pieces[self._in_string :: 2])
        self._in_string ^= len(pieces) % 2 == 0
        opens = outside.count(b"[") + outside.count(b"{")
        self._values += opens + outside.count(b",")
        if self._values > self._max_values:
            raise Excess(f"it holds more than {self._max_values:,} values")
        last = outside.rfind(b"}")
        self._run = (0 if last >= 0 else self._run) + outside.count(b",", last + 1)
        if self._run > MAX_RUN:
            raise Excess(f"one of its lists or objects holds more than {MAX_RUN:,} values")
        if self._depth + opens > self._max_depth:
            self._descend(outside.translate(None, _NO_BRACKET))
        else:
            self._depth = max(0, self._depth + opens - outside.count(b"]") - outside.count(b"}"))

    def _descend(self, brackets: bytes) -> None:
        for bracket in brackets:
            self._depth = self._depth + 1 if bracket in b"[{" else max(0, self._depth - 1)
            if self._depth > self._max_depth:
                raise Excess(f"it is nested too deeply, more than {self._max_depth} levels")


def has_lone_surrogate(text: bytes | bytearray) -> bool:
    """Whether an escape in a JSON text is half of a surrogate pair, which is not a character."""
    return _SURROGATE.search(text) is not None and any(found[1] for found in _ESCAPE.finditer(text))


UNKNOWN_KEY = "unknown_key"
"""The type of Pydantic's error for a key that a model doesn't know."""


class KnownKeys(BaseModel):
    """A model that stops at the first unknown key: Pydantic makes an error of each, and there may be a million. Its errors
    name the keys, where Pydantic's name classes."""

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, values: Any) -> Any:
        if isinstance(values, dict):
            if not values.keys() <= (known := _keys(cls)).keys():
                key = next(key for key in values if key not in known)
                error = PydanticCustomError(UNKNOWN_KEY, _unknown(cls, key))
                raise ValidationError.from_exception_data(cls.__name__, [{"type": error, "loc": (key,), "input": None}])
        elif not isinstance(values, BaseModel):
            raise PydanticCustomError("model_type", f"write a mapping; its keys are: {', '.join(cls.offered())}")
        return values

    @classmethod
    def offered(cls) -> Iterable[str]:
        """Return the keys that messages offer."""
        return _keys(cls)


@cache
def _keys(model: type[BaseModel]) -> dict[str, None]:
    return dict.fromkeys(field.alias or name for name, field in model.model_fields.items())


def _unknown(model: type[KnownKeys], key: str) -> str:
    for name, parts in _parts(model).items():
        if any(key in _keys(part) for part in parts):
            return f"unknown key {key!r}; write it under {name!r}"
    return unknown("key", key, model.offered())


@cache
def _parts(model: type[BaseModel]) -> dict[str, list[type[BaseModel]]]:
    """Return the models that the values of keys are themselves, not those of their entries."""
    return {field.alias or name: list(_models(field.annotation)) for name, field in model.model_fields.items()}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if get_origin(annotation) in (Annotated, Union, UnionType):
        for each in get_args(annotation):
            yield from _models(each)
    elif isinstance(annotation, type) and issubclass(annotation, KnownKeys):
        yield annotation
