"""Place the objects of seeds into templates and worlds: first the contents, then all rows at once."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mockserver import answers, faults
from mockserver.bundles import Bundle
from mockserver.clock import Clock, Wall, later
from mockserver.context import World
from mockserver.profiles import Profile
from mockserver.schema.answers import Figure
from mockserver.seeds import containers as seeded_containers
from mockserver.seeds import exported, models
from mockserver.seeds import faults as seeded_faults
from mockserver.seeds import files as seeded_files
from mockserver.seeds import skills as seeded_skills
from mockserver.seeds import uploads as seeded_uploads
from mockserver.seeds.contents import Place
from mockserver.seeds.loader import Seed
from mockserver.seeds.scope import Scope
from mockserver.seeds.store import Store
from mockserver.seeds.values import NOW, numbered, numbers
from mockserver.settings import SeedError
from mockserver.skills import LATEST, mounted_at
from mockserver.storage import tables
from mockserver.storage.bulk import Placement
from mockserver.storage.contents import Contents, Upload, Uploads
from mockserver.storage.database import Transaction, in_thread
from mockserver.uploads import LIFETIME
from mockserver.worlds import Worlds

LARGE = 500
"""More objects than this are placed in a thread, not on the event loop."""


LARGE_TEXT = 1 << 20
"""More bytes of names than this are placed in a thread, too."""


@dataclass(slots=True)
class Placed:
    """The ids of placed objects, in the order of the document."""

    files: list[str] = field(default_factory=list)
    skills: list[str] = field(default_factory=list)
    containers: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)


def make_templates(seed: Seed, worlds: Worlds, uploads: Uploads, wall: Wall) -> None:
    """Create the templates that a seed describes."""
    with closing(Store(uploads)) as store, closing(seed):
        scopes = list(seed.scopes())
        for _, scope in scopes:
            store.store(scope)
        for name, scope in scopes:
            clock, restarts = _clock(scope, wall.now())
            fill = partial(_fill, scope, store, Placed(), name)
            worlds.add_template(name, clock, fill, restarts=restarts, profile=_profile(scope, worlds))


async def place(
    scope: Scope, worlds: Worlds, uploads: Uploads, wall: Wall, name: str, *, only_objects: bool = False
) -> Placed:
    """Place all objects of a document into a world at once, and set its clock and profile unless `only_objects`.

    Relative times are relative to the world's time.
    """
    placed = Placed()
    clock = _clock(scope, wall.now())[0] if scope.clock and not only_objects else None
    profile = None if only_objects else _profile(scope, worlds)
    large = sum(scope.counts().values()) > LARGE or scope.text() > LARGE_TEXT
    with closing(Store(uploads)) as store:
        await in_thread(store.store, scope)
        fill = partial(_fill, scope, store, placed, name)
        await worlds.add(name, fill, clock=clock, profile=profile, large=large)
    return placed


async def become(scope: Scope, worlds: Worlds, uploads: Uploads, wall: Wall, name: str) -> World:
    """Replace a world's whole state by what a document describes, in one step."""
    with closing(Store(uploads)) as store:
        await in_thread(store.store, scope)
        clock, _ = _clock(scope, wall.now())
        return await worlds.become(name, partial(_fill, scope, store, Placed(), name), clock, _profile(scope, worlds))


def _clock(scope: Scope, wall: float) -> tuple[Clock, bool]:
    """Return the clock, and whether every new world starts at its instant."""
    given = scope.clock[0] if scope.clock else models.Clock()
    if given.at is not None:
        return Clock(given.at, wall, given.rate), True
    return Clock(wall + (given.offset or 0), wall, given.rate), False


def _profile(scope: Scope, worlds: Worlds) -> Profile | None:
    return worlds.profile(scope.profile[0]) if scope.profile else None


def _fill(scope: Scope, store: Store, placed: Placed, world: str, put: Placement) -> None:
    replaced = {each.id: each.object["id"] for each, _ in scope.lists["deleted"] if each.list == exported.SUCCESSORS}
    filler = _Filler(store, put, placed, replaced)
    # Start after the ordinals of an export: otherwise its ids would be used a second time.
    put.skip(scope.last_seq())
    for file, place in scope.lists["files"]:
        for n in numbers(file.repeat):
            filler.file(file, place, n)
    for skill, place in scope.lists["skills"]:
        filler.skill(skill, place)
    for container, place in scope.lists["containers"]:
        for n in numbers(container.repeat):
            filler.container(container, place, n)
    for upload, place in scope.lists["uploads"]:
        filler.upload(upload, place)
    for response, _ in scope.lists["responses"]:
        put.response(**response.object, items=(item.model_dump() for item in response.items))
    if scope.lists["faults"]:
        put.later.append(partial(_add_faults, scope, placed, world, put.now))
    if scope.lists["answers"]:
        put.later.append(partial(_add_answers, scope, store, placed, world, put.exact))
    if put.exact:
        for each, _ in scope.lists["deleted"]:
            if each.list != exported.SUCCESSORS:
                deleted: dict[str, Any] = {"deleted_at": each.deleted_at, "deleted_ordinal": each.ordinal}
                put.insert(exported.table_of(each.list), **each.object, **deleted)


