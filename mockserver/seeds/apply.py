"""Place the objects of seeds into templates and worlds: first the contents, then all rows at once."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from mockserver import answers
from mockserver.bundles import Bundle
from mockserver.clock import Clock, Wall, later
from mockserver.context import World
from mockserver.profiles import Profile
from mockserver.schema.answers import Figure
from mockserver.seeds import models
from mockserver.seeds.loader import Seed
from mockserver.seeds.scope import Place, Scope
from mockserver.seeds.store import Store
from mockserver.settings import SeedError
from mockserver.skills import LATEST, mounted_at
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
    with Store(uploads) as store, closing(seed):
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
    large = sum(scope.counts()) > LARGE or scope.text() > LARGE_TEXT
    with Store(uploads) as store:
        await in_thread(store.store, scope)
        fill = partial(_fill, scope, store, placed, name)
        await worlds.add(name, fill, clock=clock, profile=profile, large=large)
    return placed


async def become(scope: Scope, worlds: Worlds, uploads: Uploads, wall: Wall, name: str) -> World:
    """Replace a world's whole state by what a document describes, in one step."""
    with Store(uploads) as store:
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
    replaced = {each.id: each.object["id"] for each in scope.deleted if each.list == models.SUCCESSORS}
    filler = _Filler(store, put, placed, replaced)
    # Start after the ordinals of an export: otherwise its ids would be used a second time.
    put.skip(max(chain([scope.ordinal], scope.seqs())))
    for fault, _ in scope.faults:
        filler.fault(fault)
    for file, place in scope.files:
        for n in models.numbers(file):
            filler.file(file, place, n)
    for skill, place in scope.skills:
        filler.skill(skill, place)
    for container, place in scope.containers:
        for n in models.numbers(container):
            filler.container(container, place, n)
    for upload, place in scope.uploads:
        filler.upload(upload, place)
    for response, _ in scope.responses:
        put.response(**response.object, items=(item.model_dump() for item in response.items))
    if scope.answers:
        put.later.append(partial(_add_answers, scope, store, placed, world, put.exact))
    if put.exact:
        for each in scope.deleted:
            if each.list != models.SUCCESSORS:
                put.deleted(
                    models.table_of(each.list), **each.object, deleted_at=each.deleted_at, deleted_ordinal=each.ordinal
                )


