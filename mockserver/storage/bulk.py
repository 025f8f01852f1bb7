"""State that requests can't make: objects given with their ids, times and places in the order of a list.

What seeds, imports and the control plane put into a world is placed here first, and written when all of it is.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, select

from mockserver import errors, ids
from mockserver.faults import MAX_RULES
from mockserver.storage import copies, tables
from mockserver.storage.blobs import Blobs, Draft
from mockserver.storage.database import Rows, Statement, Transaction, record, table

_objects: dict[type[tables.Table], Statement] = {
    row: Statement(
        select(table(row).c.id).where(table(row).c.world == bindparam("in_world"), table(row).c.id == bindparam("id"))
    )
    for row in (tables.File, tables.Container, tables.Fault)
}
_inside = Statement(
    select(table(tables.ContainerFile).c.id).where(
        table(tables.ContainerFile).c.world == bindparam("in_world"),
        table(tables.ContainerFile).c.container_id == bindparam("container_id"),
        table(tables.ContainerFile).c.id == bindparam("id"),
    )
)
_last_fault = Statement(
    select(func.count(), func.max(table(tables.Fault).c.position)).where(
        table(tables.Fault).c.world == bindparam("in_world")
    )
)
_file = Rows(
    select(table(tables.File)).where(
        table(tables.File).c.world == bindparam("in_world"), table(tables.File).c.id == bindparam("id")
    ),
    tables.File,
)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows to be written together, and the contents that none before them named."""

    row: type[tables.Table]
    rows: list[dict[str, Any]]
    drafts: list[Draft]

    def write(self, tx: Transaction, world: int, blobs: Blobs) -> None:
        new: Any = record(self.row)
        copies.INSERTIONS[self.row].add_all(tx, (new(**values, world=world) for values in self.rows))
        for draft in self.drafts:
            blobs.keep(tx, draft)


class Placement:
    """Objects with their full state on their way into a world, none of them there before all are.

    Ids that are not given are minted; each method returns the object's id. Times are whole seconds,
    `now` is the world's. Into a world that is in use (`into`) only new ids can be placed, and places in
    the order of a list are handed out anew; elsewhere they can be given.
    """

    def __init__(self, id_seed: bytes, now: int, ordinal: int = 0, into: tuple[Transaction, int] | None = None) -> None:
        self.now = now
        self.ordinal = ordinal
        """The last that was handed out."""
        self._id_seed = id_seed
        self._into = into
        self._rows: dict[type[tables.Table], list[dict[str, Any]]] = {}
        self._drafts: dict[str, Draft] = {}
        self._taken: set[tuple[type[tables.Table], str | None, str]] = set()

    @property
    def exact(self) -> bool:
        """Whether it is the whole state of a world, so that even the order of the past can be given."""
        return self._into is None

    def skip(self, ordinal: int) -> None:
        """Hand out only later ordinals than this one."""
        self.ordinal = max(self.ordinal, ordinal)

    def find_file(self, id: str) -> tables.File | None:
        """A File that is in the world already."""
        return _file.first(self._into[0], in_world=self._into[1], id=id) if self._into else None

    def has_container(self, id: str) -> bool:
        return self._has(tables.Container, None, id)

    def file(self, *, id: str | None, seq: int | None, content: Draft | None, **columns: Any) -> str:
        id, seq = self._identified(tables.File, None, id, seq, lambda ordinal: ids.file(self._id_seed, ordinal))
        return self._put(tables.File, {"id": id, "seq": seq, **columns}, content)

    def container(self, *, id: str | None, seq: int | None, created_at: int, **columns: Any) -> str:
        id, seq = self._identified(
            tables.Container, None, id, seq, lambda ordinal: ids.container(self._id_seed, ordinal, created_at)
        )
        return self._put(tables.Container, {"id": id, "seq": seq, "created_at": created_at, **columns})

    def container_file(
        self,
        *,
        id: str | None,
        seq: int | None,
        container_id: str,
        created_at: int,
        content: Draft | None,
        **columns: Any,
    ) -> str:
        """`content` may be None where another row that is placed, or a File found here, has its digest."""
        id, seq = self._identified(
            tables.ContainerFile,
            container_id,
            id,
            seq,
            lambda ordinal: ids.container_file(self._id_seed, ordinal, created_at),
        )
        own = {"id": id, "seq": seq, "container_id": container_id, "created_at": created_at}
        return self._put(tables.ContainerFile, {**own, **columns}, content)

    def fault(self, *, id: str | None, **columns: Any) -> str:
        """Behind those that there are."""
        count, position = len(self._rows.get(tables.Fault, [])), 0
        if self._into:
            there, last = _last_fault.tuple(self._into[0], in_world=self._into[1]) or (0, None)
            count, position = count + there, last or 0
        if count >= MAX_RULES:
            raise errors.TOO_MANY_FAULTS(limit=MAX_RULES)
        position += 1 + len(self._rows.get(tables.Fault, []))
        if id is None:
            id = next(
                name for n in itertools.count(position) if not self._has(tables.Fault, None, name := f"fault-{n}")
            )
        elif self._has(tables.Fault, None, id):
            raise errors.OBJECT_EXISTS(id=id)
        self._taken.add((tables.Fault, None, id))
        return self._put(tables.Fault, {"id": id, "position": position, **columns})

    def grave(self, **columns: Any) -> None:
        """Where a deleted object stood; only where everything has its place of the past."""
        self._put(tables.Tombstone, columns)

    def batches(self) -> Iterator[Batch]:
        """What was placed, in parts that a transaction can write without holding up others for long."""
        for row, rows in self._rows.items():
            for start in range(0, len(rows), copies.BATCH):
                part = rows[start : start + copies.BATCH]
                digests = {values["digest"]: None for values in part if "digest" in values}
                yield Batch(row, part, [self._drafts.pop(each) for each in digests if each in self._drafts])

    def _identified(
        self,
        row: type[tables.Table],
        container_id: str | None,
        id: str | None,
        seq: int | None,
        mint: Callable[[int], str],
    ) -> tuple[str, int]:
        if seq is None or not self.exact:
            seq = self._next()
        if id is None:
            id = mint(seq)
            while self._has(row, container_id, id):
                id = mint(self._next())
        elif self._has(row, container_id, id):
            raise errors.OBJECT_EXISTS(id=id)
        self._taken.add((row, container_id, id))
        return id, seq

    def _next(self) -> int:
        self.ordinal += 1
        return self.ordinal

    def _has(self, row: type[tables.Table], container_id: str | None, id: str) -> bool:
        if (row, container_id, id) in self._taken:
            return True
        if self._into is None:
            return False
        tx, world = self._into
        if container_id is not None:
            return _inside.value(tx, in_world=world, container_id=container_id, id=id) is not None
        return _objects[row].value(tx, in_world=world, id=id) is not None

    def _put(self, row: type[tables.Table], values: dict[str, Any], content: Draft | None = None) -> str:
        if content and not content.kept:
            self._drafts[content.digest] = content
        self._rows.setdefault(row, []).append(values)
        return str(values["id"])
