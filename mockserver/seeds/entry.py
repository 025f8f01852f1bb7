"""The entries of the lists of seeds: how they are checked, placed into worlds, and exported from them."""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, create_model

from mockserver.schema.values import Count, FileName, Part, WithContent
from mockserver.seeds.contents import Bundle, Place, Store
from mockserver.seeds.values import Id, Moment, Name, numbered, numbers
from mockserver.settings import SeedError
from mockserver.storage import tables
from mockserver.storage.bulk import Placement
from mockserver.storage.contents import Upload
from mockserver.storage.database import Statement, Transaction, columns

R = TypeVar("R", bound=tables.Table)
L = TypeVar("L", bound=tables.Listed)
Exported = Iterator[dict[str, Any]]

_COUNTED = {
    *(tables.Container, tables.ContainerFile, tables.ContainerSkill, tables.File, tables.Upload, tables.SkillVersion),
    *(tables.Response, tables.Answer),
}
"""The rows that an import counts, see `Entry.counts`."""


@cache
def _live(row: type[R], order: str) -> Statement[R]:
    owner = tables.owner(row)
    where = f"WHERE {owner} = :owner " if owner else ""
    return Statement(f"SELECT * FROM {tables.live(row)} {where}ORDER BY {order}", row)


@cache
def _shared(entry: type[BaseModel], row: type[tables.Table]) -> list[str]:
    """Return the keys of an entry that are columns of a row."""
    return [name for name in columns(row) if name in entry.model_fields]


class Entry:
    """An entry of a list of a seed. Each resource has its own, with the part of the format that describes it."""

    # What messages call it, in the singular; entries without a noun are not counted. (A docstring would be of a key.)
    noun: ClassVar[str] = ""

    @property
    def repetition(self) -> int | None:
        """How often it is repeated; None for an entry that has no number."""
        return getattr(self, "repeat", None)

    def counts(self) -> Iterable[tuple[str, int]]:
        """Return how many objects it describes, by their kinds in the singular."""
        return [(self.noun, self.repetition or 1)] if self.noun else ()

    def texts(self) -> Iterable[str | None]:
        """Return its names, paths, policies and items, whose size is bounded."""
        return ()

    def text_size(self) -> int:
        n = self.repetition
        return (n or 1) * sum(len(numbered(text, n).encode(errors="replace")) for text in self.texts() if text)

    def names(self, n: int | None = None) -> Iterable[str | None]:
        """Return the names that no other entry of the list may have; `n` is its number if it is repeated."""
        return [getattr(self, "id", None)]

    def ordinals(self) -> Iterable[int]:
        """Return the ordinals of the world that an export gave it and the objects inside of it."""
        return ()

    def contents(self) -> Iterable[WithContent | Bundle]:
        """Return what describes its bytes, and those of the objects inside of it."""
        return ()

    @classmethod
    def check_all(cls, entries: "Sequence[tuple[Self, Place]]", checks: "Checks") -> None:
        """Check the entries of a list that are of one world. Raises SeedError."""
        for entry, place in entries:
            checks.place = place
            entry.check(checks)

    def check(self, checks: "Checks") -> None:
        """Check its names and references. Raises SeedError."""
        for n in numbers(self.repetition):
            checks.claim(checks.names[type(self)], self.names(n))

    @classmethod
    def place_all(cls, entries: "Sequence[tuple[Self, Place]]", into: "Placing") -> None:
        """Place the entries of a list."""
        for entry, place in entries:
            for n in numbers(entry.repetition):
                into.place, into.number = place, n
                entry.place(into)

    def place(self, into: "Placing") -> None:
        """Place what it describes. Raises SeedError."""
        raise NotImplementedError

    @classmethod
    def export(cls, out: "Export") -> Exported:
        """Yield the entries of a world, in the order of their list. An iterator at the end has a line for each item."""
        raise NotImplementedError


@dataclass(slots=True)
class Checks:
    """The check of what seeds describe for one world."""

    alone: bool
    """Whether only Files and skills of these seeds can be named, and not those that exist in the world."""
    elsewhere: Container[tuple[type[Entry], str]]
    """Names in other seeds."""
    names: defaultdict[type[Entry], dict[str, Place]] = field(default_factory=lambda: defaultdict(dict))
    """Names that are taken, and where; of `Listed`, the positions."""
    place: Place = field(init=False)
    """Of the entry that is being checked."""

    def claim(self, used: dict[str, Place], names: Iterable[str | None]) -> None:
        for name in filter(None, names):
            if name in used:
                raise SeedError(
                    f"{self.place}: {name!r} is already used at {used[name]}; give each object its own ref and id "
                    "(for repeated objects, use {n})"
                )
            used[name] = self.place

    def refer(self, kind: "type[Referable]", name: str | None) -> None:
        """Check the name of another entry."""
        known = name is None or name in self.names[kind] or (kind, name) in self.elsewhere
        if self.alone and not known:
            raise unknown(kind, name, self.place)


