"""What the control plane shows of objects, and the queries of its lists."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from mockserver.schema.containers import Container, ContainerFile
from mockserver.schema.files import File
from mockserver.schema.skills import Skill, SkillVersion
from mockserver.schema.uploads import Upload


class AdminContainerSkill(TypedDict):
    """A skill in a container, as it was when the container was created."""

    position: Annotated[int, Field(description="Its place in the request's `skills`, from 0.")]
    skill_id: Annotated[str | None, Field(description="Null for an inline skill.")]
    version: str | None
    name: str
    description: str
    path: Annotated[str, Field(description="The folder of its files in the container.")]


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


class AdminContainer(Container):
    """A container as stored: `last_active_at` is when a client used it last.

    `status` is `running` or `expired`, as in the filter, whatever word the profile shows to clients.
    """

    total_bytes: Annotated[int, Field(description="Of its files; where `bytes` is null, of the content.")]
    expires_in: Annotated[
        int | None, Field(description="Seconds of the world's time; 0 when it has expired, null: never.")
    ]
    skills: Annotated[list[AdminContainerSkill], Field(description="Its skills, which the API never shows.")]


class AdminContainerFile(ContainerFile):
    """With the `file_id` of the File that it is a copy of, or null."""

    size: Annotated[int, Field(description="Of the content, whatever `bytes` says.")]


class AdminFile(File):
    """A File; it can be read here whatever its purpose."""


class AdminUpload(Upload):
    """An upload, which the API never lists, with what was sent."""

    mime_type: str
    file_id: Annotated[str | None, Field(description="Id of the File that resulted, which may no longer exist.")]
    parts: Annotated[int, Field(description="Number of its parts; they are removed when it ends.")]
    part_bytes: Annotated[int, Field(description="Bytes of its parts in all.")]


class UploadDeleted(TypedDict):
    id: str
    object: Literal["upload"]
    deleted: Literal[True]


class Found(BaseModel):
    """A page; `after` its last id is the next one. `total` counts all that match."""

    has_more: bool
    total: int


class FoundContainers(Found):
    data: list[AdminContainer]


class FoundSkills(Found):
    data: list[AdminSkill]


class FoundContainerFiles(Found):
    data: list[AdminContainerFile]


class FoundFiles(Found):
    data: list[AdminFile]


class FoundUploads(Found):
    data: list[AdminUpload]


class Query(BaseModel):
    """Filters of a list; `search` finds a part of a name, in any case, or an id."""

    limit: int = Field(100, ge=1, le=1_000)
    after: str | None = None
    search: str | None = Field(None, max_length=1_024)
    order: Literal["asc", "desc"] = "desc"


class ContainerQuery(Query):
    name: str | None = None
    sort: Literal["created", "name", "active", "expires"] = "created"
    status: Literal["running", "expired"] | None = None


class FileQuery(Query):
    purpose: str | None = None
    sort: Literal["created", "name", "size"] = "created"


class NamedQuery(Query):
    sort: Literal["created", "name"] = "created"


class UploadQuery(NamedQuery):
    status: Literal["pending", "completed", "cancelled", "expired"] | None = None


Sorted = ContainerQuery | FileQuery | NamedQuery
