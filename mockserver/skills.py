"""Skills, their versions, and the skills in containers.

A version is a zip, checked when it was sent, with a number of its skill; no number is used again. A skill shows name
and description of its default version. A container keeps its skills as they were when it was created.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from mockserver import bundles, errors, profiles
from mockserver.bundles import Bundle
from mockserver.context import DROP_COSTS, Context
from mockserver.errors import APIError
from mockserver.schema.containers import InlineSkill, SkillReference
from mockserver.schema.contents import Content, disposition
from mockserver.schema.lists import listed
from mockserver.schema.skills import (
    ListSkills,
    Skill,
    SkillDeleted,
    SkillList,
    SkillVersion,
    SkillVersionDeleted,
    SkillVersionList,
    UpdateSkill,
)
from mockserver.storage import tables
from mockserver.storage.database import Insertion, Statement, Transaction
from mockserver.storage.pagination import Listing

LATEST = "latest"
NUMBER_OR_LATEST = "a positive integer or 'latest'"
MAX_DIGITS = 15
"""Of a number by which versions are ordered. A profile or a seed can give a version a longer one, which SQLite can't
store; it comes behind those before it."""
FOLDER = "/home/oai/skills"
"""Where a container has its skills (seen)."""


_insert = Insertion(tables.Skill)
_find = Statement("SELECT * FROM live_skills WHERE id = :id", tables.Skill)
_set_default = Statement(
    "UPDATE skills SET default_version = :version, name = :name, description = :description WHERE id = :id"
)
_set_latest = Statement(
    "UPDATE skills SET last_number = max(last_number, :number), latest_version = "
    "(SELECT version FROM live_skill_versions WHERE skill_id = :id ORDER BY number DESC LIMIT 1) WHERE id = :id"
)
_insert_version = Insertion(tables.SkillVersion)
_find_version = Statement(
    "SELECT * FROM live_skill_versions WHERE skill_id = :skill_id AND version = :version", tables.SkillVersion
)
_versions = Statement(
    "SELECT * FROM live_skill_versions WHERE skill_id = :skill_id ORDER BY number DESC", tables.SkillVersion
)
_delete_versions = Statement("DELETE FROM skill_versions WHERE skill_id = :skill_id")
_is_other = Statement("SELECT 1 FROM live_skill_versions WHERE id = :id")
_insert_mounted = Insertion(tables.ContainerSkill)
_mounted = Statement(
    "SELECT * FROM container_skills WHERE container_id = :container_id ORDER BY position", tables.ContainerSkill
)
_delete_mounted = Statement("DELETE FROM container_skills WHERE container_id = :container_id")


class _Skills(Listing[tables.Skill]):
    def unknown(self, tx: Transaction, param: str, cursor: str) -> APIError:
        return errors.SKILL_NOT_FOUND(skill_id=cursor)


class _Versions(Listing[tables.SkillVersion]):
    def unknown(self, tx: Transaction, param: str, cursor: str) -> APIError:
        if not cursor.startswith("skillver"):
            return super().unknown(tx, param, cursor)
        if _is_other.value(tx, id=cursor):
            return errors.WRONG_SKILL_CURSOR()
        return errors.SKILL_VERSION_NOT_FOUND(version=cursor)


VISIBLE = "(:until IS NULL OR created_at <= :until)"
listing = _Skills(tables.Skill, "skill_", "Skill", live=VISIBLE)
version_listing = _Versions(tables.SkillVersion, "skillver", "Skill Version", live=VISIBLE, order=("number",))


@dataclass(frozen=True, slots=True)
class NewSkill:
    """The form of a new skill or version. `bundle` is None where no file was sent."""

    bundle: Bundle | None
    fields: dict[str, str]


@dataclass(frozen=True, slots=True)
class Supplied:
    """What the skills of containers are beside those of the world: inline ones by their place in the request, as
    `skills[0]`, and ids of OpenAI's."""

    inline: Mapping[str, Bundle] = field(default_factory=dict)
    curated: Collection[str] = ()


