"""What all resources share: strict bodies, names, the requested page of a list, and a list."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

T = TypeVar("T", bound=Mapping[str, Any])


MAX_NAME = 1_024
"""Characters of a container's name, a file's name and a media type."""
LongName = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]


class Request(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Query(BaseModel):
    """What a query string has. Unknown keys are ignored, as the live API does."""

    model_config = ConfigDict(frozen=True)

    empty_is_wrong: ClassVar[frozenset[str]] = frozenset()
    """Keys whose empty value is an error. Those of other keys are ignored."""
    may_repeat: ClassVar[frozenset[str]] = frozenset()
    """Keys that can occur twice, with the same value."""


class PageAfter(Query):
    """The requested page of a list that can be paged forward only."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None


class Page(PageAfter):
    """The requested page of a list."""

    before: str | None = None


class ListOfObjects(TypedDict):
    """A list, with `data` for its objects. The ids are those of the first and the last of them."""

    object: Literal["list"]
    first_id: str | None
    has_more: bool
    last_id: str | None


class ListOf(ListOfObjects, Generic[T]):
    data: list[T]


def listed(data: list[T], has_more: bool) -> ListOf[T]:
    """Return a list of objects, with the keys in the order of most resources."""
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"object": "list", "data": data, "first_id": first, "has_more": has_more, "last_id": last}
