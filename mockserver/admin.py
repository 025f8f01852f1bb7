"""What tests and people see of containers and Files beside the API, and do to them.

Looking is no use: it refreshes nothing. What is done here need not be possible to a client: a container
expires at once, what it holds can go although it has expired.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, and_, bindparam, func, or_, select, tuple_, update

from mockserver import containers, errors, files, schema
from mockserver.storage import pagination, tables
from mockserver.storage.blobs import Blobs
from mockserver.storage.database import Database, Rows, Statement, Transaction, table
from mockserver.worlds import Call, World, Worlds

_CONTAINER, _INSIDE, _FILE, _GRAVE = (
    table(row) for row in (tables.Container, tables.ContainerFile, tables.File, tables.Tombstone)
)


class StagedContainer(schema.Container):
    """As stored: `last_active_at` is when it was really used last.

    `status` is `running` or `expired`, as in the filter, in whatever words the profile has clients told.
    """

    total_bytes: Annotated[int, Field(description="Of its files; where `bytes` is null, of the content.")]
    expires_in: Annotated[
        int | None, Field(description="Seconds of the world's time; 0 when it has expired, null: never.")
    ]


class StagedContainerFile(schema.ContainerFile):
    """With the `file_id` of the File that it is a copy of, or null."""

    size: Annotated[int, Field(description="Of the content, whatever `bytes` says.")]


class StagedFile(schema.File):
    """A File; it is there whatever its purpose, to look at."""


class Found(BaseModel):
    """A page, newest first; `after` its last id is the next one. `total` counts all that match."""

    has_more: bool
    total: int


class FoundContainers(Found):
    data: list[StagedContainer]


class FoundContainerFiles(Found):
    data: list[StagedContainerFile]


class FoundFiles(Found):
    data: list[StagedFile]


class Query(BaseModel):
    """Filters of a list; `search` finds a part of a name, in any case, or an id."""

    limit: int = Field(100, ge=1, le=1_000)
    after: str | None = None
    search: str | None = Field(None, max_length=1_024)


class ContainerQuery(Query):
    name: str | None = None
    status: Literal["running", "expired"] | None = None


class FileQuery(Query):
    purpose: str | None = None


def _given(name: str, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """A condition that holds where its parameter is null."""
    return or_(bindparam(name).is_(None), condition)


def _like(id: ColumnElement[str], text: ColumnElement[str]) -> ColumnElement[bool]:
    return _given(
        "search", or_(id == bindparam("search"), func.instr(func.lower(text), func.lower(bindparam("search"))) > 0)
    )


class _Search:
    """The statements for one kind of list: its pages, and how many it has in all."""

    def __init__(
        self, row: type[tables.Table], *conditions: ColumnElement[bool], scope: tuple[ColumnElement[bool], ...] = ()
    ) -> None:
        source = table(row)
        columns = source.c
        scope = (columns.world == bindparam("world"), *scope)
        here = (*scope, *conditions)
        place = tuple_(columns.created_at, columns.seq)
        behind = or_(bindparam("time").is_(None), place < tuple_(bindparam("time"), bindparam("last")))
        order = (columns.created_at.desc(), columns.seq.desc())
        self.page: Rows[Any] = Rows(select(source).where(*here, behind).order_by(*order).limit(bindparam("limit")), row)
        self.count = Statement(select(func.count()).select_from(source).where(*here))
        self.place = Statement(select(columns.created_at, columns.seq).where(*scope, columns.id == bindparam("id")))


_containers = _Search(
    tables.Container,
    _given("name", _CONTAINER.c.name == bindparam("name")),
    _like(_CONTAINER.c.id, _CONTAINER.c.name),
    or_(
        bindparam("status").is_(None),
        and_(bindparam("status") == "running", containers.unexpired),
        and_(bindparam("status") == "expired", ~containers.unexpired),
    ),
)
_inside = _Search(
    tables.ContainerFile,
    _like(_INSIDE.c.id, _INSIDE.c.path),
    scope=(_INSIDE.c.container_id == bindparam("container"),),
)
_files = _Search(
    tables.File,
    _given("purpose", _FILE.c.purpose == bindparam("purpose")),
    _like(_FILE.c.id, _FILE.c.filename),
    files.unexpired,
)
_buried = Statement(
    select(_GRAVE.c.created_at, _GRAVE.c.seq).where(
        _GRAVE.c.world == bindparam("world"), _GRAVE.c.list == bindparam("list"), _GRAVE.c.id == bindparam("id")
    )
)
_this = (_CONTAINER.c.world == bindparam("world"), _CONTAINER.c.id == bindparam("id"))
_container = Rows(select(_CONTAINER).where(*_this), tables.Container)
_set_times = Statement(
    update(_CONTAINER)
    .where(_CONTAINER.c.world == bindparam("of"), _CONTAINER.c.id == bindparam("this"))
    .values(created_at=bindparam("created"), last_active_at=bindparam("active"), expires_minutes=bindparam("minutes"))
)
_held = (_INSIDE.c.world == bindparam("world"), _INSIDE.c.container_id == bindparam("container"))
_file_inside = Rows(select(_INSIDE).where(*_held, _INSIDE.c.id == bindparam("id")), tables.ContainerFile)
_remove_inside = Statement(_INSIDE.delete().where(*_held, _INSIDE.c.id == bindparam("id")))
_holds = Statement(select(func.count(), func.sum(_INSIDE.c.bytes), func.count(_INSIDE.c.bytes)).where(*_held))
_unsized = Statement(select(_INSIDE.c.digest).where(*_held, _INSIDE.c.bytes.is_(None)))
_listing = pagination.Listing(tables.ContainerFile, scope=("world", "container_id"), prefix="cfile")


@dataclass(frozen=True, slots=True)
class Preview:
    """The first bytes of a content, and how many it has in all."""

    data: bytes
    size: int


class Staging:
    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        worlds: Worlds,
        its_containers: containers.Containers,
        its_files: files.Files,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._worlds = worlds
        self._containers = its_containers
        self._files = its_files

    # Looking. These may take a while and get a connection to do it in another thread.

    def find_containers(self, database: Database, world: World, query: ContainerQuery) -> FoundContainers:
        now = world.now()
        values = {"world": world.id, "now": now, "name": query.name, "status": query.status}
        rows, more, total = self._page(database.snapshot, _containers, query, "containers", values)
        data = [self._shown(database.snapshot, row, now) for row in rows]
        return FoundContainers(data=data, has_more=more, total=total)

    def find_container(self, database: Database, world: World, container_id: str) -> StagedContainer:
        return self._shown(database.snapshot, self._container(database.snapshot, world, container_id), world.now())

    def find_container_files(
        self, database: Database, world: World, container_id: str, query: Query
    ) -> FoundContainerFiles:
        self._container(database.snapshot, world, container_id)
        values = {"world": world.id, "container": container_id}
        graves = containers.graves(container_id)
        rows, more, total = self._page(database.snapshot, _inside, query, graves, values)
        return FoundContainerFiles(
            data=[self._shown_file(database.snapshot, row) for row in rows], has_more=more, total=total
        )

    def find_container_file(
        self, database: Database, world: World, container_id: str, file_id: str
    ) -> StagedContainerFile:
        row = self._container_file(database.snapshot, world, container_id, file_id)
        return self._shown_file(database.snapshot, row)

    def find_files(self, database: Database, world: World, query: FileQuery) -> FoundFiles:
        values = {"world": world.id, "now": world.now(), "purpose": query.purpose}
        rows, more, total = self._page(database.snapshot, _files, query, "files", values)
        data = [files.shown(row) for row in rows]
        return FoundFiles(data=data, has_more=more, total=total)

    def find_file(self, database: Database, world: World, file_id: str) -> StagedFile:
        return files.shown(self._file(database.snapshot, world, file_id))

    def preview_container_file(
        self, database: Database, world: World, container_id: str, file_id: str, length: int
    ) -> Preview:
        row = self._container_file(database.snapshot, world, container_id, file_id)
        return self._preview(database.snapshot, row.digest, length)

    def preview_file(self, database: Database, world: World, file_id: str, length: int) -> Preview:
        return self._preview(database.snapshot, self._file(database.snapshot, world, file_id).digest, length)

    def open_container_file(self, database: Database, world: World, container_id: str, file_id: str) -> schema.Content:
        row = self._container_file(database.snapshot, world, container_id, file_id)
        gone = errors.CONTAINER_FILE_NOT_FOUND(file_id=file_id, container_id=container_id)
        return self._opened(database.snapshot, row.digest, row.path.rpartition("/")[2], gone)

    def open_file(self, database: Database, world: World, file_id: str) -> schema.Content:
        row = self._file(database.snapshot, world, file_id)
        return self._opened(database.snapshot, row.digest, row.filename, errors.FILE_NOT_FOUND(file_id=file_id))

    # Doing

    def expire(self, world: World, container_id: str) -> None:
        """Let its time be over at the world's present instant: what it counts from moves back."""
        now = world.now()
        with self._database.transaction() as tx:
            self._worlds.take(tx, world.id, 0)
            row = self._container(tx, world, container_id)
            minutes = row.expires_minutes or schema.UNASKED_MINUTES
            since = now - minutes * 60
            if not containers.expired(row, now):
                created = since if row.expires_anchor == "created_at" else row.created_at
                active = since if row.expires_anchor == "last_active_at" else row.last_active_at
                _set_times.run(tx, of=world.id, this=container_id, created=created, active=active, minutes=minutes)

    def touch(self, world: World, container_id: str) -> None:
        """Count as activity; refuse a container that has expired, as that is for good."""
        now = world.now()
        with self._database.transaction() as tx:
            self._worlds.take(tx, world.id, 0)
            row = self._container(tx, world, container_id)
            if containers.expired(row, now):
                raise errors.CONTAINER_EXPIRED()
            _set_times.run(
                tx, of=world.id, this=container_id, created=row.created_at, active=now, minutes=row.expires_minutes
            )

    def delete_container(self, world: World, container_id: str) -> schema.ContainerDeleted:
        self._container(self._database.snapshot, world, container_id)  # a profile may let others pass
        return self._containers.delete(Call(self._worlds, world), container_id)

    def delete_container_file(self, world: World, container_id: str, file_id: str) -> schema.ContainerFileDeleted:
        with self._database.transaction() as tx:
            ordinal = self._worlds.take(tx, world.id)
            row = self._container_file(tx, world, container_id, file_id)
            _listing.bury(tx, row, containers.graves(container_id), ordinal, world.now())
            _remove_inside.run(tx, world=world.id, container=container_id, id=file_id)
            self._blobs.dropped([row.digest])
        self._blobs.release()
        return {"id": file_id, "object": "container.file.deleted", "deleted": True}

    def delete_file(self, world: World, file_id: str) -> schema.FileDeleted:
        self._file(self._database.snapshot, world, file_id)  # a profile may let others pass
        return self._files.delete(Call(self._worlds, world), file_id)

    # Finding and showing

    def _page(
        self, tx: Transaction, search: _Search, query: Query, graves: str, values: dict[str, Any]
    ) -> tuple[list[Any], bool, int]:
        values = {**values, "search": query.search}
        time, last = None, None
        if query.after is not None:
            place = search.place.tuple(tx, **values, id=query.after) or _buried.tuple(
                tx, world=values["world"], list=graves, id=query.after
            )
            if place is None:
                raise errors.UNKNOWN_CURSOR(param="after", value=query.after[:80])
            time, last = place
        rows = search.page.all(tx, **values, time=time, last=last, limit=query.limit + 1)
        return rows[: query.limit], len(rows) > query.limit, int(search.count.value(tx, **values))

    def _container(self, tx: Transaction, world: World, container_id: str) -> tables.Container:
        row = _container.first(tx, world=world.id, id=container_id)
        if row is None:
            raise errors.CONTAINER_NOT_FOUND(container_id=container_id)
        return row

    def _container_file(self, tx: Transaction, world: World, container_id: str, file_id: str) -> tables.ContainerFile:
        self._container(tx, world, container_id)
        row = _file_inside.first(tx, world=world.id, container=container_id, id=file_id)
        if row is None:
            raise errors.CONTAINER_FILE_NOT_FOUND(file_id=file_id, container_id=container_id)
        return row

    def _file(self, tx: Transaction, world: World, file_id: str) -> tables.File:
        row = self._files.find(tx, Call(self._worlds, world), file_id)
        if row is None:
            raise errors.FILE_NOT_FOUND(file_id=file_id)
        return row

    def _shown(self, tx: Transaction, row: tables.Container, now: int) -> StagedContainer:
        inside = {"world": row.world, "container": row.id}
        count, known, sized = _holds.tuple(tx, **inside) or (0, 0, 0)
        total = known or 0
        if sized < count:
            total += sum(self._size(tx, digest) for (digest,) in _unsized.tuples(tx, **inside))
        at = containers.expires_at(row)
        left = None if at is None else max(0, at - now)
        return {**containers.shown(row, now), "file_count": count, "total_bytes": total, "expires_in": left}

    def _shown_file(self, tx: Transaction, row: tables.ContainerFile) -> StagedContainerFile:
        return {**containers.shown_file(row), "size": self._size(tx, row.digest), "file_id": row.file_id}

    def _size(self, tx: Transaction, digest: str) -> int:
        """0 where it was deleted since its row was read."""
        try:
            return self._blobs.size(digest, tx)
        except FileNotFoundError:
            return 0

    def _opened(self, tx: Transaction, digest: str, name: str, gone: errors.APIError) -> schema.Content:
        try:
            return schema.Content(self._blobs.open(digest, tx), schema.media_type(name), schema.disposition(name))
        except FileNotFoundError:  # deleted since its row was read
            raise gone from None

    def _preview(self, tx: Transaction, digest: str, length: int) -> Preview:
        try:
            with self._blobs.open(digest, tx) as file:
                return Preview(file.read(length), file.seek(0, 2))
        except FileNotFoundError:  # deleted since its row was read
            return Preview(b"", 0)
