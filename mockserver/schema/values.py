"""Values of fault rules, answers and seeds: counts, durations, instants, names of errors, and where bytes come from."""

import ast
import base64
import binascii
import inspect
import sys
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mockserver import errors
from mockserver.bounds import KnownKeys
from mockserver.choices import unknown
from mockserver.clock import MAX_SECONDS, duration, instant
from mockserver.settings import size

STORED = "stored"
"""The context in which a rule is read that was checked when it was added, perhaps by an earlier version."""
MAX_PATH = 5_000
"""Characters of a file name or a path: more than the header of a form can carry."""

FileName = Annotated[str, Field(max_length=MAX_PATH)]


def not_negative(seconds: float) -> float:
    if seconds < 0:
        raise ValueError("a duration can't be negative here; write 0 or more")
    return seconds


def _error(name: str) -> str:
    if name not in errors.CATALOGUE:
        raise ValueError(unknown("error", name, errors.CATALOGUE))
    return name


Count = Annotated[int, Field(ge=0, le=1 << 53)]
Times = Annotated[int, Field(ge=1, le=1 << 53)]
Duration = Annotated[float, BeforeValidator(duration, json_schema_input_type=str | float)]
"""Seconds; sent as `20m`, `1h30m`, `PT20M` or a number."""
Seconds = Annotated[Duration, AfterValidator(not_negative), Field(le=MAX_SECONDS)]
Instant = Annotated[float, BeforeValidator(instant, json_schema_input_type=str | float)]
"""Seconds since the epoch; sent as a number or as 2026-01-31T12:00:00Z."""
ErrorName = Annotated[str, AfterValidator(_error)]


@cache
def _classes(module: str) -> dict[str, ast.ClassDef]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


@cache
def _descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstrings below the keys of a model.

    Pydantic's `use_attribute_docstrings` would read the source at each start of a server.
    """
    found = {}
    for each in reversed(model.__mro__[: model.__mro__.index(BaseModel)]):
        written = _classes(each.__module__).get(each.__name__)  # none of a model that was made of a table
        for field, below in pairwise(written.body if written else ()):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[model.model_fields[name].alias or name] = " ".join(text.split())
    return found


def _describe(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Describe each key in a model's JSON schema."""
    for key, description in _descriptions(model).items():
        schema["properties"][key]["description"] = description


class Part(KnownKeys):
    """A part of a fault rule, an answer or a seed. A docstring stands below each key."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        defer_build=True,
        json_schema_extra=_describe,
    )

    @classmethod
    def offered(cls) -> Iterable[str]:
        described = _descriptions(cls)
        return [key for key in super().offered() if "Written by exports" not in described.get(key, "")]


def _size(value: object) -> object:
    return size(value) if isinstance(value, str) else value


class Generated(Part):
    """Bytes made by the server, the same on every run."""

    size: Annotated[int, BeforeValidator(_size, json_schema_input_type=int | float | str), Field(ge=0)]
    """Size in bytes, or as 64KB, 1MB."""
    pattern: Literal["zeros", "text", "random"] = "text"
    """What the bytes are."""


def check_base64(text: str) -> None:
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"base64 is not valid ({error})") from None


class WithContent(Part):
    content: str | None = None
    """Content as text."""
    base64: str | None = None
    """Content as Base64."""
    from_: FileName | None = Field(None, alias="from")
    """Path of a file with the content, relative to the seed and inside its folder."""
    generate: Generated | None = None
    """Content made by the server."""

    def sources(self) -> list[str]:
        given = {"content": self.content, "base64": self.base64, "from": self.from_, "generate": self.generate}
        return [name for name, value in given.items() if value is not None]

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if len(self.sources()) != 1 and not self.has_other_source():
            raise ValueError("give its bytes as one of content, base64, from, generate")
        if self.base64 is not None:
            check_base64(self.base64)
        return self

    def length(self) -> int:
        """Its bytes as far as they are described here; 0 for a file that `from` names."""
        if self.generate:
            return self.generate.size
        encoded = self.base64 or ""
        return len(encoded) * 3 // 4 - encoded.count("=") + len((self.content or "").encode())

    def has_other_source(self) -> bool:
        """Whether another key says where its bytes come from, or that there are none."""
        return False
