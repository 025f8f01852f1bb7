"""Worlds: isolated universes of objects, each with its own clock, ids, profile and faults.

A world comes into being on first use, as a fork of the template that the seeds describe: rows are
copied under another world id, contents never. The world keeps its distance from the template's
instant: every time moves by as much as has passed since the template was made, so that what was
seeded nineteen minutes old is nineteen minutes old in a world that starts an hour later.

Snapshots are forks without a name, and restoring forks them back: the copy is made beside the world,
then takes its name in one step, so that a client sees all of the old or all of the new.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from sqlalchemy import bindparam, delete, func, insert, select, update

from mockserver import errors, ids, profiles
from mockserver.clock import Clock, Wall
from mockserver.errors import APIError
from mockserver.faults import Rule, load_rules
from mockserver.profiles import Profile, Warned
from mockserver.schema import Content
from mockserver.storage import copies, tables
from mockserver.storage.blobs import BATCH, Blobs, Draft
from mockserver.storage.bulk import Placement
from mockserver.storage.database import Database, Insertion, Rows, Statement, Transaction, record, table

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R", bound=tables.Table)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FREE_ID = re.compile(ids.FREE)
DEFAULT = "default"
EVERYONE = "*"
"""The template of every world that has none of its own."""

_WORLD = table(tables.World)
_row_of = record(tables.World)
_this = _WORLD.c.id == bindparam("of")
_named = _WORLD.c.name.is_not(None)

_by_name = Rows(select(_WORLD).where(_WORLD.c.name == bindparam("name")), tables.World)
_template = Rows(select(_WORLD).where(_WORLD.c.template_of == bindparam("name")), tables.World)
_snapshot = Rows(
    select(_WORLD).where(_WORLD.c.snapshot_of == bindparam("world"), _WORLD.c.snapshot == bindparam("name")),
    tables.World,
)
_all = Rows(select(_WORLD).where(_named).order_by(_WORLD.c.name), tables.World)
_snapshots = Rows(select(_WORLD).where(_WORLD.c.snapshot_of == bindparam("world")).order_by(_WORLD.c.id), tables.World)
_count = Statement(select(func.count()).select_from(_WORLD).where(_named))
_count_snapshots = Statement(select(func.count()).select_from(_WORLD).where(_WORLD.c.snapshot.is_not(None)))
_left_over = Statement(select(_WORLD.c.id).where(_WORLD.c.name.is_(None), _WORLD.c.snapshot.is_(None)))
_insert = Statement(
    insert(_WORLD).values({c.name: bindparam(c.name) for c in _WORLD.c if c.name != "id"}).returning(_WORLD.c.id)
)
_title = Statement(
    update(_WORLD)
    .where(_this)
    .values(name=bindparam("new"), snapshot_of=bindparam("new_of"), snapshot=bindparam("new_snapshot"))
)
_set_clock = Statement(
    update(_WORLD)
    .where(_this)
    .values(clock_virtual=bindparam("virtual"), clock_wall=bindparam("anchor"), clock_rate=bindparam("rate"))
)
_set_profile = Statement(update(_WORLD).where(_this).values(profile=bindparam("new")))
_erase = Statement(delete(_WORLD).where(_this))
_take = Statement(
    update(_WORLD)
    .where(_this, _named | _WORLD.c.template_of.is_not(None))
    .values(ordinal=_WORLD.c.ordinal + bindparam("count"))
    .returning(_WORLD.c.ordinal)
)


@dataclass(frozen=True, slots=True)
class World:
    """A world as calls see it. `id` leads its rows; nothing of it is ever shown but its name."""

    id: int
    name: str
    clock: Clock
    id_seed: bytes
    profile: Profile
    wall: Wall
    faults: tuple[Rule, ...] = ()

    def now(self) -> int:
        """Whole seconds since the epoch, by the world's own clock."""
        return self.clock.seconds(self.wall.now())


