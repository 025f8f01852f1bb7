"""Worlds: isolated sets of objects, each with its own clock, ids, profile and faults.

A world's state is a directory. A world is created on first use, as a copy of the template that the seeds describe.

Snapshots are copies too, and a restore copies one: the new state is built beside the world, renamed into place, and
becomes the world's in one step of the event loop. A client sees all of the old state or all of the new one.
"""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from mockserver import choices, control_errors, errors, ids, profiles
from mockserver.clock import Clock, Wall
from mockserver.context import Context, World, set_clock, unusable
from mockserver.errors import APIError
from mockserver.faults import load_rules
from mockserver.profiles import Profile
from mockserver.settings import Settings
from mockserver.states import (
    Fill,
    Snapshot,
    States,
    Summary,
    describe,
    freeze,
    new_row,
    set_seed,
    set_switches,
    switches,
)
from mockserver.storage.database import Transaction, in_thread, is_small, reading
from mockserver.storage.directory import EVERY_WORLD, Directory

P = ParamSpec("P")
T = TypeVar("T")

NAME = re.compile(choices.NAME)
DEFAULT = "default"


class Worlds(States):
    """For the thread of the event loop. `ended` is called with the name of each world whose state ends: reset,
    restored, deleted, retired."""

    def __init__(self, states: Directory, settings: Settings, wall: Wall, ended: Callable[[str], None]) -> None:
        super().__init__(states, settings, wall)
        self._maximum = settings.max_worlds
        self._idle_seconds = settings.idle_seconds
        self._ended = ended
        self._started = wall.now()
        self._created: dict[str, float] = {}
        """When each world was created, by the machine's clock; only of those created since the start."""
        self._unused: set[str] = set()
        """Worlds that are listed, and created on first use."""
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """One for each world that is being created, replaced or removed."""
        self._coming: set[str] = set()
        """Worlds that are being created."""
        self.leaving: Callable[[str], Awaitable[None]] | None = None
        """Called with the name of each world that is about to be deleted or retired, while all of it is there."""

    # Use

    async def enter(self, name: str) -> Context:
        """Return a context for a call in a world, created on first use. Raises APIError for a bad name or too many."""
        world = self._worlds.get(name) or await self.resolve(name)
        if not world.database.is_open:
            await self._keep_up()
        self._used[name] = self._wall.now()
        return Context(world, self._current)

    async def resolve(self, name: str) -> World:
        """Return a world, created if there is none. This doesn't count as a use."""
        if world := self._worlds.get(name):
            return world
        check_name(name)
        async with self._lock(name):
            return await self._resolve(name)

    async def _resolve(self, name: str) -> World:
        """`resolve` for a caller that has checked the name and holds the world's lock."""
        if world := await self._opened(name):
            return world
        async with self._room(name):
            await self._keep_up()
            quick = self._template(name) in self._quick
            return await self._create(name, lambda built: self._copy_template(built, name), quick)

    def _current(self, world: World) -> World:
        """Return the present state of a world that another state may have replaced."""
        if present := self._worlds.get(world.name):
            return present
        raise errors.WORLD_GONE()

    # Control

    def names(self) -> list[str]:
        return sorted({*self._directory.worlds, *self._unused})

    def list_seeded(self) -> None:
        """Include worlds with a template of their own, and `default`, in lists before their first use."""
        self._unused = {*self._directory.templates, DEFAULT} - {EVERY_WORLD, *self._directory.worlds}

    async def find(self, name: str) -> World:
        """Return a world that exists or is listed. This doesn't count as a use."""
        if world := self._worlds.get(name):
            return world
        async with self._lock(name):
            if self.exists(name) or name in self._unused:
                return await self._resolve(name)
        raise control_errors.WORLD_NOT_FOUND(name=name[:80])

    async def look(
        self, name: str, work: Callable[Concatenate[Transaction, World, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Read one state of a world in a thread, on a connection of its own. Repeated if it is replaced meanwhile."""

        def looking(world: World) -> T:
            with reading(world.database.path) as tx:
                return work(tx, world, *args, **kwargs)

        while True:
            world = await self.find(name)
            try:
                return await in_thread(looking, world)
            except (APIError, OSError, sqlite3.Error) as error:
                if not world.ended:
                    raise unusable(name, world.database.path, error) from error

    async def summaries(self, names: Sequence[str]) -> list[Summary]:
        """Return what lists show of worlds that exist or are listed, in the order of the names. A closed one is read once."""
        for name in self._unchecked.intersection(names):
            with suppress(APIError, OSError, sqlite3.Error):  # it is read again below, which says why
                await self.find(name)
        found: dict[str, Summary] = {}
        while unread := [name for name in names if name not in found and (self.exists(name) or name in self._unused)]:
            unknown = []
            for name in unread:
                world, state = self._worlds.get(name), self._state(name)
                if summary := self._summaries.get(name):
                    found[name] = summary
                elif world and world.database.is_open and is_small(world.database.connection):
                    found[name] = self._summarize(name, state, world, world.database.connection)
                else:
                    unknown.append((name, state, world))
            read = await in_thread(lambda them: [self._summarize(*each) for each in them], unknown) if unknown else []
            for (name, state, world), summary in zip(unknown, read, strict=True):
                # Else it was opened, replaced or deleted, and perhaps written to, meanwhile.
                if (world, state) == (self._worlds.get(name), self._state(name)):
                    found[name] = summary
                    if name not in self._open and summary.error is None and self.exists(name):
                        self._summaries.setdefault(name, summary)
        return [found[name] for name in names if name in found]

    async def profile_to_come(self, name: str) -> Profile:
        """The profile that a world will have when its first use creates it."""
        summary = await in_thread(self._summarize, name, self._template(name), None)
        return summary.profile or self._profile

    async def create(
        self, name: str, *, empty: bool = False, fork_of: str | None = None, snapshot: str | None = None
    ) -> World:
        """Create a world: from the template, empty, or as a copy of a world or of a snapshot of it."""
        check_name(name)
        if name in self._directory.worlds:  # checked first: the error is the same whether or not there is a source
            raise control_errors.WORLD_EXISTS(name=name)
        if fork_of is not None and snapshot is None:
            await self.find(fork_of)  # without the lock: another call may create that one as a fork of this one
        async with self._lock(name):
            if name in self._directory.worlds:
                raise control_errors.WORLD_EXISTS(name=name)
            async with self._room(name):
                if fork_of is None:
                    return await self._create(name, lambda built: self._copy_template(built, name, empty))
                if snapshot is not None:
                    return await self._create(name, self._copy_snapshot(fork_of, snapshot))
                if (world := self._worlds.get(fork_of)) is None:
                    raise control_errors.WORLD_NOT_FOUND(name=fork_of[:80])
                seed = ids.world_seed(self._id_seed, name)
                with world.held():
                    return await self._create(name, self._copy_world(world, lambda tx: set_seed.run(tx, id_seed=seed)))

    async def reset(self, name: str, *, empty: bool = False) -> World:
        """Reset a world to the template, or to nothing. Creates it if there is none."""
        check_name(name)
        async with self._lock(name), self._room(name):
            return await self._create(name, lambda built: self._copy_template(built, name, empty))

    async def delete(self, name: str) -> None:
        async with self._lock(name):
            if name in self._directory.worlds:
                if self.leaving:
                    await self.leaving(name)
                await self._delete(name)
            elif name in self._unused:
                self._unused.discard(name)
            else:
                raise control_errors.WORLD_NOT_FOUND(name=name[:80])

    async def retire(self, idle_seconds: float) -> list[str]:
        """Delete the worlds that were not used for so long, except `default`."""
        since = self._wall.now() - idle_seconds
        retired = []
        for name in [name for name in self._directory.worlds if self._is_idle(name, since)]:
            async with self._lock(name):
                if self.leaving and self._is_idle(name, since):  # it may have been used since it was listed
                    await self.leaving(name)
                if self._is_idle(name, since):  # or meanwhile
                    await self._delete(name)
                    retired.append(name)
        return sorted(retired)

    async def change_clock(self, name: str, change: Callable[[Clock], Clock]) -> tuple[World, Clock]:
        """Change a world's clock. Returns the world and its clock before. Expired objects can become valid again."""

        def changed(context: Context) -> tuple[World, Clock]:
            world, before = context.world, context.world.clock
            clock = change(before)
            with context.write() as tx:
                set_clock.run(tx, virtual=clock.virtual, wall=clock.wall, rate=clock.rate)
            world.clock = clock
            return world, before

        return await self.apply(name, changed)

    def profile(self, asked: object) -> Profile:
        """Return the requested profile, see `profiles.read`. Without a base, its switches change the server's."""
        return profiles.read(asked, self._profile)

    async def set_profile(self, name: str, profile: Profile | None) -> World:
        """Set a world's profile; None is the server's."""

        def changed(context: Context) -> World:
            with context.write() as tx:
                set_switches.run(tx, profile=switches(profile))
            context.world.profile = profile or self._profile
            return context.world

        return await self.apply(name, changed)

    async def change_faults(self, name: str, change: Callable[[Transaction, World], T]) -> T:
        """Change the rows of a world's faults, in a transaction. Returns what `change` does."""

        def changed(context: Context) -> T:
            with context.write() as tx:
                result = change(tx, context.world)
                rules = load_rules(tx, context.world.faults)
            context.world.faults = rules
            return result

        return await self.apply(name, changed)

    async def look_up(self, name: str) -> Context:
        """Return a context for a call in a world that exists. This doesn't count as a use."""
        return Context(await self.find(name), self._current)

    async def change(
        self, name: str, rule: Callable[Concatenate[Context, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a rule in a world that exists."""
        return await (await self.look_up(name)).run(rule, *args, **kwargs)

    async def apply(self, name: str, rule: Callable[[Context], T]) -> T:
        """Call a rule of the control plane in a world; creates the world if there is none."""
        return await Context(await self.resolve(name), self._current).run(rule)

    # Snapshots

    async def list_snapshots(self, world: str) -> list[Snapshot]:
        """Return the snapshots of a world, even if the world can't be used."""
        if world not in self._directory.worlds:
            raise control_errors.WORLD_NOT_FOUND(name=world[:80])
        paths = dict(self._directory.snapshots.get(world, {}))
        return await in_thread(lambda: [describe(world, name, path) for name, path in paths.items()])

    async def take_snapshot(self, world: str, name: str) -> Snapshot:
        """Take a snapshot of a world. It replaces an older one of that name."""
        if not NAME.fullmatch(name):
            raise control_errors.BAD_SNAPSHOT_NAME(name=name[:80])
        async with self._lock(world):
            source = await self._opened(world)
            if source is None:
                raise control_errors.WORLD_NOT_FOUND(name=world[:80])
            count = sum(map(len, self._directory.snapshots.values()))
            if count >= self._maximum and name not in self.snapshots(world):
                raise control_errors.TOO_MANY_SNAPSHOTS(count=self._maximum)
            async with self._frozen(source) as (built, instant):
                state = self._directory.place(built, "snapshots", f"{world}@{name}")
                self._directory.register("snapshots", f"{world}@{name}", state)
        self._empty_trash()
        return Snapshot(world, name, instant)

    async def restore(self, world: str, name: str) -> World:
        """Restore a snapshot's objects, next ids, faults and time. A real clock becomes an offset one."""
        async with self._lock(world):
            return await self._create(world, self._copy_snapshot(world, name))

    async def delete_snapshot(self, world: str, name: str) -> None:
        async with self._lock(world):
            self._snapshot(world, name)
            self._directory.remove_snapshot(world, name)
        self._empty_trash()

    # Seeds and archives

    async def add(
        self, name: str, fill: Fill, *, clock: Clock | None = None, profile: Profile | None = None, large: bool = False
    ) -> World:
        """Add objects to a world: all, or none if one fails. Creates the world if there is none.

        A given clock or profile becomes the world's. `large` uses a thread.
        """
        check_name(name)
        async with self._lock(name):
            context = Context(await self._resolve(name), self._current, large=large)
            return await context.run(self._add, fill, clock, profile)

    async def become(self, name: str, fill: Fill, clock: Clock, profile: Profile | None) -> World:
        """Replace a world's state in one step. Creates the world if there is none."""
        check_name(name)
        async with self._lock(name), self._room(name):
            row = new_row(ids.world_seed(self._id_seed, name), clock, profile)
            return await self._create(name, lambda built: self._fill(built, row, fill))

    @asynccontextmanager
    async def copied(self, name: str) -> AsyncIterator[Path]:
        """Yield the directory of a copy of a world, which is removed at the end."""
        async with self._frozen(await self.find(name)) as (built, _):
            yield built

    # Copies

    @asynccontextmanager
    async def _frozen(self, source: World) -> AsyncIterator[tuple[Path, float]]:
        """Yield a copy of a world whose time stands still, and that time. It is removed at the end unless it was
        placed."""
        wall = self._wall.now()
        instant = source.clock.at(wall)
        async with self._building() as built:
            with source.held():
                await in_thread(self._copy_world(source, lambda tx: freeze.run(tx, virtual=instant, wall=wall)), built)
            yield built, instant

    async def _create(self, name: str, build: Callable[[Path], None], quick: bool = False) -> World:
        """Build a state and make it the present one of a world. `quick` builds it on the event loop."""
        async with self._building() as built:
            if quick:
                build(built)
            else:
                await in_thread(build, built)
            state = self._directory.place(built, "worlds", name)
        try:
            world = self._load_new(name, state) if quick else await in_thread(self._load, name, state)
            if present := self._worlds.get(name):
                await present.contents.undisturbed()  # last: an export may have begun while the state was loaded
        except BaseException:
            self._directory.discard(state)
            self._empty_trash()
            raise
        replaces = name in self._directory.worlds
        self._directory.register("worlds", name, state)
        self._unused.discard(name)
        if replaces:
            self._end(name, self._worlds.get(name))
        else:
            self._created[name] = self._wall.now()
        self._worlds[name] = world
        return world

    # Removing

    @asynccontextmanager
    async def _room(self, name: str) -> AsyncIterator[None]:
        """Count a world while it is created. Retires idle worlds if there are too many; raises APIError if that is not
        enough.

        The caller holds the lock of a name that no world has, and waits here for locks of worlds that existed when it
        began. This can't deadlock: of two callers of which one waits for the other, the other one began later.
        """
        if name in self._directory.worlds:
            yield
            return
        if len(self._directory.worlds) + len(self._coming) >= self._maximum:
            await self.retire(self._idle_seconds)
        if len(self._directory.worlds) + len(self._coming) >= self._maximum and name != DEFAULT:
            raise errors.TOO_MANY_WORLDS(count=self._maximum)
        self._coming.add(name)
        try:
            yield
        finally:
            self._coming.discard(name)

    async def _delete(self, name: str) -> None:
        if world := self._worlds.get(name):
            await world.contents.undisturbed()
        self._directory.remove_world(name)  # where that fails, the world stays as it is
        self._worlds.pop(name, None)
        self._used.pop(name, None)
        self._created.pop(name, None)
        self._end(name, world)

    def _end(self, name: str, world: World | None) -> None:
        """End a state of a world that was deleted, or replaced by another one."""
        self._summaries.pop(name, None)
        self._unchecked.discard(name)
        if world:
            world.ended = True
            self._open.pop(name, None)
            self._close([world.database.detach()])
        self._ended(name)
        self._empty_trash()

    def _is_idle(self, name: str, since: float) -> bool:
        """Return whether a world exists and was not used since then. One that was never used counts as used when it was
        created, or at the start."""
        used = self._used.get(name, self._created.get(name, self._started))
        return name != DEFAULT and self.exists(name) and used <= since

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())


def check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise errors.BAD_WORLD_NAME(name=name[:80])
