"""Containers and their files on the wire, named and ordered as in the API reference.

Limits that hold for every profile are here; those that a profile can change are checked by the rule that reads the
switch.
"""

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from mockserver.schema.lists import ListOfObjects, LongName, Page, Request

UNASKED_MINUTES = 20
"""The expiry of an unused container that was created without `expires_after` (seen)."""


class ExpiresAfter(Request):
    """When an unused container expires: `minutes` after its anchor.

    `created_at` and `days` are in older documentation only; see the profile's switches.
    """

    anchor: str = Field(json_schema_extra={"enum": ["last_active_at", "created_at"]})
    minutes: int = Field(0, description="1 to 20 on the live API.")
    days: int = 0


UNASKED_EXPIRY = ExpiresAfter(anchor="last_active_at", minutes=UNASKED_MINUTES)


class NetworkPolicyDisabled(Request):
    type: Literal["disabled"]


class DomainSecret(Request):
    domain: Annotated[str, Field(min_length=1)]
    name: Annotated[str, Field(min_length=1)]
    value: Annotated[str, Field(min_length=1, max_length=10_485_760)]


Domains = Annotated[list[Annotated[str, Field(max_length=253)]], Field(min_length=1, max_length=1_000)]


class NetworkPolicyAllowlist(Request):
    type: Literal["allowlist"]
    allowed_domains: Domains
    domain_secrets: Annotated[list[DomainSecret], Field(min_length=1, max_length=1_000)] = Field(
        default_factory=list, description="Checked, but neither stored nor shown."
    )


class SkillReference(Request):
    type: Literal["skill_reference"]
    skill_id: Annotated[str, Field(min_length=1, max_length=64)]
    version: str | None = Field(None, description="A positive integer or `latest`; by default the default version.")


class InlineSkillSource(Request):
    type: Literal["base64"]
    media_type: Literal["application/zip"]
    data: Annotated[str, Field(min_length=1, max_length=70_254_592)]


class InlineSkill(Request):
    type: Literal["inline"]
    name: str
    description: str
    source: InlineSkillSource


MemoryLimit = Literal["1g", "4g", "16g", "64g"]
NewPolicy = Annotated[NetworkPolicyDisabled | NetworkPolicyAllowlist | None, Field(discriminator="type")]
NewSkills = list[Annotated[SkillReference | InlineSkill, Field(discriminator="type")]]
MAX_SKILLS = 200


class CreateContainer(Request):
    name: LongName
    # Pydantic copies a mutable default for each request, but not what a factory returns.
    file_ids: Annotated[list[str], Field(max_length=1_000)] = Field(default_factory=list)
    expires_after: ExpiresAfter = Field(default_factory=lambda: UNASKED_EXPIRY)
    memory_limit: MemoryLimit = "1g"
    network_policy: NewPolicy = None
    skills: Annotated[NewSkills, Field(max_length=MAX_SKILLS)] = Field(default_factory=list)


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
    status: Annotated[Literal["running", "active", "expired"], Field(description="`active` only by a switch.")]
    expires_after: NotRequired[ContainerExpiry]
    last_active_at: int
    memory_limit: MemoryLimit
    name: str
    network_policy: NotRequired[NetworkPolicy]
    expires_at: NotRequired[Annotated[int | None, _Older]]
    file_count: NotRequired[Annotated[int, _Older]]


class ContainerDeleted(TypedDict):
    id: str
    object: Literal["container.deleted"]
    deleted: Literal[True]


class CreateContainerFile(Request):
    """The JSON form of adding a file; the multipart form may carry the bytes instead."""

    file_id: str | None = None


class ContainerFile(TypedDict):
    id: str
    object: Literal["container.file"]
    created_at: int
    bytes: Annotated[int | None, Field(description="Null if a model wrote it.")]
    container_id: str
    path: str
    source: Literal["user", "assistant"]
    file_id: NotRequired[Annotated[str | None, _Older]]


class ContainerFileDeleted(TypedDict):
    id: str
    object: Literal["container.file.deleted"]
    deleted: Literal[True]


class ContainerList(ListOfObjects):
    data: list[Container]


class ContainerFileList(ListOfObjects):
    data: list[ContainerFile]


class ListContainers(Page):
    name: str | None = None
