"""Worlds: isolated universes of objects, each with its own clock, ids and profile.

A world comes into being on first use, as a fork of the template that the seeds describe: rows are
copied under another world id, contents never. The world keeps its distance from the template's
instant: every time moves by as much as has passed since the template was made, so that what was
seeded nineteen minutes old is nineteen minutes old in a world that starts an hour later.
"""

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sqlalchemy import Table, bindparam, delete, func, insert, select, tuple_, update

from mockserver import errors, ids, tables
from mockserver.clock import Clock, Wall
from mockserver.database import Database, Rows, Statement, Transaction, insertion, table
from mockserver.profiles import Profile, Warned

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DEFAULT = "default"
EVERYONE = "*"
"""The template of every world that has none of its own."""

BATCH = 2_000
"""Rows copied in one transaction; a larger template is copied outside the event loop."""

_WORLD = table(tables.World)
_OBJECTS = [table(row) for row in (tables.File, tables.Container, tables.ContainerFile, tables.Tombstone)]

_by_name = Rows(select(_WORLD).where(_WORLD.c.name == bindparam("name")), tables.World)
_template = Rows(select(_WORLD).where(_WORLD.c.template_of == bindparam("name")), tables.World)
_names = Statement(select(_WORLD.c.name).where(_WORLD.c.name.is_not(None)).order_by(_WORLD.c.name))
_count = Statement(select(func.count()).select_from(_WORLD).where(_WORLD.c.name.is_not(None)))
_nameless = Statement(select(_WORLD.c.id).where(_WORLD.c.name.is_(None)))
_insert = Statement(
    insert(_WORLD).values({c.name: bindparam(c.name) for c in _WORLD.c if c.name != "id"}).returning(_WORLD.c.id)
)
_rename = Statement(update(_WORLD).where(_WORLD.c.id == bindparam("world")).values(name=bindparam("new")))
_set_clock = Statement(
    update(_WORLD)
    .where(_WORLD.c.id == bindparam("of"))
    .values(clock_virtual=bindparam("virtual"), clock_wall=bindparam("anchor"), clock_rate=bindparam("rate"))
)
_erase = Statement(delete(_WORLD).where(_WORLD.c.id == bindparam("world")))
_take = Statement(
    update(_WORLD)
    .where(_WORLD.c.id == bindparam("world"))
    .values(ordinal=_WORLD.c.ordinal + bindparam("count"))
    .returning(_WORLD.c.ordinal)
)
_purge = [Statement(delete(each).where(each.c.world == bindparam("of"))) for each in _OBJECTS]
_size = [Statement(select(func.count()).where(each.c.world == bindparam("of"))) for each in _OBJECTS]


@dataclass(frozen=True, slots=True)
class World:
    """A world as calls see it. `id` leads its rows; nothing of it is ever shown but its name."""

    id: int
    name: str
    clock: Clock
    id_seed: bytes
    profile: Profile
    wall: Wall

    def now(self) -> int:
        """Whole seconds since the epoch, by the world's own clock."""
        return self.clock.seconds(self.wall.now())


@dataclass(slots=True)
class Call:
    """One use of the API in a world, and what its answer will warn of."""

    world: World
    warnings: list[Warned] = field(default_factory=list)

    def warn(self, warning: Warned) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)


