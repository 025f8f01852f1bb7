"""Containers and their files: find, read, expire, touch and delete them."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from mockserver import containers, errors, skills
from mockserver.admin.contents import Preview, open_content, preview, size_of
from mockserver.admin.lists import Found, NamedQuery, Query, Search
from mockserver.context import Context, World
from mockserver.expiry import EXPIRES_AT, NEVER, UNEXPIRED, expired, expires_at, used
from mockserver.schema.containers import (
    UNASKED_MINUTES,
    Container,
    ContainerDeleted,
    ContainerFile,
    ContainerFileDeleted,
)
from mockserver.schema.contents import Content
from mockserver.storage import tables
from mockserver.storage.database import Statement, Transaction


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


class ContainerQuery(Query):
    name: str | None = None
    sort: Literal["created", "name", "active", "expires"] = "created"
    status: Literal["running", "expired"] | None = None


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


# Reading: for `Worlds.look`, in a thread


def find_containers(tx: Transaction, world: World, query: ContainerQuery) -> FoundContainers:
    now = world.now()
    rows, found = _containers.find(tx, query, now)
    return FoundContainers(data=[_shown(tx, world, used(tx, row, now), now) for row in rows], **found)


def find_container(tx: Transaction, world: World, container_id: str) -> AdminContainer:
    return _shown(tx, world, _container(tx, world, container_id), world.now())


def find_container_files(tx: Transaction, world: World, container_id: str, query: NamedQuery) -> FoundContainerFiles:
    _container(tx, world, container_id)
    rows, found = _container_files.find(tx, query, world.now(), container_id=container_id)
    return FoundContainerFiles(data=[_shown_file(tx, world, row) for row in rows], **found)


def find_container_file(tx: Transaction, world: World, container_id: str, file_id: str) -> AdminContainerFile:
    return _shown_file(tx, world, _container_file(tx, world, container_id, file_id))


def preview_container_file(tx: Transaction, world: World, container_id: str, file_id: str, length: int) -> Preview:
    return preview(tx, world, _container_file(tx, world, container_id, file_id).digest, length)


def open_container_file(tx: Transaction, world: World, container_id: str, file_id: str) -> Content:
    row = _container_file(tx, world, container_id, file_id)
    gone = errors.CONTAINER_FILE_NOT_FOUND(file_id=file_id, container_id=container_id)
    return open_content(tx, world, row.digest, row.path.rpartition("/")[2], gone)


# Changing: with a Context, as the API's rules


def expire_container(context: Context, container_id: str) -> None:
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


def touch_container(context: Context, container_id: str) -> None:
    """Refresh `last_active_at`. Raises APIError if the container has expired, which is final."""
    now = context.world.now()
    with context.write() as tx:
        row = _container(tx, context.world, container_id)
        if expired(row, now):
            raise replace(errors.CONTAINER_EXPIRED, status=400)()
        _set_times.run(tx, id=container_id, created=row.created_at, active=now, minutes=row.expires_minutes)


def delete_container(context: Context, container_id: str) -> ContainerDeleted:
    _container(context.read, context.world, container_id)  # a profile may create what is missing
    return containers.delete_container(context, container_id)


def delete_container_file(context: Context, container_id: str, file_id: str) -> ContainerFileDeleted:
    with context.write() as tx:
        row = _container_file(tx, context.world, container_id, file_id)
        containers.remove_file(context, tx, row, context.world.now())
    return {"id": file_id, "object": "container.file.deleted", "deleted": True}


# Finding and showing


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