def _add_answers(
    scope: Scope, store: Store, placed: Placed, world: str, exact: bool, tx: Transaction, contents: Contents
) -> None:
    rules = [answer for answer, _ in scope.answers]
    places = {id(figure): place for answer, place in scope.answers for figure in answer.figures()}
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
        self._files: dict[str, tuple[str, str, int, str, Upload | None]] = {}
        """Id, file name, size, digest and content of each File, by its ref and by its id."""
        self._skills: dict[str, _Skill] = {}
        """By ref and by id."""

    def fault(self, fault: models.Fault) -> None:
        state = {"matched", "fired", "created_at", "window_at", "window_used"}
        columns = fault.model_dump(include=state) | {
            "created_at": self._put.now if fault.created_at is None else fault.created_at
        }
        id = self._put.fault(id=fault.id, rule=fault.model_dump_json(exclude_unset=True, exclude=state), **columns)
        self._placed.faults.append(id)

    def file(self, file: models.File, place: Place, n: int | None) -> None:
        content, name = self._store.stored(file, place, n), models.numbered(file.name, n)
        id = self._put.file(
            id=models.numbered(file.id, n) if file.id else None,
            seq=file.seq,
            content=content,
            created_at=file.created_at.at(self._put.now),
            expires_at=file.expires_at.at(self._put.now) if file.expires_at else None,
            bytes=content.size,
            filename=name,
            purpose=file.purpose,
            digest=content.digest,
        )
        self._placed.files.append(id)
        for key in (id, file.ref and models.numbered(file.ref, n)):
            if key:
                self._files[key] = id, name, content.size, content.digest, content

    def skill(self, skill: models.Skill, place: Place) -> None:
        labels, now = skill.labels(), self._put.now
        numbered = [
            (int(label) if label.isdecimal() else n, label, version)
            for n, (label, version) in enumerate(zip(labels, skill.every_version(), strict=True), 1)
        ]
        found = [self._store.bundle(version, place) for version in skill.every_version()]
        versions = {label: _Version(*_described(each), each.zip) for label, each in zip(labels, found, strict=True)}
        last, latest, _ = max(numbered, key=lambda each: each[0])
        default = skill.default_version or min(numbered, key=lambda each: each[0])[1]  # as by the API
        id = self._put.skill(
            id=skill.id,
            seq=skill.seq,
            created_at=skill.created_at.at(now),
            name=versions[default].name,
            description=versions[default].description,
            default_version=default,
            latest_version=latest,
            last_number=max(last, skill.last_number),
        )
        self._placed.skills.append(id)
        for number, label, version in numbered:
            name, description, digest, content = versions[label]
            own = version if isinstance(version, models.SkillVersion) else models.SkillVersion.model_construct()
            self._put.skill_version(
                id=own.id,
                seq=own.seq,
                skill_id=id,
                created_at=(own if version is own else skill).created_at.at(now),
                version=label,
                number=number,
                name=name,
                description=description,
                digest=digest,
                content=content,
            )
        for key in (id, skill.ref):
            if key:
                self._skills[key] = _Skill(id, default, latest, versions)

    def _container_skill(self, skill: models.ContainerSkill, place: Place, container_id: str, position: int) -> None:
        if skill.skill is None:
            bundle = self._store.bundle(skill, place)
            found, skill_id, label = _Version(*_described(bundle), bundle.zip), skill.skill_id, skill.version
        else:
            named = self._named_skill(skill.skill, place)
            label = {None: named.default, LATEST: named.latest}.get(skill.version, skill.version)
            if label not in named.versions:
                raise SeedError(
                    f"{place}: skill {skill.skill!r} has no version {label!r}; choose one of: {', '.join(named.versions)}"
                )
            found, skill_id = named.versions[label], named.id
        self._put.container_skill(
            container_id=container_id,
            position=position,
            skill_id=skill_id,
            version=label,
            name=found.name,
            description=found.description,
            path=mounted_at(found.name, label),
            digest=found.digest,
            content=found.content,
        )

    def _named_skill(self, ref: str, place: Place) -> "_Skill":
        if ref in self._skills:
            return self._skills[ref]
        if found := self._put.find_skill(ref):
            row, rows = found
            versions = {each.version: _Version(each.name, each.description, each.digest, None) for each in rows}
            return _Skill(row.id, row.default_version, row.latest_version, versions)
        raise SeedError(f"{place}: no skill has the ref or id {ref!r}; describe it under skills")

    def container(self, container: models.Container, place: Place, n: int | None) -> None:
        created, active = _times(container, self._put.now)
        rule, policy = container.expires_after, container.network_policy
        id = self._put.container(
            id=models.numbered(container.id, n) if container.id else None,
            seq=container.seq,
            created_at=created,
            last_active_at=active,
            name=models.numbered(container.name, n),
            memory_limit=container.memory_limit,
            network_policy=policy.model_dump_json(exclude_none=True) if policy else None,
            expires_anchor=rule.anchor if rule else "last_active_at",
            expires_minutes=(rule.minutes or (rule.days or 0) * 1_440) if rule else 0,
            replaced_by=container.replaced_by or self._replaced.get(container.id or ""),
            **container.model_dump(include={"used_until", "wedged"}),
        )
        for use in container.uses:
            self._put.use(container_id=id, **use.model_dump())
        self._placed.containers.append(id)
        for position, skill in enumerate(container.skills):
            self._container_skill(skill, place, id, position)
        for file in container.files:
            created_at = file.created_at.at(self._put.now) if file.created_at else active
            self._container_file(file, place, n, id, created_at)

    def upload(self, upload: models.Upload, place: Place) -> None:
        parts = [self._store.stored(part, place, None) for part in upload.parts]
        created = upload.created_at.at(self._put.now)
        id = self._put.upload(
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
            self._put.upload_part(id=part.id, seq=part.seq, upload_id=id, created_at=at, content=content)

    def _container_file(
        self, file: models.ContainerFile, place: Place, n: int | None, container_id: str, created_at: int
    ) -> None:
        file_id = file.file_id
        if file.file:
            file_id, name, size, digest, content = self._copied(file.file, place)
            path: str | None = f"/mnt/data/{file_id}-{name}"
        else:
            content = self._store.stored(file, place, n)
            size, digest, path = content.size, content.digest, file.path
        put_file(
            self._put,
            container_id=container_id,
            id=file.id,
            seq=file.seq,
            created_at=created_at,
            content=content,
            size=size,
            digest=digest,
            name=models.numbered(file.name, n),
            path=path,
            source=file.source or ("user" if file.file else None),
            bytes=file.bytes if "bytes" in file.model_fields_set else AS_USUAL,
            file_id=file_id,
            **file.model_dump(include={"response_id", "visible_from", "visible_until"}),
        )

    def _copied(self, ref: str, place: Place) -> tuple[str, str, int, str, Upload | None]:
        if ref in self._files:
            return self._files[ref]
        if row := self._put.find_file(ref):
            return row.id, row.filename, row.bytes, row.digest, None
        raise SeedError(f"{place}: no File has the ref or id {ref!r}; describe it under files")


class _Version(NamedTuple):
    name: str
    description: str
    digest: str
    content: Upload | None


@dataclass(frozen=True, slots=True)
class _Skill:
    """A skill that containers can have, with its versions by their numbers."""

    id: str
    default: str
    latest: str
    versions: dict[str, _Version]


def _described(bundle: Bundle) -> tuple[str, str, str]:
    return bundle.name, bundle.description, bundle.digest


AS_USUAL: Any = object()
"""Instead of a size: that of the content, or null if the assistant wrote it."""


def put_file(
    put: Placement,
    *,
    name: str,
    path: str | None,
    source: str | None,
    bytes: int | None,
    size: int,
    digest: str,
    content: Upload | None,
    file_id: str | None = None,
    **columns: Any,
) -> str:
    """Place a container's file. The default source is the assistant if there is a path, else the user."""
    source = source or ("assistant" if path else "user")
    if path is None and source == "assistant":
        path = name
    if path is None:
        assert content is not None  # only a copy has none, and it has a path
        path = f"/mnt/data/{content.blake2b}-{name}"
    if bytes is AS_USUAL:
        bytes = size if source == "user" else None
    return put.container_file(
        bytes=bytes,
        path=path if path.startswith("/") else f"/mnt/data/{path}",
        source=source,
        digest=digest,
        file_id=file_id,
        content=content,
        **columns,
    )


def _times(container: models.Container, now: int) -> tuple[int, int]:
    """Return when it was created and last active: the former defaults to the latter, which defaults to now."""
    created, active = container.created_at, container.last_active_at
    return (created or active or models.NOW).at(now), (active or models.NOW).at(now)
