"""Events: publish what has changed to those who subscribe.

An event names a world and the kinds of what changed, not the change itself: a subscriber reads what it
shows. So a burst of changes costs a subscriber no more than one change does.

All methods must be called in the thread of the event loop.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from mockserver.storage import tables

OBJECTS = tuple(str(row.__tablename__) for row in tables.Listed.__subclasses__() if tables.owner(row) is None)
"""The kinds of objects that the API lists. What belongs to an object, as a container's files, counts as its kind."""
KINDS = ("worlds", "clock", *OBJECTS, "faults", "answers", "snapshots", "journal")
"""`worlds`: a world was created or deleted, or holds more or less."""


class Subscriber:
    """Collects what has changed since the last `take`; `changed` is set while there is anything."""

    def __init__(self, world: str | None) -> None:
        self.world = world
        self.changed = asyncio.Event()
        self._kinds: dict[str, set[str]] = {}

    def add(self, world: str, kinds: tuple[str, ...]) -> None:
        self._kinds.setdefault(world, set()).update(kinds)
        self.changed.set()

    def take(self) -> dict[str, list[str]]:
        """Return the kinds of changes by world, and forget them."""
        kinds, self._kinds = self._kinds, {}
        self.changed.clear()
        return {world: sorted(names) for world, names in kinds.items()}


class Events:
    def __init__(self) -> None:
        self.subscribers: set[Subscriber] = set()

    def publish(self, world: str, *kinds: str) -> None:
        for subscriber in self.subscribers:
            if subscriber.world in (None, world):
                subscriber.add(world, kinds)

    def wake(self) -> None:
        """Wake all subscribers, although nothing has changed."""
        for subscriber in self.subscribers:
            subscriber.changed.set()

    @contextmanager
    def subscribed(self, world: str | None = None) -> Iterator[Subscriber]:
        """Subscribe to the changes of one world, which need not exist, or of all."""
        subscriber = Subscriber(world)
        self.subscribers.add(subscriber)
        try:
            yield subscriber
        finally:
            self.subscribers.discard(subscriber)
