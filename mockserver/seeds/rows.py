"""Rows as exports write them into a seed, and as models of what was exported."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from pydantic import Field, create_model

from mockserver.schema.sources import Part
from mockserver.storage import tables
from mockserver.storage.database import Statement, Transaction

R = TypeVar("R", bound=tables.Table)
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Characters that JSON allows and YAML doesn't."""


@dataclass(slots=True)
class Export:
    """An export of a world."""

    tx: Transaction
    digests: dict[str, None] = field(default_factory=dict)
    """Of the contents that it needs, in this order."""

    def content(self, digest: str) -> dict[str, str]:
        """Return the key that names a content."""
        self.digests[digest] = None
        return {"from": f"blobs/{digest}"}


def live(row: type[R], order: str = "created_at, seq") -> Statement[R]:
    """Return a statement for the rows that are not deleted: with an `owner`, those that belong to it."""
    owner = tables.owner(row)
    where = f"WHERE {owner} = :owner " if owner else ""
    return Statement(f"SELECT * FROM {tables.live(row)} {where}ORDER BY {order}", row)


def given(row: tables.Table, *names: str) -> dict[str, Any]:
    """Return the columns that are not null."""
    return {name: value for name in names if (value := getattr(row, name)) is not None}


def stored(row: type[tables.Table], found: Any) -> dict[str, Any]:
    """Return the columns of a row of an object, as JSON has them: SQLite has no true and false."""
    return {
        name: bool(getattr(found, name)) if field.annotation is bool else getattr(found, name)
        for name, field in row.model_fields.items()
        if not name.startswith("deleted_")
    }


def model_of(row: type[tables.Table]) -> type[Part]:
    """Return a model of what `stored` returns. A boolean is 0 or 1, as in the database."""
    flag = Annotated[bool, Field(strict=False)]
    fields: dict[str, Any] = {
        name: (flag if field.annotation is bool else field.annotation, ... if field.is_required() else field.default)
        for name, field in row.model_fields.items()
        if not name.startswith("deleted_")
    }
    return create_model(f"_Exported{row.__name__}", __base__=Part, **fields)


def lines(key: str, objects: Iterator[str], end: str) -> Iterator[str]:
    yield f'"{key}": ['
    for number, each in enumerate(objects):
        yield (",\n" if number else "\n") + each
    yield f"]{end}"


def text(value: Any) -> str:
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
