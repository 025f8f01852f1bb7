"""Objects with given ids, times and list positions, which requests of the API can't create.

Seeds, imports and the control plane collect objects here, and write them all at once.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, TypeVar

from mockserver import control_errors, ids
from mockserver.storage import tables
from mockserver.storage.contents import Contents, Upload
from mockserver.storage.database import Insertion, Statement, Transaction, record

R = TypeVar("R", bound=tables.Table)

MANY_IDS = 10_000
"""If a table has more, each new id is looked up in it."""

NEW_ID: dict[type[tables.Table], Callable[..., str]] = {
    tables.File: ids.file,
    tables.Container: ids.container,
    tables.ContainerFile: ids.container_file,
    tables.Upload: partial(ids.timed, "upload"),
    tables.UploadPart: partial(ids.timed, "part"),
    tables.Skill: ids.skill,
    tables.SkillVersion: ids.skill_version,
}
"""The id of a new object, from the world's seed, an ordinal and the other columns."""

set_ordinal = Statement("UPDATE world SET ordinal = :ordinal")


class _Ids:
    """The ids of a table. `inside` is the column that says inside of what an id is unique, if it is not alone, and
    `position` the one that orders the objects."""

    def __init__(self, row: type[tables.Table]) -> None:
        name = tables.live(row)
        self.inside = tables.owner(row)
        self.position = "seq" if issubclass(row, tables.Listed) else "ordinal"
        here = f"{self.inside} = :inside AND " if self.inside else ""
        self.one: Statement[Any] = Statement(f"SELECT 1 FROM {name} WHERE {here}id = :id")
        self.all: Statement[Any] = Statement(f"SELECT {self.inside or 'NULL'}, id FROM {name} LIMIT :limit")


_ids = cache(_Ids)


class Placement:
    """Collects objects with their full state, and writes all of them to a world in one transaction.

    An id is generated if none is given. Times are whole seconds; `now` is the world's.
    With `into`, the world is in use: only new ids can be placed, and list positions are generated. Otherwise they can
    be given.
    """

    def __init__(self, id_seed: bytes, now: int, ordinal: int = 0, into: Transaction | None = None) -> None:
        self.now = now
        self.ordinal = ordinal
        """The last one that was used."""
        self.later: list[Callable[[Transaction, Contents], object]] = []
        """Called in the transaction, after the rows were written."""
        self._id_seed = id_seed
        self.into = into
        """The transaction of the world that is in use."""
        self._rows: dict[type[tables.Table], list[Any]] = {}
        self._uploads: dict[str, Upload] = {}
        self._taken: set[tuple[type[tables.Table], str | None, str]] = set()
        self._all_taken: dict[type[tables.Table], bool] = {}
        """Tables whose ids were read, and whether all of them are in `_taken`."""

    @property
    def exact(self) -> bool:
        """Return whether this is the whole state of a world, so that list positions can be given."""
        return self.into is None

    def add(self, row: type[R], content: Upload | None = None, **columns: Any) -> R:
        """Place an object of a list, and its content. Returns its row. Raises APIError if its id is taken.

        `content` may be None if `digest` is given, that of an object which is placed or in the world.
        """
        known = _ids(row)
        position, inside = known.position, columns.get(known.inside or "")
        if columns.get(position) is None or not self.exact:
            columns[position] = self._next()
        if columns.get("id") is None:
            columns["id"] = NEW_ID[row](self._id_seed, columns[position], **columns)
            while self._has(row, inside, columns["id"]):
                columns["id"] = NEW_ID[row](self._id_seed, self._next(), **columns)
        elif self._has(row, inside, columns["id"]):
            raise control_errors.OBJECT_EXISTS(id=columns["id"])
        self._taken.add((row, inside, columns["id"]))
        return self.insert(row, content, **columns)

    def insert(self, row: type[R], content: Upload | None = None, **columns: Any) -> R:
        """Place a row as it is: of a deleted object, or of what has no id of its own."""
        if content:
            self._uploads[content.digest] = content
            columns["digest"] = content.digest
        placed = record(row)(**columns)
        self._rows.setdefault(row, []).append(placed)
        return placed

    def write(self, tx: Transaction, contents: Contents) -> None:
        for row, rows in self._rows.items():
            Insertion(row).add_all(tx, rows)
        for upload in self._uploads.values():
            contents.keep(tx, upload, shared=True)
        for write in self.later:
            write(tx, contents)
        set_ordinal.run(tx, ordinal=self.ordinal)

    def _next(self) -> int:
        self.ordinal += 1
        return self.ordinal

    def _has(self, row: type[tables.Table], inside: str | None, id: str) -> bool:
        if self.into and row not in self._all_taken:
            # Not one by one: a thread that gives up the interpreter's lock so often keeps the event loop from taking it.
            found = _ids(row).all.tuples(self.into, limit=MANY_IDS)
            self._all_taken[row] = len(found) < MANY_IDS
            self._taken.update((row, *each) for each in found)
        if (row, inside, id) in self._taken:
            return True
        if self.into is None or self._all_taken[row]:
            return False
        return _ids(row).one.value(self.into, inside=inside, id=id) is not None
