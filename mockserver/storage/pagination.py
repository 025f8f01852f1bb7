"""One keyset cursor for every list.

A list is ordered by `(created_at, seq)`; a page goes on behind the cursor's place in that order, so
nothing is shown twice or left out when objects come and go between pages. A deleted object leaves a
tombstone and still serves as a cursor (guess: nobody has shown what the live API does). The tombstone
also keeps the object as it was, for lists that lag behind deletions.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    Column,
    ColumnElement,
    CompoundSelect,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.sql.visitors import replacement_traverse

from mockserver import errors, profiles, schema
from mockserver.profiles import Warned
from mockserver.storage import tables
from mockserver.storage.database import Rows, Statement, Transaction, table

R = TypeVar("R", tables.Container, tables.ContainerFile, tables.File)

TOMBSTONES = 10_000
"""How many of a world's latest ordinals a tombstone outlives."""

_TOMBSTONE = table(tables.Tombstone)
_exhumed = Statement(
    select(_TOMBSTONE.c.row).where(
        _TOMBSTONE.c.world == bindparam("world"),
        _TOMBSTONE.c.list == bindparam("list"),
        _TOMBSTONE.c.id == bindparam("id"),
    )
)
_lagging = select(_TOMBSTONE.c.created_at, _TOMBSTONE.c.seq, _TOMBSTONE.c.row).where(
    _TOMBSTONE.c.world == bindparam("world"),
    _TOMBSTONE.c.list == bindparam("graves"),
    _TOMBSTONE.c.deleted_at > bindparam("since"),
)
_bury = Statement(insert(_TOMBSTONE).prefix_with("OR REPLACE"))
_forget = Statement(
    delete(_TOMBSTONE).where(_TOMBSTONE.c.world == bindparam("in_world"), _TOMBSTONE.c.ordinal < bindparam("oldest"))
)


