"""Skills, their versions and the files in them, also of the skills in containers: find, read, add and delete them."""

from typing import Annotated

from fastapi import Query, Request
from pydantic import Field
from starlette.responses import Response
from typing_extensions import TypedDict

from mockserver import bundles, control_errors, errors, skills
from mockserver.context import Context, World
from mockserver.control.bodies import add_objects, described, json_like
from mockserver.control.contents import PREVIEWED, PreviewBytes, download, previewed, send_content
from mockserver.control.dependencies import TheMock, new_router
from mockserver.control.lists import Found, NamedQuery, Search
from mockserver.schema.skills import Skill, SkillDeleted, SkillVersion
from mockserver.storage import tables
from mockserver.storage.database import Transaction

router = new_router("/worlds/{world}", "Skills", ["skills", "worlds"])

_EXAMPLE = {"files": [{"path": "SKILL.md", "content": "---\nname: greet\ndescription: Greet people.\n---\n"}]}
_SKILL = described(json_like(_EXAMPLE))


class AdminSkillFile(TypedDict):
    path: Annotated[str, Field(description="Below the skill's folder.")]
    bytes: int


class AdminSkillVersion(SkillVersion):
    files: list[AdminSkillFile]


class AdminSkill(Skill):
    """A skill with the numbers of its versions, the newest first."""

    versions: list[str]


class SkillFiles(TypedDict):
    data: list[AdminSkillFile]


class FoundSkills(Found):
    data: list[AdminSkill]


_skills = Search(skills.listing, tables.Skill, {"name": "name"})


@router.get("/skills")
async def find_skills(mock: TheMock, world: str, query: Annotated[NamedQuery, Query()]) -> FoundSkills:
    """List skills, newest first, with the numbers of their versions."""
    return await mock.worlds.look(world, _found, query)


@router.post("/skills", openapi_extra=_SKILL)
async def stage_skill(mock: TheMock, world: str, request: Request) -> AdminSkill:
    """Create a skill with its versions: the keys of a skill in a seed."""
    added = await add_objects(mock, request, world, "skills")
    return await find_skill(mock, world, added["skills"][-1])


@router.get("/skills/{skill_id}")
async def find_skill(mock: TheMock, world: str, skill_id: str) -> AdminSkill:
    """Return one skill."""
    return await mock.worlds.look(world, lambda tx, _: _shown(tx, _skill(tx, skill_id)))


@router.delete("/skills/{skill_id}")
async def remove_skill(mock: TheMock, world: str, skill_id: str) -> SkillDeleted:
    """Delete a skill with its versions. Containers keep it."""
    return await mock.worlds.change(world, _remove, skill_id)


@router.get("/skills/{skill_id}/versions/{version}")
async def find_skill_version(mock: TheMock, world: str, skill_id: str, version: str) -> AdminSkillVersion:
    """Return a version with the paths and sizes of its files."""

    def find(tx: Transaction, state: World) -> AdminSkillVersion:
        row = _version(tx, skill_id, version)
        return {**skills.shown_version(row), "files": _members(tx, state, row.digest)}

    return await mock.worlds.look(world, find)


@router.get("/skills/{skill_id}/versions/{version}/content", **download())
async def save_skill_version(mock: TheMock, world: str, skill_id: str, version: str) -> Response:
    """Download a version as a zip."""

    def send(tx: Transaction, state: World) -> Response:
        row = _version(tx, skill_id, version)
        gone = errors.SKILL_VERSION_NOT_FOUND(version=version)
        return send_content(tx, state, row.digest, f"{row.name}.zip", gone)

    return await mock.worlds.look(world, send)


@router.get("/skills/{skill_id}/versions/{version}/files/{path:path}", response_class=Response)
async def preview_skill_file(
    mock: TheMock, world: str, skill_id: str, version: str, path: str, bytes: PreviewBytes = PREVIEWED
) -> Response:
    """Return the first bytes of a file of a version, as plain text or bytes."""

    def preview(tx: Transaction, state: World) -> Response:
        return _preview_member(tx, state, _version(tx, skill_id, version).digest, path, bytes)

    return await mock.worlds.look(world, preview)


@router.get("/containers/{container_id}/skills/{position}")
async def find_container_skill_files(mock: TheMock, world: str, container_id: str, position: int) -> SkillFiles:
    """List the files of a skill in a container, by the skill's place in the container's `skills`."""

    def find(tx: Transaction, state: World) -> SkillFiles:
        return {"data": _members(tx, state, _mounted(tx, container_id, position).digest)}

    return await mock.worlds.look(world, find)


@router.get("/containers/{container_id}/skills/{position}/{path:path}", response_class=Response)
async def preview_container_skill_file(
    mock: TheMock, world: str, container_id: str, position: int, path: str, bytes: PreviewBytes = PREVIEWED
) -> Response:
    """Return the first bytes of a file of a skill in a container, as plain text or bytes."""

    def preview(tx: Transaction, state: World) -> Response:
        return _preview_member(tx, state, _mounted(tx, container_id, position).digest, path, bytes)

    return await mock.worlds.look(world, preview)


def _found(tx: Transaction, world: World, query: NamedQuery) -> FoundSkills:
    rows, found = _skills.find(tx, query, world.now())
    return FoundSkills(data=[_shown(tx, row) for row in rows], **found)


def _remove(context: Context, skill_id: str) -> SkillDeleted:
    _skill(context.read, skill_id)  # a profile may create what is missing
    return skills.delete_skill(context, skill_id)


def _skill(tx: Transaction, skill_id: str) -> tables.Skill:
    if row := skills.find(tx, skill_id):
        return row
    raise errors.SKILL_NOT_FOUND(skill_id=skill_id)


def _version(tx: Transaction, skill_id: str, version: str) -> tables.SkillVersion:
    _skill(tx, skill_id)
    if row := skills.find_version(tx, skill_id, version):
        return row
    raise errors.SKILL_VERSION_NOT_FOUND(version=version)


def _mounted(tx: Transaction, container_id: str, position: int) -> tables.ContainerSkill:
    if row := next((each for each in skills.mounted(tx, container_id) if each.position == position), None):
        return row
    raise control_errors.CONTAINER_SKILL_NOT_FOUND(container_id=container_id, position=position)


def _shown(tx: Transaction, row: tables.Skill) -> AdminSkill:
    return {**skills.shown(row), "versions": [each.version for each in skills.find_versions(tx, row.id)]}


def _members(tx: Transaction, world: World, digest: str) -> list[AdminSkillFile]:
    try:
        with world.open(tx, digest) as file:
            return [{"path": path, "bytes": size} for path, size in bundles.list_members(file).items()]
    except FileNotFoundError:  # deleted since its row was read
        return []


def _preview_member(tx: Transaction, world: World, digest: str, path: str, length: int) -> Response:
    try:
        with world.open(tx, digest) as file, bundles.open_member(file, path) as member:
            return previewed(member.read(length), member.seek(0, 2))
    except (FileNotFoundError, KeyError):
        raise control_errors.SKILL_FILE_NOT_FOUND(path=path[:200]) from None
