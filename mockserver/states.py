"""States of worlds: build, copy, open and close the directories that hold them.

The times in a copy of a template move by as much as has passed since the template was made: an object that is seeded
nineteen minutes old is nineteen minutes old in a world that starts an hour later.
"""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mockserver import control_errors, ids, profiles
from mockserver.clock import Clock, Wall
from mockserver.context import Context, World, attempt, set_clock, unusable
from mockserver.faults import load_rules
from mockserver.profiles import Profile
from mockserver.settings import Settings
from mockserver.storage import directory, migrations, tables
from mockserver.storage.bulk import Placement, set_ordinal
from mockserver.storage.contents import Contents
from mockserver.storage.database import (
    SMALL_DATABASE,
    Database,
    Insertion,
    Statement,
    Transaction,
    connect,
    connect_closed,
    descriptors,
    in_thread,
    reading,
    record,
    writing,
)
from mockserver.storage.directory import DATABASE, EVERY_WORLD, Directory

OPEN_WORLDS = 64
"""Databases that are kept open at most, each some 100 KB and three descriptors; and one for each thread that read it
while others did."""
CLOSED_AT_ONCE = 8
"""Databases that one thread closes."""
MAX_TASKS = 3
"""Threads that close databases or remove files in the background, while other databases are opened."""
_row = Statement("SELECT * FROM world", tables.World)
_insert = Insertion(tables.World)
_start_life = Statement(
    "UPDATE world SET origin = NULL, id_seed = :id_seed, clock_virtual = :virtual, clock_wall = :wall"
)
freeze = Statement("UPDATE world SET origin = 'snapshot', clock_virtual = :virtual, clock_wall = :wall")
set_switches = Statement("UPDATE world SET profile = :profile")
set_seed = Statement("UPDATE world SET id_seed = :id_seed")
_listed = [str(each.name) for each in tables.Table.metadata.sorted_tables if "deleted_at" in each.c]
_whole = ["responses", "answers"]
_counted = [*_listed, *_whole]
_counts = Statement(
    "SELECT (SELECT count(*) FROM faults), "
    + ", ".join(  # not of the views: SQLite would look up each row, to see whether it is deleted
        f"(SELECT count(*) FROM {name}) - (SELECT count(*) FROM {name} WHERE deleted_at IS NOT NULL)"
        for name in _listed
    )
    + "".join(f", (SELECT count(*) FROM {name})" for name in _whole)
)
Fill = Callable[[Placement], None]
"""Places objects into a state that is being built or changed."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state of a world that can be restored. `instant` is the world's time when it was taken; None: it can't be read."""

    world: str
    name: str
    instant: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """A world in a list. `error` says why its files can't be used; then the rest is None."""

    name: str
    counts: dict[str, int] | None = None
    """Objects by the name of their table."""
    clock: Clock | None = None
    profile: Profile | None = None
    faults: int | None = None
    error: str | None = None


