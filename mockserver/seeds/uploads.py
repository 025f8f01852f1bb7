"""Uploads in seeds, with their parts."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mockserver.clock import MAX_SECONDS, later
from mockserver.schema import uploads
from mockserver.schema.files import Purpose
from mockserver.schema.lists import LongName
from mockserver.schema.values import WithContent
from mockserver.seeds.entry import Export, Exported, Listed, Placing, described
from mockserver.seeds.values import NOW, Id, Time
from mockserver.storage import tables
from mockserver.uploads import LIFETIME


class UploadPart(Listed, WithContent):
    """A part of an upload."""

    created_at: Time | None = None
    """When it was sent; by default the time of the creation of the upload."""


class Upload(Listed):
    """An upload of the Uploads API, with the parts that were sent."""

    noun = "upload"

    filename: LongName
    """Name of the File that results."""
    purpose: Purpose = "user_data"
    """Purpose of the File that results."""
    bytes: Annotated[int, Field(ge=0, le=uploads.MAX_BYTES)] | None = None
    """Size that the parts must have in all; by default the size of those that are given."""
    mime_type: LongName = "application/octet-stream"
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

    def inside(self) -> Sequence[Listed]:
        return self.parts

    def contents(self) -> Iterable[WithContent]:
        return self.parts

    def names(self, n: int | None = None) -> Iterable[str | None]:
        return [self.id, *(part.id for part in self.parts)]

    def place(self, into: Placing) -> None:
        parts = [(part, into.stored(part)) for part in self.parts]
        size = sum(content.size for _, content in parts) if self.bytes is None else self.bytes
        created = self.created_at.at(into.put.now)
        expires = into.at(self.expires_at, later(created, LIFETIME))
        row = into.add(tables.Upload, self, bytes=size, expires_at=expires)
        for part, content in parts:
            own = {"upload_id": row.id, "created_at": into.at(part.created_at, created), "bytes": content.size}
            into.add(tables.UploadPart, part, content, **own)

    @classmethod
    def export(cls, out: Export) -> Exported:
        for row in out.rows(tables.Upload):
            parts = [
                described(UploadPart, tables.UploadPart, part) | out.content(part.digest)
                for part in out.rows(tables.UploadPart, owner=row.id)
            ]
            yield described(cls, tables.Upload, row) | {"parts": parts}