@dataclass(slots=True)
class Call:
    """One use of the API in a world: what its answer will warn of, and what it did to which objects."""

    worlds: "Worlds"
    entered: World
    warnings: list[Warned] = field(default_factory=list)
    touched: list[tuple[str, str]] = field(default_factory=list)
    """`created`, `changed` or `deleted`, and an id."""
    stale_since: int | None = None
    """By a fault: lists still show what was deleted after this instant."""

    def still_listed(self, now: int) -> int | None:
        """The instant since which what was deleted is in lists still, by the profile or a fault."""
        lag = self.world.profile.delete_lag
        if not lag:
            return self.stale_since
        return now - lag if self.stale_since is None else min(now - lag, self.stale_since)

    @property
    def world(self) -> World:
        """The world as it is now: while a body was read it may have been reset or restored."""
        return self.worlds.current(self.entered)

    def lets(self, oddity: Warned) -> bool:
        """Whether the world's profile lets that in; then the answer warns of it."""
        if not getattr(self.world.profile, oddity.switch):
            return False
        self.warn(oddity)
        return True

    def conjures(self, id: str) -> bool:
        """Whether an object is to be made of an id that nobody created."""
        return bool(_FREE_ID.fullmatch(id)) and self.lets(profiles.ANY_ID)

    def missing(self, param: str, id: str, prefix: str, refusal: errors.APIError) -> errors.APIError:
        """The refusal of an id in a path that names nothing: by default the one given."""
        if self.world.profile.id_prefixes and not id.startswith(prefix):
            return errors.WRONG_ID(param=param, value=id, prefix=prefix)
        return refusal

    def warn(self, warning: Warned) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)

    def touch(self, how: str, id: str) -> None:
        self.touched.append((how, id))

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Around a transaction: what was touched in it is forgotten where it is rolled back."""
        before = len(self.touched)
        try:
            yield
        except BaseException:
            del self.touched[before:]
            raise


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state of a world that can be gone back to, with the world's time when it was taken."""

    world: str
    name: str
    instant: float


@dataclass(frozen=True, slots=True)
class _Copy:
    """A copy to be made: whose rows (None: no rows), how far their times move, and its own row."""

    source: int | None
    shift: int
    row: dict[str, Any]
    title: dict[str, str | None]


Describe = Callable[[Transaction], _Copy]
"""Says what to copy, from the very state of the database that the rows are then read from."""

Fill = Callable[[Placement], None]
"""Says what to place."""