NOTHING = Supplied()


# Skills, in the order of the API reference


def create_skill(context: Context, form: NewSkill) -> Skill:
    return shown(_create(context, _bundle(context, form)))


def list_skills(context: Context, query: ListSkills) -> SkillList:
    if (
        query.after
        and not query.after.startswith("skill_")
        and context.world.profile.malformed_skill_cursor == errors.SERVER_ERROR.status
    ):
        raise errors.IntendedFailure
    rows, more = context.page(listing, query, {"until": _visible_until(context)})
    return listed([shown(row) for row in rows], more)


def retrieve_skill(context: Context, skill_id: str) -> Skill:
    return shown(_found(context, skill_id))


def update_skill(context: Context, skill_id: str, body: UpdateSkill) -> Skill:
    with context.write() as tx:
        version = _found_version(context, skill_id, body.default_version, "default_version")
        _make_default(tx, version)
        context.touch("changed", skill_id)
    return shown(_found(context, skill_id))


def delete_skill(context: Context, skill_id: str) -> SkillDeleted:
    with context.write() as tx:
        _delete(context, tx, _found(context, skill_id))
    return {"id": skill_id, "object": "skill.deleted", "deleted": True}


def retrieve_skill_content(context: Context, skill_id: str) -> Content:
    row = _found(context, skill_id)
    version = find_version(context.read, skill_id, row.default_version)
    assert version, "a skill always has its default version"
    return _content(context, version)


# Versions


def create_skill_version(context: Context, skill_id: str, form: NewSkill) -> SkillVersion:
    bundle, default = _bundle(context, form, "default"), form.fields.get("default", "false")
    if default not in ("true", "false"):
        raise errors.WRONG_TYPE(param="default", expected="a boolean", got="a string")
    with context.write() as tx:
        row = _found(context, skill_id)
        version = _add_version(context, row, bundle)
        if default == "true":
            _make_default(tx, version)
        context.touch("created", version.id)
    return shown_version(version)


def list_skill_versions(context: Context, skill_id: str, query: ListSkills) -> SkillVersionList:
    _found(context, skill_id)
    rows, more = context.page(version_listing, query, {"skill_id": skill_id, "until": _visible_until(context)})
    return listed([shown_version(row) for row in rows], more)


def retrieve_skill_version(context: Context, skill_id: str, version: str) -> SkillVersion:
    return shown_version(_found_version(context, skill_id, version))


def delete_skill_version(context: Context, skill_id: str, version: str) -> SkillVersionDeleted:
    """Delete a version; the last one that is left takes its skill with it (doc)."""
    with context.write() as tx:
        row = _found_version(context, skill_id, version)
        skill, rows = _found(context, skill_id), find_versions(tx, skill_id)
        if len(rows) == 1:
            _delete(context, tx, skill)
        elif row.version == skill.default_version and not context.creates_missing(version):
            raise errors.DEFAULT_SKILL_VERSION()
        else:
            context.delete(tx, version_listing, skill_id=skill_id, id=row.id)
            _set_latest.run(tx, id=skill_id, number=0)
            if row.version == skill.default_version:
                _make_default(tx, find_versions(tx, skill_id)[0])
            context.world.contents.drop(tx, [row.digest])
        context.touch("deleted", row.id)
    return {"id": row.id, "object": "skill.version.deleted", "deleted": True, "version": row.version}


def retrieve_skill_version_content(context: Context, skill_id: str, version: str) -> Content:
    return _content(context, _found_version(context, skill_id, version))


# In containers


def mount(
    context: Context,
    tx: Transaction,
    container_id: str,
    skills: Sequence[SkillReference | InlineSkill],
    supplied: Supplied,
    where: str,
) -> None:
    """Give a new container its skills, as they are now."""
    for position, skill in enumerate(skills):
        skill_id, version, source = _source(context, skill, f"{where}skills[{position}]", supplied)
        if isinstance(source, Bundle):
            context.world.contents.keep(tx, source.zip)
        _insert_mounted.add(
            tx,
            _insert_mounted.new(
                container_id=container_id,
                position=position,
                skill_id=skill_id,
                version=version,
                name=source.name,
                description=source.description,
                path=mounted_at(source.name, version),
                digest=source.digest,
            ),
        )


