"""Worlds: isolated sets of objects, each with its own clock, ids, profile and faults.

A world's state is a directory. A world is created on first use, as a copy of the template that the seeds describe.

Snapshots are copies too, and so is what a restore puts in a world's place: a state is built beside the world, renamed
into place, and becomes the world's in one step of the event loop. A client sees all of the old state or all of the new.
"""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from mockserver import errors, ids, profiles
from mockserver.clock import Clock, Wall
from mockserver.context import Context, World, set_clock, unusable
from mockserver.errors import APIError
from mockserver.faults import load_rules
from mockserver.profiles import Profile
from mockserver.states import (
    OPEN_WORLDS,
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
from mockserver.storage.database import Transaction, in_thread, reading
from mockserver.storage.directory import EVERY_WORLD, Directory

P = ParamSpec("P")
T = TypeVar("T")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DEFAULT = "default"


class Worlds(States):
    """For the thread of the event loop. `ended` is called with the name of each world whose state ends: reset,
    restored, deleted, retired."""

    def __init__(
        self,
        states: Directory,
        wall: Wall,
        profile: Profile,
        id_seed: str,
        maximum: int,
        idle_seconds: float,
        ended: Callable[[str], None],
        durable: bool,
        started: float | None = None,
        open_worlds: int = OPEN_WORLDS,
    ) -> None:
        super().__init__(states, wall, profile, id_seed, durable, open_worlds)
        self._maximum = maximum
        self._idle_seconds = idle_seconds
        self._ended = ended
        self._started = wall.now() if started is None else started
        self._unused: set[str] = set()
        """Worlds that are listed, and created on first use."""
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """One for each world that is being created, replaced or removed."""
        self._coming: set[str] = set()
        """Worlds that are being created."""

    # Use

    async def enter(self, name: str) -> Context:
        """Begin a call in a world, which is created on first use. Raises APIError for a bad name, and for one world
        too many."""
        world = self._worlds.get(name) or await self.resolve(name)
        self._used[name] = self._wall.now()
        return Context(world, self._current)

    async def resolve(self, name: str) -> World:
        """The world of that name, created if there is none. It doesn't count as a use."""
        if world := self._worlds.get(name):
            return world
        _check_name(name)
        async with self._lock(name):
            if world := await self._opened(name):
                return world
            async with self._room(name):
                await self._keep_up()
                return await self._create(name, lambda built: self._copy_template(built, name), self._is_quick(name))

    def _current(self, world: World) -> World:
        """The present state of a world that another state may have replaced."""
        if present := self._worlds.get(world.name):
            return present
        raise errors.WORLD_GONE()

    # Control

    def names(self) -> list[str]:
        return sorted({*self._directory.worlds, *self._unused})

    def list_seeded(self) -> None:
        """List the worlds that have templates of their own, and `default`, before their first use."""
        self._unused = {*self._directory.templates, DEFAULT} - {EVERY_WORLD, *self._directory.worlds}

    def exists(self, name: str) -> bool:
        """Whether a world was created, and not only listed."""
        return name in self._directory.worlds

    def known(self, name: str) -> World | None:
        """A world that was opened since the start."""
        return self._worlds.get(name)

    async def find(self, name: str) -> World:
        """A world that exists; to look at it is no use of it, and creates it only if it is listed."""
        if world := self._worlds.get(name):
            return world
        async with self._lock(name):
            if world := await self._opened(name):
                return world
        if name in self._unused:
            return await self.resolve(name)
        raise errors.WORLD_NOT_FOUND(name=name[:80])

    async def look(
        self, name: str, work: Callable[Concatenate[Transaction, World, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Read a world in a thread, by a connection of its own that sees one moment. Repeated where the world was
        replaced meanwhile, and its files may have been removed."""

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
        """What lists show of worlds, in the order of the names. A world that is closed is read once."""
        for name in self._unchecked.intersection(names):
            with suppress(APIError, OSError, sqlite3.Error):  # it is read again below, which says why
                await self.find(name)
        unknown = [
            (name, self._directory.worlds.get(name) or self._template(name))
            for name in names
            if name not in self._summaries
        ]
        read = await in_thread(lambda: [self._summarize(name, state) for name, state in unknown])
        for (name, state), summary in zip(unknown, read, strict=True):
            if name not in self._open and summary.error is None and self._directory.worlds.get(name) == state:
                self._summaries[name] = summary
        found = {summary.name: summary for summary in read}
        return [self._summaries.get(name) or found[name] for name in names if name in self._summaries or name in found]

    def used(self, name: str) -> float | None:
        """When it was last used, in seconds since the epoch by the machine's clock; None: not since the start."""
        return self._used.get(name)

    async def create(
        self, name: str, *, empty: bool = False, fork_of: str | None = None, snapshot: str | None = None
    ) -> World:
        """Create a world from the template, empty, or as a fork: of a world, or of a snapshot of one."""
        _check_name(name)
        if fork_of is not None and snapshot is None:
            await self.find(fork_of)  # not under the lock: another call may create that one as a fork of this one
        async with self._lock(name):
            if name in self._directory.worlds:
                raise errors.WORLD_EXISTS(name=name)
            async with self._room(name):
                if fork_of is None:
                    return await self._create(name, lambda built: self._copy_template(built, name, empty), False)
                if snapshot is not None:
                    return await self._create(name, self._copy_snapshot(fork_of, snapshot), False)
                if (world := self._worlds.get(fork_of)) is None:
                    raise errors.WORLD_NOT_FOUND(name=fork_of[:80])
                return await self._fork(name, world)

    async def reset(self, name: str, *, empty: bool = False) -> World:
        """Return a world to the template, or to nothing; creates it if there is none."""
        _check_name(name)
        async with self._lock(name), self._room(name):
            return await self._create(name, lambda built: self._copy_template(built, name, empty), False)

    async def delete(self, name: str) -> None:
        async with self._lock(name):
            if name in self._directory.worlds:
                await self._delete(name)
            elif name in self._unused:
                self._unused.discard(name)
            else:
                raise errors.WORLD_NOT_FOUND(name=name[:80])

    async def retire(self, idle_seconds: float) -> list[str]:
        """Delete the worlds that were not used for so long by the machine's time; `default` stays."""
        since = self._wall.now() - idle_seconds
        retired = []
        for name in [name for name in self._directory.worlds if self._is_idle(name, since)]:
            async with self._lock(name):  # while we waited it may have been used, or deleted
                if name in self._directory.worlds and self._is_idle(name, since):
                    await self._delete(name)
                    retired.append(name)
        return sorted(retired)

    async def change_clock(self, name: str, change: Callable[[Clock], Clock]) -> tuple[World, Clock]:
        """Give a world another time, made from the one it has; returns that one too. A clock that is set back can
        revive what had expired."""
        context = await self._control(name)
        before = context.world.clock

        def changed(context: Context) -> None:
            clock = change(context.world.clock)
            with context.write() as tx:
                set_clock.run(tx, virtual=clock.virtual, wall=clock.wall, rate=clock.rate)
            context.world.clock = clock

        await context.run(changed)
        return context.world, before

    def profile(self, asked: object) -> Profile:
        """The profile that is asked for, see `profiles.read`; without a base the server's is changed."""
        return profiles.read(asked, self._profile)

    async def set_profile(self, name: str, profile: Profile | None) -> World:
        """Give a world its own switches, or with None the server's."""

        def changed(context: Context) -> None:
            with context.write() as tx:
                set_switches.run(tx, profile=switches(profile))
            context.world.profile = profile or self._profile

        context = await self._control(name)
        await context.run(changed)
        return context.world

    async def change_faults(self, name: str, change: Callable[[Transaction, World], T]) -> T:
        """Change the rows of a world's faults, in a transaction. Returns what `change` does."""

        def changed(context: Context) -> T:
            with context.write() as tx:
                result = change(tx, context.world)
                rules = load_rules(tx)
            context.world.faults = rules
            return result

        return await self.apply(name, changed)

    async def look_up(self, name: str) -> Context:
        """For a call in a world that exists, which is no use of it."""
        return Context(await self.find(name), self._current)

    async def change(
        self, name: str, rule: Callable[Concatenate[Context, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a rule in a world that exists."""
        return await (await self.look_up(name)).run(rule, *args, **kwargs)

    async def apply(self, name: str, rule: Callable[[Context], T]) -> T:
        """Call a rule of the control plane in a world; creates the world if there is none."""
        return await (await self._control(name)).run(rule)

    async def _control(self, name: str) -> Context:
        return Context(await self.resolve(name), self._current)

    # Snapshots

    def snapshots(self, world: str) -> list[str]:
        """Names, in the order in which they were taken."""
        return list(self._directory.snapshots.get(world, ()))

    async def list_snapshots(self, world: str) -> list[Snapshot]:
        """Also of a world that can't be used."""
        if world not in self._directory.worlds:
            raise errors.WORLD_NOT_FOUND(name=world[:80])
        paths = dict(self._directory.snapshots.get(world, {}))
        return await in_thread(lambda: [describe(world, name, path) for name, path in paths.items()])

    async def take_snapshot(self, world: str, name: str) -> Snapshot:
        """Keep the world's state under a name, in place of an older snapshot of that name."""
        if not NAME.fullmatch(name):
            raise errors.BAD_SNAPSHOT_NAME(name=name[:80])
        async with self._lock(world):
            source = await self._opened(world)
            if source is None:
                raise errors.WORLD_NOT_FOUND(name=world[:80])
            count = sum(map(len, self._directory.snapshots.values()))
            if count >= self._maximum and name not in self.snapshots(world):
                raise errors.TOO_MANY_SNAPSHOTS(count=count)
            wall = self._wall.now()
            instant = source.clock.at(wall)
            async with self._building() as built:
                await self._copy_world(source, built, lambda tx: freeze.run(tx, virtual=instant, wall=wall))
                state = self._directory.place(built, "snapshots", f"{world}@{name}")
                self._directory.register("snapshots", f"{world}@{name}", state)
        self._empty_trash()
        return Snapshot(world, name, instant)

    async def restore(self, world: str, name: str) -> World:
        """Restore the snapshot's objects, ids to come, faults and time; a real clock becomes an offset one."""
        async with self._lock(world):
            return await self._create(world, self._copy_snapshot(world, name), False)

    async def delete_snapshot(self, world: str, name: str) -> None:
        async with self._lock(world):
            self._snapshot(world, name)
            self._directory.remove_snapshot(world, name)
        self._empty_trash()

    # What requests of the API can't do

    async def add(
        self, name: str, fill: Fill, *, clock: Clock | None = None, profile: Profile | None = None, large: bool = False
    ) -> World:
        """Put more into a world, all at once or not at all; creates the world if there is none.

        A clock or a profile that is given becomes the world's. `large` does it in a thread.
        """
        await self.resolve(name)
        async with self._lock(name):
            context = await self._control(name)
            world = context.world
            if large:
                try:
                    await in_thread(self._add_in_thread, world, fill, clock, profile)
                finally:
                    if world.contents.loose and not world.ended:
                        world.release()
            else:
                await context.run(self._add, fill, clock, profile)
            world.clock = clock or world.clock
            world.profile = profile or world.profile
            world.faults = await context.run(lambda context: load_rules(context.read))
            return world

    async def become(self, name: str, fill: Fill, clock: Clock, profile: Profile | None) -> World:
        """Give a world another state in one step; creates the world if there is none."""
        _check_name(name)
        async with self._lock(name), self._room(name):
            row = new_row(ids.world_seed(self._id_seed, name), clock, profile)
            return await self._create(name, lambda built: self._fill(built, row, fill), False)

    @asynccontextmanager
    async def copied(self, name: str) -> AsyncIterator[Path]:
        """A private copy of a world as it is now, which is removed at the end."""
        source = await self.find(name)
        wall = self._wall.now()
        instant = source.clock.at(wall)
        async with self._building() as built:
            await self._copy_world(source, built, lambda tx: freeze.run(tx, virtual=instant, wall=wall))
            yield built

    # Copies

    async def _fork(self, name: str, source: World) -> World:
        seed = ids.world_seed(self._id_seed, name)
        async with self._building() as built:
            await self._copy_world(source, built, lambda tx: set_seed.run(tx, id_seed=seed))
            return await self._put_in_place(name, built, False)

    async def _create(self, name: str, build: Callable[[Path], None], quick: bool) -> World:
        """Build a state and make it the world's. `quick` builds it on the event loop."""
        async with self._building() as built:
            if quick:
                build(built)
            else:
                await in_thread(build, built)
            return await self._put_in_place(name, built, quick)

    async def _put_in_place(self, name: str, built: Path, quick: bool) -> World:
        """Make a state that was built the world's."""
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
        self._worlds[name] = world
        return world

    # Removing

    @asynccontextmanager
    async def _room(self, name: str) -> AsyncIterator[None]:
        """While a world is created: it counts already. Retires the idle ones, then raises APIError if there are too many.

        The caller holds the lock of a name that no world has, and waits here for the locks of worlds that exist when
        it begins. That makes no circle: where one waits for another who is here too, the other's world existed when
        the one began and not when the other did, who so began later; and likewise whoever that one waits for.
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
        self._worlds.pop(name, None)
        self._directory.remove_world(name)
        self._used.pop(name, None)
        self._end(name, world)

    def _end(self, name: str, world: World | None) -> None:
        """A state of a world is over: deleted, or replaced by another one."""
        self._summaries.pop(name, None)
        self._unchecked.discard(name)
        if world:
            world.ended = True
            self._open.pop(name, None)
            if connection := world.database.detach():
                self._in_background(in_thread(connection.close))
        self._ended(name)
        self._empty_trash()

    def _is_idle(self, name: str, since: float) -> bool:
        """Whether a world can go that was not used since; one that was never used counts from the start."""
        return name != DEFAULT and self._used.get(name, self._started) <= since

    @asynccontextmanager
    async def _lock(self, name: str) -> AsyncIterator[None]:
        async with self._locks.setdefault(name, asyncio.Lock()):
            yield


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise errors.BAD_WORLD_NAME(name=name[:80])
