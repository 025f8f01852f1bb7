"""Containers and their files: find them, add what a model run would create, expire, touch and delete them.

Reading does not refresh `last_active_at`, and creates no world.
"""

from dataclasses import replace
from typing import Annotated, Literal

from fastapi import Query, Request
from pydantic import AfterValidator, BeforeValidator, Field
from starlette.responses import Response
from typing_extensions import TypedDict

from mockserver import containers, errors, skills
from mockserver.context import Context, World
from mockserver.control.bodies import add_objects, described, json_like, multipart, uploaded
from mockserver.control.contents import PREVIEWED, Inline, PreviewBytes, download, preview, send_content, size_of
from mockserver.control.dependencies import RequestModel, TheMock, new_router
from mockserver.control.lists import Found, ListQuery, NamedQuery, Search
from mockserver.expiry import EXPIRES_AT, NEVER, UNEXPIRED, expired, expires_at, used
from mockserver.schema.containers import (
    UNASKED_MINUTES,
    Container,
    ContainerDeleted,
    ContainerFile,
    ContainerFileDeleted,
)
from mockserver.schema.values import MAX_PATH
from mockserver.seeds.containers import file_columns, leaves
from mockserver.storage import tables
from mockserver.storage.database import Statement, Transaction

router = new_router("/worlds/{world}/containers", "Containers", ["containers", "worlds"])

_CONTAINER = described(json_like({"name": "auto", "last_active_at": "-19m"}))


class AdminContainerSkill(TypedDict):
    """A skill in a container, as it was when the container was created."""

    position: Annotated[int, Field(description="Its place in the request's `skills`, from 0.")]
    skill_id: Annotated[str | None, Field(description="Null for an inline skill.")]
    version: str | None
    name: str
    description: str
    path: Annotated[str, Field(description="The folder of its files in the container.")]


class AdminContainer(Container):
    """A container as stored: `last_active_at` is when a client used it last.

    `status` is `running` or `expired`, as in the filter, whatever word the profile shows to clients.
    """

    total_bytes: Annotated[int, Field(description="Of its files; where `bytes` is null, of the content.")]
    expires_in: Annotated[
        int | None, Field(description="Seconds of the world's time; 0 when it has expired, null: never.")
    ]
    skills: Annotated[list[AdminContainerSkill], Field(description="Its skills, which the API never shows.")]


class AdminContainerFile(ContainerFile):
    """With the `file_id` of the File that it is a copy of, or null."""

    size: Annotated[int, Field(description="Of the content, whatever `bytes` says.")]


class FoundContainers(Found):
    data: list[AdminContainer]


class FoundContainerFiles(Found):
    data: list[AdminContainerFile]


class ContainerQuery(ListQuery):
    name: str | None = None
    sort: Literal["created", "name", "active", "expires"] = "created"
    status: Literal["running", "expired"] | None = None


def _below(path: str) -> str:
    if leaves(path):
        raise ValueError("a path has no '..'; send the path that it leads to")
    return path


class NewContainerFile(RequestModel):
    path: Annotated[
        Annotated[str, Field(max_length=MAX_PATH), AfterValidator(_below)] | None,
        Field(description="A relative one is below /mnt/data. With a path, the default `source` is `assistant`."),
    ] = None
    source: Literal["user", "assistant"] | None = None
    bytes: Annotated[
        Annotated[int, Field(ge=0, lt=10**15)] | None,
        BeforeValidator(lambda text: None if text == "null" else text),
        Field(description="What the API returns; `null` is possible. By default the size, or null for the assistant."),
    ] = None