@dataclass(slots=True)
class Placing:
    """A world, or a template, into which entries are placed."""

    world: str
    store: Store
    put: Placement = field(init=False)
    ids: defaultdict[type[Entry], list[str]] = field(default_factory=lambda: defaultdict(list))
    """Of the objects that were placed, in the order of the document."""
    found: dict[tuple[type[Entry], str], Any] = field(default_factory=dict)
    """What entries that others can name became, by refs and ids."""
    replaced: dict[str, str] = field(default_factory=dict)
    """Ids of the containers that replaced expired ones, by the ids of those."""
    place: Place = field(init=False)
    """Of the entry that is being placed."""
    number: int | None = field(init=False)
    """Of the entry if it is repeated."""

    def numbered(self, text: str) -> str:
        return numbered(text, self.number)

    def stored(self, item: WithContent) -> Upload:
        return self.store.stored(item, self.place, self.number)

    def at(self, time: Moment | None, default: int) -> int:
        return time.at(self.put.now) if time else default

    def add(self, row: type[L], item: "Listed", content: Upload | None = None, **columns: Any) -> L:
        """Place the row of an object. `columns` are those that are no keys of the item, or differ from them."""
        for name in _shared(type(item), row):
            if name not in columns and (value := getattr(item, name)) is not None:
                columns[name] = value.at(self.put.now) if isinstance(value, Moment) else value
        return self.put.add(row, content, **columns)

    def name(self, entry: "Referable", id: str, found: Any) -> None:
        """Keep what an entry became, for others that name it."""
        for name in {id} | entry.names(self.number):
            self.found[type(entry), name] = found

    def find(self, kind: "type[Referable]", name: str) -> Any:
        """Return what an entry became that is named by a ref or an id, or what the world has. Raises SeedError."""
        if found := self.found.get((kind, name)) or (kind.find(self.put.into, name) if self.put.into else None):
            return found
        raise unknown(kind, name, self.place)


@dataclass(slots=True)
class Export:
    """An export of a world."""

    tx: Transaction
    digests: dict[str, None] = field(default_factory=dict)
    """Of the contents that it needs, in this order."""
    objects: int = 0
    """How many were read so far."""

    def rows(self, row: type[R], order: str = "created_at, seq", owner: str | None = None) -> Iterator[R]:
        """Read the rows of objects that are not deleted; of those inside of another one, these of its `owner`."""
        for found in _live(row, order).rows(self.tx, owner=owner):
            self.objects += row in _COUNTED
            yield found

    def content(self, digest: str) -> dict[str, str]:
        """Return the key that names a content."""
        self.digests[digest] = None
        return {"from": f"blobs/{digest}"}


def unknown(kind: "type[Referable]", name: Any, place: Place) -> SeedError:
    return SeedError(f"{place}: no {kind.noun} has the ref or id {name!r}; describe it under {kind.noun.lower()}s")


class Listed(Entry, Part):
    """An object of a list."""

    id: Id | None = None
    """Its id; made by the server unless given."""
    seq: Count | None = None
    """Position in the order of the world's lists. Written by exports."""

    def inside(self) -> "Sequence[Listed]":
        """Return the listed objects inside of it."""
        return ()

    def ordinals(self) -> list[int]:
        return [each.seq for each in (self, *self.inside()) if each.seq is not None]

    def check(self, checks: Checks) -> None:
        if self.seq is not None and self.repetition:
            raise SeedError(f"{checks.place}: repeated objects have no fixed position; remove seq")
        checks.claim(checks.names[Listed], (f"seq {each}" for each in self.ordinals()))
        super().check(checks)
        checks.claim({}, (each.id for each in self.inside()))


class Referable(Listed):
    """An object that other parts of the seed can name."""

    ref: Name | None = None
    """Name for use in this seed."""

    def names(self, n: int | None = None) -> set[str]:
        return {numbered(name, n) for name in (self.ref, self.id) if name}

    @classmethod
    def find(cls, tx: Transaction, id: str) -> Any:
        """Return the object of a world as it is named by other entries, None if there is none."""


class Named(WithContent):
    """Bytes with a file name, which may come from `from`."""

    filename: FileName | None = None
    """Name of the file; by default the name in `from`."""

    @property
    def name(self) -> str:
        return Path(self.from_ or "").name if self.filename is None else self.filename


def given(row: object, *names: str) -> dict[str, Any]:
    """Return the attributes that are not None."""
    return {name: value for name in names if (value := getattr(row, name)) is not None}


def stored(row: type[tables.Table], found: Any) -> dict[str, Any]:
    """Return the columns of a row of an object, as JSON has them: SQLite has no true and false."""
    return {
        name: bool(getattr(found, name)) if field.annotation is bool else getattr(found, name)
        for name, field in row.model_fields.items()
        if not name.startswith("deleted_")
    }


def described(entry: type[BaseModel], row: type[tables.Table], found: Any) -> dict[str, Any]:
    """Return the columns of a row of an object that are keys of its entry, as far as they are not null."""
    return given(found, *_shared(entry, row))


@cache
def model_of(row: type[tables.Table]) -> type[Part]:
    """Return a model of what `stored` returns."""
    fields: dict[str, Any] = {
        name: (field.annotation, ... if field.is_required() else field.default)
        for name, field in row.model_fields.items()
        if not name.startswith("deleted_")
    }
    return create_model(f"_Exported{row.__name__}", __base__=Part, **fields)
