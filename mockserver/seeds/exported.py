"""What only exports write into seeds, as Pydantic models: deleted objects, and responses with their items."""

import json
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from mockserver import responses
from mockserver.schema.answers import MAX_PACE
from mockserver.schema.responses import whole_item
from mockserver.schema.sources import Part
from mockserver.schema.values import Count
from mockserver.seeds.entry import Checks, Entry, Export, Exported, Placing, given, model_of, stored
from mockserver.seeds.values import Second
from mockserver.settings import SeedError
from mockserver.storage import tables
from mockserver.storage.database import Statement, record

SUCCESSORS = "successors"
"""In archives of version 0.1, the list that names the containers that replaced expired ones."""

_TABLES = {tables.list_of(row): row for row in tables.Listed.__subclasses__()} | {SUCCESSORS: tables.Container}
_OBJECTS: dict[type[tables.Table], type[Part]] = {row: model_of(row) for row in _TABLES.values()}
_OBJECTS[tables.Response] = model_of(tables.Response)


_deleted = {
    row: Statement(f"SELECT * FROM {row.__tablename__} WHERE deleted_at IS NOT NULL", row)
    for row in tables.Listed.__subclasses__()
}


def table_of(list: str) -> type[tables.Listed]:
    """Return the table of a list of deleted objects: `files`, `containers/<id>`. Raises ValueError."""
    name, slash, _ = list.partition("/")
    if name + slash not in _TABLES:
        raise ValueError(f"{list[:80]!r} is no list of objects; export the world again")
    return _TABLES[name + slash]


class Deleted(Entry, Part):
    """A deleted object. Written by exports."""

    list: str
    """The list that it was in."""
    id: str
    """Id of the object."""
    seq: Count
    """Position in the order of the world's lists. Written by exports."""
    created_at: Second
    """When it was created."""
    ordinal: Count
    """Number of the change that deleted it."""
    deleted_at: Second
    """When it was deleted."""
    object: dict[str, Any]
    """The object."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        _OBJECTS[table_of(self.list)].model_validate(self.object)
        return self

    def ordinals(self) -> Iterable[int]:
        return [self.ordinal]

    def check(self, checks: Checks) -> None:
        key = f"{self.list}/{self.id}"
        if key in checks.names[Deleted]:
            raise SeedError(f"{checks.place}: this object was deleted twice; remove one")
        checks.names[Deleted][key] = checks.place

    def place(self, into: Placing) -> None:
        if self.list == SUCCESSORS:
            into.replaced[self.id] = self.object["id"]
        elif into.put.exact:
            deleted: dict[str, Any] = {"deleted_at": self.deleted_at, "deleted_ordinal": self.ordinal}
            into.put.insert(table_of(self.list), **self.object, **deleted)

    @classmethod
    def export(cls, out: Export) -> Exported:
        """Yield deleted objects with their positions in their lists, in the order of the deletions."""
        found = []
        for row, deleted in _deleted.items():
            for each in deleted.rows(out.tx):
                kept = stored(row, each)
                name = tables.list_of(row, kept.get(tables.owner(row) or "", ""))
                when = {"ordinal": each.deleted_ordinal, "deleted_at": each.deleted_at}
                found.append({"list": name, **given(each, "id", "seq", "created_at"), **when, "object": kept})
        yield from sorted(found, key=lambda each: (each["ordinal"], each["list"], each["id"]))


class ResponseItem(Part):
    """An item of a response. Written by exports."""

    id: str
    """Id of the item."""
    output: bool
    """Whether it is of the output."""
    body: str
    """The item as JSON."""
    ends: Count = 0
    """Seconds from the creation of the response until it is complete."""


class Response(Entry, Part):
    """A response with its items. Written by exports."""

    kind: ClassVar[str] = "response"

    object: dict[str, Any]
    """The response as it is stored."""
    items: Annotated[list[ResponseItem], Field(fail_fast=True)] = []
    """Items of its input and its output."""

    @model_validator(mode="after")
    def _can_be_shown(self) -> Self:
        _OBJECTS[tables.Response].model_validate(self.object)
        row = record(tables.Response)(**self.object)
        try:
            for status in ("completed", "failed", "incomplete"):
                responses.frame(row, status)
            _ = json.loads(row.details)["raised"], set(json.loads(row.given))
            items = [(json.loads(item.body), item.output) for item in self.items]
            _ = [whole_item(item) if output else item["type"] for item, output in items]
            if not 0 <= row.pace <= MAX_PACE:
                raise ValueError
        except (ValueError, LookupError, TypeError):
            raise ValueError("it is not a response as exports write it; export the world again") from None
        return self

    def ordinals(self) -> Iterable[int]:
        return [int(self.object["ordinal"])]

    def texts(self) -> Iterable[str | None]:
        return [item.body for item in self.items]

    def place(self, into: Placing) -> None:
        row = into.put.add(tables.Response, **self.object)
        for position, item in enumerate(self.items):
            into.put.insert(tables.ResponseItem, response_id=row.id, position=position, **item.model_dump())

    @classmethod
    def export(cls, out: Export) -> Exported:
        for row in out.rows(tables.Response, "ordinal"):
            items = [stored(tables.ResponseItem, each) for each in out.rows(tables.ResponseItem, "position", row.id)]
            for item in items:
                del item["response_id"], item["position"]
            yield {"object": stored(tables.Response, row), "items": items}
