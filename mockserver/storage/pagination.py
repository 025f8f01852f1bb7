"""One keyset cursor for every list.

A list is ordered by `(created_at, seq)`, or by the columns that it names; a page continues behind the cursor's
position in that order, so nothing is shown twice or left out when objects are created and deleted between pages. A
deleted object still serves as a cursor (guess: nobody has shown what the live API does), and is still shown by lists
that lag behind deletions.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from operator import attrgetter
from typing import Generic, TypeVar

from mockserver import errors, profiles
from mockserver.profiles import Warned
from mockserver.schema.lists import Page
from mockserver.storage import tables
from mockserver.storage.database import Statement, Transaction, table

L = TypeVar("L", bound=tables.Listed)

KEPT_DELETED = 10_000
"""A deleted row is pruned after so many later changes of its world."""


class Listing(Generic[L]):
    """The pages of one table's rows.

    Objects inside of others have a list for each of these. `live` is a condition in SQL that leaves out rows which are
    there but no longer shown; `prefix` is that of the rows' ids, `resource` what errors call them.
    """

    def __init__(
        self,
        row: type[L],
        prefix: str,
        resource: str,
        live: str = "",
        order: Sequence[str] = ("created_at", "seq"),
    ) -> None:
        self._row = row
        self._resource = resource
        self._table = table(row).name
        self._prefix = prefix
        self._order = order
        owner = tables.owner(row)
        self._scope = [f"{owner} = :{owner}"] if owner else []
        self._live = [live] if live else []
        self._statement = cache(self._select)
        self._position: Statement[L] = Statement(self.position_of(":cursor"))
        this = " AND ".join([*self._scope, "id = :id"])
        self._delete: Statement[L] = Statement(
            f"UPDATE {self._table} SET deleted_at = :now, deleted_ordinal = :ordinal WHERE {this}"
        )
        self._prune: Statement[L] = Statement(
            f"DELETE FROM {self._table} WHERE deleted_at IS NOT NULL AND deleted_ordinal < :oldest"
        )

    def page(
        self,
        tx: Transaction,
        query: Page,
        values: Mapping[str, object],
        deleted_since: int | None,
        allows: Callable[[Warned], bool],
        **filters: str | None,
    ) -> tuple[list[L], bool]:
        """The rows of a page, in the order that the query asks for, and whether more follow.

        `values` are the id of the object that the list is inside of, and the parameters of `live`. Objects deleted
        after `deleted_since` are still listed. A page `before` a cursor, without `after`, is the one that ends right in
        front of it.
        """
        wanted = {name: value for name, value in filters.items() if value is not None}
        cursors = {name: cursor for name in ("after", "before") if (cursor := getattr(query, name)) is not None}
        parameters = {**values, **wanted, **cursors, "limit": query.limit + 1}
        backwards = query.before is not None and query.after is None
        falling = (query.order == "desc") is not backwards
        shape = (query.order, falling, tuple(cursors), tuple(wanted))
        rows = self._statement(*shape, deleted=False).all(tx, **parameters)
        if cursors and (not rows or deleted_since is not None):  # nothing follows the position of what never existed
            for name, cursor in cursors.items():
                if self._position.tuple(tx, **values, cursor=cursor):
                    continue
                if not allows(profiles.ANY_CURSOR):
                    raise self.unknown(tx, name, cursor)
                without = query.model_copy(update={name: None})
                return self.page(tx, without, values, deleted_since, allows, **filters)
        if deleted_since is not None:
            rows += self._statement(*shape, deleted=True).all(tx, **parameters, since=deleted_since)
            rows.sort(key=attrgetter(*self._order), reverse=falling)
        more = len(rows) > query.limit
        del rows[query.limit :]
        return (rows[::-1] if backwards else rows), more

    def delete(self, tx: Transaction, ordinal: int, now: int, **this: str) -> None:
        """Mark a row as deleted, and prune those that were deleted long ago."""
        self._delete.run(tx, now=now, ordinal=ordinal, **this)
        self._prune.run(tx, oldest=ordinal - KEPT_DELETED)

    def position(self, tx: Transaction, **this: object) -> tuple[int, int] | None:
        """The time and the `seq` of what `cursor` names, deleted or not."""
        return self._position.tuple(tx, **this)

    def position_of(self, cursor: str, *order: str) -> str:
        """The position of what `cursor` names, as SQL, for rows in the order of these columns, by default the list's.

        Its values have no affinity, because of the signs. Otherwise SQLite would search an index by the first column
        alone, and read all newer rows of the same second.
        """
        values = ", ".join(f"+{column}" for column in order or self._order)
        return f"SELECT {values} FROM {self._table} WHERE {' AND '.join([*self._scope, f'id = {cursor}'])}"

    def unknown(self, tx: Transaction, param: str, cursor: str) -> errors.APIError:
        """The error for a cursor that names no object of the list."""
        if cursor.startswith(self._prefix):
            return errors.UNKNOWN_CURSOR(param=param, resource=self._resource, value=cursor)
        return errors.WRONG_CURSOR(param=param, value=cursor, prefix=self._prefix)

    def _select(
        self, order: str, falling: bool, cursors: tuple[str, ...], filters: tuple[str, ...], deleted: bool
    ) -> Statement[L]:
        conditions = [*self._scope, *(f"{name} = :{name}" for name in filters), *self._live]
        conditions.append("deleted_at > :since" if deleted else "deleted_at IS NULL")
        for name in cursors:
            compare = "<" if (order == "desc") is (name == "after") else ">"
            conditions.append(f"({', '.join(self._order)}) {compare} ({self.position_of(f':{name}')})")
        direction = "DESC" if falling else "ASC"
        columns = ", ".join(f"{column} {direction}" for column in self._order)
        return Statement(
            f"SELECT * FROM {self._table} WHERE {' AND '.join(conditions)} ORDER BY {columns} LIMIT :limit", self._row
        )
