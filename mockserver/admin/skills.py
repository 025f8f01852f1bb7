"""Skills, their versions and the files in them, also of the skills in containers: find, read and delete them."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from mockserver import bundles, control_errors, errors, skills
from mockserver.admin.contents import Preview, open_content
from mockserver.admin.lists import Found, NamedQuery, Search
from mockserver.context import Context, World
from mockserver.schema.contents import Content
from mockserver.schema.skills import Skill, SkillDeleted, SkillVersion
from mockserver.storage import tables
from mockserver.storage.database import Transaction


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


def find_skills(tx: Transaction, world: World, query: NamedQuery) -> FoundSkills:
    rows, found = _skills.find(tx, query, world.now())
    return FoundSkills(data=[_shown_skill(tx, row) for row in rows], **found)


def find_skill(tx: Transaction, world: World, skill_id: str) -> AdminSkill:
    return _shown_skill(tx, _skill(tx, skill_id))


def find_skill_version(tx: Transaction, world: World, skill_id: str, version: str) -> AdminSkillVersion:
    row = _skill_version(tx, skill_id, version)
    return {**skills.shown_version(row), "files": _members(tx, world, row.digest)}


def open_skill_version(tx: Transaction, world: World, skill_id: str, version: str) -> Content:
    row = _skill_version(tx, skill_id, version)
    return open_content(tx, world, row.digest, f"{row.name}.zip", errors.SKILL_VERSION_NOT_FOUND(version=version))


def preview_skill_file(tx: Transaction, world: World, skill_id: str, version: str, path: str, length: int) -> Preview:
    return _preview_member(tx, world, _skill_version(tx, skill_id, version).digest, path, length)


def find_container_skill_files(tx: Transaction, world: World, container_id: str, position: int) -> SkillFiles:
    return {"data": _members(tx, world, _container_skill(tx, container_id, position).digest)}


def preview_container_skill_file(
    tx: Transaction, world: World, container_id: str, position: int, path: str, length: int
) -> Preview:
    return _preview_member(tx, world, _container_skill(tx, container_id, position).digest, path, length)


def delete_skill(context: Context, skill_id: str) -> SkillDeleted:
    _skill(context.read, skill_id)  # a profile may create what is missing
    return skills.delete_skill(context, skill_id)


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