def check_skills(
    context: Context, skills: Sequence[SkillReference | InlineSkill], supplied: Supplied, where: str
) -> None:
    """Raises APIError for a skill that a new container could not have."""
    for position, skill in enumerate(skills):
        _source(context, skill, f"{where}skills[{position}]", supplied)


def mounted_at(name: str, version: str | None) -> str:
    """Return the folder of a skill in a container (seen; without a version, of an inline skill: guess)."""
    return f"{FOLDER}/{name}-{version}" if version else f"{FOLDER}/{name}"


def mounted(tx: Transaction, container_id: str) -> list[tables.ContainerSkill]:
    return _mounted.all(tx, container_id=container_id)


def unmount(tx: Transaction, container_id: str) -> list[str]:
    """Delete a container's skills. Returns the digests that are to be dropped."""
    digests = [row.digest for row in mounted(tx, container_id)]
    _delete_mounted.run(tx, container_id=container_id)
    return digests


def _source(
    context: Context, skill: SkillReference | InlineSkill, place: str, supplied: Supplied
) -> tuple[str | None, str | None, Bundle | tables.SkillVersion]:
    """Return id, version and contents of a skill that a new container names or brings."""
    if isinstance(skill, InlineSkill):
        return None, None, supplied.inline[place]
    wanted = skill.version
    if skill.skill_id in supplied.curated:
        if wanted not in (None, LATEST) and not _is_number(wanted):
            raise errors.BAD_SKILL_VERSION(param=f"{place}.version", value=wanted, expected=NUMBER_OR_LATEST)
        return skill.skill_id, wanted or LATEST, bundles.placeholder(skill.skill_id)
    row = find(context.read, skill.skill_id)
    if row is None and not context.creates_missing(skill.skill_id):
        raise errors.REFERENCED_SKILL_NOT_FOUND(skill_id=skill.skill_id, skills=place.rpartition("[")[0])
    row = row or _create(context, bundles.placeholder(), skill.skill_id)
    wanted = {None: row.default_version, LATEST: row.latest_version}.get(wanted, wanted)
    assert wanted is not None
    if version := _known_version(context, row, wanted):
        return row.id, version.version, version
    if _is_number(wanted):
        listed_in = place.rpartition("[")[0]
        raise errors.REFERENCED_SKILL_VERSION_NOT_FOUND(version=wanted, skill_id=row.id, skills=listed_in)
    raise errors.BAD_SKILL_VERSION(param=f"{place}.version", value=wanted, expected=NUMBER_OR_LATEST)


# Finding


def find(tx: Transaction, skill_id: str) -> tables.Skill | None:
    return _find.first(tx, id=skill_id)


def find_version(tx: Transaction, skill_id: str, version: str) -> tables.SkillVersion | None:
    return _find_version.first(tx, skill_id=skill_id, version=version)


def find_versions(tx: Transaction, skill_id: str) -> list[tables.SkillVersion]:
    """The newest first."""
    return _versions.all(tx, skill_id=skill_id)


def _found(context: Context, skill_id: str) -> tables.Skill:
    if row := find(context.read, skill_id):
        return row
    if context.creates_missing(skill_id):
        return _create(context, bundles.placeholder(), skill_id)
    raise context.missing("skill_id", skill_id, "skill", errors.SKILL_NOT_FOUND(skill_id=skill_id))


def _found_version(context: Context, skill_id: str, version: str, param: str = "version") -> tables.SkillVersion:
    """A version that a request names by its number, which is checked first."""
    if not _is_number(version) and not context.creates_missing(version):
        raise errors.BAD_SKILL_VERSION(param=param, value=version, expected="a positive integer")
    if found := _known_version(context, _found(context, skill_id), version):
        return found
    raise errors.SKILL_VERSION_NOT_FOUND(version=version)


