"""Containers in seeds, with their files and skills."""

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from mockserver import profiles
from mockserver.expiry import MINUTES_A_DAY, NEVER
from mockserver.schema.containers import MAX_SKILLS, UNASKED_MINUTES, Domains, MemoryLimit
from mockserver.schema.lists import MAX_NAME, LongName
from mockserver.schema.skills import VersionLabel
from mockserver.schema.values import Count, FileName, Part, WithContent
from mockserver.seeds.contents import Bundle
from mockserver.seeds.entry import Checks, Export, Exported, Listed, Named, Placing, Referable, described, given
from mockserver.seeds.files import File
from mockserver.seeds.skills import Skill
from mockserver.seeds.values import NOW, Id, Name, Repeat, Second, Time, numbered
from mockserver.settings import SeedError
from mockserver.skills import LATEST, mounted_at
from mockserver.storage import tables
from mockserver.storage.contents import Upload


def leaves(path: str) -> bool:
    """Whether a path has a part `..`, which could lead out of `/mnt/data`."""
    return ".." in path.replace("\\", "/").split("/")


def file_columns(given: Any, name: str, content: Upload) -> dict[str, Any]:
    """Return the columns that `path`, `source` and `bytes` of a seed or a form describe, as far as they are given.

    By default the source is the assistant if there is a path, else the user, and only the user's files show their size.
    """
    source = given.source or ("assistant" if given.path else "user")
    path = given.path or (name if source == "assistant" else f"{content.blake2b}-{name}")
    size = content.size if source == "user" else None
    return {
        "source": source,
        "path": path if path.startswith("/") else f"/mnt/data/{path}",
        "bytes": given.bytes if "bytes" in given.model_fields_set else size,
    }


class ContainerFile(Listed, Named):
    """A file in a container: a copy of a File, an upload, or what a model run wrote."""

    file: Name | None = None
    """Copy of this File, by its `ref` or `id`. Excludes every key that describes content or name."""
    path: FileName | None = None
    """Path of a file that a model run wrote, relative to `/mnt/data`."""
    source: Literal["user", "assistant"] | None = None
    """Who wrote it; by default `assistant` with `path`, else `user`."""
    bytes: Count | None = None
    """The size that the API shows; by default null for the assistant's files, else the real size."""
    created_at: Time | None = None
    """When it was created; by default the time of its container's last use."""
    file_id: Id | None = None
    """Id of the File that it was copied from, which may no longer exist. Written by exports."""
    response_id: Id | None = None
    """Id of the response whose run wrote it. Written by exports."""
    visible_from: Second | None = None
    """When a run in the background writes it. Written by exports."""
    visible_until: Second | None = None
    """When a run in the background replaces or deletes it. Written by exports."""
    hidden_by: Id | None = None
    """Id of the response of that run. Written by exports."""

    def has_other_source(self) -> bool:
        return bool(self.file)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.file and (self.sources() or self.filename or self.path or self.source or self.file_id):
            raise ValueError("a copy of a File has its bytes and name; remove all keys that `file` determines")
        if not (self.file or self.path or self.name):
            raise ValueError("give it a filename, or a path if the assistant wrote it")
        if self.path and self.seq is None and leaves(self.path):  # an export may have it, of an older version
            raise ValueError("a path has no '..'; write the path that it leads to")
        return self

    def place_in(self, container_id: str, created_at: int, into: Placing) -> None:
        own: dict[str, Any] = {"container_id": container_id, "created_at": into.at(self.created_at, created_at)}
        content = None
        if self.file:
            copied = into.find(File, self.file)
            own |= {"path": f"/mnt/data/{copied.id}-{copied.filename}", "source": "user", "file_id": copied.id}
            own |= {"bytes": copied.bytes, "digest": copied.digest}
        else:
            content = into.stored(self)
            own |= file_columns(self, into.numbered(self.name), content)
        into.add(tables.ContainerFile, self, content, **own)

    @classmethod
    def export_of(cls, container_id: str, out: Export) -> Exported:
        for row in out.rows(tables.ContainerFile, owner=container_id):
            yield described(cls, tables.ContainerFile, row) | {"bytes": row.bytes} | out.content(row.digest)


