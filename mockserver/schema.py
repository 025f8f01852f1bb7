"""The wire: what requests carry and answers show, named and ordered as in the API reference.

Requests are strict: `"20"` is not an integer and an unknown key is refused. Bounds stand here where
they hold everywhere; what a profile may loosen is checked by the rule that asks for the switch.
"""

import re
from dataclasses import dataclass
from typing import Annotated, BinaryIO, Literal, NotRequired
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

UNASKED_MINUTES = 20
"""How long an unused container lives that nobody asked another expiry for (seen)."""


class _Request(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


# Containers


class ExpiresAfter(_Request):
    """When an unused container expires: `minutes` after its anchor.

    `created_at` and `days` are in older documentation only; see the profile's switches.
    """

    anchor: str = Field(json_schema_extra={"enum": ["last_active_at", "created_at"]})
    minutes: int = Field(0, description="1 to 20 on the live API.")
    days: int = 0


_UNASKED_EXPIRY = ExpiresAfter(anchor="last_active_at", minutes=UNASKED_MINUTES)


class NetworkPolicyDisabled(_Request):
    type: Literal["disabled"]


class DomainSecret(_Request):
    domain: Annotated[str, Field(min_length=1)]
    name: Annotated[str, Field(min_length=1)]
    value: Annotated[str, Field(min_length=1, max_length=10_485_760)]


class NetworkPolicyAllowlist(_Request):
    type: Literal["allowlist"]
    allowed_domains: Annotated[list[Annotated[str, Field(max_length=253)]], Field(min_length=1, max_length=1_000)]
    domain_secrets: Annotated[list[DomainSecret], Field(min_length=1, max_length=1_000)] = Field(
        default_factory=list, description="Checked and forgotten: neither stored nor shown."
    )


class SkillReference(_Request):
    type: Literal["skill_reference"]
    skill_id: Annotated[str, Field(min_length=1, max_length=64)]
    version: str = ""


class InlineSkillSource(_Request):
    type: Literal["base64"]
    media_type: Literal["application/zip"]
    data: Annotated[str, Field(min_length=1, max_length=70_254_592)]


class InlineSkill(_Request):
    type: Literal["inline"]
    name: str
    description: str
    source: InlineSkillSource


class CreateContainer(_Request):
    name: Annotated[str, Field(min_length=1, max_length=1_024)]
    # A default that isn't plain would be copied for each request; what a factory makes is not.
    file_ids: Annotated[list[str], Field(max_length=1_000)] = Field(default_factory=list)
    expires_after: ExpiresAfter = Field(default_factory=lambda: _UNASKED_EXPIRY)
    memory_limit: Literal["1g", "4g", "16g", "64g"] = "1g"
    network_policy: Annotated[NetworkPolicyDisabled | NetworkPolicyAllowlist | None, Field(discriminator="type")] = None
    skills: Annotated[
        list[Annotated[SkillReference | InlineSkill, Field(discriminator="type")]], Field(max_length=1_000)
    ] = Field(default_factory=list)


class ContainerExpiry(TypedDict):
    anchor: Literal["last_active_at", "created_at"]
    minutes: int


class NetworkPolicy(TypedDict):
    type: Literal["disabled", "allowlist"]
    allowed_domains: NotRequired[list[str]]


_Older = Field(description="In older documentation only; see the profile's switches.")


class Container(TypedDict):
    id: str
    object: Literal["container"]
    created_at: int
    status: Annotated[Literal["running", "active", "expired"], Field(description="`active` by a switch alone.")]
    expires_after: NotRequired[ContainerExpiry]
    last_active_at: int
    memory_limit: Literal["1g", "4g", "16g", "64g"]
    name: str
    network_policy: NotRequired[NetworkPolicy]
    expires_at: NotRequired[Annotated[int | None, _Older]]
    file_count: NotRequired[Annotated[int, _Older]]


class ContainerDeleted(TypedDict):
    id: str
    object: Literal["container.deleted"]
    deleted: Literal[True]


# Container files


class CreateContainerFile(_Request):
    """The JSON form of adding a file; the multipart form may carry the bytes instead."""

    file_id: str | None = None


class ContainerFile(TypedDict):
    id: str
    object: Literal["container.file"]
    created_at: int
    bytes: Annotated[int | None, Field(description="Null for what a model wrote.")]
    container_id: str
    path: str
    source: Literal["user", "assistant"]
    file_id: NotRequired[Annotated[str | None, _Older]]


class ContainerFileDeleted(TypedDict):
    id: str
    object: Literal["container.file.deleted"]
    deleted: Literal[True]


# Files

Purpose = Literal["fine-tune", "assistants", "batch", "user_data", "vision", "evals"]


class File(TypedDict):
    object: Literal["file"]
    id: str
    purpose: Purpose
    filename: str
    bytes: int
    created_at: int
    expires_at: int | None
    status: Literal["processed"]
    status_details: None


class FileDeleted(TypedDict):
    object: Literal["file"]
    deleted: Literal[True]
    id: str


# Lists


class ContainerList(TypedDict):
    object: Literal["list"]
    data: list[Container]
    first_id: str | None
    has_more: bool
    last_id: str | None


class ContainerFileList(TypedDict):
    object: Literal["list"]
    data: list[ContainerFile]
    first_id: str | None
    has_more: bool
    last_id: str | None


class FileList(TypedDict):
    object: Literal["list"]
    data: list[File]
    has_more: bool
    first_id: str | None
    last_id: str | None


class Page(BaseModel):
    """The part of a list that a request asks for. Unknown keys are ignored, as the live API does."""

    model_config = ConfigDict(frozen=True)

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    before: str | None = None


class ListContainers(Page):
    name: str | None = None


class ListFiles(Page):
    limit: Annotated[int, Field(ge=1, le=10_000)] = 10_000
    purpose: str | None = None


# Contents

_MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "gif": "image/gif",
    "gz": "application/gzip",
    "htm": "text/html; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "ipynb": "application/x-ipynb+json",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "md": "text/markdown; charset=utf-8",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "pdf": "application/pdf",
    "png": "image/png",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "py": "text/x-python; charset=utf-8",
    "svg": "image/svg+xml",
    "tar": "application/x-tar",
    "tsv": "text/tab-separated-values; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "wav": "audio/x-wav",
    "webp": "image/webp",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "xml": "text/xml; charset=utf-8",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "zip": "application/zip",
}


@dataclass(slots=True)
class Content:
    """The bytes of a file, open for reading, and how its answer describes them."""

    file: BinaryIO
    media_type: str
    disposition: str


def media_type(name: str) -> str:
    """By extension. Written out, so that no machine's own list of types shows on the wire.

    Seen for `.txt`; the rest is a guess.
    """
    return _MEDIA_TYPES.get(name.rpartition(".")[2].lower(), "application/octet-stream")


def masked_disposition(name: str) -> str:
    """A container file's (seen): plainly called `file`, its real name in `filename*` alone."""
    extension = re.search(r"\.[A-Za-z0-9]{1,16}$", name)
    return f'attachment; filename="file{extension.group() if extension else ""}"; filename*={_extended(name)}'


def disposition(name: str) -> str:
    """A File's (guess): its base name, and again in `filename*` where it is not plain ASCII."""
    name = name.rpartition("/")[2]
    plain = re.sub(r"[^ !#-\[\]-~]", "_", name)
    return f'attachment; filename="{plain}"' + ("" if plain == name else f"; filename*={_extended(name)}")


def _extended(name: str) -> str:
    return "UTF-8''" + quote(name, safe="!#$&+-.^_`|~")
