"""States of worlds: the directories that hold them, built, copied, opened and closed.

A copy of a template keeps its distance from the template's instant: every time moves by as much as has passed since
the template was made, so that what was seeded nineteen minutes old is nineteen minutes old in a world that starts an
hour later.
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

from mockserver import errors, ids, profiles
from mockserver.clock import Clock, Wall
from mockserver.context import Context, World, set_clock, unusable
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

OPEN_WORLDS = 64
"""Databases that are kept open, each some 100 KB."""
MAX_TASKS = 8
"""Worlds that are being closed or removed in the background, while new ones are created."""
QUICK_BYTES = 1 << 20
"""A template that is no larger is copied on the event loop, in less than a millisecond."""
_row: Statement[tables.World] = Statement("SELECT * FROM world", tables.World)
_insert = Insertion(tables.World)
_start_life: Statement[tables.World] = Statement(
    "UPDATE world SET origin = NULL, id_seed = :id_seed, ordinal = :ordinal, clock_virtual = :virtual, "
    "clock_wall = :wall, clock_rate = :rate, profile = :profile"
)
freeze: Statement[tables.World] = Statement(
    "UPDATE world SET origin = 'snapshot', clock_virtual = :virtual, clock_wall = :wall"
)
set_switches: Statement[tables.World] = Statement("UPDATE world SET profile = :profile")
set_seed: Statement[tables.World] = Statement("UPDATE world SET id_seed = :id_seed")
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
"""Places objects into a state that is being built or changed."""


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


class States:
    """Builds, opens, closes and removes the states of worlds. For the thread of the event loop."""

    def __init__(
        self, states: Directory, wall: Wall, profile: Profile, id_seed: str, durable: bool, open_worlds: int
    ) -> None:
        self._directory = states
        self._wall = wall
        self._profile = profile
        self._id_seed = id_seed
        self._durable = durable
        self._worlds: dict[str, World] = {}
        """Those that were opened since the start; their databases may be closed meanwhile."""
        self._unchecked = set(states.worlds) if states.unclean else set()
        """Those whose files the last server may have left unfinished."""
        self._used: dict[str, float] = {}
        """When each world was last used, by the machine's clock; only of those used since the start."""
        self._open: dict[str, Database] = {}
        """Those whose databases are open."""
        self._limit = open_worlds
        self._summaries: dict[str, Summary] = {}
        """Of worlds whose databases are closed."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._emptying = False

    # Building

    def add_template(
        self, world: str, clock: Clock, fill: Fill, *, restarts: bool = False, profile: Profile | None = None
    ) -> None:
        """Make the template of a world, or of every world. `clock` shows, at its `wall`, the template's instant, to
        which the times put in are relative."""
        built = self._directory.build()
        row = new_row(ids.world_seed(self._id_seed, EVERY_WORLD), clock, profile)
        self._fill(built, row, fill, origin="template", clock_restarts=restarts)
        self._directory.register("templates", world, self._directory.place(built, "templates", world))

    def _fill(self, built: Path, row: tables.World, fill: Fill, **more: Any) -> None:
        """Build a state from nothing. May take long, and can run in any thread."""
        directory.create(built)
        put = Placement(row.id_seed, Clock(row.clock_virtual, row.clock_wall, row.clock_rate).seconds(row.clock_wall))
        fill(put)
        with closing(connect(built / DATABASE)) as connection, writing(connection) as tx:
            _insert.add(tx, row._replace(**more))  # type: ignore[attr-defined]  # a record is a named tuple
            put.write(tx, Contents(built))

    def _template(self, name: str) -> Path:
        return self._directory.templates.get(name) or self._directory.templates[EVERY_WORLD]

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

    async def _copy_world(self, source: World, built: Path, change: Callable[[Transaction], object]) -> None:
        try:
            with source.contents.held():
                await in_thread(directory.copy_open, source.directory, built, change)
        finally:
            if source.contents.loose and not source.ended:
                source.release()

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
        raise errors.SNAPSHOT_NOT_FOUND(world=world[:80], name=name[:80])

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
        row = read_row(tx)
        put = Placement(world.id_seed, (clock or world.clock).seconds(self._wall.now()), row.ordinal, tx)
        fill(put)
        if clock:
            set_clock.run(tx, virtual=clock.virtual, wall=clock.wall, rate=clock.rate)
        if profile:
            set_switches.run(tx, profile=switches(profile))
        put.write(tx, world.contents)

    # Opening and closing

    async def _opened(self, name: str) -> World | None:
        """A world that exists, opened if it isn't. The caller holds its lock."""
        if (world := self._worlds.get(name)) or (state := self._directory.worlds.get(name)) is None:
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
        row = read_row(connection)
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
        return read_row(connection)

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
                return summary_of(connection, name, world.clock, world.profile)

        async def close() -> None:
            summary = await in_thread(closed)
            if not world.ended and name not in self._open:
                self._summaries[name] = summary

        self._in_background(close())

    def _summarize(self, name: str, state: Path) -> Summary:
        """For a thread."""
        try:
            if world := self._worlds.get(name):
                with reading(world.database.path) as tx:
                    return summary_of(tx, name, world.clock, world.profile)
            is_template = state in self._directory.templates.values()
            with closing(connect_closed(state / DATABASE)) if is_template else reading(state / DATABASE) as tx:
                migrations.check(tx, whole=False)
                row = read_row(tx)
                clock = Clock(row.clock_virtual, row.clock_wall, row.clock_rate)
                if row.origin:
                    clock = _first_clock(row, self._wall.now())
                profile = profiles.from_json(row.profile) if row.profile else self._profile
                return summary_of(tx, name, clock, profile)
        except (migrations.Unusable, OSError, sqlite3.Error) as error:
            return Summary(name, error=str(unusable(name, state / DATABASE, error)))

    # In the background

    def _empty_trash(self) -> None:
        if not self._emptying:
            self._emptying = True
            self._in_background(self._empty())

    async def _empty(self) -> None:
        try:
            while self._directory.has_trash:
                await in_thread(self._directory.empty_trash)
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


def _first_clock(row: tables.World, wall: float) -> Clock:
    """The clock of a copy of a template or of a snapshot that starts now."""
    now = row.clock_virtual
    if row.origin == "template" and not row.clock_restarts:
        # Exactly the machine's time where the template has that, so that a real clock is one.
        now = wall if row.clock_virtual == row.clock_wall else wall + row.clock_virtual - row.clock_wall
    return Clock(now, wall, row.clock_rate)


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


def summary_of(tx: Transaction, name: str, clock: Clock, profile: Profile) -> Summary:
    counts = {each: int(count.value(tx)) for each, count in _counts.items()}
    return Summary(name, counts, clock, profile, len(load_rules(tx)))
