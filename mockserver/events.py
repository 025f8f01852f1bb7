"""News: what has changed, for those who follow it.

It says of which world and of what kind, not what: who follows asks for what it shows. So a flood of
changes costs a follower no more than one does, and nobody who doesn't follow anything.

All methods are for the thread of the event loop.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

KINDS = ("worlds", "clock", "containers", "files", "faults", "snapshots", "journal")
"""`worlds`: that it is there at all, or how much it holds. A container's files count as containers."""


class Follower:
    """What has changed since it last took it; `heard` is set while there is anything."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()
        self._changed: dict[str, set[str]] = {}

    def hear(self, world: str, kinds: tuple[str, ...]) -> None:
        self._changed.setdefault(world, set()).update(kinds)
        self.heard.set()

    def take(self) -> dict[str, list[str]]:
        """Kinds by the names of worlds."""
        changed, self._changed = self._changed, {}
        self.heard.clear()
        return {world: sorted(kinds) for world, kinds in changed.items()}


class News:
    def __init__(self) -> None:
        self.followers: set[Follower] = set()

    def tell(self, world: str, *kinds: str) -> None:
        for follower in self.followers:
            follower.hear(world, kinds)

    @contextmanager
    def followed(self) -> Iterator[Follower]:
        follower = Follower()
        self.followers.add(follower)
        try:
            yield follower
        finally:
            self.followers.discard(follower)