class ExpiresAfter(Part):
    """When a container expires."""

    anchor: Literal["last_active_at", "created_at"] = "last_active_at"
    """What the time is counted from."""
    minutes: Annotated[int, Field(ge=1, le=profiles.MAX_MINUTES)] | None = None
    """Length in minutes. Give this or `days`."""
    days: Annotated[int, Field(ge=1, le=profiles.MAX_MINUTES // MINUTES_A_DAY)] | None = None
    """Length in days. Give this or `minutes`."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.minutes is None) == (self.days is None):
            raise ValueError("give either minutes or days")
        return self


class NetworkPolicy(Part):
    """What a container may reach; stored and shown only."""

    type: Literal["disabled", "allowlist"]
    """Kind of policy."""
    allowed_domains: Annotated[Domains, Field(fail_fast=True)] | None = None
    """Domains that an allowlist names."""

    @model_validator(mode="after")
    def _names_domains(self) -> Self:
        if self.type == "allowlist" and self.allowed_domains is None:
            raise ValueError("an allowlist needs allowed_domains")
        if self.type == "disabled" and self.allowed_domains is not None:
            raise ValueError("allowed_domains belong to type: allowlist; remove them, or change the type")
        return self


class ContainerSkill(Bundle):
    """A skill in a container: one of this seed or of the world, or one of its own."""

    skill: Name | None = None
    """A skill of this seed or of the world, by its `ref` or `id`."""
    skill_id: Id | None = None
    """Id of the skill that it was, which may no longer exist. Written by exports."""
    version: VersionLabel | None = None
    """Number of the skill's version, or `latest`; by default its default version."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.sources() + (self.skill is not None) != 1:
            raise ValueError("name a skill, or give its files as one of from, base64, files")
        return self

    def place_in(self, container_id: str, position: int, into: Placing) -> None:
        own: dict[str, Any] = {"container_id": container_id, "position": position}
        own |= {"skill_id": self.skill_id, "version": self.version}
        content = None
        if self.skill is None:
            source = into.store.bundle(self, into.place)
            content = source.zip
        else:
            row, versions = into.find(Skill, self.skill)
            label = {None: row.default_version, LATEST: row.latest_version}.get(self.version, self.version)
            labels = [each.version for each in versions]
            if label not in labels:
                raise SeedError(
                    f"{into.place}: skill {self.skill!r} has no version {label!r}; choose one of: {', '.join(labels)}"
                )
            source = versions[labels.index(label)]
            own |= {"skill_id": row.id, "version": label}
        own |= {"path": mounted_at(source.name, own["version"]), **given(source, "name", "description", "digest")}
        into.put.insert(tables.ContainerSkill, content, **own)


class Use(Part):
    """The end of a step of a run in the background. Written by exports."""

    at: Second
    """When the step ends."""
    response_id: Id
    """Id of the response."""


class Container(Referable):
    """A container with its files."""

    noun = "container"

    name: LongName
    """Name of the container."""
    created_at: Time | None = None
    """When it was created; by default the time of its last use."""
    last_active_at: Time | None = None
    """When it was last used; by default when the world is created."""
    expires_after: ExpiresAfter | None = ExpiresAfter(minutes=UNASKED_MINUTES)
    """When it expires; null means never."""
    memory_limit: MemoryLimit = "1g"
    """Memory of the container; stored and shown only."""
    network_policy: NetworkPolicy | None = None
    """What it may reach; stored and shown only."""
    files: Annotated[list[ContainerFile], Field(fail_fast=True)] = []
    """Files in the container."""
    skills: Annotated[list[ContainerSkill], Field(max_length=MAX_SKILLS, fail_fast=True)] = []
    """Skills in the container, as of now. The API never shows them."""
    repeat: Repeat | None = None
    """Create this many objects. `{n}` in names, ids and contents is the number of each."""
    replaced_by: Id | None = None
    """Id of the container that took its place when it had expired. Written by exports."""
    used_until: Second | None = None
    """End of the last step of runs in the background. Written by exports."""
    wedged: bool = False
    """Whether each call of a run in it fails, although it is running."""
    uses: Annotated[list[Use], Field(fail_fast=True)] = []
    """Ends of steps of runs in the background. Written by exports."""

    @model_validator(mode="after")
    def _has_short_names(self) -> Self:
        if len(numbered(self.name, self.repeat)) > MAX_NAME:
            raise ValueError(f"with its number, its name has more than {MAX_NAME} characters")
        return self

    def inside(self) -> Sequence[Listed]:
        return self.files

    def contents(self) -> Iterable[WithContent | Bundle]:
        yield from (file for file in self.files if file.file is None)
        yield from (skill for skill in self.skills if skill.skill is None)

    def counts(self) -> Iterable[tuple[str, int]]:
        times = self.repeat or 1
        return [(self.noun, times), ("container file", times * (len(self.files) + len(self.skills)))]

    def texts(self) -> Iterable[str | None]:
        yield from (self.ref, self.id, self.name)
        yield from (self.network_policy and self.network_policy.allowed_domains) or ()
        for file in self.files:
            yield from (file.id, file.filename or file.from_, file.path, file.file, file.file_id)

    def check(self, checks: Checks) -> None:
        super().check(checks)
        created, active = self.created_at or NOW, self.last_active_at or NOW
        given = self.created_at and self.seq is None  # an export may contain one whose expiry was forced
        if given and created.relative == active.relative and created.seconds > active.seconds:
            raise SeedError(
                f"{checks.place}: it was last active before it was created; correct created_at or last_active_at"
            )
        for file in self.files:
            checks.refer(File, file.file)
        for skill in self.skills:
            checks.refer(Skill, skill.skill)

    def place(self, into: Placing) -> None:
        active = into.at(self.last_active_at, into.put.now)
        rule, policy = self.expires_after, self.network_policy
        row = into.add(
            tables.Container,
            self,
            id=self.id and into.numbered(self.id),
            created_at=into.at(self.created_at, active),
            last_active_at=active,
            name=into.numbered(self.name),
            network_policy=policy.model_dump_json(exclude_none=True) if policy else None,
            expires_anchor=rule.anchor if rule else "last_active_at",
            expires_minutes=(rule.minutes or (rule.days or 0) * MINUTES_A_DAY) if rule else NEVER,
            replaced_by=self.replaced_by or into.replaced.get(self.id or ""),
        )
        into.ids[Container].append(row.id)
        for use in self.uses:
            into.put.insert(tables.Use, container_id=row.id, **use.model_dump())
        for position, skill in enumerate(self.skills):
            skill.place_in(row.id, position, into)
        for file in self.files:
            file.place_in(row.id, active, into)

    @classmethod
    def export(cls, out: Export) -> Exported:
        for row in out.rows(tables.Container):
            entry = described(cls, tables.Container, row)
            lifetime = {"anchor": row.expires_anchor, "minutes": row.expires_minutes} if row.expires_minutes else None
            entry |= {"expires_after": lifetime, "wedged": bool(row.wedged)}
            if row.network_policy is not None:
                entry["network_policy"] = json.loads(row.network_policy)
            if uses := list(out.rows(tables.Use, "at, response_id", row.id)):
                entry["uses"] = [described(Use, tables.Use, each) for each in uses]
            if skills := list(out.rows(tables.ContainerSkill, "position", row.id)):
                entry["skills"] = [
                    described(ContainerSkill, tables.ContainerSkill, each) | out.content(each.digest) for each in skills
                ]
            yield entry | {"files": ContainerFile.export_of(row.id, out)}