class Listing(Generic[R]):
    """The pages of one table's rows within `scope`, the columns that name the list.

    `live` keeps out rows that are there but no longer shown, and those of what was deleted and would
    not be shown any more either; `prefix` is that of the rows' ids.
    """

    def __init__(self, row: type[R], scope: tuple[str, ...], prefix: str, live: ColumnElement[bool] | None = None):
        self._row: type[R] = row
        self._table = table(row)
        self._scope = scope
        self._prefix = prefix
        self._live = live
        rows = self._table.c
        again = select(rows.id).where(*(rows[name] == bindparam(name) for name in scope), rows.id == _TOMBSTONE.c.id)
        lagging = _lagging.where(~again.exists())
        self._lagged = Statement(lagging if live is None else lagging.where(_of_graves(live, self._table)))
        self._statements: dict[tuple[object, ...], Rows[R]] = {}
        self._found = Statement(self._place("id"))

    def page(
        self,
        tx: Transaction,
        query: schema.Page,
        graves: str,
        values: Mapping[str, Any],
        stale_since: int | None,
        lets: Callable[[Warned], bool],
        **filters: str | None,
    ) -> tuple[list[R], bool]:
        """The rows of a page, in the order asked for, and whether more lie beyond it.

        `values` are those of the scope and of `live`, `graves` names the list among the tombstones.
        What was deleted after `stale_since` is still listed. `lets` says what the profile lets in. A page
        `before` a cursor, without `after`, is the one that ends right in front of it.
        """
        wanted = {name: value for name, value in filters.items() if value is not None}
        cursors = {name: cursor for name in ("after", "before") if (cursor := getattr(query, name)) is not None}
        parameters = {**values, **wanted, **cursors, "graves": graves, "limit": query.limit + 1}
        backwards = query.before is not None and query.after is None
        rows = self._statement(query, backwards, tuple(wanted)).all(tx, **parameters)
        if cursors and (not rows or stale_since is not None):  # nothing lies beyond the place of what there never was
            for name, cursor in cursors.items():
                if place := self._found.tuple(tx, **parameters, id=cursor):
                    parameters[f"{name}_place"] = place
                elif lets(profiles.ANY_CURSOR):
                    without = query.model_copy(update={name: None})
                    return self.page(tx, without, graves, values, stale_since, lets, **filters)
                else:
                    raise self._refused(name, cursor)
        if stale_since is not None:
            falling = (query.order == "desc") is not backwards
            rows += self._lagging(tx, query, parameters, wanted, falling, stale_since)
            rows.sort(key=lambda row: (row.created_at, row.seq), reverse=falling)
        more = len(rows) > query.limit
        del rows[query.limit :]
        return (rows[::-1] if backwards else rows), more

    def bury(
        self,
        tx: Transaction,
        row: tables.Container | tables.ContainerFile | tables.File,
        graves: str,
        ordinal: int,
        now: int,
        id: str | None = None,
    ) -> None:
        """Remember where a row stood that is being deleted, and what it was; forget the oldest graves.

        `id` is what it will be asked for by, its own unless given.
        """
        place = {"world": row.world, "list": graves, "id": id or row.id, "seq": row.seq, "created_at": row.created_at}
        kept = json.dumps({column.name: getattr(row, column.name) for column in self._table.c})
        _bury.run(tx, **place, ordinal=ordinal, deleted_at=now, row=kept)
        _forget.run(tx, in_world=row.world, oldest=ordinal - TOMBSTONES)

    def _lagging(
        self,
        tx: Transaction,
        query: schema.Page,
        parameters: Mapping[str, Any],
        wanted: Mapping[str, str],
        falling: bool,
        since: int,
    ) -> list[R]:
        """A page of what was deleted after `since` and would stand between the cursors."""
        buried = self._lagged.tuples(tx, **parameters, since=since)
        for name in ("after", "before"):
            if cursor := parameters.get(f"{name}_place"):
                lower = (query.order == "desc") is (name == "after")
                buried = [each for each in buried if (each[:2] < cursor if lower else each[:2] > cursor)]
        buried.sort(reverse=falling)
        rows = (json.loads(row) for _, _, row in buried)
        fitting = (row for row in rows if all(row[name] == value for name, value in wanted.items()))
        return [self._row(**row) for row in islice(fitting, parameters["limit"])]

    def last(self, tx: Transaction, graves: str, world: int, id: str) -> R | None:
        """What was buried under an id, as it was."""
        row = _exhumed.value(tx, world=world, list=graves, id=id)
        return None if row is None else self._row(**json.loads(row))

    def _place(self, cursor: str) -> CompoundSelect[int, int]:
        """The time and the place in the list of what the parameter `cursor` names; no row where that is nothing
        that is or was there."""
        rows, buried = self._table.c, _TOMBSTONE.c
        here = (rows[name] == bindparam(name) for name in self._scope)
        there = (buried.world == bindparam("world"), buried.list == bindparam("graves"))
        return union_all(
            select(rows.created_at, rows.seq).where(*here, rows.id == bindparam(cursor)),
            select(buried.created_at, buried.seq).where(*there, buried.id == bindparam(cursor)),
        ).limit(1)

    def _refused(self, param: str, cursor: str) -> errors.APIError:
        if cursor.startswith(self._prefix):
            return errors.UNKNOWN_CURSOR(param=param, value=cursor)
        return errors.WRONG_CURSOR(param=param, value=cursor, prefix=self._prefix)

    def _statement(self, query: schema.Page, backwards: bool, filters: tuple[str, ...]) -> Rows[R]:
        key = (query.order, query.after is None, query.before is None, filters)
        if key not in self._statements:
            self._statements[key] = self._compile(query, backwards, filters)
        return self._statements[key]

    def _compile(self, query: schema.Page, backwards: bool, filters: tuple[str, ...]) -> Rows[R]:
        columns = self._table.c
        place = tuple_(columns.created_at, columns.seq)
        falling = (query.order == "desc") is not backwards
        statement = select(self._table).where(*(columns[name] == bindparam(name) for name in (*self._scope, *filters)))
        if self._live is not None:
            statement = statement.where(self._live)
        for name in ("after", "before"):
            if getattr(query, name) is not None:
                cursor = self._place(name).scalar_subquery()
                lower = (query.order == "desc") is (name == "after")
                statement = statement.where(place < cursor if lower else place > cursor)
        order = [column.desc() if falling else column.asc() for column in (columns.created_at, columns.seq)]
        return Rows(statement.order_by(*order).limit(bindparam("limit")), self._row)


def _of_graves(live: ColumnElement[bool], rows: Table) -> ColumnElement[bool]:
    """The same condition of the rows that tombstones keep."""

    def kept(element: object, **_: object) -> ColumnElement[Any] | None:
        if isinstance(element, Column) and element.table is rows:
            return func.json_extract(_TOMBSTONE.c.row, f"$.{element.name}", type_=element.type)
        return None

    return replacement_traverse(live, {}, kept)


def ends(rows: Sequence[tables.Container | tables.ContainerFile | tables.File]) -> tuple[str | None, str | None]:
    """The ids that a page starts and stops with, null when it is empty."""
    return (rows[0].id, rows[-1].id) if rows else (None, None)
