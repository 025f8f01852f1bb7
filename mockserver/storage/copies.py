"""Copying and removing all the rows of a world, at once or in batches.

Contents are never copied: rows name their blobs. What is copied in batches is read from one snapshot
of the database, so that a world which goes on being used is copied as it was at one instant.
"""

from typing import Any

from sqlalchemy import Table, bindparam, delete, func, select, tuple_

from mockserver.storage import tables
from mockserver.storage.database import Database, Insertion, Statement, Transaction, table

BATCH = 2_000
"""Rows written in one transaction; more are written outside the event loop."""

_ROWS = (tables.File, tables.Container, tables.ContainerFile, tables.Tombstone, tables.Fault)
INSERTIONS: dict[type[tables.Table], Insertion[Any]] = {row: Insertion(row) for row in _ROWS}
_CONTENTS = [table(row) for row in (tables.File, tables.ContainerFile)]


def _keys(source: Table) -> list[Any]:
    return [column for column in source.primary_key if column.name != "world"]


def _moved(source: Table) -> list[Any]:
    """The columns of a row as it is copied: in the world `to`, its times moved by `shift`."""
    columns: list[Any] = []
    for column in source.c:
        if column.name == "world":
            columns.append(bindparam("to").label("world"))
        else:
            columns.append((column + bindparam("shift")).label(column.name) if column.info.get("time") else column)
    return columns


def _behind(source: Table) -> Any:
    keys = _keys(source)
    return tuple_(*keys) > tuple_(*(bindparam(f"after_{column.name}") for column in keys))


class _Copier:
    """The statements that copy and remove one table's rows of a world."""

    def __init__(self, row: type[tables.Table]) -> None:
        source = table(row)
        here = source.c.world == bindparam("of")
        self.names = [column.name for column in source.c]
        self.keys = [column.name for column in _keys(source)]
        self.insert = INSERTIONS[row]
        self.size = Statement(select(func.count()).where(here))
        self.copy = Statement(source.insert().from_select(self.names, select(*_moved(source)).where(here)))
        self.read = Statement(
            select(*_moved(source)).where(here, _behind(source)).order_by(*_keys(source)).limit(BATCH)
        )
        self.remove = Statement(delete(source).where(here))
        last = select(*_keys(source)).where(here).order_by(*_keys(source)).limit(BATCH).subquery()
        self.remove_some = Statement(delete(source).where(here, tuple_(*_keys(source)).in_(select(last))))


_copiers = [_Copier(row) for row in _ROWS]
_digests = [Statement(select(each.c.digest).where(each.c.world == bindparam("of")).distinct()) for each in _CONTENTS]


def size(tx: Transaction, world: int) -> int:
    """How many rows a world has."""
    return int(sum(copier.size.value(tx, of=world) for copier in _copiers))


def copy(tx: Transaction, of: int, to: int, shift: int) -> None:
    """All rows, in the caller's transaction. Times move by `shift` seconds."""
    for copier in _copiers:
        copier.copy.run(tx, of=of, to=to, shift=shift)


def copy_in_batches(read: Transaction, database: Database, of: int, to: int, shift: int) -> None:
    """All rows as `read` sees them, in transactions short enough for others to get their turn."""
    for copier in _copiers:
        after: tuple[Any, ...] = ("",) * len(copier.keys)
        while True:
            start = {f"after_{name}": value for name, value in zip(copier.keys, after, strict=True)}
            rows = copier.read.tuples(read, of=of, to=to, shift=shift, **start)
            with database.transaction() as tx:
                copier.insert.add_all(tx, rows)
            if len(rows) < BATCH:
                break
            last = dict(zip(copier.names, rows[-1], strict=True))
            after = tuple(last[name] for name in copier.keys)


def remove(tx: Transaction, world: int) -> set[str]:
    """All rows, in the caller's transaction. Returns the digests of the contents that they named."""
    digests = {digest for statement in _digests for (digest,) in statement.tuples(tx, of=world)}
    for copier in _copiers:
        copier.remove.run(tx, of=world)
    return digests


def remove_in_batches(database: Database, world: int) -> set[str]:
    """All rows, in short transactions. Returns the digests of the contents that they named."""
    digests = {digest for statement in _digests for (digest,) in statement.tuples(database.snapshot, of=world)}
    for copier in _copiers:
        while True:
            with database.transaction() as tx:
                removed = copier.remove_some.run(tx, of=world)
            if removed < BATCH:
                break
    return digests


_counts = {
    each.name: Statement(
        select(each.c.world, func.count())
        .where((bindparam("of") == None) | (each.c.world == bindparam("of")))  # noqa: E711  # SQL's IS NULL
        .group_by(each.c.world)
    )
    for each in (table(tables.File), table(tables.Container), table(tables.ContainerFile))
}


def counts(tx: Transaction, world: int | None = None) -> dict[int, dict[str, int]]:
    """How many `files`, `containers` and `container_files` each world has, or only that one."""
    counted: dict[int, dict[str, int]] = {}
    for name, statement in _counts.items():
        for of, number in statement.tuples(tx, of=world):
            counted.setdefault(of, {})[name] = number
    return counted
