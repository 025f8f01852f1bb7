"""Containers, Files, uploads and skills for the control plane: find, read, expire, touch and delete them.

Reading does not refresh `last_active_at`. Some changes are not possible through the API: a container can expire at
once, and the files of an expired one can be deleted.
"""

from dataclasses import dataclass, replace
from typing import Any

from mockserver import bundles, containers, control_errors, errors, files, skills, uploads
from mockserver.context import Context, World
from mockserver.expiry import EXPIRES_AT, NEVER, UNEXPIRED, expired, expires_at, used
from mockserver.schema.admin import (
    AdminContainer,
    AdminContainerFile,
    AdminContainerSkill,
    AdminFile,
    AdminSkill,
    AdminSkillFile,
    AdminSkillVersion,
    AdminUpload,
    ContainerQuery,
    FileQuery,
    FoundContainerFiles,
    FoundContainers,
    FoundFiles,
    FoundSkills,
    FoundUploads,
    NamedQuery,
    SkillFiles,
    Sorted,
    UploadDeleted,
    UploadQuery,
)
from mockserver.schema.containers import (
    UNASKED_MINUTES,
    ContainerDeleted,
    ContainerFileDeleted,
)
from mockserver.schema.contents import Content, disposition, media_type
from mockserver.schema.files import FileDeleted
from mockserver.schema.skills import SkillDeleted
from mockserver.storage import tables
from mockserver.storage.database import Statement, Transaction
from mockserver.storage.pagination import Listing


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
                f"SELECT * {source} AND (:after IS NULL OR ({key}, seq) {compare} ({listing.position_of(':after', key, 'seq')})) "
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
    containers.VISIBLE,
)
_files = _Search(
    files.listing,
    tables.File,
    {"name": "filename", "size": "bytes"},
    "(:purpose IS NULL OR purpose = :purpose)",
    files.UNEXPIRED,
)
_uploads = _Search(
    uploads.listing,
    tables.Upload,
    {"name": "filename"},
    "(:status IS NULL OR CASE WHEN status = 'pending' AND expires_at <= :now THEN 'expired' ELSE status END = :status)",
)
_skills = _Search(skills.listing, tables.Skill, {"name": "name"})
_set_times = Statement(
    "UPDATE containers SET created_at = :created, last_active_at = :active, expires_minutes = :minutes WHERE id = :id"
)
_holds = Statement(
    "SELECT count(*), sum(bytes), count(bytes) FROM live_container_files WHERE container_id = :container_id "
    f"AND {containers.VISIBLE}"
)
_unsized = Statement(
    "SELECT digest FROM live_container_files WHERE container_id = :container_id AND bytes IS NULL "
    f"AND {containers.VISIBLE}"
)


@dataclass(frozen=True, slots=True)
class Preview:
    """The first bytes of a content, and its size."""

    data: bytes
    size: int


# Reading: for `Worlds.look`, in a thread


def find_containers(tx: Transaction, world: World, query: ContainerQuery) -> FoundContainers:
    now = world.now()
    rows, more, total = _page(tx, _containers, query, {"now": now, "name": query.name, "status": query.status})
    return FoundContainers(
        data=[_shown(tx, world, used(tx, row, now), now) for row in rows], has_more=more, total=total
    )


def find_container(tx: Transaction, world: World, container_id: str) -> AdminContainer:
    return _shown(tx, world, _container(tx, world, container_id), world.now())


def find_container_files(tx: Transaction, world: World, container_id: str, query: NamedQuery) -> FoundContainerFiles:
    _container(tx, world, container_id)
    rows, more, total = _page(tx, _container_files, query, {"container_id": container_id, "now": world.now()})
    return FoundContainerFiles(data=[_shown_file(tx, world, row) for row in rows], has_more=more, total=total)


def find_container_file(tx: Transaction, world: World, container_id: str, file_id: str) -> AdminContainerFile:
    return _shown_file(tx, world, _container_file(tx, world, container_id, file_id))


def find_files(tx: Transaction, world: World, query: FileQuery) -> FoundFiles:
    rows, more, total = _page(tx, _files, query, {"now": world.now(), "purpose": query.purpose})
    return FoundFiles(data=[files.shown(row) for row in rows], has_more=more, total=total)


def find_file(tx: Transaction, world: World, file_id: str) -> AdminFile:
    return files.shown(_file(tx, world, file_id))


