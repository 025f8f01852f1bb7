"""The format of seeds, as Pydantic models."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mockserver import profiles
from mockserver.clock import MAX_SECONDS, duration
from mockserver.schema import uploads
from mockserver.schema.answers import NewAnswer
from mockserver.schema.faults import NewRule
from mockserver.schema.files import Purpose
from mockserver.schema.skills import VersionLabel
from mockserver.schema.sources import FileName, Part, WithContent
from mockserver.schema.values import Count
from mockserver.seeds.contents import Bundle
from mockserver.seeds.exported import Deleted, Response
from mockserver.seeds.values import MAX_NAME, NOW, Id, Instant, Name, Second, SkillNumber, Time, numbered


def _valid_profile(requested: object) -> object:
    if requested is not None:
        profiles.read(requested)
    return requested


class Clock(Part):
    """The clock of new worlds."""

    at: Instant | None = None
    """Instant at which every new world starts, as 2026-01-31T12:00:00Z or seconds since 1970."""
    offset: Annotated[float, BeforeValidator(duration, json_schema_input_type=str | float)] | None = None
    """How far the clock runs ahead of real time; negative for behind. Excludes `at`."""
    rate: Annotated[float, Field(ge=0, le=1_000_000)] = 1.0
    """Speed: 0 is frozen, 1 is real time, 60 is a minute each second."""

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if self.at is not None and self.offset is not None:
            raise ValueError("give either at or offset")
        return self


class Described(Part):
    """An entry of a seed's lists."""

    def inside(self) -> "Iterable[Listed]":
        """Return the listed objects inside of it."""
        return ()

    def contents(self) -> Iterable[WithContent]:
        """Return what describes its bytes, and those of the objects inside of it."""
        return ()

    def bundles(self) -> "Iterable[Bundle]":
        """Return what describes the files of its skills."""
        return ()


class Listed(Described):
    """An object of a list."""

    id: Id | None = None
    """Its id; made by the server unless given."""
    seq: Count | None = None
    """Position in the order of the world's lists. Written by exports."""


class Referable(Listed):
    """An object that other parts of the seed can name."""

    ref: Name | None = None
    """Name for use in this seed."""

    def names(self, n: int | None = None) -> set[str]:
        """Return its ref and its id, as far as they are given; `n` is its number if it is repeated."""
        return {numbered(name, n) for name in (self.ref, self.id) if name}


class _Named(WithContent):
    """Bytes with a file name, which may come from `from`."""

    filename: FileName | None = None
    """Name of the file; by default the name in `from`."""

    @property
    def name(self) -> str:
        return Path(self.from_ or "").name if self.filename is None else self.filename


class File(Referable, _Named):
    """A File of the Files API."""

    purpose: Purpose = "user_data"
    """Purpose of the File."""
    created_at: Time = NOW
    """When it was created; by default when the world is created."""
    expires_at: Time | None = None
    """When it expires; by default never."""
    repeat: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Create this many objects. `{n}` in names, ids and contents is the number of each."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.name and self.seq is None:
            raise ValueError("give it a filename")
        return self

    def contents(self) -> Iterable[WithContent]:
        return [self]


def leaves(path: str) -> bool:
    """Whether a path has a part `..`, which could lead out of `/mnt/data`."""
    return ".." in path.replace("\\", "/").split("/")


class ContainerFile(Listed, _Named):
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


