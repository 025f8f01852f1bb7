"""Objects with given ids, times and list positions, which requests of the API can't create.

Seeds, imports and the control plane collect objects here, and write them all at once.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

from mockserver import control_errors, ids
from mockserver.storage import tables
from mockserver.storage.contents import Contents, Upload
from mockserver.storage.database import Insertion, Statement, Transaction, record

_PLACED: dict[type[tables.Table], str | None] = {
    tables.File: None,
    tables.Container: None,
    tables.ContainerFile: "container_id",
    tables.Upload: None,
    tables.UploadPart: "upload_id",
    tables.Skill: None,
    tables.SkillVersion: "skill_id",
    tables.Fault: None,
    tables.Response: None,
}
"""The kinds of objects with an id, and the column that says inside of what an id is unique."""
_live = {row: f"{'live_' if 'deleted_at' in row.model_fields else ''}{row.__tablename__}" for row in _PLACED}
_objects: dict[type[tables.Table], Statement[Any]] = {
    row: Statement(f"SELECT 1 FROM {_live[row]} WHERE {f'{inside} = :inside AND ' if inside else ''}id = :id")
    for row, inside in _PLACED.items()
}
_ids: dict[type[tables.Table], Statement[Any]] = {
    row: Statement(f"SELECT {inside or 'NULL'}, id FROM {_live[row]} LIMIT :limit") for row, inside in _PLACED.items()
}
MANY_IDS = 10_000
"""If a table has more, each new id is looked up in it."""
_last_fault: Statement[tables.Fault] = Statement("SELECT count(*), max(position) FROM faults")
_file = Statement("SELECT * FROM live_files WHERE id = :id", tables.File)
_skill = Statement("SELECT * FROM live_skills WHERE id = :id", tables.Skill)
_skill_versions = Statement("SELECT * FROM live_skill_versions WHERE skill_id = :id", tables.SkillVersion)
_set_ordinal: Statement[tables.World] = Statement("UPDATE world SET ordinal = :ordinal")


class Placement:
    """Collects objects with their full state, and writes all of them to a world in one transaction.

    Methods return the object's id, which is generated if none is given. Times are whole seconds; `now` is the world's.
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
        self._into = into
        self._rows: dict[type[tables.Table], list[Any]] = {}
        self._uploads: dict[str, Upload] = {}
        self._taken: set[tuple[type[tables.Table], str | None, str]] = set()
        self._all_taken: dict[type[tables.Table], bool] = {}
        """Tables whose ids were read, and whether all of them are in `_taken`."""

    @property
    def exact(self) -> bool:
        """Return whether this is the whole state of a world, so that list positions can be given."""
        return self._into is None

    def skip(self, ordinal: int) -> None:
        """Use only ordinals after this one."""
        self.ordinal = max(self.ordinal, ordinal)

    def find_file(self, id: str) -> tables.File | None:
        """Return a File that is already in the world."""
        return _file.first(self._into, id=id) if self._into else None

    def find_skill(self, id: str) -> tuple[tables.Skill, list[tables.SkillVersion]] | None:
        """A skill that is in the world already, with its versions."""
        row = _skill.first(self._into, id=id) if self._into else None
        return (row, _skill_versions.all(self._into, id=id)) if row and self._into else None

    def has_container(self, id: str) -> bool:
        return self._has(tables.Container, None, id)

    def file(self, *, id: str | None, seq: int | None, content: Upload | None, **columns: Any) -> str:
        id, seq = self._identify(tables.File, None, id, seq, lambda ordinal: ids.file(self._id_seed, ordinal))
        return self._put(tables.File, content, id=id, seq=seq, **columns)

    def container(self, *, id: str | None, seq: int | None, created_at: int, **columns: Any) -> str:
        id, seq = self._identify(
            tables.Container, None, id, seq, lambda ordinal: ids.container(self._id_seed, ordinal, created_at)
        )
        return self._put(tables.Container, None, id=id, seq=seq, created_at=created_at, **columns)

    def container_file(
        self,
        *,
        id: str | None,
        seq: int | None,
        container_id: str,
        created_at: int,
        content: Upload | None,
        **columns: Any,
    ) -> str:
        """Place a file. `content` may be None if a File of `find_file`, or another row that is placed, has its digest."""
        id, seq = self._identify(
            tables.ContainerFile,
            container_id,
            id,
            seq,
            lambda ordinal: ids.container_file(self._id_seed, ordinal, created_at),
        )
        own = {"id": id, "seq": seq, "container_id": container_id, "created_at": created_at}
        return self._put(tables.ContainerFile, content, **own, **columns)

    def upload(self, *, id: str | None, seq: int | None, created_at: int, **columns: Any) -> str:
        id, seq = self._identify(
            tables.Upload, None, id, seq, lambda ordinal: ids.timed("upload", self._id_seed, ordinal, created_at)
        )
        return self._put(tables.Upload, None, id=id, seq=seq, created_at=created_at, **columns)

    def upload_part(self, *, id: str | None, seq: int | None, upload_id: str, created_at: int, content: Upload) -> str:
        id, seq = self._identify(
            tables.UploadPart, upload_id, id, seq, lambda ordinal: ids.timed("part", self._id_seed, ordinal, created_at)
        )
        own = {"id": id, "seq": seq, "upload_id": upload_id, "created_at": created_at}
        return self._put(tables.UploadPart, content, **own, bytes=content.size, digest=content.digest)

    def skill(self, *, id: str | None, seq: int | None, created_at: int, **columns: Any) -> str:
        id, seq = self._identify(
            tables.Skill, None, id, seq, lambda ordinal: ids.skill(self._id_seed, ordinal, created_at)
        )
        return self._put(tables.Skill, None, id=id, seq=seq, created_at=created_at, **columns)

    def skill_version(
        self, *, id: str | None, seq: int | None, skill_id: str, created_at: int, content: Upload | None, **columns: Any
    ) -> str:
        id, seq = self._identify(
            tables.SkillVersion,
            skill_id,
            id,
            seq,
            lambda ordinal: ids.skill_version(self._id_seed, ordinal, created_at, skill_id),
        )
        own = {"id": id, "seq": seq, "skill_id": skill_id, "created_at": created_at}
        return self._put(tables.SkillVersion, content, **own, **columns)

    def container_skill(self, *, content: Upload | None, **columns: Any) -> None:
        """`content` may be None where a skill version that is placed, or was found here, has its digest."""
        self._put(tables.ContainerSkill, content, **columns)

    def use(self, **columns: Any) -> None:
        self._put(tables.Use, None, **columns)

    def response(self, *, id: str, ordinal: int, items: Iterable[dict[str, Any]], **columns: Any) -> None:
        id, ordinal = self._identify(tables.Response, None, id, ordinal, str)
        self._put(tables.Response, None, id=id, ordinal=ordinal, **columns)
        for position, item in enumerate(items):
            self._put(tables.ResponseItem, None, response_id=id, position=position, **item)

    def fault(self, *, id: str | None, **columns: Any) -> str:
        """Place a fault after the existing ones."""
        placed = len(self._rows.get(tables.Fault, ()))
        count, last = (_last_fault.tuple(self._into) if self._into else None) or (0, None)
        if count + placed >= tables.MAX_FAULTS:
            raise control_errors.TOO_MANY_FAULTS(limit=tables.MAX_FAULTS)
        position = (last or 0) + 1 + placed
        if id is None:
            names = (f"fault-{number}" for number in itertools.count(position))
            id = next(name for name in names if not self._has(tables.Fault, None, name))
        elif self._has(tables.Fault, None, id):
            raise control_errors.OBJECT_EXISTS(id=id)
        self._taken.add((tables.Fault, None, id))
        return self._put(tables.Fault, None, id=id, position=position, **columns)

    def deleted(self, row: type[tables.Listed], **columns: Any) -> None:
        """Place the row of a deleted object; only if this is `exact`."""
        self._put(row, None, **columns)

    def write(self, tx: Transaction, contents: Contents) -> None:
        for row, rows in self._rows.items():
            Insertion(row).add_all(tx, rows)
        for upload in self._uploads.values():
            contents.keep(tx, upload, shared=True)
        for write in self.later:
            write(tx, contents)
        _set_ordinal.run(tx, ordinal=self.ordinal)

    def _identify(
        self,
        row: type[tables.Table],
        inside: str | None,
        id: str | None,
        seq: int | None,
        make: Callable[[int], str],
    ) -> tuple[str, int]:
        if seq is None or not self.exact:
            seq = self._next()
        if id is None:
            id = make(seq)
            while self._has(row, inside, id):
                id = make(self._next())
        elif self._has(row, inside, id):
            raise control_errors.OBJECT_EXISTS(id=id)
        self._taken.add((row, inside, id))
        return id, seq

    def _next(self) -> int:
        self.ordinal += 1
        return self.ordinal

    def _has(self, row: type[tables.Table], inside: str | None, id: str) -> bool:
        if self._into and row not in self._all_taken:
            # Not one by one: a thread that gives up the interpreter's lock so often keeps the event loop from taking it.
            found = _ids[row].tuples(self._into, limit=MANY_IDS)
            self._all_taken[row] = len(found) < MANY_IDS
            self._taken.update((row, *each) for each in found)
        if (row, inside, id) in self._taken:
            return True
        if self._into is None or self._all_taken[row]:
            return False
        return _objects[row].value(self._into, inside=inside, id=id) is not None

    def _put(self, row: type[tables.Table], content: Upload | None, **columns: Any) -> str:
        if content:
            self._uploads[content.digest] = content
        made: Any = record(row)(**columns)
        self._rows.setdefault(row, []).append(made)
        return str(getattr(made, "id", ""))