def find_uploads(tx: Transaction, world: World, query: UploadQuery) -> FoundUploads:
    rows, more, total = _page(tx, _uploads, query, {"now": world.now(), "status": query.status})
    return FoundUploads(data=[_shown_upload(tx, world, row) for row in rows], has_more=more, total=total)


def find_upload(tx: Transaction, world: World, upload_id: str) -> AdminUpload:
    return _shown_upload(tx, world, _upload(tx, upload_id))


def preview_container_file(tx: Transaction, world: World, container_id: str, file_id: str, length: int) -> Preview:
    return _preview(tx, world, _container_file(tx, world, container_id, file_id).digest, length)


def preview_file(tx: Transaction, world: World, file_id: str, length: int) -> Preview:
    return _preview(tx, world, _file(tx, world, file_id).digest, length)


def open_container_file(tx: Transaction, world: World, container_id: str, file_id: str) -> Content:
    row = _container_file(tx, world, container_id, file_id)
    gone = errors.CONTAINER_FILE_NOT_FOUND(file_id=file_id, container_id=container_id)
    return _open(tx, world, row.digest, row.path.rpartition("/")[2], gone)


def open_file(tx: Transaction, world: World, file_id: str) -> Content:
    row = _file(tx, world, file_id)
    return _open(tx, world, row.digest, row.filename, errors.FILE_NOT_FOUND(file_id=file_id))


def find_skills(tx: Transaction, world: World, query: NamedQuery) -> FoundSkills:
    rows, more, total = _page(tx, _skills, query, {})
    return FoundSkills(data=[_shown_skill(tx, row) for row in rows], has_more=more, total=total)


def find_skill(tx: Transaction, world: World, skill_id: str) -> AdminSkill:
    return _shown_skill(tx, _skill(tx, skill_id))


def find_skill_version(tx: Transaction, world: World, skill_id: str, version: str) -> AdminSkillVersion:
    row = _skill_version(tx, skill_id, version)
    return {**skills.shown_version(row), "files": _members(tx, world, row.digest)}


def open_skill_version(tx: Transaction, world: World, skill_id: str, version: str) -> Content:
    row = _skill_version(tx, skill_id, version)
    return _open(tx, world, row.digest, f"{row.name}.zip", errors.SKILL_VERSION_NOT_FOUND(version=version))


def preview_skill_file(tx: Transaction, world: World, skill_id: str, version: str, path: str, length: int) -> Preview:
    return _preview_member(tx, world, _skill_version(tx, skill_id, version).digest, path, length)


def find_container_skill_files(tx: Transaction, world: World, container_id: str, position: int) -> SkillFiles:
    return {"data": _members(tx, world, _container_skill(tx, container_id, position).digest)}


def preview_container_skill_file(
    tx: Transaction, world: World, container_id: str, position: int, path: str, length: int
) -> Preview:
    return _preview_member(tx, world, _container_skill(tx, container_id, position).digest, path, length)


# Changing: with a Context, as the API's rules


def expire_container(context: Context, container_id: str) -> None:
    """Let a container expire now: the time from which its expiry counts moves back."""
    now = context.world.now()
    with context.write() as tx:
        row = _container(tx, context.world, container_id)
        minutes = row.expires_minutes or UNASKED_MINUTES
        since = now - minutes * 60
        if not expired(row, now):
            created = since if row.expires_anchor == "created_at" else row.created_at
            active = since if row.expires_anchor == "last_active_at" else row.last_active_at
            _set_times.run(tx, id=container_id, created=created, active=active, minutes=minutes)


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


def delete_file(context: Context, file_id: str) -> FileDeleted:
    _file(context.read, context.world, file_id)  # a profile may create what is missing
    return files.delete_file(context, file_id)


def delete_upload(context: Context, upload_id: str) -> UploadDeleted:
    """With its parts, whatever its status. A File that resulted stays."""
    with context.write() as tx:
        uploads.remove(context, tx, _upload(tx, upload_id).id)
    return {"id": upload_id, "object": "upload", "deleted": True}


def delete_skill(context: Context, skill_id: str) -> SkillDeleted:
    _skill(context.read, skill_id)  # a profile may create what is missing
    return skills.delete_skill(context, skill_id)


# Finding and showing


def _page(tx: Transaction, search: _Search, query: Sorted, values: dict[str, object]) -> tuple[list[Any], bool, int]:
    values = {**values, "search": query.search}
    if query.after is not None and search.listing.position(tx, **values, cursor=query.after) is None:
        raise control_errors.CURSOR_NOT_FOUND(param="after", value=query.after[:80])
    rows = search.pages[query.sort, query.order].all(tx, **values, after=query.after, limit=query.limit + 1)
    return rows[: query.limit], len(rows) > query.limit, int(search.count.value(tx, **values))