class Worlds:
    def __init__(self, database: Database, wall: Wall, profile: Profile, id_seed: str, maximum: int) -> None:
        self._database = database
        self._wall = wall
        self._profile = profile
        self._id_seed = id_seed
        self._maximum = maximum
        self._known: dict[str, World] = {}
        self._creating = asyncio.Lock()

    async def resolve(self, name: str) -> World:
        """The world of that name, made on first use. Refuses malformed names and one world too many."""
        if world := self._known.get(name):
            return world
        if not NAME.fullmatch(name):
            raise errors.BAD_WORLD_NAME(name=name[:80])
        async with self._creating:
            row = _by_name.first(self._database.snapshot, name=name)
            if row is None:
                row = await self._fork_template(name)
            return self._known.setdefault(name, self._opened(row, name))

    async def set_clock(self, name: str, clock: Clock) -> None:
        """Give a world another time. One that goes back can revive what had expired."""
        world = await self.resolve(name)
        await self._database.run(self._write_clock, world.id, clock)
        self._known[name] = replace(world, clock=clock)

    def _write_clock(self, world: int, clock: Clock) -> None:
        with self._database.transaction() as tx:
            _set_clock.run(tx, of=world, virtual=clock.virtual, anchor=clock.wall, rate=clock.rate)

    def names(self) -> list[str]:
        return [name for (name,) in _names.tuples(self._database.snapshot)]

    def take(self, tx: Transaction, world: int, count: int = 1) -> int:
        """The first of `count` new ordinals. Every write starts here: it locks the world's row."""
        last = _take.value(tx, world=world, count=count)
        if last is None:
            raise LookupError(f"world {world} is gone")
        return int(last) - count + 1

    def clear_templates(self) -> None:
        """Remove the templates of the last start, and forks that it didn't finish."""
        for (world,) in _nameless.tuples(self._database.snapshot):
            with self._database.transaction() as tx:
                for statement in _purge:
                    statement.run(tx, of=world)
                _erase.run(tx, world=world)

    @contextmanager
    def place(self, template_of: str, clock: Clock, restarts: bool, profile: Profile | None) -> Iterator["Placement"]:
        """Make a template, full state and all at once: what is put into it appears together or not at all.

        `clock` is at its `wall` the template's instant, to which the times put in are relative.
        """
        with self._database.transaction() as tx:
            seed = ids.world_seed(self._id_seed, EVERYONE)
            world = _insert.value(
                tx,
                name=None,
                template_of=template_of,
                id_seed=seed,
                ordinal=0,
                clock_virtual=clock.virtual,
                clock_wall=clock.wall,
                clock_rate=clock.rate,
                clock_restarts=restarts,
                profile=json.dumps(asdict(profile)) if profile else None,
            )
            yield Placement(tx, self, world, seed, now=int(clock.virtual // 1))

    async def _fork_template(self, name: str) -> tables.World:
        read = self._database.snapshot
        count = _count.value(read)
        if count >= self._maximum and name != DEFAULT:
            raise errors.TOO_MANY_WORLDS(count=count)
        template = _template.first(read, name=name) or _template.first(read, name=EVERYONE)
        if template is None:
            raise LookupError("there is no template: the worlds were used before they were seeded")
        size = sum(statement.value(read, of=template.id) for statement in _size)
        if size <= BATCH:
            return await self._database.run(self._fork_at_once, template, name, empty=not size)
        return await self._database.run_bulk(self._fork_in_batches, template, name)

    def _fork_at_once(self, template: tables.World, name: str, empty: bool) -> tables.World:
        with self._database.transaction() as tx:
            row, shift = self._insert_fork(tx, template, name, name)
            for source in [] if empty else _OBJECTS:
                _copy(tx, source, template.id, row.id, shift, after=())
            return row

    def _fork_in_batches(self, database: Database, template: tables.World, name: str) -> tables.World:
        """The world gets its name last: until then nobody sees it, and a start after a crash removes it."""
        with database.transaction() as tx:
            row, shift = self._insert_fork(tx, template, name, None)
        for source in _OBJECTS:
            after: Sequence[str] = ()
            while not after or after[0] != _LAST[0]:
                with database.transaction() as tx:
                    after = _copy(tx, source, template.id, row.id, shift, after)
        with database.transaction() as tx:
            _rename.run(tx, world=row.id, new=name)
        return row

    def _insert_fork(
        self, tx: Transaction, template: tables.World, name: str, shown: str | None
    ) -> tuple[tables.World, int]:
        wall = self._wall.now()
        now = (
            template.clock_virtual if template.clock_restarts else wall + (template.clock_virtual - template.clock_wall)
        )
        values: dict[str, Any] = {
            "name": shown,
            "template_of": None,
            "id_seed": ids.world_seed(self._id_seed, name),
            "ordinal": template.ordinal,
            "clock_virtual": now,
            "clock_wall": wall,
            "clock_rate": template.clock_rate,
            "clock_restarts": False,
            "profile": template.profile,
        }
        row = tables.World(id=_insert.value(tx, **values), **values)
        return row, int(now // 1) - int(template.clock_virtual // 1)

    def _opened(self, row: tables.World, name: str) -> World:
        assert row.id is not None  # it has been inserted
        clock = Clock(row.clock_virtual, row.clock_wall, row.clock_rate)
        profile = Profile(**json.loads(row.profile)) if row.profile else self._profile
        return World(row.id, name, clock, row.id_seed, profile, self._wall)


class Placement:
    """Puts objects with their full state into a world that no request can reach yet.

    Ids that are not given are minted; each method returns the object's id. Times are whole seconds.
    """

    def __init__(self, tx: Transaction, worlds: Worlds, world: int, id_seed: bytes, now: int) -> None:
        self.now = now
        self._tx = tx
        self._worlds = worlds
        self._world = world
        self._id_seed = id_seed

    def file(self, *, id: str | None, **columns: Any) -> str:
        ordinal = self._worlds.take(self._tx, self._world)
        id = id or ids.file(self._id_seed, ordinal)
        return self._put(tables.File(world=self._world, seq=ordinal, id=id, **columns))

    def container(self, *, id: str | None, created_at: int, **columns: Any) -> str:
        ordinal = self._worlds.take(self._tx, self._world)
        id = id or ids.container(self._id_seed, ordinal, created_at)
        return self._put(tables.Container(world=self._world, seq=ordinal, id=id, created_at=created_at, **columns))

    def container_file(self, *, id: str | None, created_at: int, **columns: Any) -> str:
        ordinal = self._worlds.take(self._tx, self._world)
        id = id or ids.container_file(self._id_seed, ordinal, created_at)
        return self._put(tables.ContainerFile(world=self._world, seq=ordinal, id=id, created_at=created_at, **columns))

    def _put(self, row: tables.File | tables.Container | tables.ContainerFile) -> str:
        insertion(type(row)).run(self._tx, **row.model_dump())
        return row.id


def _selection(source: Table) -> Any:
    """A world's rows as those of world `to`, their times moved by `shift`."""
    columns: list[Any] = [bindparam("to").label("world")]
    for column in source.c:
        if column.name != "world":
            columns.append(column + bindparam("shift") if column.info.get("time") else column)
    return select(*columns).where(source.c.world == bindparam("of"))


def _keys(source: Table) -> list[Any]:
    return [column for column in source.primary_key if column.name != "world"]


def _bound(source: Table, prefix: str) -> Any:
    return tuple_(*(bindparam(f"{prefix}_{column.name}") for column in _keys(source)))


def _copy(
    tx: Transaction, source: Table, of: int | None, to: int | None, shift: int, after: Sequence[str]
) -> Sequence[str]:
    """Copy one batch behind the key `after`; returns its last key, `_LAST` when nothing remains."""
    names = [column.name for column in _keys(source)]
    after = after or [""] * len(names)
    start = {f"after_{name}": value for name, value in zip(names, after, strict=True)}
    last = _batch_ends[source].tuple(tx, of=of, **start) or _LAST * len(names)
    end = {f"last_{name}": value for name, value in zip(names, last, strict=True)}
    _batches[source].run(tx, of=of, to=to, shift=shift, **start, **end)
    return last


_LAST = ("\U0010ffff",)
"""Behind every id: SQLite compares text as its UTF-8 bytes."""

_behind = {each: tuple_(*_keys(each)) > _bound(each, "after") for each in _OBJECTS}
_batch_ends = {
    each: Statement(
        select(*_keys(each))
        .where(each.c.world == bindparam("of"), _behind[each])
        .order_by(*_keys(each))
        .limit(1)
        .offset(BATCH - 1)
    )
    for each in _OBJECTS
}
_batches = {
    each: Statement(
        insert(each).from_select(
            [column.name for column in each.c],
            _selection(each).where(_behind[each], tuple_(*_keys(each)) <= _bound(each, "last")),
        )
    )
    for each in _OBJECTS
}