class States:
    """Builds, opens, closes and removes the states of worlds. For the thread of the event loop."""

    def __init__(self, states: Directory, settings: Settings, wall: Wall) -> None:
        self._directory = states
        self._wall = wall
        self._profile = profiles.read(settings.profile)
        self._id_seed = settings.id_seed
        self._durable = settings.data is not None
        self._worlds: dict[str, World] = {}
        """Worlds that were opened since the start. Their databases may be closed again."""
        self._quick: set[Path] = set()
        """Templates that are copied on the event loop."""
        self._unchecked = set(states.worlds) if states.unclean else set()
        """Worlds whose files the last server may have left unfinished."""
        self._used: dict[str, float] = {}
        """When each world was last used, by the machine's clock; only of those used since the start."""
        self._open: dict[str, Database] = {}
        """Worlds whose databases are open."""
        self._limit = max(1, min(OPEN_WORLDS, descriptors() // 16))
        self._closed_at_once = min(CLOSED_AT_ONCE, self._limit // 8 or 1)
        self._summaries: dict[str, Summary] = {}
        """Worlds whose databases are closed, as lists show them."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._emptying = False
        self._stopping = False

    def exists(self, name: str) -> bool:
        """Return whether a world was created, and not only listed."""
        return name in self._directory.worlds

    def known(self, name: str) -> World | None:
        """Return a world if it was opened since the start."""
        return self._worlds.get(name)

    def used(self, name: str) -> float | None:
        """Return when a world was last used, in seconds since the epoch; None: not since the start."""
        return self._used.get(name)

    def snapshots(self, world: str) -> list[str]:
        """Return the names of snapshots, in the order in which they were taken."""
        return list(self._directory.snapshots.get(world, ()))

    # Building

    def add_template(
        self, world: str, clock: Clock, fill: Fill, *, restarts: bool = False, profile: Profile | None = None
    ) -> None:
        """Create the template of a world, or of every world. The times in it are relative to the time of `clock`."""
        built = self._directory.build()
        row = new_row(ids.world_seed(self._id_seed, EVERY_WORLD), clock, profile)
        self._fill(built, row, fill, origin="template", clock_restarts=restarts)
        state = self._directory.place(built, "templates", world)
        if (state / DATABASE).stat().st_size <= SMALL_DATABASE and not (state / "contents").exists():
            self._quick.add(state)
        self._directory.register("templates", world, state)

    def _fill(self, built: Path, row: tables.World, fill: Fill, **more: Any) -> None:
        """Build a new state. May take long, and can run in any thread."""
        directory.create(built)
        put = Placement(row.id_seed, Clock(row.clock_virtual).seconds(0.0))
        fill(put)
        with closing(connect(built / DATABASE)) as connection, writing(connection) as tx:
            _insert.add(tx, row._replace(**more))  # type: ignore[attr-defined]  # a record is a named tuple
            put.write(tx, Contents(built))

    def _state(self, name: str) -> Path:
        """Return the directory of a world, or of the template from which its first use creates it."""
        return self._directory.worlds.get(name) or self._template(name)

    def _template(self, name: str) -> Path:
        return self._directory.templates.get(name) or self._directory.templates[EVERY_WORLD]

    def _copy_template(self, built: Path, name: str, empty: bool = False) -> None:
        """Copy a template; with `empty` only its clock and its profile."""
        template = self._template(name)
        if not empty:
            directory.copy_closed(template, built)
            return
        with closing(connect_closed(template / DATABASE)) as tx:
            row = read_row(tx)
        self._fill(built, row, lambda put: None)

    def _copy_world(self, source: World, change: Callable[[Transaction], object]) -> Callable[[Path], None]:
        """Return a function that builds a changed copy of a world, which the caller holds meanwhile."""

        def changed(tx: Transaction) -> None:
            set_ordinal.run(tx, ordinal=source.ordinal)  # now, so that it is not lower than that of any row
            change(tx)

        return lambda built: directory.copy_open(source.directory, built, changed)

    @asynccontextmanager
    async def _building(self) -> AsyncIterator[Path]:
        """A directory to build a state in; it is removed at the end unless it was placed."""
        built = self._directory.build()
        try:
            yield built
        finally:
            if built.exists():
                self._directory.discard(built)
                self._empty_trash()

    def _snapshot(self, world: str, name: str) -> Path:
        if found := self._directory.snapshots.get(world, {}).get(name):
            return found
        raise control_errors.SNAPSHOT_NOT_FOUND(world=world[:80], name=name[:80])

    def _copy_snapshot(self, world: str, name: str) -> Callable[[Path], None]:
        """Return a function that builds a copy and checks it."""
        source = self._snapshot(world, name)

        def build(built: Path) -> None:
            try:
                directory.copy_closed(source, built)
                with closing(connect(built / DATABASE)) as connection:
                    migrations.check(connection, whole=True)
            except Exception as error:
                if problem := migrations.Unusable.of(error, source / DATABASE):
                    raise control_errors.SNAPSHOT_UNUSABLE(
                        world=world, name=name, file=source / DATABASE, problem=problem
                    ) from error
                if source.exists():
                    raise
            if not source.exists():  # deleted meanwhile, perhaps before all of it was copied
                raise control_errors.SNAPSHOT_NOT_FOUND(world=world[:80], name=name[:80])

        return build

    def _add(self, context: Context, fill: Fill, clock: Clock | None, profile: Profile | None) -> World:
        world = context.world
        with context.write() as tx:
            put = Placement(world.id_seed, (clock or world.clock).seconds(self._wall.now()), world.ordinal, tx)
            fill(put)
            if clock:
                set_clock.run(tx, virtual=clock.virtual, wall=clock.wall, rate=clock.rate)
            if profile:
                set_switches.run(tx, profile=switches(profile))
            put.write(tx, world.contents)
            world.ordinal, world.reserved = put.ordinal, 0
            rules = load_rules(tx, world.faults)
        world.clock, world.profile, world.faults = clock or world.clock, profile or world.profile, rules
        return world

    # Opening and closing

    async def _opened(self, name: str) -> World | None:
        """A world that exists, opened if it isn't. The caller holds its lock."""
        if (world := self._worlds.get(name)) or (state := self._directory.worlds.get(name)) is None:
            return world
        world = await in_thread(self._load, name, state, unclean=name in self._unchecked)  # it may have to be upgraded
        self._unchecked.discard(name)
        self._worlds[name] = world
        return world

    def _load(self, name: str, state: Path, unclean: bool = False) -> World:
        """Check a state, and read what is kept of a world in memory. Raises APIError for files that can't be used."""
        try:
            database = self._database(name, state)
            with closing(connect(database.path)) as connection:  # nobody waits for the disk, as for any other copy
                migrations.check(connection, whole=unclean)
                if unclean:
                    with writing(connection) as tx:
                        Contents(state).sweep(tx)
                return self._world(name, state, database, connection)
        except Exception as error:
            raise unusable(name, state / DATABASE, error) from error

    def _load_new(self, name: str, state: Path) -> World:
        """Load a copy of a template, which needs no check. On the event loop, as it opens the database."""
        database = self._database(name, state)
        try:
            with database.unhurried():  # the first write to a log waits for the disk, and no client knows the world
                return self._world(name, state, database, database.connection)
        except BaseException:
            self._open.pop(name, None)
            database.close()
            raise

    def _database(self, name: str, state: Path) -> Database:
        return Database(state / DATABASE, self._durable, partial(self._opening, name))

    def _world(self, name: str, state: Path, database: Database, connection: Transaction) -> World:
        row, rules = read_row(connection), load_rules(connection)
        clock, id_seed = _clock(row, self._wall.now()), row.id_seed
        if row.origin:
            id_seed = ids.world_seed(self._id_seed, name)
            self._start(connection, row, clock, id_seed, empty=not (row.ordinal or rules))
        return World(
            name,
            state,
            database,
            Contents(state),
            self._wall,
            clock,
            id_seed,
            self._profile_of(row),
            self._in_background,
            row.ordinal,
            row.ordinal,
            rules,
        )

    def _start(self, connection: Transaction, row: tables.World, clock: Clock, id_seed: bytes, empty: bool) -> None:
        """Set the clock and the ids of a copy of a template or of a snapshot. An `empty` one has no times to move."""
        shift = int(clock.virtual // 1) - int(row.clock_virtual // 1)
        with writing(connection) as tx:
            if shift and not empty:
                migrations.shift_times(tx, shift)
            _start_life.run(tx, id_seed=id_seed, virtual=clock.virtual, wall=clock.wall)

    def _profile_of(self, row: tables.World) -> Profile:
        return profiles.from_json(row.profile) if row.profile else self._profile

    def _opening(self, name: str, database: Database) -> None:
        """Before a database is opened: close the least recently used ones if many are open."""
        self._summaries.pop(name, None)
        if len(self._open) >= self._limit:
            oldest = sorted(self._open, key=lambda name: self._used.get(name, 0.0))[: self._closed_at_once]
            for world in filter(None, map(self._worlds.get, oldest)):
                world.store_ordinal()
            self._close([self._open.pop(name).detach() for name in oldest])
        self._open[name] = database

    def _close(self, connections: list[Transaction | None]) -> None:
        """Close connections in a thread, as this writes their logs back."""

        def close() -> None:
            for each in connections:
                if each:
                    each.close()

        self._in_background(in_thread(close))

    def _summarize(self, name: str, state: Path, world: World | None, tx: Transaction | None = None) -> Summary:
        """Read what lists show of a world: with `tx` on the event loop, else in a thread."""
        file = state / DATABASE
        try:
            if tx and world:
                return _summary(tx, name, world.clock, world.profile)
            is_closed = not file.with_name(f"{DATABASE}-wal").exists()
            with closing(connect_closed(file)) if is_closed else reading(file) as tx:
                if world:
                    return _summary(tx, name, world.clock, world.profile)
                if is_closed and migrations.is_older(tx):
                    with closing(connect(file)) as writable:
                        migrations.check(writable, whole=False)
                    return self._summarize(name, state, world)
                migrations.check(tx, whole=False)
                row = read_row(tx)
                return _summary(tx, name, _clock(row, self._wall.now()), self._profile_of(row))
        except (migrations.Unusable, OSError, sqlite3.Error) as error:
            return Summary(name, error=str(unusable(name, file, error)))

    # In the background

    def _empty_trash(self) -> None:
        if not self._emptying:
            self._emptying = True
            self._in_background(self._empty())

    async def _empty(self) -> None:
        """What can't be removed is tried again with the next trash, and at the next start."""
        tried: set[Path] = set()
        try:
            while new := self._directory.trash() - tried:
                tried |= new
                for left in new:
                    if self._stopping:
                        return
                    await in_thread(directory.remove, left)
        finally:
            self._emptying = False

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        async def attempted() -> None:
            with attempt():
                await work

        task = asyncio.get_running_loop().create_task(attempted())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_up(self) -> None:
        """Wait until few databases are being closed, so that they are closed as fast as others are opened."""
        while len(self._tasks) >= MAX_TASKS:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    async def finish(self, trash: bool = False) -> None:
        """Wait for the work in the background. The next start empties the trash, if nobody waits for that here."""
        self._stopping = not trash
        while self._tasks:
            await asyncio.wait(self._tasks)

    def close(self) -> None:
        for world in self._worlds.values():
            world.store_ordinal()
        for database in self._open.values():
            database.close()
        self._open.clear()


def new_row(id_seed: bytes, clock: Clock, profile: Profile | None) -> tables.World:
    return record(tables.World)(
        id=1,
        id_seed=id_seed,
        ordinal=0,
        clock_virtual=clock.virtual,
        clock_wall=clock.wall,
        clock_rate=clock.rate,
        clock_restarts=False,
        profile=switches(profile),
    )


def switches(profile: Profile | None) -> str | None:
    return json.dumps(profiles.as_json(profile)) if profile else None


def _clock(row: tables.World, wall: float) -> Clock:
    """Return the clock of a state. That of a copy of a template or of a snapshot starts now, at `wall`."""
    since, now = wall if row.origin else row.clock_wall, row.clock_virtual
    if row.origin == "template" and not row.clock_restarts:
        # Exactly the machine's time if the template has it, so that the clock is a real one.
        now = wall if row.clock_virtual == row.clock_wall else wall + row.clock_virtual - row.clock_wall
    return Clock(now, since, row.clock_rate)


def describe(world: str, name: str, state: Path) -> Snapshot:
    try:
        with closing(connect_closed(state / DATABASE)) as tx:
            return Snapshot(world, name, read_row(tx).clock_virtual)
    except sqlite3.Error:
        return Snapshot(world, name, None)


def read_row(tx: Transaction) -> tables.World:
    row = _row.first(tx)
    assert row, "the file was checked when it was opened"
    return row


def _summary(tx: Transaction, name: str, clock: Clock, profile: Profile) -> Summary:
    faults, *counts = _counts.tuple(tx) or ()
    return Summary(name, dict(zip(_counted, counts, strict=True)), clock, profile, faults)
