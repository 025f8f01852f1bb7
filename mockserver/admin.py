"""What tests and people see of containers and Files beside the API, and do to them.

Reading here does not refresh `last_active_at`. What is done here need not be possible to a client: a container
expires at once, the files of an expired one are deleted.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from mockserver import containers, errors, files
from mockserver.context import Context, World
from mockserver.expiry import EXPIRES_AT, NEVER, UNEXPIRED, expired, expires_at
from mockserver.schema.containers import (
    UNASKED_MINUTES,
    Container,
    ContainerDeleted,
    ContainerFile,
    ContainerFileDeleted,
)
from mockserver.schema.contents import Content, disposition, media_type
from mockserver.schema.files import File, FileDeleted
from mockserver.storage import tables
from mockserver.storage.database import Statement, Transaction
from mockserver.storage.pagination import Listing


class AdminContainer(Container):
    """As stored: `last_active_at` is when it was really used last.

    `status` is `running` or `expired`, as in the filter, whatever word the profile shows to clients.
    """

    total_bytes: Annotated[int, Field(description="Of its files; where `bytes` is null, of the content.")]
    expires_in: Annotated[
        int | None, Field(description="Seconds of the world's time; 0 when it has expired, null: never.")
    ]


class AdminContainerFile(ContainerFile):
    """With the `file_id` of the File that it is a copy of, or null."""

    size: Annotated[int, Field(description="Of the content, whatever `bytes` says.")]


class AdminFile(File):
    """A File; it can be read here whatever its purpose."""


class Found(BaseModel):
    """A page; `after` its last id is the next one. `total` counts all that match."""

    has_more: bool
    total: int


class FoundContainers(Found):
    data: list[AdminContainer]


class FoundContainerFiles(Found):
    data: list[AdminContainerFile]


class FoundFiles(Found):
    data: list[AdminFile]


class Query(BaseModel):
    """Filters of a list; `search` finds a part of a name, in any case, or an id."""

    limit: int = Field(100, ge=1, le=1_000)
    after: str | None = None
    search: str | None = Field(None, max_length=1_024)
    order: Literal["asc", "desc"] = "desc"


class ContainerQuery(Query):
    name: str | None = None
    sort: Literal["created", "name", "active", "expires"] = "created"
    status: Literal["running", "expired"] | None = None


class FileQuery(Query):
    purpose: str | None = None
    sort: Literal["created", "name", "size"] = "created"


class ContainerFileQuery(Query):
    sort: Literal["created", "name"] = "created"


Sorted = ContainerQuery | FileQuery | ContainerFileQuery


class _Search:
    """The statements for one kind of list: its pages, and how many rows it has in all.

    `keys` are the expressions by which it is sorted; `name` is the one that is searched.
    """

    def __init__(self, listing: Listing[Any], row: type[tables.Listed], keys: dict[str, str], *conditions: str) -> None:
        self.listing = listing
        search = f"(:search IS NULL OR id = :search OR instr(lower({keys['name']}), lower(:search)) > 0)"
        source = f"FROM live_{row.__tablename__} WHERE {' AND '.join([*conditions, search])}"
        self.pages: dict[tuple[str, str], Statement[Any]] = {
            (sort, order): Statement(
                f"SELECT * {source} AND (:after IS NULL OR ({key}, seq) {compare} ({listing.position_of(':after', key)})) "
                f"ORDER BY {key} {order}, seq {order} LIMIT :limit",
                row,
            )
            for sort, key in {"created": "created_at", **keys}.items()
            for order, compare in (("desc", "<"), ("asc", ">"))
        }
        self.count: Statement[Any] = Statement(f"SELECT count(*) {source}")


_containers = _Search(
    containers.listing,
    tables.Container,
    {
        "name": "name",
        "active": "last_active_at",
        "expires": f"CASE expires_minutes WHEN {NEVER} THEN 1 << 60 ELSE {EXPIRES_AT} END",
    },
    "(:name IS NULL OR name = :name)",
    f"(:status IS NULL OR (:status = 'running') = {UNEXPIRED})",
)
_container_files = _Search(
    containers.file_listing,
    tables.ContainerFile,
    {"name": "path"},
    "container_id = :container_id",
)
_files = _Search(
    files.listing,
    tables.File,
    {"name": "filename", "size": "bytes"},
    "(:purpose IS NULL OR purpose = :purpose)",
    files.UNEXPIRED,
)
_set_times: Statement[tables.Container] = Statement(
    "UPDATE containers SET created_at = :created, last_active_at = :active, expires_minutes = :minutes WHERE id = :id"
)
_holds: Statement[tables.ContainerFile] = Statement(
    "SELECT count(*), sum(bytes), count(bytes) FROM live_container_files WHERE container_id = :container_id"
)
_unsized: Statement[tables.ContainerFile] = Statement(
    "SELECT digest FROM live_container_files WHERE container_id = :container_id AND bytes IS NULL"
)


@dataclass(frozen=True, slots=True)
class Preview:
    """The first bytes of a content, and how many it has in all."""

    data: bytes
    size: int


# Reading: for `Worlds.look`, in a thread


def find_containers(tx: Transaction, world: World, query: ContainerQuery) -> FoundContainers:
    now = world.now()
    rows, more, total = _page(tx, _containers, query, {"now": now, "name": query.name, "status": query.status})
    return FoundContainers(data=[_shown(tx, world, row, now) for row in rows], has_more=more, total=total)


def find_container(tx: Transaction, world: World, container_id: str) -> AdminContainer:
    return _shown(tx, world, _container(tx, container_id), world.now())


def find_container_files(
    tx: Transaction, world: World, container_id: str, query: ContainerFileQuery
) -> FoundContainerFiles:
    _container(tx, container_id)
    rows, more, total = _page(tx, _container_files, query, {"container_id": container_id})
    return FoundContainerFiles(data=[_shown_file(tx, world, row) for row in rows], has_more=more, total=total)


def find_container_file(tx: Transaction, world: World, container_id: str, file_id: str) -> AdminContainerFile:
    return _shown_file(tx, world, _container_file(tx, container_id, file_id))


def find_files(tx: Transaction, world: World, query: FileQuery) -> FoundFiles:
    rows, more, total = _page(tx, _files, query, {"now": world.now(), "purpose": query.purpose})
    return FoundFiles(data=[files.shown(row) for row in rows], has_more=more, total=total)


def find_file(tx: Transaction, world: World, file_id: str) -> AdminFile:
    return files.shown(_file(tx, world, file_id))


def preview_container_file(tx: Transaction, world: World, container_id: str, file_id: str, length: int) -> Preview:
    return _preview(tx, world, _container_file(tx, container_id, file_id).digest, length)


def preview_file(tx: Transaction, world: World, file_id: str, length: int) -> Preview:
    return _preview(tx, world, _file(tx, world, file_id).digest, length)


def open_container_file(tx: Transaction, world: World, container_id: str, file_id: str) -> Content:
    row = _container_file(tx, container_id, file_id)
    gone = errors.CONTAINER_FILE_NOT_FOUND(file_id=file_id, container_id=container_id)
    return _open(tx, world, row.digest, row.path.rpartition("/")[2], gone)


def open_file(tx: Transaction, world: World, file_id: str) -> Content:
    row = _file(tx, world, file_id)
    return _open(tx, world, row.digest, row.filename, errors.FILE_NOT_FOUND(file_id=file_id))


# Changing: with a Context, as the API's rules


def expire_container(context: Context, container_id: str) -> None:
    """Let it expire at the world's present instant: what its expiry counts from moves back."""
    now = context.world.now()
    with context.write() as tx:
        row = _container(tx, container_id)
        minutes = row.expires_minutes or UNASKED_MINUTES
        since = now - minutes * 60
        if not expired(row, now):
            created = since if row.expires_anchor == "created_at" else row.created_at
            active = since if row.expires_anchor == "last_active_at" else row.last_active_at
            _set_times.run(tx, id=container_id, created=created, active=active, minutes=minutes)


