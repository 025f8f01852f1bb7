"""The journal: recorded requests and responses, bounded and without secrets.

An entry is the JSON that readers are shown, made once, and a few private facts for filters and the verdict. Up to
`UNWRITTEN` entries are made together: that takes half as long, and nobody has read them yet. The entries of all worlds
share two bounds, their number and their bytes; the oldest are dropped first.

All methods must be called in the thread of the event loop. Records and entries may be read in any thread.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from mockserver.entries import ABORTED, COMPLETE, Entry, Record
from mockserver.events import KINDS, Events

UNWRITTEN = 64
"""Exchanges that have ended and whose entries are not yet made. A reader has them made first."""
_OVERHEAD = 280
"""Bytes that a record takes beside its JSON and its route."""


@dataclass(slots=True, eq=False)
class WorldJournal:
    """One world's records, oldest first. When they are cleared, others take the place of the deque, and it is empty.

    `ended` is set when the world's state is gone: it takes no more records.
    """

    world: str
    records: deque[Record] = field(default_factory=deque)
    last: int = 0
    """The newest number. Numbers have no gaps."""
    cleared: int = 0
    """The newest number when the journal was last cleared."""
    ended: bool = False


class Journal:
    """Holds at most `entries` entries, of at most `size` bytes together."""

    def __init__(self, entries: int, size: int, events: Events) -> None:
        self._entries = entries
        self._size = size
        self._events = events
        self._count = 0
        self._bytes = 0
        self._worlds: dict[str, WorldJournal] = {}
        self._unwritten: list[tuple[WorldJournal, Callable[[], Record]]] = []
        self._order: deque[deque[Record]] = deque()
        """For each record, oldest first, the records of its world. Of records that were cleared it is an empty deque."""
        self.closing = asyncio.Event()

    def open(self, world: str) -> WorldJournal:
        """Return the journal of a world, whose state must exist."""
        if log := self._worlds.get(world):
            return log
        log = self._worlds[world] = WorldJournal(world)
        self._events.publish(world, *KINDS)
        return log

    def record(self, log: WorldJournal, shown: dict[str, Any], route: str, make: Callable[[], Record]) -> int:
        """Record an exchange, and return its number, or 0 if the world's state is gone.

        `shown` is what `make` will make the record of; it gets the number here.
        """
        if log.ended:
            return 0
        shown["number"] = log.last = log.last + 1
        self._unwritten.append((log, make))
        if len(self._unwritten) >= UNWRITTEN:
            self._write()
        if self._events.subscribers:
            self._events.publish(log.world, *_changes(shown, route))
        return log.last

    def _write(self) -> None:
        unwritten, self._unwritten = self._unwritten, []
        for log, make in unwritten:
            record = make()
            log.records.append(record)
            self._order.append(log.records)
            self._count += 1
            self._bytes += _cost(record)
        while self._count > self._entries or self._bytes > self._size:
            if records := self._order.popleft():
                self._bytes -= _cost(records.popleft())
                self._count -= 1

    def abort(self, log: WorldJournal, number: int) -> None:
        """Mark an exchange, already recorded, whose response did not come to its end."""
        self._write()
        place = number - log.last - 1
        if 0 < -place <= len(log.records) and not (entry := Entry(*log.records[place])).aborted:
            text = entry.json.removesuffix(COMPLETE) + ABORTED
            self._bytes += len(text) - len(entry.json)
            log.records[place] = (number, text, *log.records[place][2:])

    def records(self, world: str, after: int = 0, limit: int | None = None) -> list[Record]:
        """Return the records of a world whose numbers are greater than `after`, oldest first."""
        self._write()
        if (log := self._worlds.get(world)) is None:
            return []
        start = max(len(log.records) - max(log.last - after, 0), 0)
        return list(islice(log.records, start, None if limit is None else start + limit))

    def count(self, world: str) -> int:
        self._write()
        log = self._worlds.get(world)
        return len(log.records) if log else 0

    def find(self, world: str, number: int) -> Entry | None:
        found = self.records(world, number - 1, limit=1)
        return Entry(*found[0]) if found and found[0][0] == number else None

    def log(self, world: str) -> WorldJournal | None:
        return self._worlds.get(world)

    def clear(self, world: str) -> None:
        """Delete the entries of a world. Its next number stays the same."""
        if log := self._worlds.get(world):
            self._empty(log)
        self._events.publish(world, "journal")

    def forget(self, world: str) -> None:
        """Delete the journal of a world whose state is gone. Its numbers start at 1 again."""
        if log := self._worlds.pop(world, None):
            log.ended = True
            self._empty(log)
        self._events.publish(world, *KINDS)

    def close(self) -> None:
        """Wake all who wait for changes."""
        self.closing.set()
        self._events.wake()

    def _empty(self, log: WorldJournal) -> None:
        self._write()
        self._count -= len(log.records)
        self._bytes -= sum(map(_cost, log.records))
        log.cleared = log.last
        log.records.clear()
        log.records = deque()
        if len(self._order) > 2 * self._count + 1_000:
            self._order = deque(filter(None, self._order))


_ALSO_CHANGED = {"responses": ("answers", "containers"), "uploads": ("uploads", "files")}


def _changes(shown: dict[str, Any], route: str) -> Iterator[str]:
    """The kinds of what an exchange changed. To use a container changes its `last_active_at`."""
    yield "journal"
    if shown["fault"]:
        yield "faults"
    if shown["operation"]:
        resource = route.split("/")[1]
        used = resource in _ALSO_CHANGED or (resource == "containers" and shown["operation"] != "ListContainers")
        if used or shown["objects"]:
            yield from _ALSO_CHANGED.get(resource, (resource,))
    if shown["objects"]:
        yield "worlds"


def _cost(record: Record) -> int:
    return len(record[1]) + len(record[5]) + _OVERHEAD


class Cursor:
    """A reader's position in a world's journal: behind the number `after`, or at the end for None.

    The journal keeps the backlog of a slow reader; a reader that is too slow loses the oldest entries.
    """

    def __init__(self, journal: Journal, world: str, after: int | None) -> None:
        self._journal = journal
        self._world = world
        self._log = journal.log(world)
        self._cleared = self._log.cleared if self._log else 0
        last = self._log.last if self._log else 0
        self.after = last if after is None else after

    def read(self, limit: int) -> tuple[bool, int, list[Entry]]:
        """Return whether the journal was cleared since, how many entries were lost unread, and the next entries."""
        log = self._journal.log(self._world)
        cleared = self._log is not None and log is not self._log
        if cleared or (log and self.after > log.last):
            cleared, self.after, self._cleared = True, 0, 0
        self._log = log
        if log is None:
            return cleared, 0, []
        cleared = cleared or log.cleared > self._cleared or 0 < self.after < log.cleared
        self._cleared = log.cleared
        self.after = max(self.after, log.cleared)
        entries = [Entry(*record) for record in self._journal.records(self._world, self.after, limit)]
        lost = (entries[0].number if entries else log.last + 1) - self.after - 1
        self.after += lost + len(entries)
        return cleared, lost, entries
