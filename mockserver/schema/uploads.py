"""Uploads on the wire, named and ordered as in the API reference."""

from typing import Annotated, Literal, NotRequired, get_args

from pydantic import Field
from typing_extensions import TypedDict

from mockserver.schema.files import MAX_EXPIRY, MIN_EXPIRY, File, Purpose
from mockserver.schema.lists import LongName, Request

MAX_BYTES = 8 << 30
"""Of all parts together (doc; that it is binary is a guess)."""
MAX_PART_BYTES = 64 << 20
"""Of one part (doc). Python's and Node's clients send parts of exactly 64 MiB."""


class FileExpiresAfter(Request):
    """When the File that results expires."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=MIN_EXPIRY, le=MAX_EXPIRY)]


class CreateUpload(Request):
    filename: LongName
    purpose: str = Field(json_schema_extra={"enum": list(get_args(Purpose))})
    bytes: Annotated[int, Field(ge=0, le=MAX_BYTES)]
    mime_type: LongName
    expires_after: FileExpiresAfter | None = None


class CompleteUpload(Request):
    part_ids: list[str]
    md5: str | None = None


class Upload(TypedDict):
    id: str
    object: Literal["upload"]
    bytes: int
    created_at: int
    filename: str
    purpose: Purpose
    status: Literal["pending", "completed", "cancelled", "expired"]
    expires_at: int
    file: NotRequired[Annotated[File, Field(description="Only of a completed upload.")]]


class UploadPart(TypedDict):
    id: str
    object: Literal["upload.part"]
    created_at: int
    upload_id: str