_containers = Search(
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
_container_files = Search(
    containers.file_listing,
    tables.ContainerFile,
    {"name": "path"},
    "container_id = :container_id",
    containers.VISIBLE,
)
_set_times = Statement(
    "UPDATE containers SET created_at = :created, last_active_at = :active, expires_minutes = :minutes WHERE id = :id"
)
_end_use = Statement("UPDATE containers SET used_until = NULL WHERE id = :id")
_delete_uses = Statement("DELETE FROM uses WHERE container_id = :id")
_holds = Statement(
    "SELECT count(*), sum(bytes), count(bytes) FROM live_container_files WHERE container_id = :container_id "
    f"AND {containers.VISIBLE}"
)
_unsized = Statement(
    "SELECT digest FROM live_container_files WHERE container_id = :container_id AND bytes IS NULL "
    f"AND {containers.VISIBLE}"
)


@router.get("")
async def find_containers(mock: TheMock, world: str, query: Annotated[ContainerQuery, Query()]) -> FoundContainers:
    """List containers, newest first, with filters, the size of their files and the time until they expire."""
    return await mock.worlds.look(world, _found, query)


@router.post("", openapi_extra=_CONTAINER)
async def stage_container(mock: TheMock, world: str, request: Request) -> AdminContainer:
    """Create a container with its full state: the keys of a container in a seed, with files."""
    added = await add_objects(mock, request, world, "containers")
    return await find_container(mock, world, added["containers"][-1])


@router.get("/{container_id}")
async def find_container(mock: TheMock, world: str, container_id: str) -> AdminContainer:
    """Return one container as it is stored. This does not refresh `last_active_at`."""
    return await mock.worlds.look(
        world, lambda tx, state: _shown(tx, state, _container(tx, state, container_id), state.now())
    )


@router.delete("/{container_id}")
async def remove_container(mock: TheMock, world: str, container_id: str) -> ContainerDeleted:
    """Delete a container with its files."""
    return await mock.worlds.change(world, _remove, container_id)


@router.post("/{container_id}/expire")
async def expire_container(mock: TheMock, world: str, container_id: str) -> AdminContainer:
    """Expire a container now. The clock stays; the time from which its expiry counts moves back."""
    await mock.worlds.change(world, _expire, container_id)
    return await find_container(mock, world, container_id)


@router.post("/{container_id}/touch")
async def touch_container(mock: TheMock, world: str, container_id: str) -> AdminContainer:
    """Refresh `last_active_at`, as a model run does. An expired container stays expired."""
    await mock.worlds.change(world, _touch, container_id)
    return await find_container(mock, world, container_id)


@router.get("/{container_id}/files")
async def find_container_files(
    mock: TheMock, world: str, container_id: str, query: Annotated[NamedQuery, Query()]
) -> FoundContainerFiles:
    """List the files of a container, running or expired, newest first, with filters."""
    return await mock.worlds.look(world, _found_files, container_id, query)


@router.post("/{container_id}/files", openapi_extra=multipart(NewContainerFile))
async def stage_container_file(mock: TheMock, world: str, container_id: str, request: Request) -> AdminContainerFile:
    """Add a file to a container, as the user or the assistant. This does not refresh `last_active_at`."""
    async with uploaded(mock, request, NewContainerFile) as (content, filename, fields):

        def add(context: Context) -> AdminContainerFile:
            columns = file_columns(fields, filename, content)
            with context.write() as tx:
                _container(tx, context.world, container_id)
                size, digest = columns.pop("bytes"), content.digest
                row = containers.add_file(context, tx, container_id, size=size, digest=digest, **columns)
                context.world.contents.keep(tx, content)
                return _shown_file(tx, context.world, row)

        return await mock.worlds.apply(world, add)


@router.get("/{container_id}/files/{file_id}")
async def find_container_file(mock: TheMock, world: str, container_id: str, file_id: str) -> AdminContainerFile:
    """Return one file of a container, running or expired."""
    return await mock.worlds.look(
        world, lambda tx, state: _shown_file(tx, state, _container_file(tx, state, container_id, file_id))
    )


@router.get("/{container_id}/files/{file_id}/content", **download())
async def save_container_file(
    mock: TheMock, world: str, container_id: str, file_id: str, inline: Inline = False
) -> Response:
    """Download a file's content, or show an image or PDF with `?inline=true`. This does not refresh `last_active_at`."""
    return await mock.worlds.look(world, _send, container_id, file_id, inline)


@router.get("/{container_id}/files/{file_id}/preview", response_class=Response)
async def preview_container_file(
    mock: TheMock, world: str, container_id: str, file_id: str, bytes: PreviewBytes = PREVIEWED
) -> Response:
    """Return the first bytes of a file's content, as plain text or bytes, whatever the file's type."""
    return await mock.worlds.look(
        world, lambda tx, state: preview(tx, state, _container_file(tx, state, container_id, file_id).digest, bytes)
    )


@router.delete("/{container_id}/files/{file_id}")
async def remove_container_file(mock: TheMock, world: str, container_id: str, file_id: str) -> ContainerFileDeleted:
    """Delete a file of a container, running or expired. This does not refresh `last_active_at`."""
    await mock.worlds.change(world, _remove_file, container_id, file_id)
    return {"id": file_id, "object": "container.file.deleted", "deleted": True}


# Changing


def _expire(context: Context, container_id: str) -> None:
    """Let a container expire now: the time from which its expiry counts moves back, and no run uses it any more."""
    now = context.world.now()
    with context.write() as tx:
        row = _container(tx, context.world, container_id)
        minutes = row.expires_minutes or UNASKED_MINUTES
        since = now - minutes * 60
        if not expired(row, now):
            created = since if row.expires_anchor == "created_at" else row.created_at
            active = since if row.expires_anchor == "last_active_at" else row.last_active_at
            _set_times.run(tx, id=container_id, created=created, active=active, minutes=minutes)
            _end_use.run(tx, id=container_id)
            _delete_uses.run(tx, id=container_id)


def _touch(context: Context, container_id: str) -> None:
    """Refresh `last_active_at`. Raises APIError if the container has expired, which is final."""
    now = context.world.now()
    with context.write() as tx:
        row = _container(tx, context.world, container_id)
        if expired(row, now):
            raise replace(errors.CONTAINER_EXPIRED, status=400)()
        _set_times.run(tx, id=container_id, created=row.created_at, active=now, minutes=row.expires_minutes)


def _remove(context: Context, container_id: str) -> ContainerDeleted:
    _container(context.read, context.world, container_id)  # a profile may create what is missing
    return containers.delete_container(context, container_id)


def _remove_file(context: Context, container_id: str, file_id: str) -> None:
    with context.write() as tx:
        row = _container_file(tx, context.world, container_id, file_id)
        containers.remove_file(context, tx, row, context.world.now())


# Finding and showing


def _found(tx: Transaction, world: World, query: ContainerQuery) -> FoundContainers:
    now = world.now()
    rows, found = _containers.find(tx, query, now)
    return FoundContainers(data=[_shown(tx, world, used(tx, row, now), now) for row in rows], **found)


def _found_files(tx: Transaction, world: World, container_id: str, query: NamedQuery) -> FoundContainerFiles:
    _container(tx, world, container_id)
    rows, found = _container_files.find(tx, query, world.now(), container_id=container_id)
    return FoundContainerFiles(data=[_shown_file(tx, world, row) for row in rows], **found)


def _send(tx: Transaction, world: World, container_id: str, file_id: str, inline: bool) -> Response:
    row = _container_file(tx, world, container_id, file_id)
    gone = errors.CONTAINER_FILE_NOT_FOUND(file_id=file_id, container_id=container_id)
    return send_content(tx, world, row.digest, row.path.rpartition("/")[2], gone, inline)


def _container(tx: Transaction, world: World, container_id: str) -> tables.Container:
    if row := containers.find(tx, container_id, world.now()):
        return row
    raise errors.CONTAINER_NOT_FOUND(container_id=container_id)


def _container_file(tx: Transaction, world: World, container_id: str, file_id: str) -> tables.ContainerFile:
    _container(tx, world, container_id)
    if row := containers.find_file(tx, container_id, file_id, world.now()):
        return row
    raise errors.CONTAINER_FILE_NOT_FOUND(file_id=file_id, container_id=container_id)


def _shown(tx: Transaction, world: World, row: tables.Container, now: int) -> AdminContainer:
    count, known, sized = _holds.tuple(tx, container_id=row.id, now=now) or (0, 0, 0)
    total = known or 0
    if sized < count:
        total += sum(size_of(tx, world, digest) for (digest,) in _unsized.tuples(tx, container_id=row.id, now=now))
    at = expires_at(row)
    left = None if at is None else max(0, at - now)
    more = [
        AdminContainerSkill(
            position=each.position,
            skill_id=each.skill_id,
            version=each.version,
            name=each.name,
            description=each.description,
            path=each.path,
        )
        for each in skills.mounted(tx, row.id)
    ]
    shown = containers.shown(row, now)
    return {**shown, "file_count": count, "total_bytes": total, "expires_in": left, "skills": more}


def _shown_file(tx: Transaction, world: World, row: tables.ContainerFile) -> AdminContainerFile:
    return {**containers.shown_file(row), "size": size_of(tx, world, row.digest), "file_id": row.file_id}
