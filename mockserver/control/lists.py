"""Lists of the control plane: filtered, searched and sorted pages, and how many objects match in all."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from mockserver import control_errors
from mockserver.storage import tables
from mockserver.storage.database import Statement, Transaction
from mockserver.storage.pagination import Listing


class Found(BaseModel):
    """A page; `after` its last id is the next one. `total` counts all that match."""

    has_more: bool
    total: int


class ListQuery(BaseModel):
    """Filters of a list; `search` finds a part of a name, in any case, or an id. Each list adds its own `sort`."""

    limit: int = Field(100, ge=1, le=1_000)
    after: str | None = None
    search: str | None = Field(None, max_length=1_024)
    order: Literal["asc", "desc"] = "desc"


class NamedQuery(ListQuery):
    sort: Literal["created", "name"] = "created"


class Search:
    """The statements for one kind of list: its pages, and how many rows it has in all.

    `keys` are the expressions by which it is sorted; `name` is the one that is searched.
    """

    def __init__(self, listing: Listing[Any], row: type[tables.Listed], keys: dict[str, str], *conditions: str) -> None:
        self._listing = listing
        search = f"(:search IS NULL OR id = :search OR instr(lower({keys['name']}), lower(:search)) > 0)"
        source = f"FROM live_{row.__tablename__} WHERE {' AND '.join([*conditions, search])}"
        self._pages: dict[tuple[str, str], Statement[Any]] = {
            (sort, order): Statement(
                f"SELECT * {source} AND (:after IS NULL OR ({key}, seq) {compare} ({listing.position_of(':after', key, 'seq')})) "
                f"ORDER BY {key} {order}, seq {order} LIMIT :limit",
                row,
            )
            for sort, key in {"created": "created_at", **keys}.items()
            for order, compare in (("desc", "<"), ("asc", ">"))
        }
        self._count: Statement[Any] = Statement(f"SELECT count(*) {source}")

    def find(self, tx: Transaction, query: ListQuery, now: int, **inside: str) -> tuple[list[Any], dict[str, Any]]:
        """Return the rows of a page, and what a `Found` says of them. The conditions take the query's filters by name.

        `inside` is the id of the object that the list is inside of.
        """
        values = {**query.model_dump(), **inside, "now": now}
        if query.after is not None and self._listing.position(tx, **inside, cursor=query.after) is None:
            raise control_errors.CURSOR_NOT_FOUND(param="after", value=query.after[:80])
        rows = self._pages[values["sort"], query.order].all(tx, **{**values, "limit": query.limit + 1})
        found = {"has_more": len(rows) > query.limit, "total": self._count.value(tx, **values)}
        return rows[: query.limit], found