def _is_number(version: str) -> bool:
    return re.fullmatch(r"[1-9][0-9]*", version) is not None


def _known_version(context: Context, skill: tables.Skill, version: str) -> tables.SkillVersion | None:
    """A version of a skill, created if the profile creates what is missing."""
    if found := find_version(context.read, skill.id, version):
        return found
    return _add_version(context, skill, bundles.placeholder(), version) if context.creates_missing(version) else None


# Changing


def _bundle(context: Context, form: NewSkill, *known: str) -> Bundle:
    """The files of a form. Raises APIError if it has none, or fields that are not known."""
    if form.bundle is None:
        raise errors.MISSING_PARAMETER(param="files")
    unknown = next((name for name in form.fields if name not in known), None)
    if unknown is not None and not context.allows(profiles.UNKNOWN_KEY):
        raise errors.UNKNOWN_PARAMETER(param=unknown)
    return form.bundle


def _create(context: Context, bundle: Bundle, id: str | None = None) -> tables.Skill:
    """Create a skill with one version."""
    with context.write() as tx:
        row = context.insert(
            tx,
            _insert,
            id,
            created_at=context.world.now(),
            name=bundle.name,
            description=bundle.description,
            default_version="1",
            latest_version="1",
            last_number=0,
        )
        context.touch("created", row.id)
        _add_version(context, row, bundle)
    return row


def _add_version(
    context: Context, skill: tables.Skill, bundle: Bundle, version: str | None = None
) -> tables.SkillVersion:
    """Add a version with the next number, or with the one that a profile creates since it is named."""
    world, now = context.world, context.world.now()
    number = int(version) if version and _is_number(version) and len(version) <= MAX_DIGITS else skill.last_number + 1
    with context.write() as tx:
        row = context.insert(
            tx,
            _insert_version,
            skill_id=skill.id,
            created_at=now,
            version=version or str(number),
            number=number,
            name=bundle.name,
            description=bundle.description,
            digest=bundle.digest,
        )
        _set_latest.run(tx, id=skill.id, number=number)
        world.contents.keep(tx, bundle.zip)
        context.touch("created", row.id)
    return row


def _make_default(tx: Transaction, version: tables.SkillVersion) -> None:
    _set_default.run(
        tx,
        id=version.skill_id,
        version=version.version,
        name=version.name,
        description=version.description,
    )


def _delete(context: Context, tx: Transaction, skill: tables.Skill) -> None:
    digests = [row.digest for row in find_versions(tx, skill.id)]
    context.expect(len(digests) * DROP_COSTS)
    _delete_versions.run(tx, skill_id=skill.id)
    context.delete(tx, listing, id=skill.id)
    context.world.contents.drop(tx, digests)
    context.touch("deleted", skill.id)


# Showing


def shown(row: tables.Skill) -> Skill:
    """As the API shows it."""
    return {
        "id": row.id,
        "object": "skill",
        "created_at": row.created_at,
        "default_version": row.default_version,
        "description": row.description,
        "latest_version": row.latest_version,
        "name": row.name,
    }


def shown_version(row: tables.SkillVersion) -> SkillVersion:
    return {
        "id": row.id,
        "object": "skill.version",
        "created_at": row.created_at,
        "description": row.description,
        "name": row.name,
        "skill_id": row.skill_id,
        "version": row.version,
    }


def _content(context: Context, row: tables.SkillVersion) -> Content:
    """The zip. Its disposition is a guess."""
    file = context.world.open(context.read, row.digest)
    return Content(file, "application/zip", disposition(f"{row.name}.zip"), row.digest)


def _visible_until(context: Context) -> int | None:
    """Lists don't show yet what was created after this instant."""
    lag = context.world.profile.new_skill_lag
    return context.world.now() - lag if lag else None