def touch_container(context: Context, container_id: str) -> None:
    """Count as activity; raises APIError for a container that has expired, as that is for good."""
    now = context.world.now()
    with context.write() as tx:
        row = _container(tx, container_id)
        if expired(row, now):
            raise errors.CONTAINER_EXPIRED()
        _set_times.run(tx, id=container_id, created=row.created_at, active=now, minutes=row.expires_minutes)


def delete_container(context: Context, container_id: str) -> ContainerDeleted:
    _container(context.read, container_id)  # a profile may create what is missing
    return containers.delete_container(context, container_id)


def delete_container_file(context: Context, container_id: str, file_id: str) -> ContainerFileDeleted:
    with context.write() as tx:
        row = _container_file(tx, container_id, file_id)
        containers.remove_file(context, tx, row, context.world.now())
    return {"id": file_id, "object": "container.file.deleted", "deleted": True}


def delete_file(context: Context, file_id: str) -> FileDeleted:
    _file(context.read, context.world, file_id)  # a profile may create what is missing
    return files.delete_file(context, file_id)


# Finding and showing


def _page(tx: Transaction, search: _Search, query: Sorted, values: dict[str, object]) -> tuple[list[Any], bool, int]:
    values = {**values, "search": query.search}
    if query.after is not None and search.listing.position(tx, **values, cursor=query.after) is None:
        raise errors.UNKNOWN_CURSOR(param="after", value=query.after[:80])
    rows = search.pages[query.sort, query.order].all(tx, **values, after=query.after, limit=query.limit + 1)
    return rows[: query.limit], len(rows) > query.limit, int(search.count.value(tx, **values))


