"""Skills and their versions on the wire, named and ordered as in the API reference."""

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field
from typing_extensions import TypedDict

from mockserver.schema.lists import ListOfObjects, Page, Request


def _as_text(version: object) -> object:
    """Return a number as the string that the SDKs send: a guide's example sends the number (doc)."""
    return str(version) if type(version) is int else version


VersionLabel = Annotated[str, BeforeValidator(_as_text, json_schema_input_type=str | int)]


class Skill(TypedDict):
    id: str
    object: Literal["skill"]
    created_at: int
    default_version: str
    description: str
    latest_version: str
    name: str


class SkillDeleted(TypedDict):
    id: str
    object: Literal["skill.deleted"]
    deleted: Literal[True]


class SkillVersion(TypedDict):
    id: str
    object: Literal["skill.version"]
    created_at: int
    description: str
    name: str
    skill_id: str
    version: str


class SkillVersionDeleted(TypedDict):
    id: str
    object: Literal["skill.version.deleted"]
    deleted: Literal[True]
    version: str


class SkillList(ListOfObjects):
    data: list[Skill]


class SkillVersionList(ListOfObjects):
    data: list[SkillVersion]


class UpdateSkill(Request):
    default_version: VersionLabel


class ListSkills(Page):
    """A page that may be empty: `limit` is 0 to 100 (probe)."""

    empty_is_wrong: ClassVar[frozenset[str]] = frozenset({"order"})

    limit: Annotated[int, Field(ge=0, le=100)] = 20
