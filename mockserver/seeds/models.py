"""The format of seeds, as Pydantic models."""

from typing import Annotated, Any, Self, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from mockserver import profiles
from mockserver.schema.values import STORED, Count, Duration, Instant, Part
from mockserver.seeds.answers import Answer
from mockserver.seeds.containers import Container
from mockserver.seeds.deleted import Deleted
from mockserver.seeds.entry import Entry
from mockserver.seeds.faults import Fault
from mockserver.seeds.files import File
from mockserver.seeds.responses import Response
from mockserver.seeds.skills import Skill
from mockserver.seeds.uploads import Upload


def _valid_profile(requested: object) -> object:
    if requested is not None:
        profiles.read(requested)
    return requested


def _not_before_1970(at: object, info: ValidationInfo) -> object:
    if isinstance(at, int | float) and at < 0 and info.context != STORED:
        raise ValueError(f"{at} is not an instant; write offset: {at}m for a clock that many minutes behind")
    return at


class Clock(Part):
    """The clock of new worlds."""

    at: Annotated[Instant, BeforeValidator(_not_before_1970)] | None = None
    """Instant at which every new world starts, as 2026-01-31T12:00:00Z or seconds since 1970."""
    offset: Duration | None = None
    """How far the clock runs ahead of real time; negative for behind. Excludes `at`."""
    rate: Annotated[float, Field(ge=0, le=1_000_000)] = 1.0
    """Speed: 0 is frozen, 1 is real time, 60 is a minute each second."""

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if self.at is not None and self.offset is not None:
            raise ValueError("give either at or offset")
        return self


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


LISTS: dict[str, type[Entry]] = {
    name: get_args(field.annotation)[0]
    for name, field in World.model_fields.items()
    if get_origin(field.annotation) is list
}
"""The lists of a seed and their entries, in the order in which they are checked and placed."""


class Document(World):
    """A seed file: the initial contents of new worlds."""

    version: int
    """Version of the format: 1."""
    worlds: dict[str, World] = {}
    """Single worlds by name, each with the keys above in addition to those of every world."""
