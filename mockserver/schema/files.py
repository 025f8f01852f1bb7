"""Files on the wire, named and ordered as in the API reference."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from mockserver.schema.lists import ListOfObjects, Page

UploadPurpose = Literal["fine-tune", "assistants", "batch", "user_data", "vision", "evals"]
Purpose = Literal[UploadPurpose, "assistants_output", "batch_output"]
"""With those of Files that the API itself creates."""
MIN_EXPIRY, MAX_EXPIRY = 3_600, 2_592_000
"""What the API takes as `expires_after.seconds`."""


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


class FileList(ListOfObjects):
    data: list[File]


class ListFiles(Page):
    empty_is_wrong: ClassVar[frozenset[str]] = frozenset({"order"})
    may_repeat: ClassVar[frozenset[str]] = frozenset({"purpose"})

    limit: Annotated[int, Field(ge=1, le=10_000)] = 10_000
    purpose: str | None = None

    @field_validator("order", mode="before")
    @classmethod
    def _is_given(cls, order: object) -> object:
        if order == "":
            raise PydanticCustomError("empty_order", "an order is empty")
        return order
