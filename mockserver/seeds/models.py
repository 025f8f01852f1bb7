"""The format of seeds, as Pydantic models."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    create_model,
    model_validator,
)

from mockserver import ids, profiles, responses
from mockserver.clock import MAX_SECONDS, duration, instant, parse_duration, within_bounds
from mockserver.schema import uploads
from mockserver.schema.answers import MAX_PACE, NewAnswer
from mockserver.schema.faults import NewRule
from mockserver.schema.files import Purpose
from mockserver.schema.responses import whole_item
from mockserver.schema.sources import MAX_PATH, FileName, Part, WithContent, check_base64
from mockserver.storage import tables
from mockserver.storage.database import record

MAX_NAME = 1_024
"""Characters of a name, as in the API."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in a seed, in seconds from the template's instant or since the epoch."""

    seconds: float
    relative: bool

    def at(self, now: int) -> int:
        return int(within_bounds((now if self.relative else 0) + self.seconds // 1))


NOW = Moment(0, relative=True)


def _moment(value: object) -> Moment:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("write -19m, +2h, 2026-01-31T12:00:00Z, or seconds since 1970")
    if isinstance(value, str) and value[:1] in ("-", "+"):
        return Moment(parse_duration(value), relative=True)
    return Moment(instant(value), relative=False)


Time = Annotated[Moment, BeforeValidator(_moment, json_schema_input_type=int | str)]
Number = Annotated[int, Field(ge=0, le=1 << 53)]
Instant = Annotated[float, BeforeValidator(instant, json_schema_input_type=str | float)]
Second = Annotated[int, Field(ge=-MAX_SECONDS, le=MAX_SECONDS)]
Id = Annotated[str, Field(pattern=f"^{ids.FREE}$")]
Name = Annotated[str, Field(max_length=MAX_NAME)]


def _number_as_text(version: object) -> object:
    return str(version) if type(version) is int else version


SkillNumber = Annotated[
    str, BeforeValidator(_number_as_text, json_schema_input_type=str | int), Field(pattern=f"^{ids.FREE}$")
]
"""Usually a number, from 1."""


def _valid_profile(requested: object) -> object:
    if requested is not None:
        profiles.read(requested)
    return requested


class Clock(Part):
    at: Instant | None = None
    offset: Annotated[float, BeforeValidator(duration, json_schema_input_type=str | float)] | None = None
    rate: Annotated[float, Field(ge=0, le=1_000_000)] = 1.0

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if self.at is not None and self.offset is not None:
            raise ValueError("give either at or offset")
        return self


class _Named(WithContent):
    """Bytes with a file name, which may come from `from`."""

    filename: FileName | None = None

    @property
    def name(self) -> str:
        return Path(self.from_ or "").name if self.filename is None else self.filename


class File(_Named):
    ref: Name | None = None
    id: Id | None = None
    purpose: Purpose = "user_data"
    created_at: Time = NOW
    expires_at: Time | None = None
    repeat: Annotated[int, Field(ge=1, le=100_000)] | None = None
    seq: Number | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.name and self.seq is None:
            raise ValueError("give it a filename")
        return self


def leaves(path: str) -> bool:
    """Whether a path has a part `..`, which could lead out of `/mnt/data`."""
    return ".." in path.replace("\\", "/").split("/")


class ContainerFile(_Named):
    id: Id | None = None
    file: Name | None = None
    path: FileName | None = None
    source: Literal["user", "assistant"] | None = None
    bytes: Number | None = None
    created_at: Time | None = None
    file_id: Id | None = None
    """The File that its bytes were copied from, which may no longer exist."""
    response_id: Id | None = None
    visible_from: Second | None = None
    visible_until: Second | None = None
    seq: Number | None = None

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


class _ExpiresAfter(Part):
    anchor: Literal["last_active_at", "created_at"] = "last_active_at"
    minutes: Annotated[int, Field(ge=1, le=profiles.MAX_MINUTES)] | None = None
    days: Annotated[int, Field(ge=1, le=profiles.MAX_MINUTES // 1_440)] | None = None

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.minutes is None) == (self.days is None):
            raise ValueError("give either minutes or days")
        return self


class _NetworkPolicy(Part):
    type: Literal["disabled", "allowlist"]
    allowed_domains: (
        Annotated[list[Annotated[str, Field(max_length=253)]], Field(min_length=1, max_length=1_000, fail_fast=True)]
        | None
    ) = None


class SkillFile(WithContent):
    """A file of a skill. Its path is the one below the skill's folder."""

    path: Annotated[str, Field(min_length=1, max_length=MAX_PATH)]


class Bundle(Part):
    """The files of a skill: a folder or a zip beside the seed, a zip in Base64, or files by their paths."""

    from_: FileName | None = Field(None, alias="from")
    base64: str | None = None
    files: Annotated[list[SkillFile], Field(fail_fast=True)] = []

    def sources(self) -> int:
        if self.base64 is not None:
            check_base64(self.base64)
        return (self.from_ is not None) + (self.base64 is not None) + bool(self.files)


class SkillVersion(Bundle):
    id: Id | None = None
    version: SkillNumber | None = None
    created_at: Time = NOW
    seq: Number | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.sources() != 1:
            raise ValueError("give its files as one of from, base64, files")
        return self


class Skill(Bundle):
    ref: Name | None = None
    id: Id | None = None
    created_at: Time = NOW
    versions: Annotated[list[SkillVersion], Field(fail_fast=True)] = []
    default_version: SkillNumber | None = None
    last_number: Number = 0
    """The highest number that a version ever had."""
    seq: Number | None = None

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

    def every_version(self) -> Sequence["SkillVersion | Skill"]:
        """Return its versions; the skill itself if it describes only one."""
        return self.versions or [self]

    def labels(self) -> list[str]:
        """Return the numbers of its versions, in their order."""
        return [each.version or str(n) for n, each in enumerate(self.versions, 1)] or ["1"]


class ContainerSkill(Bundle):
    """A skill in a container: one of the seed or the world, or one of its own."""

    skill: Name | None = None
    skill_id: Id | None = None
    version: Annotated[str, BeforeValidator(_number_as_text, json_schema_input_type=str | int)] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.sources() + (self.skill is not None) != 1:
            raise ValueError("name a skill, or give its files as one of from, base64, files")
        return self


class Use(Part):
    """The end of a step of a run in the background."""

    at: Second
    response_id: Id


class Container(Part):
    ref: Name | None = None
    id: Id | None = None
    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    created_at: Time | None = None
    last_active_at: Time | None = None
    expires_after: _ExpiresAfter | None = _ExpiresAfter(minutes=20)
    """Null: it never expires."""
    memory_limit: Literal["1g", "4g", "16g", "64g"] = "1g"
    network_policy: _NetworkPolicy | None = None
    files: Annotated[list[ContainerFile], Field(fail_fast=True)] = []
    skills: Annotated[list[ContainerSkill], Field(max_length=200, fail_fast=True)] = []
    repeat: Annotated[int, Field(ge=1, le=100_000)] | None = None
    replaced_by: Id | None = None
    """The id of the container that replaced it after it had expired."""
    used_until: Second | None = None
    wedged: bool = False
    uses: Annotated[list[Use], Field(fail_fast=True)] = []
    seq: Number | None = None

    @model_validator(mode="after")
    def _has_short_names(self) -> Self:
        if len(numbered(self.name, self.repeat)) > MAX_NAME:
            raise ValueError(f"with its number, its name has more than {MAX_NAME} characters")
        return self


class UploadPart(WithContent):
    id: Id | None = None
    created_at: Time | None = None
    seq: Number | None = None


class Upload(Part):
    id: Id | None = None
    filename: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    purpose: Purpose = "user_data"
    bytes: Annotated[int, Field(ge=0, le=uploads.MAX_BYTES)] | None = None
    mime_type: Annotated[str, Field(min_length=1, max_length=MAX_NAME)] = "application/octet-stream"
    created_at: Time = NOW
    expires_at: Time | None = None
    file_expires_after: Annotated[int, Field(ge=1, le=MAX_SECONDS)] | None = None
    status: Literal["pending", "completed", "cancelled", "expired"] = "pending"
    file_id: Id | None = None
    parts: Annotated[list[UploadPart], Field(fail_fast=True)] = []
    seq: Number | None = None

    @model_validator(mode="after")
    def _has_parts_while_pending(self) -> Self:
        if self.parts and self.status != "pending":
            raise ValueError("only a pending upload has parts; remove parts or status")
        return self


class Fault(NewRule):
    """A rule, and in an export its state."""

    matched: Number = 0
    fired: Number = 0
    created_at: Instant | None = None
    window_at: Instant | None = None
    window_used: Number = 0


class Answer(NewAnswer):
    """A rule, and in an export its state."""

    seeded: bool | None = None
    matched: Number = 0
    used: Number = 0
    seq: Number | None = None


def _columns(row: type[tables.Table]) -> dict[str, Any]:
    """Return the columns of an exported row as the fields of a model. A boolean is 0 or 1, as in the database."""
    flag = Annotated[bool, Field(strict=False)]
    return {
        name: (flag if field.annotation is bool else field.annotation, ... if field.is_required() else field.default)
        for name, field in row.model_fields.items()
        if not name.startswith("deleted_")
    }


def _model(row: type[tables.Table]) -> type[Part]:
    return create_model(f"_Exported{row.__name__}", __base__=Part, **_columns(row))


SUCCESSORS = "successors"
"""In archives of version 0.1, the list that names the containers that replaced expired ones."""

_TABLES: dict[str, type[tables.Listed]] = {
    "files": tables.File,
    "containers": tables.Container,
    SUCCESSORS: tables.Container,
    "skills": tables.Skill,
    "uploads": tables.Upload,
}
_INSIDE: dict[str, type[tables.Listed]] = {"containers": tables.ContainerFile, "skills": tables.SkillVersion}


def table_of(list: str) -> type[tables.Listed]:
    """Return the table of a list of deleted objects: `files`, `containers/<id>`."""
    return _TABLES.get(list) or _INSIDE.get(list.partition("/")[0], tables.ContainerFile)


_EXPORTED: list[type[tables.Table]] = [*_TABLES.values(), *_INSIDE.values(), tables.Response]
_OBJECTS = {row: _model(row) for row in _EXPORTED}


class Deleted(Part):
    """A deleted object and its position in its list."""

    list: str
    id: str
    seq: Number
    created_at: Second
    ordinal: Number
    deleted_at: Second
    object: dict[str, Any]

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        _OBJECTS[table_of(self.list)].model_validate(self.object)
        return self


class ResponseItem(Part):
    id: str
    output: bool
    body: str
    """JSON."""
    ends: Number = 0


class Response(Part):
    object: dict[str, Any]
    items: Annotated[list[ResponseItem], Field(fail_fast=True)] = []

    @model_validator(mode="after")
    def _can_be_shown(self) -> Self:
        _OBJECTS[tables.Response].model_validate(self.object)
        row = record(tables.Response)(**self.object)
        try:
            for status in ("completed", "failed", "incomplete"):
                responses.frame(row, status)
            _ = json.loads(row.details)["raised"], set(json.loads(row.given))
            items = [(json.loads(item.body), item.output) for item in self.items]
            _ = [whole_item(item) if output else item["type"] for item, output in items]
            if not 0 <= row.pace <= MAX_PACE:
                raise ValueError
        except (ValueError, LookupError, TypeError):
            raise ValueError("it is not a response as exports write it; export the world again") from None
        return self


class World(Part):
    clock: Clock | None = None
    profile: Annotated[Any, AfterValidator(_valid_profile)] = None
    """A profile's name, or a mapping of `base` and switches."""
    ordinal: Number | None = None
    """The last ordinal that was used, so that the next ids are the same as in the exported world."""
    faults: Annotated[list[Fault], Field(fail_fast=True)] = []
    deleted: Annotated[list[Deleted], Field(fail_fast=True)] = []
    files: Annotated[list[File], Field(fail_fast=True)] = []
    skills: Annotated[list[Skill], Field(fail_fast=True)] = []
    containers: Annotated[list[Container], Field(fail_fast=True)] = []
    uploads: Annotated[list[Upload], Field(fail_fast=True)] = []
    answers: Annotated[list[Answer], Field(fail_fast=True)] = []
    responses: Annotated[list[Response], Field(fail_fast=True)] = []


class Document(World):
    version: int
    worlds: dict[str, World] = {}


def numbers(item: File | Container) -> Iterable[int | None]:
    """Return the numbers of the objects that it describes; None alone if it is not repeated."""
    return [None] if item.repeat is None else range(1, item.repeat + 1)


def is_numbered(item: WithContent) -> bool:
    return item.content is not None and "{n}" in item.content


def text_size(item: "File | Container | ContainerFile", repeat: int | None) -> int:
    """Return the largest size of an object's names in bytes, with the highest number if it is repeated."""
    names = [item.id]
    if isinstance(item, Container):
        names += [item.ref, item.name]
    elif isinstance(item, ContainerFile):
        names += [item.filename or item.from_, item.path, item.file, item.file_id]
    else:
        names += [item.ref, item.filename or item.from_]
    return sum(len(numbered(name, repeat).encode(errors="replace")) for name in names if name)


def numbered(text: str, n: int | None) -> str:
    return text if n is None else text.replace("{n}", str(n))
