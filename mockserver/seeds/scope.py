"""Collect what seeds describe for one world, each entry with its place in the seeds, and check it as a whole."""

from collections import defaultdict
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from mockserver import profiles
from mockserver.schema.values import WithContent
from mockserver.seeds import models
from mockserver.seeds.contents import Bundle, Place, check_content
from mockserver.seeds.entry import Checks, Entry, Referable
from mockserver.seeds.models import LISTS
from mockserver.seeds.values import is_numbered, numbered, numbers
from mockserver.settings import SeedError

MAX_OBJECTS = 200_000
"""Objects in a document that is sent to a running server."""


MAX_TEXT = 64 << 20
"""Bytes of names and paths in such a document, each counted as often as it is repeated."""


@dataclass(slots=True)
class Scope:
    """What one template contains, each entry with its place in the seeds."""

    clock: tuple[models.Clock, Place] | None = None
    profile: tuple[profiles.Requested, Place] | None = None
    ordinal: int = 0
    lists: dict[str, list[tuple[Any, Place]]] = field(default_factory=lambda: {name: [] for name in LISTS})
    """The entries by the keys of their lists."""

    def with_(self, other: "Scope", *, instead: bool = False) -> "Scope":
        """Return both together. A value that is set twice is an error that names both places, unless the other's is
        used `instead`."""
        for mine, its in ((self.clock, other.clock), (self.profile, other.profile)):
            if mine and its and not instead:
                raise SeedError(f"{its[1]}: already set at {mine[1]}; remove one of the two")
        return Scope(
            other.clock or self.clock,
            other.profile or self.profile,
            max(self.ordinal, other.ordinal),
            {name: entries + other.lists[name] for name, entries in self.lists.items()},
        )

    def discard(self) -> None:
        """Free all entries, one after another, in a thread: many that are freed at once hold up all threads."""
        for entries in self.lists.values():
            while entries:
                entries.pop()

    def entries(self) -> Iterator[tuple[Entry, Place]]:
        return chain.from_iterable(self.lists.values())

    def contents(self) -> Iterator[tuple[WithContent | Bundle, Place, int | None]]:
        """Yield what describes bytes, and how often it is repeated."""
        for entry, place in self.entries():
            yield from ((content, place, entry.repetition) for content in entry.contents())

    def names(self) -> set[tuple[type[Entry], str]]:
        """Return the names of entries that others can name."""
        return {
            (type(entry), name)
            for entry, _ in self.entries()
            if isinstance(entry, Referable)
            for n in numbers(entry.repetition)
            for name in entry.names(n)
        }

    def last_seq(self) -> int:
        """Return the highest ordinal that an object of an export has."""
        return max(chain([self.ordinal], (ordinal for entry, _ in self.entries() for ordinal in entry.ordinals())))

    def counts(self) -> dict[str, int]:
        """Return how many objects it describes, by their kinds in the singular."""
        found = defaultdict(int, {"File": 0, "container": 0, "container file": 0})  # in this order
        for entry, _ in self.entries():
            for kind, n in entry.counts():
                found[kind] += n
        return found

    def generated(self) -> int:
        """Return the size in bytes of contents that are longer than their descriptions."""
        total = 0
        for item, _, repeat in self.contents():
            if isinstance(item, WithContent):
                if item.generate:
                    total += item.generate.size
                elif item.content and is_numbered(item):  # each with the highest number
                    total += len(numbered(item.content, repeat).encode()) * (repeat or 1)
        return total

    def text(self) -> int:
        """Return the size in bytes of names, paths, policies and items, each counted as often as it is repeated."""
        return sum(entry.text_size() for entry, _ in self.entries())

    def check_size(self, where: object, times: int = 1) -> None:
        """Raise SeedError if there are too many objects or too long names."""
        for found, allowed, of in (
            (sum(self.counts().values()), MAX_OBJECTS * times, "objects"),
            (self.text(), MAX_TEXT * times, "bytes of names, repeated ones included,"),
        ):
            if found > allowed:
                raise SeedError(f"{where}: {found:,} {of} are more than {allowed:,}; repeat less, or split it")

    def summary(self) -> str:
        parts = [f"{n:,} {kind}{'' if n == 1 else 's'}" for kind, n in self.counts().items() if n]
        return ", ".join(parts) or "nothing"


def check(scope: Scope, max_file: int, alone: bool = True, elsewhere: Container[tuple[type[Entry], str]] = ()) -> None:
    """Check that references are valid, names unique, and all files present and not too large. Raises SeedError.

    If the scope is not `alone`, it may refer to Files that exist in the world; `elsewhere` are names in other scopes.
    """
    for item, place, _ in scope.contents():
        check_content(item, place, max_file)
    checks = Checks(alone, elsewhere)
    for name, entries in scope.lists.items():
        LISTS[name].check_all(entries, checks)