class Worlds:
    """`gone` hears the name of each world whose state ends: reset, restored, deleted, retired.

    Call its public methods on the event loop's thread only.
    """

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        wall: Wall,
        profile: Profile,
        id_seed: str,
        maximum: int,
        idle_seconds: float,
        gone: Callable[[str], None],
        started: float | None = None,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._wall = wall
        self._profile = profile
        self._id_seed = id_seed
        self._maximum = maximum
        self._idle_seconds = idle_seconds
        self._gone = gone
        self._started = wall.now() if started is None else started
        self._known: dict[str, World] = {}
        self._used: dict[str, float] = {}
        """When each world was last used, by the machine's clock."""
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """One for each world that is being made, replaced or removed."""

    # Use

    async def call(self, name: str) -> Call:
        """Enter a world, which is made on first use. Refuses bad names, and one world too many."""
        world = self._known.get(name) or await self.resolve(name)
        self._used[name] = self._wall.now()
        return Call(self, world)

    async def resolve(self, name: str) -> World:
        """The world of that name, made if there is none, without counting as its use."""
        if world := self._known.get(name):
            return world
        if not NAME.fullmatch(name):
            raise errors.BAD_WORLD_NAME(name=name[:80])
        async with self._lock(name):
            if world := self._reopen(name):
                return world
            await self._make_room(name)
            return await self._make(lambda read: self._from_template(read, name), name)

    def current(self, world: World) -> World:
        return self._known.get(world.name, world)

    def take(self, tx: Transaction, world: int, count: int = 1) -> int:
        """The first of `count` new ordinals. Every write starts here: it locks the world's row."""
        last = _take.value(tx, of=world, count=count)
        if last is None:
            raise errors.WORLD_GONE()
        return int(last) - count + 1

    def insert(self, tx: Transaction, world: int, insertion: Insertion[R], make: Callable[[int], R]) -> R:
        """The row that `make` makes of the next ordinal. An ordinal whose id a seed or an import gave to
        an object of theirs is passed over."""
        while True:
            row = make(self.take(tx, world))
            if insertion.add(tx, row):
                return row

    # Control

    def names(self) -> list[str]:
        return [row.name or "" for row in _all.all(self._database.snapshot)]

    def find(self, name: str) -> World:
        """A world that there is; looking at it makes none and is no use of it."""
        if world := self._reopen(name):
            return world
        raise errors.WORLD_NOT_FOUND(name=name[:80])

    async def look(
        self, name: str, work: Callable[Concatenate[Database, World, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`Database.run_bulk` for looking at a world; anew where that was replaced meanwhile, and its rows may
        have been going."""
        while True:
            world = self.find(name)
            try:
                seen = await self._database.run_bulk(work, world, *args, **kwargs)
            except (APIError, FileNotFoundError):
                if self.find(name).id == world.id:
                    raise
            else:
                if self.find(name).id == world.id:
                    return seen
                if isinstance(seen, Content):
                    seen.file.close()

    def used(self, world: World) -> float | None:
        """When it was last used, in seconds since the epoch by the machine; None: not since the start."""
        return self._used.get(world.name)

    async def create(
        self, name: str, *, empty: bool = False, fork_of: str | None = None, snapshot: str | None = None
    ) -> World:
        """Make a world from the template, empty, or as a fork: of a world, or of a snapshot of one."""
        if not NAME.fullmatch(name):
            raise errors.BAD_WORLD_NAME(name=name[:80])
        async with self._lock(name):
            if _by_name.first(self._database.snapshot, name=name):
                raise errors.WORLD_EXISTS(name=name)
            await self._make_room(name)
            if fork_of is not None:
                return await self._make(lambda read: self._fork(read, fork_of, snapshot, name), name)
            return await self._make(lambda read: self._from_template(read, name, empty), name)

    async def reset(self, name: str, *, empty: bool = False) -> World:
        """Back to the template, or to nothing; makes the world if there is none."""
        if not NAME.fullmatch(name):
            raise errors.BAD_WORLD_NAME(name=name[:80])
        async with self._lock(name):
            if not _by_name.first(self._database.snapshot, name=name):
                await self._make_room(name)
            return await self._make(lambda read: self._from_template(read, name, empty), name)

    async def delete(self, name: str) -> None:
        async with self._lock(name):
            await self._delete(self.find(name))

    async def retire(self, idle_seconds: float) -> list[str]:
        """Delete the worlds that were not used for so long by the machine's time; `default` stays."""
        since = self._wall.now() - idle_seconds
        idle = [row.name or "" for row in _all.all(self._database.snapshot) if self._idle(row, since)]
        retired = []
        for name in idle:
            async with self._lock(name):  # while we waited it may have been used, or deleted
                row = _by_name.first(self._database.snapshot, name=name)
                if row and self._idle(row, since):
                    await self._delete(self.find(name))
                    retired.append(name)
        return retired

    async def change_clock(self, name: str, change: Callable[[Clock], Clock]) -> tuple[World, Clock]:
        """Give a world another time, made from the one that it has; returns that one too. One that goes back can
        revive what had expired."""

        def changed(tx: Transaction, world: World) -> Clock:
            clock = change(world.clock)
            _set_clock.run(tx, of=world.id, virtual=clock.virtual, anchor=clock.wall, rate=clock.rate)
            return world.clock

        await self.resolve(name)
        return await self._database.run(self._alter, name, changed)

    def profile(self, asked: object) -> Profile:
        """The profile that is asked for, see `profiles.read`; without a base the server's is changed."""
        return profiles.read(asked, self._profile)

    async def set_profile(self, name: str, profile: Profile | None) -> World:
        """Give a world its own switches, or with None the server's."""

        def changed(tx: Transaction, world: World) -> None:
            _set_profile.run(tx, of=world.id, new=_switches(profile))

        await self.resolve(name)
        world, _ = await self._database.run(self._alter, name, changed)
        return world

    async def change_faults(self, name: str, change: Callable[[Transaction, World], T]) -> T:
        """Change the rows of a world's faults, in a transaction; what it returns is passed on."""
        await self.resolve(name)
        _, changed = await self._database.run(self._alter, name, change)
        return changed

    # Snapshots

    def snapshots(self, world: str) -> list[Snapshot]:
        rows = _snapshots.all(self._database.snapshot, world=world)
        return [Snapshot(world, row.snapshot or "", row.clock_virtual) for row in rows]

    async def take_snapshot(self, world: str, name: str) -> Snapshot:
        """Keep the world's state under a name, in place of an older snapshot of that name."""
        if not NAME.fullmatch(name):
            raise errors.BAD_SNAPSHOT_NAME(name=name[:80])
        async with self._lock(world):
            self.find(world)
            before = _snapshot.first(self._database.snapshot, world=world, name=name)
            if before is None and (count := _count_snapshots.value(self._database.snapshot)) >= self._maximum:
                raise errors.TOO_MANY_SNAPSHOTS(count=count)
            taken = await self._copy(lambda read: self._frozen(read, world, name), before.id if before else None)
        return Snapshot(world, name, taken.clock_virtual)

    async def restore(self, world: str, name: str) -> World:
        """The snapshot's objects, ids to come, faults and time; a real clock becomes an offset one."""
        async with self._lock(world):
            self._found_snapshot(self._database.snapshot, world, name)
            return await self._make(lambda read: self._fork(read, world, name, world), world)

    async def delete_snapshot(self, world: str, name: str) -> None:
        async with self._lock(world):
            await self._remove_snapshot(Snapshot(world, name, 0.0))

    # Templates

    def clear_templates(self) -> None:
        """Remove the templates of the last start, and copies that it didn't finish."""
        for (world,) in _left_over.tuples(self._database.snapshot):
            copies.remove_in_batches(self._database, world)
            self._write(_erase, {"of": world})

    def make_template(
        self, template_of: str, clock: Clock, fill: Fill, *, restarts: bool = False, profile: Profile | None = None
    ) -> None:
        """Full state and all at once: what is put into it appears together or not at all.

        `clock` is at its `wall` the template's instant, to which the times put in are relative.
        """
        seed = ids.world_seed(self._id_seed, EVERYONE)
        row = _row(seed, clock, profile=_switches(profile), clock_restarts=restarts, template_of=template_of)
        put = Placement(seed, now=clock.seconds(clock.wall))
        fill(put)
        with self._database.transaction() as tx:
            world = _insert.value(tx, **(row | {"ordinal": put.ordinal}))
            for batch in put.batches():
                batch.write(tx, world, self._blobs)

    # State that requests can't make

    async def add(
        self, name: str, fill: Fill, *, clock: Clock | None = None, profile: Profile | None = None, large: bool = False
    ) -> World:
        """Put more into a world, all at once or not at all; makes the world if there is none.

        A clock or a profile that is given becomes the world's. `large` keeps it off the event loop.
        """
        await self.resolve(name)
        async with self._lock(name), self._holding():
            world = self.find(name)
            if large:
                await self._database.run_bulk(self._add, world, fill, clock, profile)
            else:
                await self._database.run(self._add, self._database, world, fill, clock, profile)
            return self._know(self._opened(_found(_by_name.first(self._database.snapshot, name=name))))

    def _add(self, database: Database, world: World, fill: Fill, clock: Clock | None, profile: Profile | None) -> None:
        kept: list[Draft] = []
        with self._blobs.keeping(kept), database.transaction() as tx:
            last = self.take(tx, world.id, 0) - 1
            now = (clock or world.clock).seconds(self._wall.now())
            put = Placement(world.id_seed, now, last, (tx, world.id))
            fill(put)
            self.take(tx, world.id, put.ordinal - last)
            if clock:
                _set_clock.run(tx, of=world.id, virtual=clock.virtual, anchor=clock.wall, rate=clock.rate)
            if profile:
                _set_profile.run(tx, of=world.id, new=_switches(profile))
            for batch in put.batches():
                kept += batch.drafts
                batch.write(tx, world.id, self._blobs)

    async def become(self, name: str, fill: Fill, clock: Clock, profile: Profile | None) -> World:
        """Give a world another state in one step; makes the world if there is none."""
        if not NAME.fullmatch(name):
            raise errors.BAD_WORLD_NAME(name=name[:80])
        async with self._lock(name):
            before = _by_name.first(self._database.snapshot, name=name)
            if before is None:
                await self._make_room(name)
            async with self._holding():
                row = _row(ids.world_seed(self._id_seed, name), clock, profile=_switches(profile))
                id, row = await self._database.run_bulk(self._place_in_batches, row, fill, clock.seconds(clock.wall))
                copy = _Copy(None, 0, row, {"new": name})
                placed = await self._place(id, copy, before.id if before else None)
                if before:
                    self._forget(name)
                world = self._know(self._opened(placed))
            if before and before.id is not None:
                await self._remove(before.id)
            return world

    def _place_in_batches(
        self, database: Database, row: dict[str, Any], fill: Fill, now: int
    ) -> tuple[int, dict[str, Any]]:
        put = Placement(row["id_seed"], now)
        fill(put)
        row |= {"ordinal": put.ordinal}
        with self._untitled(database, row) as id:
            for batch in put.batches():
                with self._blobs.keeping(batch.drafts), database.transaction() as tx:
                    batch.write(tx, id, self._blobs)
        return id, row

    async def pin(self, name: str) -> tables.World:
        """A copy of a world's state as of now, which nothing changes, until it is unpinned.

        Its rows keep its contents from being removed; the start after a crash removes it.
        """
        self.find(name)
        return await self._copy(lambda read: replace(self._frozen(read, name, ""), title={}), None)

    async def unpin(self, pinned: tables.World) -> None:
        await self._remove(_id(pinned))

    # Copies, described

    def _from_template(self, read: Transaction, name: str, empty: bool = False) -> _Copy:
        template = _template.first(read, name=name) or _template.first(read, name=EVERYONE)
        assert template is not None, "the worlds were used before they were seeded"
        wall = self._wall.now()
        now = template.clock_virtual if template.clock_restarts else wall + template.clock_virtual - template.clock_wall
        if template.clock_virtual == template.clock_wall:
            now = wall if not template.clock_restarts else now  # exactly, so that a real clock is one
        seed, clock = ids.world_seed(self._id_seed, name), Clock(now, wall, template.clock_rate)
        row = _row(seed, clock, profile=template.profile, ordinal=0 if empty else template.ordinal)
        shift = int(now // 1) - int(template.clock_virtual // 1)
        return _Copy(None if empty else template.id, shift, row, {"new": name})

    def _fork(self, read: Transaction, world: str, snapshot: str | None, name: str) -> _Copy:
        wall = self._wall.now()
        if snapshot is None:
            source = _by_name.first(read, name=world)
            if source is None:
                raise errors.WORLD_NOT_FOUND(name=world[:80])
            clock = Clock(source.clock_virtual, source.clock_wall, source.clock_rate)
        else:
            source = self._found_snapshot(read, world, snapshot)
            clock = Clock(source.clock_virtual, wall, source.clock_rate)
        seed = ids.world_seed(self._id_seed, name)
        row = _row(seed, clock, profile=source.profile, ordinal=source.ordinal)
        return _Copy(source.id, 0, row, {"new": name})

    def _frozen(self, read: Transaction, world: str, name: str) -> _Copy:
        """A world as a snapshot: its clock's anchor is the instant of its taking."""
        source = _by_name.first(read, name=world)
        if source is None:
            raise errors.WORLD_NOT_FOUND(name=world[:80])
        wall = self._wall.now()
        instant = Clock(source.clock_virtual, source.clock_wall, source.clock_rate).at(wall)
        row = _row(
            source.id_seed, Clock(instant, wall, source.clock_rate), profile=source.profile, ordinal=source.ordinal
        )
        return _Copy(source.id, 0, row, {"new_of": world, "new_snapshot": name})

    # Copies, made

    async def _make(self, describe: Describe, name: str) -> World:
        """Make a world, in place of the one of that name if there is one."""
        before = _by_name.first(self._database.snapshot, name=name)
        await self._copy(describe, before.id if before else None, name)
        return self.find(name)

    async def _copy(self, describe: Describe, replaces: int | None, name: str | None = None) -> tables.World:
        """Copy, then give the copy its title and, in the same step, take it from what had it before."""
        async with self._holding():
            size = self._size(describe(self._database.snapshot).source) + self._size(replaces)
            if size <= copies.BATCH:
                row = await self._database.run(self._make_at_once, describe, replaces)
            else:
                made = await self._database.run_bulk(self._make_in_batches, describe)
                row = await self._place(*made, replaces)
            if name is not None:
                if replaces is not None:
                    self._forget(name)
                self._know(self._opened(row))
        if size > copies.BATCH and replaces is not None:
            await self._remove(replaces)
        return row

    async def _place(self, id: int, copy: _Copy, replaces: int | None) -> tables.World:
        try:
            return await self._database.run(self._put_in_place, id, copy, replaces)
        except BaseException:
            await self._remove(id)
            raise

    def _make_at_once(self, describe: Describe, replaces: int | None) -> tables.World:
        with self._database.transaction() as tx:
            copy = describe(tx)
            id = _insert.value(tx, **copy.row)
            if copy.source is not None:
                copies.copy(tx, copy.source, id, copy.shift)
            if replaces is not None:
                self._blobs.dropped(copies.remove(tx, replaces))
                _erase.run(tx, of=replaces)
            return self._titled(tx, id, copy, replaces)

    def _make_in_batches(self, database: Database, describe: Describe) -> tuple[int, _Copy]:
        with database.reading() as read:
            copy = describe(read)
            with self._untitled(database, copy.row) as id:
                if copy.source is not None:
                    copies.copy_in_batches(read, database, copy.source, id, copy.shift)
        return id, copy

    @contextmanager
    def _untitled(self, database: Database, row: dict[str, Any]) -> Iterator[int]:
        """A world without a title, to be filled in batches: nobody sees it, and the start after a crash
        removes it. Where filling it fails, what was written goes again."""
        with database.transaction() as tx:
            id = _insert.value(tx, **row)
        try:
            yield id
        except BaseException:
            self._blobs.dropped(copies.remove_in_batches(database, id))
            with database.transaction() as tx:
                _erase.run(tx, of=id)
            raise

    @asynccontextmanager
    async def _holding(self) -> AsyncIterator[None]:
        """Hold contents; those that are in no use afterwards then go, also where that fails for which they are held."""
        try:
            with self._blobs.held():
                yield
        finally:
            await self._release_all()

    def _put_in_place(self, id: int, copy: _Copy, replaces: int | None) -> tables.World:
        with self._database.transaction() as tx:
            if replaces is not None:
                _title.run(tx, of=replaces, new=None, new_of=None, new_snapshot=None)
            return self._titled(tx, id, copy, replaces)

    def _titled(self, tx: Transaction, id: int, copy: _Copy, replaces: int | None) -> tables.World:
        if replaces is None:
            self._check_room(tx, copy)
        title: dict[str, Any] = {"new": None, "new_of": None, "new_snapshot": None, **copy.title}
        _title.run(tx, of=id, **title)
        row = copy.row | {"name": title["new"], "snapshot_of": title["new_of"], "snapshot": title["new_snapshot"]}
        return _row_of(id=id, **row)

    # Removing

    async def _make_room(self, name: str) -> None:
        """Before one more world: retire the idle ones, then refuse if there are too many.

        The caller holds the lock of a name that no world has, and waits here for the locks of worlds that there are
        when he begins. That makes no circle: where one waits for another who is here too, the other's world was there
        when the one began and not when the other did, who so began later; and likewise whoever he waits for.
        """
        if (count := _count.value(self._database.snapshot)) >= self._maximum:
            await self.retire(self._idle_seconds)
            count = _count.value(self._database.snapshot)
        if count >= self._maximum and name != DEFAULT:
            raise errors.TOO_MANY_WORLDS(count=count)

    def _check_room(self, tx: Transaction, copy: _Copy) -> None:
        """Again, in the transaction that adds one: others may have been added since `_make_room`."""
        if copy.title.get("new", DEFAULT) != DEFAULT and (count := _count.value(tx)) >= self._maximum:
            raise errors.TOO_MANY_WORLDS(count=count)
        if copy.title.get("new_snapshot") and (count := _count_snapshots.value(tx)) >= self._maximum:
            raise errors.TOO_MANY_SNAPSHOTS(count=count)

    async def _delete(self, world: World) -> None:
        for snapshot in self.snapshots(world.name):
            await self._remove_snapshot(snapshot)
        await self._database.run(self._set_title, world.id, {})
        self._forget(world.name)
        await self._remove(world.id)

    async def _remove_snapshot(self, snapshot: Snapshot) -> None:
        row = self._found_snapshot(self._database.snapshot, snapshot.world, snapshot.name)
        assert row.id is not None  # it was read
        await self._database.run(self._set_title, row.id, {})
        await self._remove(row.id)

    async def _remove(self, world: int) -> None:
        """The rows of what has no title any more, and the contents that only they named."""
        if self._size(world) <= copies.BATCH:
            await self._database.run(self._remove_at_once, world)
        else:
            self._blobs.dropped(await self._database.run_bulk(copies.remove_in_batches, world))
            await self._database.run(self._write, _erase, {"of": world})
        await self._release_all()

    def _remove_at_once(self, world: int) -> None:
        with self._database.transaction() as tx:
            self._blobs.dropped(copies.remove(tx, world))
            _erase.run(tx, of=world)

    def _set_title(self, world: int, title: dict[str, str | None]) -> None:
        with self._database.transaction() as tx:
            _title.run(tx, of=world, **({"new": None, "new_of": None, "new_snapshot": None} | title))

    # Small things

    def _alter(self, name: str, alter: Callable[[Transaction, World], T]) -> tuple[World, T]:
        """Change what is kept of a world: its own row, its faults."""
        with self._database.transaction() as tx:
            world = self._opened(_found(_by_name.first(tx, name=name)))
            self.take(tx, world.id, 0)
            altered = alter(tx, world)
            world = self._opened(_found(_by_name.first(tx, name=name)))
        return self._know(world), altered

    def _write(self, statement: Statement, values: dict[str, Any]) -> None:
        with self._database.transaction() as tx:
            statement.run(tx, **values)

    def _size(self, world: int | None) -> int:
        return 0 if world is None else copies.size(self._database.snapshot, world)

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    async def _release_all(self) -> None:
        if self._blobs.loose > BATCH:
            await self._database.run_bulk(self._blobs.release_in_batches)
        self._blobs.release()

    def _found_snapshot(self, read: Transaction, world: str, name: str) -> tables.World:
        if row := _snapshot.first(read, world=world, name=name):
            return row
        raise errors.SNAPSHOT_NOT_FOUND(world=world[:80], name=name[:80])

    def _idle(self, row: tables.World, since: float) -> bool:
        """Whether a world can go that was not used since; that it was never used counts from the start."""
        return row.name != DEFAULT and self._used.get(row.name or "", self._started) <= since

    def _reopen(self, name: str) -> World | None:
        """A world that there is."""
        if world := self._known.get(name):
            return world
        row = _by_name.first(self._database.snapshot, name=name)
        return self._know(self._opened(row)) if row else None

    def _know(self, world: World) -> World:
        self._known[world.name] = world
        return world

    def _forget(self, name: str) -> None:
        self._known.pop(name, None)
        self._used.pop(name, None)
        self._gone(name)

    def _opened(self, row: tables.World) -> World:
        assert row.id is not None  # it was read or inserted
        assert row.name is not None  # others are never opened
        clock = Clock(row.clock_virtual, row.clock_wall, row.clock_rate)
        profile = profiles.kept(row.profile) if row.profile else self._profile
        faults = load_rules(self._database.snapshot, row.id)
        return World(row.id, row.name, clock, row.id_seed, profile, self._wall, faults)


def _row(id_seed: bytes, clock: Clock, **columns: Any) -> dict[str, Any]:
    """The columns of a row of `worlds` without a title."""
    empty = {"name": None, "template_of": None, "snapshot_of": None, "snapshot": None}
    time = {"clock_virtual": clock.virtual, "clock_wall": clock.wall, "clock_rate": clock.rate}
    return empty | time | {"id_seed": id_seed, "ordinal": 0, "clock_restarts": False, "profile": None} | columns


def _switches(profile: Profile | None) -> str | None:
    return json.dumps(profiles.told(profile)) if profile else None


def _found(row: tables.World | None) -> tables.World:
    if row is None:
        raise errors.WORLD_GONE()
    return row


def _id(row: tables.World) -> int:
    assert row.id is not None  # it was read or inserted
    return row.id