def _add_faults(scope: Scope, placed: Placed, world: str, now: int, tx: Transaction, contents: Contents) -> None:
    for fault, _ in scope.lists["faults"]:
        state = fault.model_dump(include=seeded_faults.FAULT_STATE, exclude_none=True)
        placed.faults.append(faults.add(tx, world, fault, now, **state))


def _add_answers(
    scope: Scope, store: Store, placed: Placed, world: str, exact: bool, tx: Transaction, contents: Contents
) -> None:
    rules = [answer for answer, _ in scope.lists["answers"]]
    places = {id(figure): place for answer, place in scope.lists["answers"] for figure in answer.figures()}
    states = [
        {
            "seeded": exact if rule.seeded is None else rule.seeded,
            "matched": rule.matched,
            "used": rule.used,
            **({"position": rule.seq} if exact and rule.seq is not None else {}),
        }
        for rule in rules
    ]

    def stored(figure: Figure) -> Upload:
        return store.stored(figure, places[id(figure)], None)

    placed.answers += answers.add(tx, contents, world, rules, stored, states, shared=True)


class _Filler:
    """Puts a scope's objects into a world."""

    def __init__(self, store: Store, put: Placement, placed: Placed, replaced: Mapping[str, str]) -> None:
        self._placed = placed
        self._replaced = replaced
        self._store = store
        self._put = put
        self._files: dict[str, tables.File] = {}
        """By ref and by id."""
        self._skills: dict[str, tuple[tables.Skill, list[tables.SkillVersion]]] = {}
        """By ref and by id, with their versions."""

    def file(self, file: seeded_files.File, place: Place, n: int | None) -> None:
        content = self._store.stored(file, place, n)
        row = self._put.add(
            tables.File,
            content,
            id=numbered(file.id, n) if file.id else None,
            seq=file.seq,
            created_at=file.created_at.at(self._put.now),
            expires_at=file.expires_at.at(self._put.now) if file.expires_at else None,
            bytes=content.size,
            filename=numbered(file.name, n),
            purpose=file.purpose,
            digest=content.digest,
        )
        self._placed.files.append(row.id)
        for name in {row.id} | file.names(n):
            self._files[name] = row

    def skill(self, skill: seeded_skills.Skill, place: Place) -> None:
        now = self._put.now
        versions = [
            (int(label) if label.isdecimal() else n, label, version, self._store.bundle(version, place))
            for n, (label, version) in enumerate(zip(skill.labels(), skill.every_version(), strict=True), 1)
        ]
        last, latest, *_ = max(versions, key=lambda each: each[0])
        default = skill.default_version or min(versions, key=lambda each: each[0])[1]  # as by the API
        shown = next(bundle for _, label, _, bundle in versions if label == default)
        row = self._put.add(
            tables.Skill,
            id=skill.id,
            seq=skill.seq,
            created_at=skill.created_at.at(now),
            name=shown.name,
            description=shown.description,
            default_version=default,
            latest_version=latest,
            last_number=max(last, skill.last_number),
        )
        self._placed.skills.append(row.id)
        rows = []
        for number, label, version, bundle in versions:
            own = (
                version
                if isinstance(version, seeded_skills.SkillVersion)
                else seeded_skills.SkillVersion.model_construct()
            )
            placed = self._put.add(
                tables.SkillVersion,
                bundle.zip,
                id=own.id,
                seq=own.seq,
                skill_id=row.id,
                created_at=version.created_at.at(now),
                version=label,
                number=number,
                name=bundle.name,
                description=bundle.description,
                digest=bundle.digest,
            )
            rows.append(placed)
        for name in {row.id} | skill.names():
            self._skills[name] = row, rows

    def _container_skill(
        self, skill: seeded_containers.ContainerSkill, place: Place, container_id: str, position: int
    ) -> None:
        if skill.skill is None:
            bundle = self._store.bundle(skill, place)
            source: Bundle | tables.SkillVersion = bundle
            content, skill_id, label = bundle.zip, skill.skill_id, skill.version
        else:
            row, versions = self._named_skill(skill.skill, place)
            content, skill_id = None, row.id
            label = {None: row.default_version, LATEST: row.latest_version}.get(skill.version, skill.version)
            labels = [each.version for each in versions]
            if label not in labels:
                raise SeedError(
                    f"{place}: skill {skill.skill!r} has no version {label!r}; choose one of: {', '.join(labels)}"
                )
            source = versions[labels.index(label)]
        self._put.insert(
            tables.ContainerSkill,
            content,
            container_id=container_id,
            position=position,
            skill_id=skill_id,
            version=label,
            name=source.name,
            description=source.description,
            path=mounted_at(source.name, label),
            digest=source.digest,
        )

    def _named_skill(self, ref: str, place: Place) -> tuple[tables.Skill, list[tables.SkillVersion]]:
        if found := self._skills.get(ref) or self._put.find_skill(ref):
            return found
        raise SeedError(f"{place}: no skill has the ref or id {ref!r}; describe it under skills")

    def container(self, container: seeded_containers.Container, place: Place, n: int | None) -> None:
        created, active = _times(container, self._put.now)
        rule, policy = container.expires_after, container.network_policy
        row = self._put.add(
            tables.Container,
            id=numbered(container.id, n) if container.id else None,
            seq=container.seq,
            created_at=created,
            last_active_at=active,
            name=numbered(container.name, n),
            memory_limit=container.memory_limit,
            network_policy=policy.model_dump_json(exclude_none=True) if policy else None,
            expires_anchor=rule.anchor if rule else "last_active_at",
            expires_minutes=(rule.minutes or (rule.days or 0) * 1_440) if rule else 0,
            replaced_by=container.replaced_by or self._replaced.get(container.id or ""),
            **container.model_dump(include={"used_until", "wedged"}),
        )
        for use in container.uses:
            self._put.insert(tables.Use, container_id=row.id, **use.model_dump())
        self._placed.containers.append(row.id)
        for position, skill in enumerate(container.skills):
            self._container_skill(skill, place, row.id, position)
        for file in container.files:
            created_at = file.created_at.at(self._put.now) if file.created_at else active
            self._container_file(file, place, n, row.id, created_at)

    def upload(self, upload: seeded_uploads.Upload, place: Place) -> None:
        parts = [self._store.stored(part, place, None) for part in upload.parts]
        created = upload.created_at.at(self._put.now)
        row = self._put.add(
            tables.Upload,
            id=upload.id,
            seq=upload.seq,
            created_at=created,
            expires_at=upload.expires_at.at(self._put.now) if upload.expires_at else later(created, LIFETIME),
            bytes=sum(part.size for part in parts) if upload.bytes is None else upload.bytes,
            **upload.model_dump(
                include={"filename", "purpose", "mime_type", "file_expires_after", "status", "file_id"}
            ),
        )
        for part, content in zip(upload.parts, parts, strict=True):
            at = part.created_at.at(self._put.now) if part.created_at else created
            self._put.add(
                tables.UploadPart,
                content,
                id=part.id,
                seq=part.seq,
                upload_id=row.id,
                created_at=at,
                bytes=content.size,
                digest=content.digest,
            )

    def _container_file(
        self, file: seeded_containers.ContainerFile, place: Place, n: int | None, container_id: str, created_at: int
    ) -> None:
        own: dict[str, Any] = {"id": file.id, "seq": file.seq, "container_id": container_id, "created_at": created_at}
        own |= file.model_dump(include={"response_id", "visible_from", "visible_until"})
        if file.file:
            copied = self._copied(file.file, place)
            self._put.add(
                tables.ContainerFile,
                bytes=copied.bytes,
                path=f"/mnt/data/{copied.id}-{copied.filename}",
                source="user",
                digest=copied.digest,
                file_id=copied.id,
                **own,
            )
        else:
            put_file(
                self._put,
                self._store.stored(file, place, n),
                name=numbered(file.name, n),
                path=file.path,
                source=file.source,
                bytes=file.bytes if "bytes" in file.model_fields_set else AS_USUAL,
                file_id=file.file_id,
                **own,
            )

    def _copied(self, ref: str, place: Place) -> tables.File:
        if row := self._files.get(ref) or self._put.find_file(ref):
            return row
        raise SeedError(f"{place}: no File has the ref or id {ref!r}; describe it under files")


AS_USUAL: Any = object()
"""Instead of a size: that of the content, or null if the assistant wrote it."""


def put_file(
    put: Placement,
    content: Upload,
    *,
    name: str,
    path: str | None,
    source: str | None,
    bytes: int | None,
    **columns: Any,
) -> str:
    """Place a container's file. The default source is the assistant if there is a path, else the user.

    Returns its id.
    """
    source = source or ("assistant" if path else "user")
    if path is None:
        path = name if source == "assistant" else f"/mnt/data/{content.blake2b}-{name}"
    if bytes is AS_USUAL:
        bytes = content.size if source == "user" else None
    row = put.add(
        tables.ContainerFile,
        content,
        bytes=bytes,
        path=path if path.startswith("/") else f"/mnt/data/{path}",
        source=source,
        digest=content.digest,
        **columns,
    )
    return row.id


def _times(container: seeded_containers.Container, now: int) -> tuple[int, int]:
    """Return when it was created and last active: the former defaults to the latter, which defaults to now."""
    created, active = container.created_at, container.last_active_at
    return (created or active or NOW).at(now), (active or NOW).at(now)