class ExpiresAfter(Part):
    """When a container expires."""

    anchor: Literal["last_active_at", "created_at"] = "last_active_at"
    """What the time is counted from."""
    minutes: Annotated[int, Field(ge=1, le=profiles.MAX_MINUTES)] | None = None
    """Length in minutes. Give this or `days`."""
    days: Annotated[int, Field(ge=1, le=profiles.MAX_MINUTES // 1_440)] | None = None
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
    allowed_domains: (
        Annotated[list[Annotated[str, Field(max_length=253)]], Field(min_length=1, max_length=1_000, fail_fast=True)]
        | None
    ) = None
    """Domains that an allowlist names."""


class SkillVersion(Listed, Bundle):
    """A version of a skill."""

    version: SkillNumber | None = None
    """Number of the version; by default its place in the list."""
    created_at: Time = NOW
    """When it was created; by default when the world is created."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.sources() != 1:
            raise ValueError("give its files as one of from, base64, files")
        return self


class Skill(Referable, Bundle):
    """A skill with one version, or with several under `versions`."""

    created_at: Time = NOW
    """When it was created; by default when the world is created."""
    versions: Annotated[list[SkillVersion], Field(fail_fast=True)] = []
    """Versions of the skill, numbered from 1."""
    default_version: SkillNumber | None = None
    """Number of the default version; by default the first one."""
    last_number: Count = 0
    """The highest number that a version ever had. Written by exports."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.sources() + bool(self.versions) != 1:
            raise ValueError("give its files as one of from, base64, files, or give versions")
        labels = self.labels()
        if len(set(labels)) < len(labels):
            raise ValueError("two versions have the same number; give each its own")
        if self.default_version not in (None, *labels):
            raise ValueError(f"default_version is none of its versions; choose one of: {', '.join(labels)}")
        return self

    def inside(self) -> Iterable[Listed]:
        return self.versions

    def bundles(self) -> Iterable[Bundle]:
        return self.every_version()

    def every_version(self) -> Sequence["SkillVersion | Skill"]:
        """Return its versions; the skill itself if it describes only one."""
        return self.versions or [self]

    def labels(self) -> list[str]:
        """Return the numbers of its versions, in their order."""
        return [each.version or str(n) for n, each in enumerate(self.versions, 1)] or ["1"]


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


class Use(Part):
    """The end of a step of a run in the background. Written by exports."""

    at: Second
    """When the step ends."""
    response_id: Id
    """Id of the response."""


class Container(Referable):
    """A container with its files."""

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    """Name of the container."""
    created_at: Time | None = None
    """When it was created; by default the time of its last use."""
    last_active_at: Time | None = None
    """When it was last used; by default when the world is created."""
    expires_after: ExpiresAfter | None = ExpiresAfter(minutes=20)
    """When it expires; null means never."""
    memory_limit: Literal["1g", "4g", "16g", "64g"] = "1g"
    """Memory of the container; stored and shown only."""
    network_policy: NetworkPolicy | None = None
    """What it may reach; stored and shown only."""
    files: Annotated[list[ContainerFile], Field(fail_fast=True)] = []
    """Files in the container."""
    skills: Annotated[list[ContainerSkill], Field(max_length=200, fail_fast=True)] = []
    """Skills in the container, as of now. The API never shows them."""
    repeat: Annotated[int, Field(ge=1, le=100_000)] | None = None
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

    def inside(self) -> Iterable[Listed]:
        return self.files

    def contents(self) -> Iterable[WithContent]:
        return [file for file in self.files if file.file is None]

    def bundles(self) -> Iterable[Bundle]:
        return [skill for skill in self.skills if skill.skill is None]


class UploadPart(Listed, WithContent):
    """A part of an upload."""

    created_at: Time | None = None
    """When it was sent; by default the time of the creation of the upload."""


class Upload(Listed):
    """An upload of the Uploads API, with the parts that were sent."""

    filename: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    """Name of the File that results."""
    purpose: Purpose = "user_data"
    """Purpose of the File that results."""
    bytes: Annotated[int, Field(ge=0, le=uploads.MAX_BYTES)] | None = None
    """Size that the parts must have in all; by default the size of those that are given."""
    mime_type: Annotated[str, Field(min_length=1, max_length=MAX_NAME)] = "application/octet-stream"
    """Media type with which it was created."""
    created_at: Time = NOW
    """When it was created; by default when the world is created."""
    expires_at: Time | None = None
    """When it expires; by default an hour after its creation."""
    file_expires_after: Annotated[int, Field(ge=1, le=MAX_SECONDS)] | None = None
    """Seconds from its creation to the expiry of the File that results; by default never."""
    status: Literal["pending", "completed", "cancelled", "expired"] = "pending"
    """Its status."""
    file_id: Id | None = None
    """Id of the File that resulted. Written by exports."""
    parts: Annotated[list[UploadPart], Field(fail_fast=True)] = []
    """Parts that were sent, while it is pending."""

    @model_validator(mode="after")
    def _has_parts_while_pending(self) -> Self:
        if self.parts and self.status != "pending":
            raise ValueError("only a pending upload has parts; remove parts or status")
        return self

    def inside(self) -> Iterable[Listed]:
        return self.parts

    def contents(self) -> Iterable[WithContent]:
        return self.parts


class Fault(NewRule):
    """A fault rule: what to break, where, and how often."""

    matched: Count = 0
    """How often it was tried. Written by exports."""
    fired: Count = 0
    """How often it fired. Written by exports."""
    created_at: Instant | None = None
    """When it was created. Written by exports."""
    window_at: Instant | None = None
    """When the current window of its rate limit began. Written by exports."""
    window_used: Count = 0
    """Requests in that window. Written by exports."""


FAULT_STATE = Fault.model_fields.keys() - NewRule.model_fields.keys()


class Answer(Described, NewAnswer):
    """A script: for which requests of `/responses`, how often, and what the run does."""

    seeded: bool | None = None
    """Whether it comes from a seed. Written by exports."""
    matched: Count = 0
    """How many requests it fitted. Written by exports."""
    used: Count = 0
    """How often it was used. Written by exports."""
    seq: Count | None = None
    """Position among the world's answers. Written by exports."""

    def contents(self) -> Iterable[WithContent]:
        return self.figures()


class World(Part):
    """Contents of one world in addition to those of every world."""

    clock: Clock | None = None
    """Clock of new worlds; by default it shows real time."""
    profile: Annotated[Any, AfterValidator(_valid_profile)] = None
    """A profile's name, or a mapping of `base` and switches."""
    ordinal: Count | None = None
    """Number of the last id that was made. Written by exports."""
    faults: Annotated[list[Fault], Field(fail_fast=True)] = []
    """Fault rules, in the order in which they are tried."""
    deleted: Annotated[list[Deleted], Field(fail_fast=True)] = []
    """Deleted objects that lists still need as cursors. Written by exports."""
    files: Annotated[list[File], Field(fail_fast=True)] = []
    """Files of the Files API."""
    skills: Annotated[list[Skill], Field(fail_fast=True)] = []
    """Skills, each with its versions."""
    containers: Annotated[list[Container], Field(fail_fast=True)] = []
    """Containers with their files."""
    uploads: Annotated[list[Upload], Field(fail_fast=True)] = []
    """Uploads with their parts."""
    answers: Annotated[list[Answer], Field(fail_fast=True)] = []
    """Scripts of what `/responses` does, in the order in which they are tried."""
    responses: Annotated[list[Response], Field(fail_fast=True)] = []
    """Responses with their items. Written by exports."""


class Document(World):
    """A seed file: the initial contents of new worlds."""

    version: int
    """Version of the format: 1."""
    worlds: dict[str, World] = {}
    """Single worlds by name, each with the keys above in addition to those of every world."""
