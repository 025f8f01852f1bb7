"""An entry of a list of a seed: what it describes, and how it is checked."""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel

from mockserver.schema.sources import FileName, Part, WithContent
from mockserver.schema.values import Count
from mockserver.seeds.contents import Bundle, Place, Store
from mockserver.seeds.rows import Export
from mockserver.seeds.values import Id, Moment, Name, numbered, numbers
from mockserver.settings import SeedError
from mockserver.storage import tables
from mockserver.storage.bulk import Placement
from mockserver.storage.contents import Upload
from mockserver.storage.database import Transaction, columns

L = TypeVar("L", bound=tables.Listed)


@cache
def _shared(entry: type[BaseModel], row: type[tables.Table]) -> list[str]:
    """Return the keys of an entry that are columns of a row."""
    return [name for name in columns(row) if name in entry.model_fields]


class Entry:
    """An entry of a list of a seed. Each resource has its own, with the part of the format that describes it."""

    # What messages call it, in the singular; entries without a kind are not counted. (A docstring would be of a key.)
    kind: ClassVar[str] = ""

    @property
    def repetition(self) -> int | None:
        """How often it is repeated; None for an entry that has no number."""
        return getattr(self, "repeat", None)

    def counts(self) -> Iterable[tuple[str, int]]:
        """Return how many objects it describes, by their kinds in the singular."""
        return [(self.kind, self.repetition or 1)] if self.kind else ()

    def text(self) -> int:
        """Return the size in bytes of names, paths, policies and items, each counted as often as it is repeated."""
        return 0

    def names(self, n: int | None = None) -> Iterable[str | None]:
        """Return the names that no other entry of the list may have; `n` is its number if it is repeated."""
        return ()

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
            entry.check(place, checks)

    def check(self, place: Place, checks: "Checks") -> None:
        """Check its names and references. Raises SeedError."""
        for n in numbers(self.repetition):
            claim(checks.names[type(self)], place, self.names(n))

    @classmethod
    def place_all(cls, entries: "Sequence[tuple[Self, Place]]", into: "Placing") -> None:
        """Place the entries of a list."""
        for entry, place in entries:
            for n in numbers(entry.repetition):
                entry.place(place, n, into)

    def place(self, place: Place, n: int | None, into: "Placing") -> None:
        """Place what it describes; `n` is its number if it is repeated. Raises SeedError."""
        raise NotImplementedError

    @classmethod
    def export(cls, out: Export) -> Iterator[str]:
        """Yield the entries of a world as JSON, in the order of their list."""
        raise NotImplementedError


@dataclass(slots=True)
class Checks:
    """The check of what seeds describe for one world."""

    alone: bool
    """Whether only Files and skills of these seeds can be named, and not those that exist in the world."""
    elsewhere: Container[tuple[type[Entry], str]]
    """Names in other seeds."""
    names: defaultdict[type[Entry], dict[str, Place]] = field(default_factory=lambda: defaultdict(dict))
    positions: dict[str, Place] = field(default_factory=dict)

    def refer(self, kind: "type[Referable]", name: str | None, place: Place) -> None:
        """Check the name of another entry."""
        known = name is None or name in self.names[kind] or (kind, name) in self.elsewhere
        if self.alone and not known:
            raise unknown(kind, name, place)


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

    def at(self, time: Moment | None, default: int) -> int:
        return time.at(self.put.now) if time else default

    def columns(self, row: type[tables.Table], item: BaseModel) -> dict[str, Any]:
        """Return the keys of an item that are columns of a row, with times in seconds since the epoch."""
        values = {name: getattr(item, name) for name in _shared(type(item), row)}
        return {name: each.at(self.put.now) if isinstance(each, Moment) else each for name, each in values.items()}

    def add(self, row: type[L], item: "Listed", content: Upload | None = None, **columns: Any) -> L:
        """Place the row of an object. `columns` are those that are not keys of the item, or differ from them."""
        return self.put.add(row, content, **self.columns(row, item) | columns)

    def find(self, kind: "type[Referable]", name: str, place: Place) -> Any:
        """Return what an entry became that is named by a ref or an id, or what the world has. Raises SeedError."""
        if found := self.found.get((kind, name)) or (kind.find(self.put.into, name) if self.put.into else None):
            return found
        raise unknown(kind, name, place)


def claim(used: dict[str, Place], place: Place, names: Iterable[str | None]) -> None:
    for name in filter(None, names):
        if name in used:
            raise SeedError(
                f"{place}: {name!r} is already used at {used[name]}; give each object its own ref and id (for repeated objects, use {{n}})"
            )
        used[name] = place


def unknown(kind: "type[Referable]", name: Any, place: Place) -> SeedError:
    return SeedError(f"{place}: no {kind.kind} has the ref or id {name!r}; describe it under {kind.kind.lower()}s")


class Listed(Entry, Part):
    """An object of a list."""

    id: Id | None = None
    """Its id; made by the server unless given."""
    seq: Count | None = None
    """Position in the order of the world's lists. Written by exports."""

    def inside(self) -> "Sequence[Listed]":
        """Return the listed objects inside of it."""
        return ()

    def names(self, n: int | None = None) -> Iterable[str | None]:
        return [self.id]

    def ordinals(self) -> list[int]:
        return [each.seq for each in (self, *self.inside()) if each.seq is not None]

    def check(self, place: Place, checks: Checks) -> None:
        if self.seq is not None and self.repetition:
            raise SeedError(f"{place}: repeated objects have no fixed position; remove seq")
        claim(checks.positions, place, (f"seq {each}" for each in self.ordinals()))
        super().check(place, checks)
        inside: dict[str, Place] = {}
        for each in self.inside():
            claim(inside, place, each.names())


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


def text_size(names: Iterable[str | None], repeat: int | None) -> int:
    """Return the size of names in bytes, with the highest number if they are repeated."""
    return sum(len(numbered(name, repeat).encode(errors="replace")) for name in names if name)
