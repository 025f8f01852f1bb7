"""Uploads of the Uploads API, which the API itself can't list: find, read and delete them."""

from typing import Annotated, Literal

from fastapi import Query
from pydantic import Field
from typing_extensions import TypedDict

from mockserver import errors, files, uploads
from mockserver.context import Context, World
from mockserver.control.dependencies import TheMock, new_router
from mockserver.control.lists import Found, NamedQuery, Search
from mockserver.schema.uploads import Upload
from mockserver.storage import tables
from mockserver.storage.database import Transaction

router = new_router("/worlds/{world}/uploads", "Uploads", ["uploads", "worlds"])


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


class FoundUploads(Found):
    data: list[AdminUpload]


class UploadQuery(NamedQuery):
    status: Literal["pending", "completed", "cancelled", "expired"] | None = None


_uploads = Search(
    uploads.listing,
    tables.Upload,
    {"name": "filename"},
    "(:status IS NULL OR CASE WHEN status = 'pending' AND expires_at <= :now THEN 'expired' ELSE status END = :status)",
)


@router.get("")
async def find_uploads(mock: TheMock, world: str, query: Annotated[UploadQuery, Query()]) -> FoundUploads:
    """List uploads, newest first, with filters, and the number and bytes of their parts."""
    return await mock.worlds.look(world, _found, query)


@router.get("/{upload_id}")
async def find_upload(mock: TheMock, world: str, upload_id: str) -> AdminUpload:
    """Return one upload."""
    return await mock.worlds.look(world, lambda tx, state: _shown(tx, state, _upload(tx, upload_id)))


@router.delete("/{upload_id}")
async def remove_upload(mock: TheMock, world: str, upload_id: str) -> UploadDeleted:
    """Delete an upload with its parts. The File of a completed one stays."""
    await mock.worlds.change(world, _remove, upload_id)
    return {"id": upload_id, "object": "upload", "deleted": True}


def _remove(context: Context, upload_id: str) -> None:
    with context.write() as tx:
        uploads.remove(context, tx, _upload(tx, upload_id).id)


def _found(tx: Transaction, world: World, query: UploadQuery) -> FoundUploads:
    rows, found = _uploads.find(tx, query, world.now())
    return FoundUploads(data=[_shown(tx, world, row) for row in rows], **found)


def _upload(tx: Transaction, upload_id: str) -> tables.Upload:
    if row := uploads.find(tx, upload_id):
        return row
    raise errors.UPLOAD_NOT_FOUND(upload_id=upload_id)


def _shown(tx: Transaction, world: World, row: tables.Upload) -> AdminUpload:
    parts, size = uploads.received(tx, row.id)
    sent: AdminUpload = {
        **uploads.shown(row, world.now()),
        "mime_type": row.mime_type,
        "file_id": row.file_id,
        "parts": parts,
        "part_bytes": size,
    }
    if row.file_id and (file := files.find(tx, row.file_id, world.now())):
        sent["file"] = files.shown(file)
    return sent