def _container(tx: Transaction, container_id: str) -> tables.Container:
    if row := containers.find(tx, container_id):
        return row
    raise errors.CONTAINER_NOT_FOUND(container_id=container_id)


def _container_file(tx: Transaction, container_id: str, file_id: str) -> tables.ContainerFile:
    _container(tx, container_id)
    if row := containers.find_file(tx, container_id, file_id):
        return row
    raise errors.CONTAINER_FILE_NOT_FOUND(file_id=file_id, container_id=container_id)


def _file(tx: Transaction, world: World, file_id: str) -> tables.File:
    if row := files.find(tx, file_id, world.now()):
        return row
    raise errors.FILE_NOT_FOUND(file_id=file_id)


def _shown(tx: Transaction, world: World, row: tables.Container, now: int) -> AdminContainer:
    count, known, sized = _holds.tuple(tx, container_id=row.id) or (0, 0, 0)
    total = known or 0
    if sized < count:
        total += sum(_size(tx, world, digest) for (digest,) in _unsized.tuples(tx, container_id=row.id))
    at = expires_at(row)
    left = None if at is None else max(0, at - now)
    return {**containers.shown(row, now), "file_count": count, "total_bytes": total, "expires_in": left}


def _shown_file(tx: Transaction, world: World, row: tables.ContainerFile) -> AdminContainerFile:
    return {**containers.shown_file(row), "size": _size(tx, world, row.digest), "file_id": row.file_id}


def _size(tx: Transaction, world: World, digest: str) -> int:
    """0 where it was deleted since its row was read."""
    try:
        return world.contents.size(tx, digest)
    except FileNotFoundError:
        return 0


def _open(tx: Transaction, world: World, digest: str, name: str, gone: errors.APIError) -> Content:
    try:
        return Content(world.open(tx, digest), media_type(name), disposition(name))
    except FileNotFoundError:  # deleted since its row was read
        raise gone from None


def _preview(tx: Transaction, world: World, digest: str, length: int) -> Preview:
    try:
        with world.open(tx, digest) as file:
            return Preview(file.read(length), file.seek(0, 2))
    except FileNotFoundError:  # deleted since its row was read
        return Preview(b"", 0)
