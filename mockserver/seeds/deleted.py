"""Deleted objects in exports, which lists still need as cursors."""

from collections.abc import Iterable
from typing import Any, Self

from pydantic import model_validator

from mockserver.schema.values import Count, Part
from mockserver.seeds.entry import Checks, Entry, Export, Exported, Placing, given, model_of, stored
from mockserver.seeds.values import Second
from mockserver.settings import SeedError
from mockserver.storage import tables
from mockserver.storage.database import Statement

SUCCESSORS = "successors"
"""In archives of version 0.1, the list that names the containers that replaced expired ones."""

_TABLES = {tables.list_of(row): row for row in tables.Listed.__subclasses__()} | {SUCCESSORS: tables.Container}


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
        model_of(table_of(self.list)).model_validate(self.object)
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
        for row in tables.Listed.__subclasses__():
            deleted = Statement(f"SELECT * FROM {row.__tablename__} WHERE deleted_at IS NOT NULL", row)
            for each in deleted.rows(out.tx):
                kept = stored(row, each)
                name = tables.list_of(row, kept.get(tables.owner(row) or "", ""))
                when = {"ordinal": each.deleted_ordinal, "deleted_at": each.deleted_at}
                found.append({"list": name, **given(each, "id", "seq", "created_at"), **when, "object": kept})
        yield from sorted(found, key=lambda each: (each["ordinal"], each["list"], each["id"]))
