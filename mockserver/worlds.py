"""Worlds: isolated sets of objects, each with its own clock, ids, profile and faults.

A world's state is a directory. A world is created on first use, as a copy of the template that the seeds describe.
It keeps its distance from the template's instant: every time moves by as much as has passed since the template was
made, so that what was seeded nineteen minutes old is nineteen minutes old in a world that starts an hour later.

Snapshots are copies too, and so is what a restore puts in a world's place: a state is built beside the world, renamed
into place, and becomes the world's in one step of the event loop. A client sees all of the old state or all of the new.
"""

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from mockserver import errors, ids, profiles
from mockserver.clock import Clock, Wall
from mockserver.context import Context, World, unusable
from mockserver.errors import APIError
from mockserver.faults import load_rules
from mockserver.profiles import Profile
from mockserver.storage import directory, migrations, tables
from mockserver.storage.bulk import Placement
from mockserver.storage.contents import Contents
from mockserver.storage.database import (
    Database,
    Insertion,
    Statement,
    Transaction,
    connect,
    connect_closed,
    in_thread,
    reading,
    record,
    writing,
)
from mockserver.storage.directory import DATABASE, EVERY_WORLD, Directory

P = ParamSpec("P")
T = TypeVar("T")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DEFAULT = "default"
OPEN_WORLDS = 64
"""Databases that are kept open, each some 100 KB."""
MAX_TASKS = 8
"""Worlds that are being closed or removed in the background, while new ones are created."""
QUICK_BYTES, QUICK_FILES = 1 << 20, 20
"""A template that is no larger is copied on the event loop, in less than a millisecond."""

_row: Statement[tables.World] = Statement("SELECT * FROM world", tables.World)
_insert = Insertion(tables.World)
_start_life: Statement[tables.World] = Statement(
    "UPDATE world SET origin = NULL, id_seed = :id_seed, ordinal = :ordinal, clock_virtual = :virtual, "
    "clock_wall = :wall, clock_rate = :rate, profile = :profile"
)
_set_clock: Statement[tables.World] = Statement(
    "UPDATE world SET clock_virtual = :virtual, clock_wall = :wall, clock_rate = :rate"
)
_set_profile: Statement[tables.World] = Statement("UPDATE world SET profile = :profile")
_freeze: Statement[tables.World] = Statement(
    "UPDATE world SET origin = 'snapshot', clock_virtual = :virtual, clock_wall = :wall"
)
_set_seed: Statement[tables.World] = Statement("UPDATE world SET id_seed = :id_seed")
_timed = {
    each.name: [column.name for column in each.c if column.info.get("time")]
    for each in tables.Table.metadata.sorted_tables
}
_counts: dict[str, Statement[tables.World]] = {
    each.name: Statement(f"SELECT count(*) FROM live_{each.name}")  # a name of ours
    for each in tables.Table.metadata.sorted_tables
    if "deleted_at" in each.c
}

Fill = Callable[[Placement], None]
"""Says what to place."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state of a world that can be restored, with the world's time when it was taken; None: it can't be read."""

    world: str
    name: str
    instant: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """What lists show of a world. `error` says why its files can't be used; then the rest is unknown."""

    name: str
    counts: dict[str, int] | None = None
    """Objects by the name of their table."""
    clock: Clock | None = None
    profile: Profile | None = None
    faults: int | None = None
    error: str | None = None