def _container(tx: Transaction, world: World, container_id: str) -> tables.Container:
    if row := containers.find(tx, container_id, world.now()):
        return row
    raise errors.CONTAINER_NOT_FOUND(container_id=container_id)


def _container_file(tx: Transaction, world: World, container_id: str, file_id: str) -> tables.ContainerFile:
    _container(tx, world, container_id)
    if row := containers.find_file(tx, container_id, file_id, world.now()):
        return row
    raise errors.CONTAINER_FILE_NOT_FOUND(file_id=file_id, container_id=container_id)


def _file(tx: Transaction, world: World, file_id: str) -> tables.File:
    if row := files.find(tx, file_id, world.now()):
        return row
    raise errors.FILE_NOT_FOUND(file_id=file_id)


def _upload(tx: Transaction, upload_id: str) -> tables.Upload:
    if row := uploads.find(tx, upload_id):
        return row
    raise errors.UPLOAD_NOT_FOUND(upload_id=upload_id)


def _shown_upload(tx: Transaction, world: World, row: tables.Upload) -> AdminUpload:
    parts, size = uploads.received(tx, row.id)
    sent: AdminUpload = {
        **uploads.shown(row, world.now()),
        "mime_type": row.mime_type,
        "file_id": row.file_id,
        "parts": parts,
        "part_bytes": size,
    }
    if row.file_id and (file := files.find(tx, row.file_id, world.now())):
        sent["file"] = files.shown(file)
    return sent


def _skill(tx: Transaction, skill_id: str) -> tables.Skill:
    if row := skills.find(tx, skill_id):
        return row
    raise errors.SKILL_NOT_FOUND(skill_id=skill_id)


def _skill_version(tx: Transaction, skill_id: str, version: str) -> tables.SkillVersion:
    _skill(tx, skill_id)
    if row := skills.find_version(tx, skill_id, version):
        return row
    raise errors.SKILL_VERSION_NOT_FOUND(version=version)


def _container_skill(tx: Transaction, container_id: str, position: int) -> tables.ContainerSkill:
    if row := next((each for each in skills.mounted(tx, container_id) if each.position == position), None):
        return row
    raise control_errors.CONTAINER_SKILL_NOT_FOUND(container_id=container_id, position=position)


def _shown_skill(tx: Transaction, row: tables.Skill) -> AdminSkill:
    return {**skills.shown(row), "versions": [each.version for each in skills.find_versions(tx, row.id)]}


def _members(tx: Transaction, world: World, digest: str) -> list[AdminSkillFile]:
    try:
        with world.open(tx, digest) as file:
            return [{"path": path, "bytes": size} for path, size in bundles.list_members(file).items()]
    except FileNotFoundError:  # deleted since its row was read
        return []


def _preview_member(tx: Transaction, world: World, digest: str, path: str, length: int) -> Preview:
    try:
        with world.open(tx, digest) as file, bundles.open_member(file, path) as member:
            return Preview(member.read(length), member.seek(0, 2))
    except (FileNotFoundError, KeyError):
        raise control_errors.SKILL_FILE_NOT_FOUND(path=path[:200]) from None


def _shown(tx: Transaction, world: World, row: tables.Container, now: int) -> AdminContainer:
    count, known, sized = _holds.tuple(tx, container_id=row.id, now=now) or (0, 0, 0)
    total = known or 0
    if sized < count:
        total += sum(_size(tx, world, digest) for (digest,) in _unsized.tuples(tx, container_id=row.id, now=now))
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
    return {**containers.shown_file(row), "size": _size(tx, world, row.digest), "file_id": row.file_id}


def _size(tx: Transaction, world: World, digest: str) -> int:
    """Return the size of a content, 0 if it was deleted since its row was read."""
    try:
        return world.contents.size(tx, digest)
    except FileNotFoundError:
        return 0


def _open(tx: Transaction, world: World, digest: str, name: str, gone: errors.APIError) -> Content:
    try:
        return Content(world.open(tx, digest), media_type(name), disposition(name), digest)
    except FileNotFoundError:  # deleted since its row was read
        raise gone from None


def _preview(tx: Transaction, world: World, digest: str, length: int) -> Preview:
    try:
        with world.open(tx, digest) as file:
            return Preview(file.read(length), file.seek(0, 2))
    except FileNotFoundError:  # deleted since its row was read
        return Preview(b"", 0)