class Worlds:
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
        self._states = states
        self._wall = wall
        self._profile = profile
        self._id_seed = id_seed
        self._maximum = maximum
        self._idle_seconds = idle_seconds
        self._ended = ended
        self._durable = durable
        self._started = wall.now() if started is None else started
        self._worlds: dict[str, World] = {}
        """Those that were opened since the start; their databases may be closed meanwhile."""
        self._unchecked = set(states.worlds) if states.unclean else set()
        """Those whose files the last server may have left unfinished."""
        self._unused: set[str] = set()
        """Worlds that are listed, and created on first use."""
        self._used: dict[str, float] = {}
        """When each world was last used, by the machine's clock; only of those used since the start."""
        self._open: dict[str, Database] = {}
        """Those whose databases are open."""
        self._limit = open_worlds
        self._summaries: dict[str, Summary] = {}
        """Of worlds whose databases are closed."""
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """One for each world that is being created, replaced or removed."""
        self._coming: set[str] = set()
        """Worlds that are being created."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._emptying = False

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
        return sorted({*self._states.worlds, *self._unused})

    def list_seeded(self) -> None:
        """List the worlds that have templates of their own, and `default`, before their first use."""
        self._unused = {*self._states.templates, DEFAULT} - {EVERY_WORLD, *self._states.worlds}

    def exists(self, name: str) -> bool:
        """Whether a world was created, and not only listed."""
        return name in self._states.worlds

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
            (name, self._states.worlds.get(name) or self._template(name))
            for name in names
            if name not in self._summaries
        ]
        read = await in_thread(lambda: [self._summarize(name, state) for name, state in unknown])
        for (name, state), summary in zip(unknown, read, strict=True):
            if name not in self._open and summary.error is None and self._states.worlds.get(name) == state:
                self._summaries[name] = summary
        found = {summary.name: summary for summary in read}
        return [self._summaries.get(name) or found[name] for name in names if name in self._summaries or name in found]

    def _summarize(self, name: str, state: Path) -> Summary:
        """For a thread."""
        try:
            if world := self._worlds.get(name):
                with reading(world.database.path) as tx:
                    return _summary(tx, name, world.clock, world.profile)
            is_template = state in self._states.templates.values()
            with closing(connect_closed(state / DATABASE)) if is_template else reading(state / DATABASE) as tx:
                migrations.check(tx, whole=False)
                row = _read(tx)
                clock = Clock(row.clock_virtual, row.clock_wall, row.clock_rate)
                if row.origin:
                    clock = _first_clock(row, self._wall.now())
                profile = profiles.from_json(row.profile) if row.profile else self._profile
                return _summary(tx, name, clock, profile)
        except (migrations.Unusable, OSError, sqlite3.Error) as error:
            return Summary(name, error=str(unusable(name, state / DATABASE, error)))

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
            if name in self._states.worlds:
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
            if name in self._states.worlds:
                await self._delete(name)
            elif name in self._unused:
                self._unused.discard(name)
            else:
                raise errors.WORLD_NOT_FOUND(name=name[:80])

    async def retire(self, idle_seconds: float) -> list[str]:
        """Delete the worlds that were not used for so long by the machine's time; `default` stays."""
        since = self._wall.now() - idle_seconds
        retired = []
        for name in [name for name in self._states.worlds if self._is_idle(name, since)]:
            async with self._lock(name):  # while we waited it may have been used, or deleted
                if name in self._states.worlds and self._is_idle(name, since):
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
                _set_clock.run(tx, virtual=clock.virtual, wall=clock.wall, rate=clock.rate)
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
                _set_profile.run(tx, profile=_switches(profile))
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

        return await (await self._control(name)).run(changed)

    async def look_up(self, name: str) -> Context:
        """For a call in a world that exists, which is no use of it."""
        return Context(await self.find(name), self._current)

    async def change(
        self, name: str, rule: Callable[Concatenate[Context, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a rule in a world that exists."""
        return await (await self.look_up(name)).run(rule, *args, **kwargs)

    async def _control(self, name: str) -> Context:
        return Context(await self.resolve(name), self._current)

    # Snapshots

    def snapshots(self, world: str) -> list[str]:
        """Names, in the order in which they were taken."""
        return list(self._states.snapshots.get(world, ()))

    async def list_snapshots(self, world: str) -> list[Snapshot]:
        """Also of a world that can't be used."""
        if world not in self._states.worlds:
            raise errors.WORLD_NOT_FOUND(name=world[:80])
        paths = dict(self._states.snapshots.get(world, {}))
        return await in_thread(lambda: [_described(world, name, path) for name, path in paths.items()])

    async def take_snapshot(self, world: str, name: str) -> Snapshot:
        """Keep the world's state under a name, in place of an older snapshot of that name."""
        if not NAME.fullmatch(name):
            raise errors.BAD_SNAPSHOT_NAME(name=name[:80])
        async with self._lock(world):
            source = await self._opened(world)
            if source is None:
                raise errors.WORLD_NOT_FOUND(name=world[:80])
            count = sum(map(len, self._states.snapshots.values()))
            if count >= self._maximum and name not in self.snapshots(world):
                raise errors.TOO_MANY_SNAPSHOTS(count=count)
            wall = self._wall.now()
            instant = source.clock.at(wall)
            async with self._building() as built:
                await self._copy_world(source, built, lambda tx: _freeze.run(tx, virtual=instant, wall=wall))
                state = self._states.place(built, "snapshots", f"{world}@{name}")
                self._states.register("snapshots", f"{world}@{name}", state)
        self._empty_trash()
        return Snapshot(world, name, instant)

    async def restore(self, world: str, name: str) -> World:
        """Restore the snapshot's objects, ids to come, faults and time; a real clock becomes an offset one."""
        async with self._lock(world):
            return await self._create(world, self._copy_snapshot(world, name), False)

    async def delete_snapshot(self, world: str, name: str) -> None:
        async with self._lock(world):
            self._snapshot(world, name)
            self._states.remove_snapshot(world, name)
        self._empty_trash()

    def _copy_snapshot(self, world: str, name: str) -> Callable[[Path], None]:
        """Builds a copy, which is checked before it takes the place of anything."""
        source = self._snapshot(world, name)

        def build(built: Path) -> None:
            try:
                directory.copy_closed(source, built)
                with closing(connect(built / DATABASE)) as connection:
                    migrations.check(connection, whole=True)
            except Exception as error:
                problem = migrations.Unusable.of(error, source / DATABASE)
                if problem is None:
                    raise
                raise errors.SNAPSHOT_UNUSABLE(
                    world=world, name=name, file=source / DATABASE, problem=problem
                ) from error

        return build

    def _snapshot(self, world: str, name: str) -> Path:
        if found := self._states.snapshots.get(world, {}).get(name):
            return found
        raise errors.SNAPSHOT_NOT_FOUND(world=world[:80], name=name[:80])

    # State that requests can't make

    def add_template(
        self, world: str, clock: Clock, fill: Fill, *, restarts: bool = False, profile: Profile | None = None
    ) -> None:
        """Make the template of a world, or of every world. `clock` shows, at its `wall`, the template's instant, to
        which the times put in are relative."""
        built = self._states.build()
        row = _world(ids.world_seed(self._id_seed, EVERY_WORLD), clock, profile)
        self._fill(built, row, fill, origin="template", clock_restarts=restarts)
        self._states.register("templates", world, self._states.place(built, "templates", world))

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

    def _add(self, context: Context, fill: Fill, clock: Clock | None, profile: Profile | None) -> None:
        with context.write() as tx:
            self._place(tx, context.world, fill, clock, profile)

    def _add_in_thread(self, world: World, fill: Fill, clock: Clock | None, profile: Profile | None) -> None:
        try:
            with closing(world.database.connect()) as connection, writing(connection) as tx:
                self._place(tx, world, fill, clock, profile)
        except BaseException:
            world.contents.rolled_back()
            raise
        world.contents.committed()

    def _place(self, tx: Transaction, world: World, fill: Fill, clock: Clock | None, profile: Profile | None) -> None:
        row = _read(tx)
        put = Placement(world.id_seed, (clock or world.clock).seconds(self._wall.now()), row.ordinal, tx)
        fill(put)
        if clock:
            _set_clock.run(tx, virtual=clock.virtual, wall=clock.wall, rate=clock.rate)
        if profile:
            _set_profile.run(tx, profile=_switches(profile))
        put.write(tx, world.contents)

    async def become(self, name: str, fill: Fill, clock: Clock, profile: Profile | None) -> World:
        """Give a world another state in one step; creates the world if there is none."""
        _check_name(name)
        async with self._lock(name), self._room(name):
            row = _world(ids.world_seed(self._id_seed, name), clock, profile)
            return await self._create(name, lambda built: self._fill(built, row, fill), False)

    @asynccontextmanager
    async def copied(self, name: str) -> AsyncIterator[Path]:
        """A private copy of a world as it is now, which is removed at the end."""
        source = await self.find(name)
        wall = self._wall.now()
        instant = source.clock.at(wall)
        async with self._building() as built:
            await self._copy_world(source, built, lambda tx: _freeze.run(tx, virtual=instant, wall=wall))
            yield built

    def _fill(self, built: Path, row: tables.World, fill: Fill, **more: Any) -> None:
        """Build a state from nothing. May take long, and can run in any thread."""
        directory.create(built)
        put = Placement(row.id_seed, Clock(row.clock_virtual, row.clock_wall, row.clock_rate).seconds(row.clock_wall))
        fill(put)
        with closing(connect(built / DATABASE)) as connection, writing(connection) as tx:
            _insert.add(tx, row._replace(**more))  # type: ignore[attr-defined]  # a record is a named tuple
            put.write(tx, Contents(built))

    # Copies

    def _template(self, name: str) -> Path:
        return self._states.templates.get(name) or self._states.templates[EVERY_WORLD]

    def _is_quick(self, name: str) -> bool:
        template = self._template(name)
        return (template / DATABASE).stat().st_size <= QUICK_BYTES and not (template / "contents").exists()

    def _copy_template(self, built: Path, name: str, empty: bool = False) -> None:
        directory.copy_closed(self._template(name), built)
        if empty:
            with closing(connect(built / DATABASE)) as connection, writing(connection) as tx:
                for each in tables.Table.metadata.sorted_tables:
                    if each.name != tables.World.__tablename__:
                        tx.execute(f"DELETE FROM {each.name}")  # a name of ours
                tx.execute("UPDATE world SET ordinal = 0")

    async def _fork(self, name: str, source: World) -> World:
        seed = ids.world_seed(self._id_seed, name)
        async with self._building() as built:
            await self._copy_world(source, built, lambda tx: _set_seed.run(tx, id_seed=seed))
            return await self._put_in_place(name, built, False)

    async def _copy_world(self, source: World, built: Path, change: Callable[[Transaction], object]) -> None:
        try:
            with source.contents.held():
                await in_thread(directory.copy_open, source.directory, built, change)
        finally:
            if source.contents.loose and not source.ended:
                source.release()

    async def _create(self, name: str, build: Callable[[Path], None], quick: bool) -> World:
        """Build a state and make it the world's. `quick` builds it on the event loop."""
        async with self._building() as built:
            if quick:
                build(built)
            else:
                await in_thread(build, built)
            return await self._put_in_place(name, built, quick)

    @asynccontextmanager
    async def _building(self) -> AsyncIterator[Path]:
        """A directory to build a state in; it is removed at the end unless it was placed."""
        built = self._states.build()
        try:
            yield built
        finally:
            if built.exists():
                self._states.discard(built)
                self._empty_trash()

    async def _put_in_place(self, name: str, built: Path, quick: bool) -> World:
        """Make a state that was built the world's."""
        state = self._states.place(built, "worlds", name)
        try:
            world = self._load_new(name, state) if quick else await in_thread(self._load, name, state)
            if present := self._worlds.get(name):
                await present.contents.undisturbed()  # last: an export may have begun while the state was loaded
        except BaseException:
            self._states.discard(state)
            self._empty_trash()
            raise
        replaces = name in self._states.worlds
        self._states.register("worlds", name, state)
        self._unused.discard(name)
        if replaces:
            self._end(name, self._worlds.get(name))
        self._worlds[name] = world
        return world

    # Opening and closing

    async def _opened(self, name: str) -> World | None:
        """A world that exists, opened if it isn't. The caller holds its lock."""
        if (world := self._worlds.get(name)) or (state := self._states.worlds.get(name)) is None:
            return world
        if name in self._unchecked:
            world = await in_thread(self._load, name, state, unclean=True)
            self._unchecked.discard(name)
        else:
            world = self._load(name, state)
        self._worlds[name] = world
        return world

    def _load(self, name: str, state: Path, unclean: bool = False) -> World:
        """Check a state, and read what is kept of a world in memory. Raises APIError for files that can't be used."""
        try:
            database = self._database(name, state)
            with closing(database.connect()) as connection:
                migrations.check(connection, whole=unclean)
                if unclean:
                    with writing(connection) as tx:
                        Contents(state).sweep(tx)
                return self._world(name, state, database, connection)
        except Exception as error:
            raise unusable(name, state / DATABASE, error) from error

    def _load_new(self, name: str, state: Path) -> World:
        """The same for a copy of a template, which needs no check; on the event loop, as it opens the database."""
        database = self._database(name, state)
        try:
            with (
                database.unhurried()
            ):  # the first write to a log would wait for the disk, and nobody has seen the world
                return self._world(name, state, database, database.connection)
        except BaseException:
            self._open.pop(name, None)
            database.close()
            raise

    def _database(self, name: str, state: Path) -> Database:
        return Database(state / DATABASE, self._durable, partial(self._opening, name))

    def _world(self, name: str, state: Path, database: Database, connection: Transaction) -> World:
        row = _read(connection)
        if row.origin:
            row = self._start(connection, name, row)
        clock = Clock(row.clock_virtual, row.clock_wall, row.clock_rate)
        profile = profiles.from_json(row.profile) if row.profile else self._profile
        rules = load_rules(connection)
        return World(name, state, database, Contents(state), self._wall, clock, row.id_seed, profile, rules)

    def _start(self, connection: Transaction, name: str, row: tables.World) -> tables.World:
        """Give a copy of a template or of a snapshot its clock and its ids."""
        clock = _first_clock(row, self._wall.now())
        shift = int(clock.virtual // 1) - int(row.clock_virtual // 1)
        changes = {"id_seed": ids.world_seed(self._id_seed, name), "virtual": clock.virtual, "wall": clock.wall}
        with writing(connection) as tx:
            if shift:
                for name_of, times in _timed.items():
                    if times:
                        moved = ", ".join(f"{column} = {column} + :shift" for column in times)
                        tx.execute(f"UPDATE {name_of} SET {moved}", {"shift": shift})
            _start_life.run(tx, **changes, ordinal=row.ordinal, rate=row.clock_rate, profile=row.profile)
        return _read(connection)

    def _opening(self, name: str, database: Database) -> None:
        """A database is opened: close the one that was not used for the longest time, if there are many."""
        self._summaries.pop(name, None)
        if len(self._open) >= self._limit:
            oldest = min(self._open, key=lambda name: self._used.get(name, 0.0))
            self._close(oldest, self._open.pop(oldest))
        self._open[name] = database

    def _close(self, name: str, database: Database) -> None:
        """Close a database in a thread, which writes its log back; what lists show of it is kept."""
        world, connection = self._worlds.get(name), database.detach()
        if connection is None or world is None:
            return

        def closed() -> Summary:
            with closing(connection):
                return _summary(connection, name, world.clock, world.profile)

        async def close() -> None:
            summary = await in_thread(closed)
            if not world.ended and name not in self._open:
                self._summaries[name] = summary

        self._in_background(close())

    # Removing

    @asynccontextmanager
    async def _room(self, name: str) -> AsyncIterator[None]:
        """While a world is created: it counts already. Retires the idle ones, then raises APIError if there are too many.

        The caller holds the lock of a name that no world has, and waits here for the locks of worlds that exist when
        it begins. That makes no circle: where one waits for another who is here too, the other's world existed when
        the one began and not when the other did, who so began later; and likewise whoever that one waits for.
        """
        if name in self._states.worlds:
            yield
            return
        if len(self._states.worlds) + len(self._coming) >= self._maximum:
            await self.retire(self._idle_seconds)
        if len(self._states.worlds) + len(self._coming) >= self._maximum and name != DEFAULT:
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
        self._states.remove_world(name)
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

    def _empty_trash(self) -> None:
        if not self._emptying:
            self._emptying = True
            self._in_background(self._empty())

    async def _empty(self) -> None:
        try:
            while self._states.has_trash:
                await in_thread(self._states.empty_trash)
        finally:
            self._emptying = False

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_up(self) -> None:
        """Before one more world: let worlds be closed and removed as fast as they are created."""
        while len(self._tasks) >= MAX_TASKS:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    async def finish(self) -> None:
        """Wait for what goes on in the background."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def close(self) -> None:
        for database in self._open.values():
            database.close()
        self._open.clear()

    @asynccontextmanager
    async def _lock(self, name: str) -> AsyncIterator[None]:
        async with self._locks.setdefault(name, asyncio.Lock()):
            yield


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise errors.BAD_WORLD_NAME(name=name[:80])


def _world(id_seed: bytes, clock: Clock, profile: Profile | None) -> tables.World:
    return record(tables.World)(
        id=1,
        id_seed=id_seed,
        ordinal=0,
        clock_virtual=clock.virtual,
        clock_wall=clock.wall,
        clock_rate=clock.rate,
        clock_restarts=False,
        profile=_switches(profile),
    )


def _switches(profile: Profile | None) -> str | None:
    return json.dumps(profiles.as_json(profile)) if profile else None


def _first_clock(row: tables.World, wall: float) -> Clock:
    """The clock of a copy of a template or of a snapshot that starts now."""
    now = row.clock_virtual
    if row.origin == "template" and not row.clock_restarts:
        # Exactly the machine's time where the template has that, so that a real clock is one.
        now = wall if row.clock_virtual == row.clock_wall else wall + row.clock_virtual - row.clock_wall
    return Clock(now, wall, row.clock_rate)


def _described(world: str, name: str, state: Path) -> Snapshot:
    try:
        with closing(connect_closed(state / DATABASE)) as tx:
            return Snapshot(world, name, _read(tx).clock_virtual)
    except sqlite3.Error:
        return Snapshot(world, name, None)


def _read(tx: Transaction) -> tables.World:
    row = _row.first(tx)
    assert row, "the file was checked when it was opened"
    return row


def _summary(tx: Transaction, name: str, clock: Clock, profile: Profile) -> Summary:
    counts = {each: int(count.value(tx)) for each, count in _counts.items()}
    return Summary(name, counts, clock, profile, len(load_rules(tx)))
